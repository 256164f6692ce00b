"""The nodes of a network: what each does with what comes in, and how it gives credit back."""

from __future__ import annotations

from headrace.batch import Batch, joined
from headrace.flow.outlet import Outlet
from headrace.flow.window import Window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace.batch import BatchResult, Failure
    from headrace.errors import ItemLate, WorkerLost
    from headrace.flow.network import Network
    from headrace.flow.outlet import Reader
    from headrace.flow.stage import Sent, StageFlow


SHARE = 16
"""Batches of outputs that are ready at once become one, of up to this fraction of the window: what the consumer holds
does not come back as credit before it has been through with all of it."""


class Eager:
    """Whether a reader of a node waits for what it gives, and has nothing. Found out only if somebody asks, as it takes
    a look at all that comes behind."""

    __slots__ = ("_node",)

    def __init__(self, node: Node) -> None:
        self._node = node

    def __bool__(self) -> bool:
        network = self._node.network
        return any(network.starves(reader) for reader in self._node.outlet.readers)


class Node:
    """One node of the plan, as the network sees it."""

    def __init__(self, network: Network, name: str, inputs: Sequence[Reader]) -> None:
        self.network = network
        self.name = name
        self.inputs = list(inputs)
        self.outlet = Outlet(name, self._taken, self._unwanted)
        self.outlet.node = self
        self.letters: dict[str, Outlet] = {}  # for the dead letters of an operator, where another reads them
        self.eager = Eager(self)
        for reader in self.inputs:
            reader.node = self

    @property
    def operators(self) -> tuple[str, ...]:
        return (self.name,)

    def settle(self, now_s: float) -> None:
        """Do all that can be done now without waiting."""

    def wants(self) -> bool:
        """Whether it would take a batch now, if there were one."""
        return False

    @property
    def due_s(self) -> float | None:
        """When something falls due that no call will tell of."""
        return None

    @property
    def busy(self) -> bool:
        """Whether something is on its way that will be heard of."""
        return False

    @property
    def credit(self) -> Window | None:
        """The window that bounds what this node may give, if it has one."""
        return None

    def plenty(self, reader: Reader) -> bool:
        """Whether so much is there for `reader`, or so little is to come, that it should not wait for more at once."""
        return True

    def _taken(self, items: int, nbytes: int) -> None:
        """All readers are done with so much."""
        self.network.touch(self)

    def _unwanted(self) -> None:
        """Nobody reads this node any more."""
        self._leave()
        self.network.touch(self)

    def _leave(self) -> None:
        for reader in self.inputs:
            reader.drop()

    def read_letters(self, operator: str) -> Reader:
        """A reader of the dead letters of one of this node's operators."""
        outlet = self.letters.setdefault(operator, Outlet(operator, self._letters_taken, _nobody))
        outlet.node = self
        return outlet.read()

    def _letters_taken(self, items: int, nbytes: int) -> None:
        """So many dead letters are done with."""
        raise NotImplementedError

    def _failed(self, failures: Sequence[Failure]) -> None:
        """Pass on what was set aside to who reads it."""
        if not self.letters:
            return
        now = [failure for failure in failures if failure.verdict == "dead_letter" and failure.name in self.letters]
        for failure in now:
            letter = self.network.letter(failure)
            self.letters[failure.name].offer(Batch(0, [failure.index], [letter], 0.0))
        self._tell()

    def _offer(self, batch: Batch) -> None:
        self.outlet.offer(batch)
        self._tell()

    def _end(self, error: BaseException | None = None) -> None:
        self.network.note(error)
        if not self.outlet.ended:
            self.outlet.end(error)
            for letters in self.letters.values():
                letters.end()
            self._leave()
            self._tell()

    def _tell(self) -> None:
        for outlet in (self.outlet, *self.letters.values()):
            for reader in outlet.readers:
                if reader.node is not None:
                    self.network.touch(reader.node)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.outlet!r}>"


def _nobody() -> None:
    """That nobody reads the dead letters of a node changes nothing for it."""


class SourceNode(Node):
    """What the shell pulls. `stage` is the one that it is pulled for, if it has no window of its own."""

    def __init__(self, network: Network, name: str, window: int, max_bytes: int | None) -> None:
        super().__init__(network, name, ())
        self.window = Window(window, max_bytes)
        self.stage: StageNode | None = None
        self.open = True
        self.pulling = 0  # credit of the pull that goes on

    def wanted(self) -> int:
        """Items that a pull would be granted now; 0 if it should wait, or none are wanted any more."""
        if not self.open or self.pulling:
            return 0
        if self.stage is not None:
            return self.stage.flow.pullable(eager=self.stage.eager)
        # What fills the bytes may be just what a gate collects: then one item more, as long as its number is bounded.
        starving = all(reader.dropped or self.network.starves(reader) for reader in self.outlet.readers)
        return self.window.room or int(starving and self.window.used < self.window.items)

    def reserve(self) -> int:
        """The same, with the credit taken."""
        granted = self.wanted()
        if granted and self.stage is not None:
            granted = self.stage.flow.reserve(eager=self.stage.eager)
        elif granted:
            self.window.admit(granted)
        self.pulling += granted
        return granted

    @property
    def left_bytes(self) -> int | None:
        return (self.window if self.stage is None else self.stage.flow.window).left_bytes

    def arrived(self, batch: Batch | None, *, over: bool) -> None:
        """What a pull has brought so far; `over` tells that it is done."""
        if batch is not None and self.open:
            self.pulling -= len(batch)
            if self.stage is not None:
                self.stage.flow.feed(batch)
            else:
                self.window.admit(0, batch.nbytes)
                self._offer(batch)
        if over:
            self._release()
        if self.stage is not None:
            self.network.touch(self.stage)

    @property
    def credit(self) -> Window | None:
        return self.window if self.stage is None else None

    def _release(self) -> None:
        if self.stage is not None:
            self.stage.flow.release(self.pulling)
        else:
            self.window.admit(-self.pulling)
        self.pulling = 0

    def end(self, error: BaseException | None = None) -> None:
        """No more will be pulled; `error` is what ended it, raised by all that reads this after what came before."""
        if self.open:
            self.open = False
            if self.stage is not None:
                self.stage.flow.end(error)
                self.network.touch(self.stage)
            else:
                self._end(error)

    def _taken(self, items: int, nbytes: int) -> None:
        self.window.admit(-items, -nbytes)

    def _unwanted(self) -> None:
        self.open = False

    @property
    def busy(self) -> bool:
        return bool(self.pulling or self.wanted())


