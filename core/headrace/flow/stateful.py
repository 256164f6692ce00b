"""More of the stateful operators: windows, the first items, one value of all, and a bound on the rate."""

from __future__ import annotations

from collections import deque
from copy import copy, deepcopy
from math import inf

from headrace.batch import Batch
from headrace.errors import OperatorFailed
from headrace.flow.gates import Gate, SinkGate, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from headrace.batch import Path, Tally
    from headrace.flow.kernel import Op
    from headrace.flow.ledger import Account


class WindowGate(Gate):
    """Makes lists of `size` items, each of which begins `step` items behind the one before. There are only whole ones:
    what is in none of them is booked as filtered. A list has the index of its first member."""

    def __init__(self, account: Account, name: str, size: int, step: int, ports: int = 1) -> None:
        self._tally: Tally = account.tallies[0]
        self._name = name
        self._size = size
        self._step = step
        self._ports = ports
        self._open = ports
        self._held: deque[tuple[int, Path, Any]] = deque()  # with the port that it came in at
        self._known = 0  # so many of the first of them have been in a window
        self._skip = 0  # so many that come next are in none

    def feed(self, port: int, batch: Batch, now_s: float) -> Step:
        self._tally.taken += len(batch)
        out: list[tuple[Batch, tuple[int, ...]]] = []
        consumed = [0] * self._ports
        for path, item in zip(batch.index, batch.data, strict=True):
            if self._skip:
                self._skip -= 1
                self._tally.filtered += 1
                consumed[port] += 1
                continue
            self._held.append((port, path, item))
            if len(self._held) == self._size:
                out.append(self._emit(batch.born_s))
        return Step(out, consumed=tuple(consumed))

    def _emit(self, born_s: float) -> tuple[Batch, tuple[int, ...]]:
        """A window. Taken, it stands for the items that come in no later one."""
        _, first, _ = self._held[0]
        members = [item for _, _, item in self._held]
        gone = [0] * self._ports
        for _ in range(min(self._step, self._size)):
            gone[self._held.popleft()[0]] += 1
        self._known = len(self._held)
        self._skip = max(0, self._step - self._size)
        self._tally.done += sum(gone)
        self._tally.emitted += 1
        return Batch(0, [first], [members], born_s), tuple(gone)

    def end(self, port: int, now_s: float) -> Step:
        self._open -= 1
        if self._open:
            return Step()
        self._tally.done += self._known
        self._tally.filtered += len(self._held) - self._known
        consumed = [0] * self._ports
        for at, _, _ in self._held:
            consumed[at] += 1
        self._held.clear()
        return Step(consumed=tuple(consumed))

    @property
    def lacks(self) -> tuple[int, str]:
        held, size = len(self._held), self._size
        return (size - held, f"window '{self._name}' has {held} of its {size} items") if held else (0, "")

    def __repr__(self) -> str:
        return f"<WindowGate {len(self._held)}/{self._size}>"


class TakeGate(Gate):
    """Passes on the first `count` items; then it is over, and nobody wants what is left of those before it."""

    def __init__(self, account: Account, count: int, ports: int = 1) -> None:
        self._account = account
        self._left = count
        self._ports = ports

    def feed(self, port: int, batch: Batch, now_s: float) -> Step:
        tally, each = self._account.tallies[0], tuple(int(at == port) for at in range(self._ports))
        most = min(self._left, len(batch))
        self._left -= most
        first = batch if most == len(batch) else batch.split(most)[0]
        tally.taken += most
        tally.done += most
        tally.emitted += most
        consumed = tuple(here * (len(batch) - most) for here in each)
        self._account.cut = not self._left
        return Step([(first, each)], consumed=consumed, stop=not self._left)

    def __repr__(self) -> str:
        return f"<TakeGate, {self._left} to come>"


NOTHING = object()
"""Stands for a value that is not there."""


class FoldGate(SinkGate):
    """One value of all items: `fn(value, item)` of each in turn, from a copy of `initial` on, or from the first item.

    An item that fails leaves the value as it was. The value has the index of the first item, or 0 if there was none.
    When an input failed there is none: the value of a part could be taken for the whole.
    """

    def __init__(self, account: Account, op: Op, passing: tuple[type[BaseException], ...], initial: Any, ports: int):
        fn, op = op.fn, copy(op)
        op.kind, op.fn = "sink", self._fold
        super().__init__(account, op, passing, ports)
        self._two: Any = fn
        self._value: Any = NOTHING if initial is NOTHING else deepcopy(initial)
        self._index: Path | None = None
        self._over = False  # given, or never to be

    def broken(self) -> None:
        self._over = True

    def _fold(self, item: Any) -> None:
        self._value = item if self._value is NOTHING else self._two(self._value, item)

    def _go_on(self, now_s: float) -> Step:
        if self._index is None and self._todo:
            self._index = self._todo[0][1].index[0]
        step = super()._go_on(now_s)
        if self._open or self._todo or step.error is not None or self._over:
            return step
        self._over = True
        if self._value is NOTHING:
            why = "there was nothing to reduce; `fold` begins with a value of its own"
            step.error = OperatorFailed(self._op.name, None, None, why)
        else:
            self._account.tallies[0].emitted += 1
            index = 0 if self._index is None else self._index
            step.out = [(Batch(0, [index], [self._value], now_s), (0,) * self._ports)]
        return step

    def __repr__(self) -> str:
        return f"<FoldGate '{self._op.name}'>"


class RateGate(Gate):
    """Passes items on in order, so that in any `t` seconds no more than `burst + per_s * t` of them go.

    A token bucket, kept as the time at which it would be empty: the virtual scheduling algorithm of ITU-T I.371 (GCRA).
    What comes late is made up for, as long as the bucket is not full.
    """

    def __init__(self, account: Account, per_s: float, burst: int, ports: int = 1) -> None:
        self._tally: Tally = account.tallies[0]
        self._every_s = 1 / per_s
        self._spare_s = (burst - 1) / per_s
        self._next_s = -inf  # when the next one would go if each went at its time
        self._ports = ports
        self._held: deque[tuple[int, Batch]] = deque()  # with the port that it came in at

    def feed(self, port: int, batch: Batch, now_s: float) -> Step:
        self._tally.taken += len(batch)
        self._held.append((port, batch))
        return self._go_on(now_s)

    def tick(self, now_s: float) -> Step:
        return self._go_on(now_s)

    def end(self, port: int, now_s: float) -> Step:
        return self._go_on(now_s)

    def _go_on(self, now_s: float) -> Step:
        out: list[tuple[Batch, tuple[int, ...]]] = []
        while self._held and (may := self._tokens(now_s)) > 0:
            port, batch = self._held.popleft()
            if may < len(batch):
                batch, rest = batch.split(may)
                self._held.appendleft((port, rest))
            self._next_s = max(self._next_s, now_s) + len(batch) * self._every_s
            self._tally.done += len(batch)
            self._tally.emitted += len(batch)
            out.append((batch, tuple(int(at == port) for at in range(self._ports))))
        return Step(out, due_s=self._next_s - self._spare_s if self._held else None)

    def _tokens(self, now_s: float) -> int:
        """Items that may go now."""
        spare_s = now_s + self._spare_s - max(self._next_s, now_s)
        return int(spare_s / self._every_s + 1e-6) + 1 if spare_s > -1e-9 else 0

    def __repr__(self) -> str:
        return f"<RateGate {1 / self._every_s:g} per s, {sum(len(batch) for _, batch in self._held)} held>"
