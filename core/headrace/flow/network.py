"""The flow of a whole run: its nodes, and what goes between them, whatever the shape of the graph.

    source --> outlet --> reader: stage --> outlet --+--> reader: gate --> outlet --> reader: the consumer
                                                     `--> reader: stage --> outlet --> reader: the consumer

This is the machine that every runner and `drive` put threads, a loop or a task around. It does nothing by itself: the
shell tells it what happened, under the shell's lock, then calls `settle` and does what `work` holds: batches to submit,
steps of gates that call the user's functions. Everything else, moving batches along, gates that only count and pair,
happens in `settle`.

A source that one stage alone reads is pulled on that stage's credit; any other has a window of its own.
"""

from __future__ import annotations

from collections import deque
from functools import partial

from headrace.batch import Batch
from headrace.errors import WindowTooSmall
from headrace.flow.outlet import Outlet, Owed
from headrace.flow.window import Window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from headrace.batch import BatchResult, Failure
    from headrace.flow.gates import Gate, Step
    from headrace.flow.ledger import Account
    from headrace.flow.outlet import Reader
    from headrace.flow.stage import Sent, StageFlow


class Job:
    """A step of a gate that calls the user's function: the shell runs `do`, outside its lock, and gives what came of it
    to `GateNode.stepped`."""

    __slots__ = ("do", "node")

    def __init__(self, node: GateNode, do: Callable[[], Step]) -> None:
        self.node = node
        self.do = do


class Eager:
    """Whether a reader of a node waits for what it gives, and has nothing. Found out only if somebody asks, as it takes
    a look at all that comes behind."""

    __slots__ = ("_node",)

    def __init__(self, node: Node) -> None:
        self._node = node

    def __bool__(self) -> bool:
        network = self._node.network
        for reader in self._node.outlet.readers:
            if not (reader.queue or reader.dropped) and network.waits(reader):
                return True
        return False


class Node:
    """One node of the plan, as the network sees it."""

    def __init__(self, network: Network, name: str, inputs: Sequence[Reader]) -> None:
        self.network = network
        self.name = name
        self.inputs = list(inputs)
        self.outlet = Outlet(name, self._taken, self._unwanted)
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
        return self.letters.setdefault(operator, Outlet(operator, self._letters_taken, _nobody)).read()

    def _letters_taken(self, items: int, nbytes: int) -> None:
        """So many dead letters are done with."""

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
        if not self.outlet.ended:
            self.network.note(error)
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
        starving = all(
            reader.dropped or (not reader.queue and self.network.waits(reader)) for reader in self.outlet.readers
        )
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
        while self.flow.ready:
            piece = self.flow.take()
            if isinstance(piece, Batch):
                self._offer(piece)
            else:
                self._end(piece)
        if not self.flow.open:
            self._leave()

    def finished(self, sent: Sent, result: BatchResult, now_s: float) -> None:
        self.flow.finished(sent, result, now_s)
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


class GateNode(Node):
    """A gate behind one or more others. What it holds, and what it gave that was not taken, is not given back to those
    before it, so that it counts in their windows."""

    def __init__(self, network: Network, name: str, gate: Gate, inputs: Sequence[Reader], account: Account) -> None:
        super().__init__(network, name, inputs)
        self.gate = gate
        self._account = account
        self._owed = [Owed() for _ in inputs]  # what came in and is not through, for each port
        self._given: deque[tuple[int, tuple[int, ...]]] = deque()  # outputs not taken: how many, and inputs for each
        self._ports = set(range(len(inputs)))  # those that have not ended
        self._due_s: float | None = None
        self._error: BaseException | None = None
        self._stepping = False

    def settle(self, now_s: float) -> None:
        while not (self._stepping or self.outlet.ended) and self._next(now_s):
            pass

    def _next(self, now_s: float) -> bool:
        """One step, if there is something to do."""
        for port in sorted(self._ports):
            reader = self.inputs[port]
            if reader.queue:
                batch = reader.take()
                self._account.fed += len(batch)
                self._owed[port].put(len(batch), batch.nbytes)
                self._do(partial(self.gate.feed, port, batch, now_s))
                return True
            if reader.over:
                self._ports.discard(port)
                self._error = self._error or reader.error
                self._do(partial(self.gate.end, port, now_s))
                return True
        if self._due_s is not None and now_s >= self._due_s:
            self._due_s = None
            self._do(partial(self.gate.tick, now_s))
            return True
        return False

    def _do(self, do: Callable[[], Step]) -> None:
        if self.gate.calls_user:
            self._stepping = True
            self.network.jobs.append(Job(self, do))
        else:
            self._apply(do())

    def stepped(self, step: Step) -> None:
        """What a `Job` of this gate gave."""
        self._stepping = False
        self._apply(step)
        self.network.touch(self)

    def _apply(self, step: Step) -> None:
        self.network.failures += [(None, failure) for failure in step.failures]
        self._failed(step.failures)
        self._due_s = step.due_s
        for batch, each in step.out:
            self._given.append((len(batch), each))
            self._offer(batch)
        for port, items in enumerate(step.consumed):
            self._pay(port, items)
        if step.error is not None or step.stop or not (self._ports or step.due_s is not None):
            self._end(self._error or step.error)

    def _taken(self, items: int, nbytes: int) -> None:
        while items:
            count, each = self._given.popleft()
            gone = min(count, items)
            items -= gone
            if gone < count:
                self._given.appendleft((count - gone, each))
            for port, members in enumerate(each):
                self._pay(port, members * gone)
        self.network.touch(self)

    def _pay(self, port: int, items: int) -> None:
        """So many more items are through, in the order in which they came in."""
        if items:
            self.inputs[port].give_back(items, self._owed[port].take(items))

    def wants(self) -> bool:
        return not self.outlet.ended

    @property
    def due_s(self) -> float | None:
        return self._due_s

    @property
    def busy(self) -> bool:
        return self._stepping