class StageNode(Node):
    """A stage on an executor. `capacity` says how many batches are worth having in flight there."""

    def __init__(
        self, network: Network, flow: StageFlow, inputs: Sequence[Reader], capacity: Callable[[], int]
    ) -> None:
        super().__init__(network, flow.name, inputs)
        self.flow = flow
        self.source: SourceNode | None = None
        self._capacity = capacity
        self._clogged = False  # its outputs are not taken, and the window was not half empty since

    @property
    def operators(self) -> tuple[str, ...]:
        return self.flow.operators

    def settle(self, now_s: float) -> None:
        flow, eager = self.flow, self.eager
        if self.inputs:
            self._fill(eager)
        self._pass_on()
        while (sent := flow.next_batch(self._capacity(), now_s, eager=eager)) is not None:
            self.network.submits.append((self, sent))
        if flow.exhausted and not flow.ready:
            self._end()
        self._look_behind()

    def _look_behind(self) -> None:
        window = self.flow.window
        if self._clogged:
            if 2 * window.used <= window.items:
                self._clogged = False
                self.network.clogs.append((self, 0))
        elif window.used >= window.items and (waiting := self.flow.clogged):
            self._clogged = True
            self.network.clogs.append((self, waiting))

    def _fill(self, eager: Eager) -> None:
        flow = self.flow
        for reader in self.inputs:
            while reader.queue and (granted := flow.reserve(eager=eager)):
                piece = reader.take(granted)
                items, nbytes = len(piece), piece.nbytes
                flow.release(granted - items)
                flow.feed(piece)
                reader.give_back(items, nbytes)
        if flow.open and all(reader.over for reader in self.inputs):
            flow.end(next((reader.error for reader in self.inputs if reader.error is not None), None))

    def _pass_on(self) -> None:
        most = self.flow.window.items // SHARE
        while self.flow.ready:
            piece = self.flow.take()
            if isinstance(piece, Batch):
                self._offer(self._with_more(piece, most))
            else:
                self._end(piece)
        if not self.flow.open:
            self._leave()

    def _with_more(self, piece: Batch, most: int) -> Batch:
        """`piece` and what is ready behind it, up to `most` items: each batch costs those behind about the same."""
        pieces, items, ready = [piece], len(piece), self.flow.ready
        while ready and isinstance(ready[0], Batch) and (items := items + len(ready[0])) <= most:
            pieces.append(ready.popleft())  # type: ignore[arg-type]
        return piece if len(pieces) == 1 else joined(pieces)

    def finished(self, sent: Sent, result: BatchResult, now_s: float) -> None:
        self.flow.finished(sent, result, now_s)
        self._booked()

    def lost(self, sent: Sent, error: WorkerLost | ItemLate, now_s: float) -> None:
        self.flow.lost(sent, error, now_s)
        self._booked()

    def _booked(self) -> None:
        if self.flow.untold:
            failures = self.flow.new_failures()
            self._failed(failures)
            self.network.failures += [(self, failure) for failure in failures]
        self.network.touch(self)

    def broken(self, sent: Sent, error: BaseException) -> None:
        self.flow.broken(sent, error)
        self.network.touch(self)

    def _failed(self, failures: Sequence[Failure]) -> None:
        routed = sum(failure.verdict == "dead_letter" and failure.name in self.letters for failure in failures)
        self.flow.window.admit(routed)  # each is here until it is taken
        super()._failed(failures)

    def _letters_taken(self, items: int, nbytes: int) -> None:
        self.flow.window.admit(-items)
        self.network.touch(self)

    def told(self, failures: int) -> None:
        """So many of the failures that `Network.new_failures` gave have been told and let go."""
        self.flow.told(failures)
        self.network.touch(self)

    @property
    def credit(self) -> Window | None:
        return self.flow.window

    def plenty(self, reader: Reader) -> bool:
        return self.flow.emitted - reader.taken >= self.flow.window.items // 4 or not self.flow.running

    def wants(self) -> bool:
        return self.flow.open and self.flow.pullable(eager=self.eager) > 0

    def _leave(self) -> None:
        super()._leave()
        if self.source is not None:
            self.source.open = False

    def _taken(self, items: int, nbytes: int) -> None:
        self.flow.taken(items, nbytes)
        self.network.touch(self)

    def _unwanted(self) -> None:
        self.flow.unwanted()
        super()._unwanted()

    @property
    def due_s(self) -> float | None:
        return self.flow.due_s

    @property
    def busy(self) -> bool:
        return bool(self.flow.running)
