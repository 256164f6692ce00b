"""The stateful operators. A gate remembers, knows the time and hears of the end, which a kernel does not; so the
runner runs it, in one thread, and it ends fusion."""

from __future__ import annotations

from collections import deque
from copy import copy

from headrace.batch import Batch, Tally
from headrace.errors import OperatorFailed, said
from headrace.flow.coroutines import Session
from headrace.flow.kernel import Control, Kernel, Op
from headrace.flow.ledger import over_cap
from headrace.flow.recovery import delay_s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from headrace.batch import Failure, Path
    from headrace.flow.ledger import Account


LIMIT_S = 0.02
"""A sink looks up after so many seconds."""


class Step:
    """What a gate did.

    out       batches of outputs, each with the number of inputs, per port, that one of its items stands for: so much
              counts until it is taken
    consumed  inputs, per port, that are over and done with
    due_s     when the gate wants a `tick`, or None
    failures  the items that raised; error: what ends the gate
    stop      nothing more will come out, whatever comes in
    """

    __slots__ = ("consumed", "due_s", "error", "failures", "out", "stop")

    def __init__(
        self,
        out: Iterable[tuple[Batch, tuple[int, ...]]] = (),
        *,
        consumed: tuple[int, ...] = (),
        due_s: float | None = None,
        failures: Sequence[Failure] = (),
        error: BaseException | None = None,
        stop: bool = False,
    ) -> None:
        self.out = out
        self.consumed = consumed
        self.due_s = due_s
        self.failures = failures
        self.error = error
        self.stop = stop


class Gate:
    """Has one or more input ports, fed by one thread at a time. Books what it did in the `account` it is given.

    calls_user  whether it calls functions of the user's, which may take as long as they like
    """

    calls_user = False

    def begin(self, run: str, seed: int, awaited: Callable[[Any], Any] | None = None) -> None:
        """What `headrace.current()` is to tell of the run, where functions of the user's are called; `awaited` gives
        what comes of a coroutine, awaited in the run's event loop."""

    def feed(self, port: int, batch: Batch, now_s: float) -> Step:
        """Items came in at `port`."""
        return Step()

    def tick(self, now_s: float) -> Step:
        """It is `due_s`, or later."""
        return Step()

    def broken(self) -> None:
        """An input failed: what has come in is not all that there was. Before the `end` of its port."""

    def end(self, port: int, now_s: float) -> Step:
        """No more will come in at `port`."""
        return Step()

    def cancel(self) -> None:
        """Call no function of the user's any more. From any thread, while another may be in `feed`."""

    def stop(self) -> None:
        """The user has stopped the sources, wherever they were."""

    def finish(self) -> None:
        """All items of the run have come through. Raises what ends it after all. By the thread that closes the run."""

    def commit(self) -> None:
        """All gates of the run have finished. As `finish`."""

    def abort(self) -> None:
        """The run is over: let go of what is held. What was not committed is not wanted. As `finish`."""

    @property
    def lacks(self) -> tuple[int, str]:
        """How many items more it needs before it can give anything, and what it waits for in words; (0, "") if for
        nothing in particular."""
        return 0, ""


class MergeGate(Gate):
    """Passes on what comes in at any port, as it comes."""

    def __init__(self, account: Account, ports: int) -> None:
        self._tally: Tally = account.tallies[0]
        self._each = [tuple(int(at == port) for at in range(ports)) for port in range(ports)]

    def feed(self, port: int, batch: Batch, now_s: float) -> Step:
        items = len(batch)
        self._tally.taken += items
        self._tally.done += items
        self._tally.emitted += items
        return Step([(batch, self._each[port])])

    def __repr__(self) -> str:
        return f"<MergeGate of {len(self._each)}>"


