"""The node of a gate: gives back what came in once it is through, and may have the shell call the user's function."""

from __future__ import annotations

from collections import deque
from functools import partial

from headrace.flow.nodes import Node
from headrace.flow.outlet import Owed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace.flow.gates import Gate, Step
    from headrace.flow.ledger import Account
    from headrace.flow.network import Network
    from headrace.flow.outlet import Reader


class Job:
    """A step of a gate that calls the user's function: the shell runs `do`, outside its lock, and gives what came of it
    to `GateNode.stepped`."""

    __slots__ = ("do", "node")

    def __init__(self, node: GateNode, do: Callable[[], Step]) -> None:
        self.node = node
        self.do = do


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
        self._set_aside = 0  # failures not told of, and dead letters not taken: no more is begun while there are many

    def settle(self, now_s: float) -> None:
        most = self.network.window
        while not (self._stepping or self.outlet.ended or self._set_aside >= most) and self._next(now_s):
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
                if reader.error is not None:
                    self.gate.broken()
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
        self.network.failures += [(self, failure) for failure in step.failures]
        self._set_aside += len(step.failures)
        self._set_aside += sum(each.verdict == "dead_letter" and each.name in self.letters for each in step.failures)
        self._failed(step.failures)
        self._due_s = step.due_s
        for batch, each in step.out:
            self._given.append((len(batch), each))
            self._offer(batch)
        for port, items in enumerate(step.consumed):
            self._pay(port, items)
        if step.error is not None or step.stop or not (self._ports or step.due_s is not None):
            # That an item failed is news; that a zip's inputs are unequal only follows from what ended one of them.
            self._end(step.error if step.failures else self._error or step.error)

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

    def _unwanted(self) -> None:
        self._account.cut = True
        super()._unwanted()
        if not self.outlet.ended:
            self._end()

    def told(self, failures: int) -> None:
        """So many of the failures that `Network.new_failures` gave have been told and let go."""
        self._set_aside -= failures
        self.network.touch(self)

    def _letters_taken(self, items: int, nbytes: int) -> None:
        self._set_aside -= items
        self.network.touch(self)

    def _pay(self, port: int, items: int) -> None:
        """So many more items are through, in the order in which they came in."""
        if items:
            self.inputs[port].give_back(items, self._owed[port].take(items))

    def wants(self) -> bool:
        return not self.outlet.ended

    @property
    def due_s(self) -> float | None:
        return None if self._stepping or self._set_aside >= self.network.window else self._due_s

    @property
    def busy(self) -> bool:
        return self._stepping
