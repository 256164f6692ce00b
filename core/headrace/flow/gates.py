"""The stateful operators. A gate remembers, knows the time and hears of the end, which a kernel does not; so the
runner runs it, in one thread, and it ends fusion."""

from __future__ import annotations

from headrace.batch import Batch, Tally
from headrace.errors import OperatorFailed
from headrace.flow.kernel import Control, Kernel, Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from headrace.batch import Failure, Path
    from headrace.flow.ledger import Account


class Step:
    """What a gate did.

    out       batches of outputs, each with the number of inputs that it stands for: they count until it is taken
    consumed  inputs that are over and done with
    due_s     when the gate wants a `tick`, or None
    failures  the items that raised; error: what ends the run
    """

    __slots__ = ("consumed", "due_s", "error", "failures", "out")

    def __init__(
        self,
        out: Iterable[tuple[Batch, int]] = (),
        *,
        consumed: int = 0,
        due_s: float | None = None,
        failures: Sequence[Failure] = (),
        error: OperatorFailed | None = None,
    ) -> None:
        self.out = list(out)
        self.consumed = consumed
        self.due_s = due_s
        self.failures = failures
        self.error = error


class Gate:
    """Has one or more input ports, fed by one thread. Books what it did in the `account` it is given."""

    def feed(self, port: int, batch: Batch, now_s: float) -> Step:
        """Items came in at `port`."""
        return Step()

    def tick(self, now_s: float) -> Step:
        """It is `due_s`, or later."""
        return Step()

    def end(self, port: int, now_s: float) -> Step:
        """No more will come in at `port`."""
        return Step()


class BatchGate(Gate):
    """Makes lists of `size` items; the last may be shorter, and so may one whose first item has waited `max_wait_s`.

    A list has the index of its first member.
    """

    def __init__(self, account: Account, size: int, max_wait_s: float | None = None) -> None:
        self._tally: Tally = account.tallies[0]
        self._size = size
        self._max_wait_s = max_wait_s
        self._members: list[Any] = []
        self._index: Path = 0
        self._born_s = 0.0
        self._since_s = 0.0

    def feed(self, port: int, batch: Batch, now_s: float) -> Step:
        self._tally.taken += len(batch)
        out, at = [], 0
        while at < len(batch):
            if not self._members:
                self._index, self._born_s, self._since_s = batch.index[at], batch.born_s, now_s
            wanted = self._size - len(self._members)
            self._members += batch.data[at : at + wanted]
            at += wanted
            if len(self._members) == self._size:
                out.append(self._emit())
        return self._step(out)

    def tick(self, now_s: float) -> Step:
        due = self._due_s is not None and now_s >= self._due_s
        return self._step([self._emit()] if due else [])

    def end(self, port: int, now_s: float) -> Step:
        return self._step([self._emit()] if self._members else [])

    @property
    def _due_s(self) -> float | None:
        return None if self._max_wait_s is None or not self._members else self._since_s + self._max_wait_s

    def _step(self, out: list[tuple[Batch, int]]) -> Step:
        return Step(out, due_s=self._due_s)

    def _emit(self) -> tuple[Batch, int]:
        members, self._members = self._members, []
        self._tally.done += len(members)
        self._tally.emitted += 1
        return Batch(0, [self._index], [members], self._born_s), len(members)

    def __repr__(self) -> str:
        return f"<BatchGate {len(self._members)}/{self._size}>"


class SinkGate(Gate):
    """Calls a function with each item, in order, in the runner's thread. An item that is tried again holds up those
    behind it; nothing overtakes."""

    def __init__(self, account: Account, op: Op, passing: tuple[type[BaseException], ...] = ()) -> None:
        self._account = account
        self._kernel = Kernel((op,))
        self._control = Control(passing)

    def feed(self, port: int, batch: Batch, now_s: float) -> Step:
        failures: list[Failure] = []
        todo = [batch]  # the next to go is the last
        while todo:
            part = todo.pop()
            result = self._kernel.run(part, self._control)
            self._account.record(part, result)
            failures += result.failures
            if result.done < len(part):
                todo.append(part.behind(result.done))
            ended = result.failures[-1] if result.failures else None
            if ended is not None and ended.verdict == "raise":
                return Step(consumed=len(batch), failures=failures, error=ended.as_error())
            if ended is not None and ended.verdict == "retry":
                todo.append(part.retry(ended))
        return Step(consumed=len(batch), failures=failures)

    def __repr__(self) -> str:
        return f"<SinkGate {self._kernel!r}>"