class ZipGate(Gate):
    """Makes tuples of one item from each port, in order, until a port ends. That others give more then is an error,
    unless it `fills` what is missing with `fill`. A tuple has the index of the item at the first port that has one."""

    def __init__(
        self, account: Account, name: str, inputs: tuple[str, ...], fill: Any = None, *, fills: bool = False
    ) -> None:
        self._tally: Tally = account.tallies[0]
        self._name = name
        self._inputs = inputs
        self._fill = fill
        self._fills = fills
        self._held: list[deque[tuple[Path, Any]]] = [deque() for _ in inputs]
        self._ended = [False] * len(inputs)
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    def feed(self, port: int, batch: Batch, now_s: float) -> Step:
        self._tally.taken += len(batch)
        self._held[port].extend(zip(batch.index, batch.data, strict=True))
        return self._pair(batch.born_s)

    def end(self, port: int, now_s: float) -> Step:
        self._ended[port] = True
        return self._pair(now_s)

    def _pair(self, born_s: float) -> Step:
        out = []
        while count := self._complete():
            out.append(self._tuples(count, born_s))
        short = [at for at, held in enumerate(self._held) if self._ended[at] and not held]
        if short and not self._fills and any(self._held):
            if not self._stopped:
                return Step(out, error=self._unequal(short[0]))
            self._tally.skipped += sum(map(len, self._held))
            return Step(out, consumed=tuple(self._drop()))
        return Step(out)

    def _drop(self) -> list[int]:
        """Let go of all that is held; says how much that is, by port."""
        counts = list(map(len, self._held))
        for held in self._held:
            held.clear()
        return counts

    def _complete(self) -> int:
        """How many tuples can be made as things are."""
        counts = [len(held) for held, ended in zip(self._held, self._ended, strict=True) if held or not ended]
        whole = len(counts) == len(self._held) or self._fills
        return min(counts, default=0) if whole else 0

    def _tuples(self, count: int, born_s: float) -> tuple[Batch, tuple[int, ...]]:
        """The next `count` tuples; ports that have nothing are filled."""
        each = tuple(int(bool(held)) for held in self._held)
        index: list[Path] = []
        data: list[tuple[Any, ...]] = []
        for _ in range(count):
            members = [held.popleft() if held else None for held in self._held]
            index.append(next(member[0] for member in members if member is not None))
            data.append(tuple(self._fill if member is None else member[1] for member in members))
        self._tally.done += count * sum(each)
        self._tally.emitted += count
        return Batch(0, index, data, born_s), each

    def _unequal(self, short: int) -> OperatorFailed:
        longer = next(at for at, held in enumerate(self._held) if held)
        index, item = self._held[longer][0]
        reason = (
            f"'{self._inputs[short]}' ended before '{self._inputs[longer]}', which gives more items; "
            "zip(..., fill=None) would go on with None in place of what is missing"
        )
        return OperatorFailed(self._name, index, item, reason)

    @property
    def lacks(self) -> tuple[int, str]:
        waits = [f"'{name}'" for name, held in zip(self._inputs, self._held, strict=True) if not held]
        return 1, f"zip '{self._name}' waits for {' and '.join(waits)}"

    def __repr__(self) -> str:
        return f"<ZipGate '{self._name}' {'+'.join(str(len(held)) for held in self._held)} held>"


class BatchGate(Gate):
    """Makes lists of `size` items; the last may be shorter, and so may one whose first item has waited `max_wait_s`.

    A list has the index of its first member.
    """

    def __init__(self, account: Account, name: str, size: int, max_wait_s: float | None = None, ports: int = 1) -> None:
        self._tally: Tally = account.tallies[0]
        self._name = name
        self._each = [0] * ports  # members of the list that is being filled, by port
        self._open = ports
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
            wanted = min(self._size - len(self._members), len(batch) - at)
            self._members += batch.data[at : at + wanted]
            self._each[port] += wanted
            at += wanted
            if len(self._members) == self._size:
                out.append(self._emit())
        return self._step(out)

    def tick(self, now_s: float) -> Step:
        due = self._due_s is not None and now_s >= self._due_s
        return self._step([self._emit()] if due else [])

    def end(self, port: int, now_s: float) -> Step:
        self._open -= 1
        return self._step([self._emit()] if self._members and not self._open else [])

    @property
    def _due_s(self) -> float | None:
        return None if self._max_wait_s is None or not self._members else self._since_s + self._max_wait_s

    @property
    def lacks(self) -> tuple[int, str]:
        held, size = len(self._members), self._size
        return (size - held, f"batch '{self._name}' has {held} of the {size} items of a list") if held else (0, "")

    def _step(self, out: list[tuple[Batch, tuple[int, ...]]]) -> Step:
        return Step(out, due_s=self._due_s)

    def _emit(self) -> tuple[Batch, tuple[int, ...]]:
        members, self._members = self._members, []
        each, self._each = tuple(self._each), [0] * len(self._each)
        self._tally.done += len(members)
        self._tally.emitted += 1
        return Batch(0, [self._index], [members], self._born_s), each

    def __repr__(self) -> str:
        return f"<BatchGate {len(self._members)}/{self._size}>"