class Network:
    """All nodes of a run. Not thread-safe: whoever holds the shell's lock may call it.

    letter          makes the item that stands for a failure, for who reads dead letters
    submits, jobs   what the shell has to do after `settle`: it takes all of it out
    failures        items that raised and have not been told of, with the stage whose credit they hold
    errors          what ended nodes, each once, the first first
    consumer_waits  set by the shell: the consumer has nothing, and waits
    """

    def __init__(self, letter: Callable[[Failure], Any] = repr) -> None:
        self.letter = letter
        self.nodes: dict[str, Node] = {}
        self.ends: dict[str, Reader] = {}
        self.submits: list[tuple[StageNode, Sent]] = []
        self.jobs: list[Job] = []
        self.failures: list[tuple[StageNode | None, Failure]] = []
        self.errors: list[BaseException] = []
        self.consumer_waits = False
        self._touched: dict[Node, None] = {}

    # building

    def source(self, name: str, window: int, max_bytes: int | None = None) -> SourceNode:
        node = SourceNode(self, name, window, max_bytes)
        self.nodes[name] = node
        return node

    def stage(
        self,
        flow: StageFlow,
        inputs: Sequence[str],
        capacity: Callable[[], int],
        *,
        alone: bool,
        letters: Sequence[str] = (),
    ) -> StageNode:
        """`alone`: it is the only one that reads its input, which then is pulled on its credit if it is a source.
        `letters`: the operators whose dead letters it reads, too."""
        first = self.nodes[inputs[0]] if alone and len(inputs) == 1 and not letters else None
        direct = first if isinstance(first, SourceNode) else None
        node = StageNode(self, flow, () if direct else self._readers(inputs, letters), capacity)
        if direct:
            node.source, direct.stage = direct, node
        self.nodes[flow.name] = node
        return node

    def gate(
        self, name: str, gate: Gate, inputs: Sequence[str], account: Account, letters: Sequence[str] = ()
    ) -> GateNode:
        node = GateNode(self, name, gate, self._readers(inputs, letters), account)
        self.nodes[name] = node
        return node

    def end(self, name: str) -> Reader:
        """The consumer reads node `name`."""
        self.ends[name] = self.nodes[name].outlet.read()
        return self.ends[name]

    def _readers(self, inputs: Sequence[str], letters: Sequence[str]) -> list[Reader]:
        readers = [self.nodes[name].outlet.read() for name in inputs]
        return readers + [self._node_of(operator).read_letters(operator) for operator in letters]

    def _node_of(self, operator: str) -> Node:
        return next(node for node in self.nodes.values() if operator in node.operators)

    # running

    def touch(self, node: Node) -> None:
        """Something has changed for `node`: the next `settle` looks at it."""
        self._touched[node] = None

    def waits(self, reader: Reader) -> bool:
        """Whether whoever reads would take a batch now, if there were one."""
        return self.consumer_waits if reader.node is None else reader.node.wants()

    def note(self, error: BaseException | None) -> None:
        """`error` has ended a node; those behind it end with the same."""
        if error is not None and not any(error is known for known in self.errors):
            self.errors.append(error)

    def settle(self, now_s: float) -> None:
        """Move on all that can be moved. What is left to do for the shell is in `submits` and `jobs`."""
        while self._touched:
            self._touched.popitem()[0].settle(now_s)

    def tick(self, now_s: float) -> None:
        """Look at what has fallen due."""
        for node in self.nodes.values():
            if (due_s := node.due_s) is not None and due_s <= now_s:
                self.touch(node)

    def new_failures(self) -> list[tuple[StageNode | None, Failure]]:
        """What failed since the last call, in no order."""
        failures, self.failures = self.failures, []
        return failures

    @property
    def over(self) -> bool:
        """Whether all ends have given all that they will."""
        return all(reader.over for reader in self.ends.values())

    @property
    def served(self) -> bool:
        """Whether something is there for the consumer: outputs, or the end."""
        for reader in self.ends.values():
            if reader.queue:
                return True
        return self.over

    @property
    def due_s(self) -> float | None:
        return min((due_s for node in self.nodes.values() if (due_s := node.due_s) is not None), default=None)

    @property
    def stuck(self) -> bool:
        """Whether nothing can go on any more although the consumer waits and the end has not come: each node waits for
        another. What falls due later, or a source that is being pulled, is not that."""
        for node in reversed(self.nodes.values()):
            if node.busy:
                return False
        return not (self.served or self.submits or self.jobs or self.failures or self.due_s is not None)

    def jam(self) -> WindowTooSmall:
        """What to say of a run that is stuck: who waits for what, and whose window is full."""
        lacking = [node.gate.lacks for node in self.nodes.values() if isinstance(node, GateNode)]
        missing = max((items for items, _ in lacking), default=1)
        waits = ", ".join(words for _, words in lacking if words) or "each node waits for another"
        full = [(node.name, window) for node in self.nodes.values() if (window := node.credit) and not window.room]
        name, window = min(full, key=lambda each: each[1].items, default=("the pipeline", Window(0)))
        why = f"nothing can go on: {waits}, but '{name}' has all {window.items} items under way that its window allows"
        return WindowTooSmall(name, window.items, window.items + max(1, missing), why)

    def __repr__(self) -> str:
        return f"<Network {' '.join(self.nodes)}>"
