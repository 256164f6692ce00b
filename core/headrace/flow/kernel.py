"""The kernel: a stage's operators over a batch, stride by stride. The only code that calls the user's functions.

A stride goes operator by operator, each pass at C speed: `out.extend(map(fn, items))` keeps what came before an
exception, and the same iterator goes on behind it. So which item failed follows from how many came out.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from copy import copy
from itertools import compress
from time import monotonic, perf_counter, thread_time

from headrace.batch import BatchResult, Failure, Tally, locate
from headrace.context import Current, enter
from headrace.errors import HeadraceError, said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from headrace.batch import Batch, Setup, Where

    Failed = list[tuple[int, BaseException]]  # position among the operator's inputs, and what it raised

STRIDE_S = 0.001
"""Seconds of work that a stride aims at."""
WATCHED_S = 0.004
"""The same where somebody cuts the batch when it is late, or it hands over as it goes: each stride of a fused kernel
costs a pass per operator."""
FIRST_STRIDE = 16
"""A batch starts with this fraction of itself, and a stride has at most this many times the items of the one before: so
a cost that has jumped since the batch was cut is noticed before much of it has been paid."""


class Op:
    """One operator's part in a kernel.

    kind          "map", "filter", "flat_map" or "sink"
    on_error      what becomes of an item that failed each time: "raise", "skip" or "dead_letter"
    attempts      how often an item is tried in all; `on`: the errors after which it is tried again, None: all
    backoff_s     seconds before the second attempt, doubled before each further one, up to `max_backoff_s`; `jitter`:
                  up to this share more
    max_failures  most items that may fail in the end, or most of a share (below 1); None: any
    setup         what a worker makes before it calls `fn`, or to have one; None: nothing
    awaits        whether what `fn` gives has to be awaited: then the stage has this operator alone
    """

    __slots__ = (
        "attempts",
        "awaits",
        "backoff_s",
        "fn",
        "jitter",
        "kind",
        "max_backoff_s",
        "max_failures",
        "name",
        "on",
        "on_error",
        "setup",
    )

    def __init__(
        self,
        name: str,
        kind: str,
        fn: Callable[[Any], Any] | None,
        on_error: str = "raise",
        attempts: int = 1,
        *,
        on: tuple[type[BaseException], ...] | None = None,
        backoff_s: float = 0.0,
        jitter: float = 0.0,
        max_backoff_s: float = 60.0,
        max_failures: float | None = None,
        setup: Setup | None = None,
        awaits: bool = False,
    ) -> None:
        self.name = name
        self.kind = kind
        self.awaits = awaits
        self.fn: Callable[[Any], Any] = fn or not_set_up
        self.setup = setup
        self.on_error = on_error
        self.attempts = attempts
        self.on = on
        self.backoff_s = backoff_s
        self.jitter = jitter
        self.max_backoff_s = max_backoff_s
        self.max_failures = max_failures

    def verdict(self, attempt: int, error: BaseException) -> str:
        again = attempt < self.attempts and (self.on is None or isinstance(error, self.on))
        return "retry" if again else self.on_error

    def ends(self, attempt: int, error: BaseException) -> bool:
        """Whether a failure ends the pass: nothing behind it is wanted, or (a sink) it must not be overtaken."""
        verdict = self.verdict(attempt, error)
        return verdict == "raise" or (verdict == "retry" and self.kind == "sink")

    def __repr__(self) -> str:
        return f"<Op {self.kind} '{self.name}'>"


class Control:
    """What a running kernel heeds. `cancelled` is looked at between strides; errors of the types `passing` are not
    taken for failures of an item but passed on (Ctrl-C, where the function runs in the main thread). `watched` tells
    that somebody in this process cuts the batch if it is late, so that it needs no strides to look after itself."""

    __slots__ = ("cancelled", "passing", "watched")

    steps = False
    """Whether `at` is to be called for each item of a batch in step mode."""

    def __init__(self, passing: tuple[type[BaseException], ...] = (), *, watched: bool = False) -> None:
        self.cancelled = False
        self.passing = passing
        self.watched = watched

    def at(self, position: int) -> None:
        """The stride that begins at `position` of the batch comes next."""

    def hands_over(self, now_s: float) -> bool:
        """Whether what has been done so far should be handed over (`perf_counter`)."""
        return False

    def hand_over(self, result: BatchResult) -> None:
        """Take what has been done since the last time; `where` and `done` count from the first item of the batch."""


class Kernel:
    """The picklable work of a stage. Has no state of its own: any number of threads may run it at once.

    limit_s  seconds after which a batch gives back what it has not begun; None: never
    measure  a function that gives the bytes of an output, or None where bytes do not matter
    name, seed  what `headrace.current()` tells of the run
    """

    def __init__(
        self,
        ops: tuple[Op, ...],
        *,
        limit_s: float | None = None,
        measure: Callable[[Any], int] | None = None,
        name: str = "",
        seed: int = 0,
    ) -> None:
        self.ops = ops
        self.limit_s = limit_s
        self.measure = measure
        self.name = name
        self.seed = seed

    @property
    def needs_setup(self) -> bool:
        return any(op.setup is not None for op in self.ops)

    @property
    def awaits(self) -> bool:
        """Whether it is one of a coroutine function, for `run_coroutines`."""
        return any(op.awaits for op in self.ops)

    def set_up(self) -> tuple[Kernel, list[Callable[[], Any]]]:
        """This kernel for one worker, with what its operators make before their first item; and what is to be called,
        in this order, when the worker is done with it. Raises HeadraceError if one of them cannot be made."""
        ops, teardowns = [], []
        for op in self.ops:
            if op.setup is not None:
                op, teardown = _set_up(op, op.setup)
                teardowns.append(teardown)
            ops.append(op)
        kernel = copy(self)
        kernel.ops = tuple(ops)
        return kernel, [each for each in reversed(teardowns) if each is not None]

    @property
    def expands(self) -> bool:
        """Whether an input may give more than one output."""
        return any(op.kind == "flat_map" for op in self.ops)

    def run(self, batch: Batch, control: Control, worker: str = "") -> BatchResult:
        """Run the operators over `batch` and say what came of it. Raises only what `control` lets pass."""
        batch.began_s = monotonic()
        work = _Work(self, batch, control, worker)
        size, began_s = len(batch.data), work.began_s
        step = batch.step and control.steps
        stride, now_s = 1 if step else self._first_stride(size, control), began_s
        while work.at < size:
            control.at(work.at)
            work.stride(stride)
            last_s, now_s = now_s, perf_counter()
            late = self.limit_s is not None and now_s - began_s > self.limit_s
            if work.at >= size or work.stopped or batch.is_cut or late or control.cancelled or work.full:
                break
            if control.hands_over(now_s):
                control.hand_over(work.part(now_s))
            if not step:
                aim_s = WATCHED_S if control.watched or control.steps else STRIDE_S
                stride = _next_stride(stride, now_s - last_s, aim_s, work.share)
        return work.part(now_s)

    def _first_stride(self, size: int, control: Control) -> int:
        if self.expands:
            return 1  # an expansion is held whole, so the first one is looked at alone
        if control.watched and len(self.ops) == 1:  # what another operator has done already could not be given back
            return size
        return max(1, size // FIRST_STRIDE)

    def __repr__(self) -> str:
        return f"<Kernel {'+'.join(op.name for op in self.ops)}>"


def _set_up(op: Op, setup: Setup) -> tuple[Op, Callable[[], Any] | None]:
    try:
        made = setup.make(*setup.args, **setup.kwargs)
    except Exception as error:
        raise HeadraceError(f"the setup of operator '{op.name}' raised {said(error)}") from error
    mine = copy(op)
    if op.fn is not_set_up:
        mine.fn = made
    if not callable(mine.fn):
        raise HeadraceError(f"operator '{op.name}' has no function, and its {setup!r} made none: {type(made).__name__}")
    teardown = setup.teardown
    return mine, None if teardown is None else lambda: teardown(made)


def tear_down(teardowns: Sequence[Callable[[], Any]]) -> None:
    """Call what `Kernel.set_up` gave to be called. The work is done: one that raises is warned of."""
    for teardown in teardowns:
        try:
            teardown()
        except Exception as error:
            warnings.warn(f"the teardown of an operator's setup raised {said(error)}", RuntimeWarning, stacklevel=2)


def not_set_up(item: Any) -> Any:
    """The function of an operator whose setup is to make it."""
    raise HeadraceError("its executor does not set up what its operators need")


def _next_stride(stride: int, took_s: float, aim_s: float, share: int | None) -> int:
    """Items for the next stride: about `aim_s` of work, and no more than `share`."""
    fitting = int(stride * aim_s / took_s) if took_s > 0 else stride * FIRST_STRIDE
    wanted = min(stride * FIRST_STRIDE, fitting)
    return max(1, wanted if share is None else min(wanted, share))


class _Work:
    """One batch on its way through the operators. Owned by the thread that runs it."""

    def __init__(self, kernel: Kernel, batch: Batch, control: Control, worker: str) -> None:
        self.kernel = kernel
        self.ops = kernel.ops
        self.measure = kernel.measure
        self.batch = batch
        self.control = control
        self.worker = worker
        self.began_s, self.cpu_s = perf_counter(), thread_time()
        self.at = 0  # inputs dealt with
        self.stopped = False
        self.gone = self.gone_bytes = 0  # outputs and failures that were handed over, and the bytes of the outputs
        self._start_part()

    def _start_part(self) -> None:
        self.first = self.at  # inputs that had been dealt with when this part began
        self.nbytes = 0  # of its outputs, if they are measured
        self.out: list[Any] = []
        self.where: list[Where] | None = None
        self.failures: list[Failure] = []
        self.tallies = [Tally() for _ in self.ops]

    def part(self, now_s: float) -> BatchResult:
        """What was done since the last call, or since the beginning."""
        result = BatchResult(
            self.out,
            self.where,
            self.at,
            self.failures,
            self.tallies,
            nbytes=self.nbytes,
            worker=self.worker,
            began_s=self.began_s,
            ended_s=now_s,
            cpu_s=thread_time() - self.cpu_s,
        )
        self.gone += len(self.out) + len(self.failures)
        self.gone_bytes += self.nbytes
        self.began_s, self.cpu_s = now_s, self.cpu_s + result.cpu_s
        self._start_part()
        return result

    @property
    def here(self) -> int:
        """Outputs and failures so far."""
        return self.gone + len(self.out) + len(self.failures)

    @property
    def full(self) -> bool:
        spare, most_bytes = self.spare, self.batch.most_bytes
        return (spare is not None and spare < 0) or (
            most_bytes is not None and self.gone_bytes + self.nbytes >= most_bytes
        )

    @property
    def spare(self) -> int | None:
        """How much more the outputs may outgrow the inputs that they stem from: until then what is here, outputs and
        inputs that have not been begun, is within the bound."""
        bound = self.batch.bound
        return None if bound is None else bound - self.here - len(self.batch.data) + self.at

    @property
    def share(self) -> int | None:
        """Inputs that fit what is left of the bound, by the expansions seen so far."""
        spare, growth = self.spare, self.here - self.at
        return spare * self.at // growth if spare is not None and growth > 0 else None

    def stride(self, size: int) -> None:
        """Take the next `size` inputs through all operators."""
        first, data = self.at, self.batch.data
        part = data[first : first + size] if first or size < len(data) else data
        items: Sequence[Any] = part if isinstance(part, list) else list(part)  # a list's iterator can be cut
        where: Sequence[Where] = range(first, first + len(items))
        self.at += len(items)
        for position in range(self.batch.enter, len(self.ops)):
            items, where = self._pass(position, items, where)
        self._keep(items, where, first)

    def _keep(self, items: Sequence[Any], where: Sequence[Where], first: int) -> None:
        if self.where is None and not isinstance(where, range):  # a range: one output each
            self.where = list(range(self.first, first))
        if self.where is not None:
            self.where.extend(where)
        if self.measure is not None:
            self.nbytes += sum(map(self.measure, items))
        if self.out:
            self.out.extend(items)
        else:
            self.out = items  # type: ignore[assignment]

    def _pass(
        self, position: int, items: Sequence[Any], where: Sequence[Where]
    ) -> tuple[Sequence[Any], Sequence[Where]]:
        """One operator over `items`; `where` says for each which input it stems from. The same for what comes out."""
        op, tally, first = self.ops[position], self.tallies[position], position == self.batch.enter
        attempt = self.batch.attempt if first else 1
        call = _Pass(op, items, attempt, self.control.passing)
        if first:
            call.most = self.spare
            self.batch.at_work = call.ahead
        here = Current(self.kernel.name, op.name, attempt, self.kernel.seed, self.batch.index, where, call.failed)
        call.here = here
        before = enter(here)
        began_s = perf_counter()
        try:
            outputs, fan = getattr(call, op.kind)()
        finally:
            enter(before)
        tally.service_s += perf_counter() - began_s
        self.batch.at_work = None
        count = call.reached
        if count < len(where) and not call.ended:
            self.at = _first(where[count])
            where = where[:count]
        if call.failed:
            where = self._fail(position, attempt, call, where)
        done = len(where)
        if attempt == 1:
            tally.taken += done
        filtered = done - len(outputs) if op.kind == "filter" else 0
        tally.filtered += filtered
        tally.done += done - filtered
        if fan is not None:
            where = _spread(where, fan, expand=op.kind == "flat_map")
        tally.emitted += len(outputs)
        return outputs, where

    def _fail(self, position: int, attempt: int, call: _Pass, where: Sequence[Where]) -> list[Where]:
        """Book what failed; what is left of `where` without it, and without what a stop left untouched."""
        op, tally, items = self.ops[position], self.tallies[position], call.items
        for at, error in call.failed:
            verdict = op.verdict(attempt, error)
            self.failures.append(self._failure(position, items[at], where[at], error, attempt, verdict))
            tally.failed(verdict, first=attempt == 1)
        taken = len(where)
        if call.ended:
            taken = call.failed[-1][0]
            self.stopped, self.at = True, _first(where[taken]) + 1
        gone = {at for at, _ in call.failed}
        return [where[at] for at in range(taken) if at not in gone]

    def _failure(
        self, position: int, item: Any, where: Where, error: BaseException, attempt: int, verdict: str
    ) -> Failure:
        trace = _trace(error)
        if verdict != "raise":
            _strip(error)
        index = locate(self.batch.index, where)
        return Failure(position, self.ops[position].name, where, index, item, error, attempt, verdict, trace)


def _first(where: Where) -> int:
    return where if isinstance(where, int) else where[0]


def _spread(where: Sequence[Where], fan: Sequence[Any], *, expand: bool) -> Sequence[Where]:
    """`where` of the outputs, from that of the inputs and how many outputs each of them gave."""
    if not expand:
        return list(compress(where, fan))
    deep = bool(where) and isinstance(where[0], tuple)
    bases = where if deep else [(each,) for each in where]
    return [(*base, ordinal) for base, count in zip(bases, fan, strict=True) for ordinal in range(count)]  # type: ignore[misc]


def _trace(error: BaseException) -> list[tuple[str, int, str]]:
    """Where it was raised, from the user's function inwards: the kernel's own frame is left out."""
    trace, at = [], error.__traceback__
    if at is not None and at.tb_frame.f_code.co_filename == __file__:
        at = at.tb_next
    while at is not None:
        trace.append((at.tb_frame.f_code.co_filename, at.tb_lineno, at.tb_frame.f_code.co_name))
        at = at.tb_next
    return trace


def _strip(error: BaseException) -> None:
    """Take the tracebacks off an error and all errors behind it."""
    todo, seen = [error], set()
    while todo:
        error = todo.pop()
        if id(error) not in seen:
            seen.add(id(error))
            with suppress(Exception):  # a frozen dataclass, say, can be raised and does not let itself be written
                error.__traceback__ = None
            todo += [each for each in (error.__cause__, error.__context__) if each is not None]
            todo += error.exceptions if isinstance(error, BaseExceptionGroup) else ()


def _stopped(fn: Callable[[Any], Any]) -> RuntimeError:
    """A function that raises StopIteration ends `map` in silence; the item fails as PEP 479 has it for generators."""
    return RuntimeError(f"{getattr(fn, '__qualname__', fn)} raised StopIteration")


class _Pass:
    """One operator over the items of one stride.

    Each kind gives its outputs, and how many of them each input gave that did not fail (None: one each).
    `failed` has, in order, the positions of those that failed; `ended` tells that the last of them ended the pass.
    `ahead` iterates over the items: whoever sets it to their end, from any thread, ends the pass behind the item that
    it is at. `reached` tells how many items it came to, failed ones included.
    `most` bounds outputs and items that it has not come to, together: an expansion beyond it is the last.
    """

    __slots__ = ("ahead", "attempt", "ended", "failed", "fn", "here", "most", "op", "over", "passing", "reached")

    def __init__(self, op: Op, over: Sequence[Any], attempt: int, passing: tuple[type[BaseException], ...]) -> None:
        self.op = op
        self.fn = op.fn
        self.attempt = attempt
        self.over = over
        self.ahead = iter(over)
        self.most: int | None = None
        self.ended = False
        self.here: Current | None = None
        self.passing = passing
        self.failed: Failed = []
        self.reached = 0

    @property
    def items(self) -> Sequence[Any]:
        """The items that it came to, in order."""
        return self.over if self.reached == len(self.over) else self.over[: self.reached]

    def map(self) -> tuple[list[Any], None]:
        return self._call_each(), None

    def sink(self) -> tuple[list[Any], list[int]]:
        return [], [0] * len(self._call_each())

    def filter(self) -> tuple[list[Any], list[Any]]:
        # Each answer is asked for its truth once: it may raise, and need not say the same twice.
        flags = self._truths(self._call_each())
        return list(compress(self._left(), flags)), flags

    def flat_map(self) -> tuple[list[Any], list[int]]:
        out: list[Any] = []
        counts: list[int] = []
        self._counts(counts)
        excess = None if self.most is None else self.most - len(self.over)
        for at, item in enumerate(self.ahead):
            before = len(out)
            try:
                out.extend(self.fn(item))
            except BaseException as error:
                del out[before:]  # half an expansion is none
                self._caught(self.failed, at, error)
                if self.ended:
                    break
            else:
                counts.append(len(out) - before)
            if excess is not None and len(out) - at - 1 > excess:
                break
        self.reached = len(counts) + len(self.failed)
        return out, counts

    def _call_each(self) -> list[Any]:
        out = self._calls(self.fn, self.ahead, self.failed)
        self.reached = len(out) + len(self.failed)
        return out

    def _calls(self, fn: Callable[[Any], Any], ahead: Iterator[Any], failed: Failed) -> list[Any]:
        """`fn` of each item ahead, in order, less those that failed."""
        out: list[Any] = []
        if failed is self.failed:
            self._counts(out)
        calls, extend = map(fn, ahead), out.extend
        while True:
            try:
                extend(calls)
            except BaseException as error:
                self._caught(failed, len(out) + len(failed), error)
            else:
                if len(ahead.__reduce__()) == 2:  # it has come to its end, and keeps no position to be pickled
                    return out
                self._caught(failed, len(out) + len(failed), _stopped(fn))
            if self.ended:
                return out

    def _counts(self, come: list[Any]) -> None:
        """`come` grows with each item that is through."""
        if self.here is not None:
            self.here.counts(come)

    def _caught(self, failed: Failed, at: int, error: BaseException) -> None:
        if isinstance(error, self.passing):
            raise error
        error = _stopped(self.fn) if isinstance(error, StopIteration) else error
        failed.append((at, error))
        self.ended = self.ended or self.op.ends(self.attempt, error)

    def _left(self) -> Sequence[Any]:
        gone = {at for at, _ in self.failed}
        return [item for at, item in enumerate(self.items) if at not in gone] if gone else self.items

    def _truths(self, flags: list[Any]) -> list[bool]:
        """The truth of each answer; where it cannot be told (of an array, say) the item failed."""
        late: Failed = []
        ended, self.ended = self.ended, False
        truths = self._calls(bool, iter(flags), late)
        if late:
            gone = {at for at, _ in self.failed}
            asked = [at for at in range(self.reached) if at not in gone]
            late = [(asked[at], error) for at, error in late]
            before = [each for each in self.failed if not self.ended or each[0] < late[-1][0]]
            self.failed = sorted([*before, *late], key=_position)
        self.ended = self.ended or ended
        return truths


def _position(failed: tuple[int, BaseException]) -> int:
    return failed[0]