class SinkGate(Gate):
    """Calls a function with each item, in order, in the runner's thread. An item that is tried again holds up those
    behind it; nothing overtakes."""

    calls_user = True

    def __init__(self, account: Account, op: Op, passing: tuple[type[BaseException], ...] = (), ports: int = 1) -> None:
        self._account = account
        self._op = op
        self._kernel = Kernel((op,))
        self._control = Control(passing)
        self._ports = ports
        self._todo: deque[tuple[int, Batch]] = deque()  # with the port that it came in at
        self._due_s: float | None = None  # when the first of them, which is tried again, may go
        self._open = ports
        self._part: Batch | None = None  # what it is at
        self._session: Session | None = None  # of a coroutine function

    def begin(self, run: str, seed: int, awaited: Callable[[Any], Any] | None = None) -> None:
        if self._op.awaits and awaited is not None:
            session, self._op = Session(self._op.fn, awaited), copy(self._op)
            self._session, self._op.fn = session, session.call
        self._kernel = Kernel((self._op,), limit_s=LIMIT_S, name=run, seed=seed)

    def finish(self) -> None:
        if self._session is not None:
            try:
                self._session.leave()
            except Exception as error:
                raise OperatorFailed(self._op.name, None, None, f"`__aexit__` raised {said(error)}") from error

    def abort(self) -> None:
        if self._session is not None:
            self._session.leave()

    def cancel(self) -> None:
        self._control.cancelled = True
        if self._part is not None:
            self._part.cut()

    def feed(self, port: int, batch: Batch, now_s: float) -> Step:
        self._todo.append((port, batch))
        return self._go_on(now_s)

    def tick(self, now_s: float) -> Step:
        return self._go_on(now_s)

    def end(self, port: int, now_s: float) -> Step:
        self._open -= 1
        return self._go_on(now_s)

    def _go_on(self, now_s: float) -> Step:
        """All that can go: up to an item that is tried again later, or that ends all."""
        failures: list[Failure] = []
        consumed = [0] * self._ports
        while self._todo and (self._due_s is None or self._due_s <= now_s):
            self._due_s = None
            port, part = self._todo.popleft()
            self._part = part
            result = self._kernel.run(part, self._control)
            self._part = None
            self._account.record(part, result)
            failures += result.failures
            consumed[port] += result.done
            if result.done < len(part):
                self._todo.appendleft((port, part.behind(result.done)))
            error = self._ends(result.failures)
            if error is not None:
                return Step(consumed=tuple(consumed), failures=failures, error=error)
            ended = result.failures[-1] if result.failures else None
            if ended is not None and ended.verdict == "retry":
                consumed[port] -= 1
                self._todo.appendleft((port, part.retry(ended)))
                wait_s = delay_s(self._op, ended)
                self._due_s = now_s + wait_s if wait_s else None
            elif result.done < len(part):  # it has taken its time: first let the runner see to its deadline
                self._due_s = now_s
                break
        return Step(consumed=tuple(consumed), failures=failures, due_s=self._due_s)

    def _ends(self, failures: Sequence[Failure]) -> BaseException | None:
        """What ends the sink, if these do, or if there were too many of them."""
        if failures and failures[-1].verdict == "raise":
            return failures[-1].as_error()
        over = self._open == 0 and not self._todo
        why = over_cap(self._op, self._account.tallies[0], ended=over) if failures or over else None
        return OperatorFailed(self._op.name, None, None, why) if why is not None else None

    def __repr__(self) -> str:
        return f"<SinkGate {self._kernel!r}>"
