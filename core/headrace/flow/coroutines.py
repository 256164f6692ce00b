"""The kernel of a coroutine function: the items of a batch one by one, each awaited.

What came of them is booked by the kernel of plain functions, which is given functions that only say it again: verdicts,
paths and tallies have one home.
"""

from __future__ import annotations

import warnings
from collections import deque
from copy import copy
from time import monotonic, perf_counter

from headrace.batch import BatchResult, Tally
from headrace.context import Current, enter
from headrace.errors import HeadraceError, said
from headrace.flow.kernel import Kernel, not_set_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Any

    from headrace.batch import Batch
    from headrace.flow.kernel import Control, Op


async def run_coroutines(kernel: Kernel, batch: Batch, control: Control, worker: str = "") -> BatchResult:
    """Await the one operator of `kernel` for each item of `batch` and say what came of it, as `Kernel.run` does.

    The items go one after the other; what is to run at once is in different batches. If `control.cancelled` is set, a
    cancelled coroutine ends this one, too; else that its function raised CancelledError is a failure of the item.
    Raises what `control` lets pass.
    """
    (op,) = kernel.ops
    batch.began_s = monotonic()
    began_s = now_s = perf_counter()
    outcomes: deque[tuple[Any, BaseException | None]] = deque()
    failed = False
    for position, item in enumerate(batch.data):
        enter(Current(kernel.name, op.name, batch.attempt, kernel.seed, batch.index, (position,), ()))
        try:
            outcomes.append((await _outcome(op, item), None))
        except BaseException as error:
            if isinstance(error, control.passing) or control.cancelled:
                raise
            failed = True
            outcomes.append((None, _stopped(error)))
            # After GeneratorExit nothing may be awaited: it may come from a loop that is closed with all that is in it.
            if op.ends(batch.attempt, error) or isinstance(error, GeneratorExit):
                break
        now_s = perf_counter()
        if control.cancelled or (kernel.limit_s is not None and now_s - began_s > kernel.limit_s):
            break
    if op.kind == "map" and not failed and batch.attempt == 1 and kernel.measure is None:
        result = _plain(outcomes)
    else:
        result = _booked(kernel, op, batch, outcomes, control)
    result.worker, result.began_s, result.ended_s, result.cpu_s = worker, began_s, perf_counter(), 0.0
    result.tallies[0].service_s = result.ended_s - began_s
    return result


async def _outcome(op: Op, item: Any) -> Any:
    made = op.fn(item)
    if op.kind == "flat_map" and hasattr(type(made), "__aiter__"):
        return [each async for each in made]
    return await made if hasattr(type(made), "__await__") else made


def _stopped(error: BaseException) -> BaseException:
    """An asynchronous generator's end means nothing to who awaits a plain item."""
    return RuntimeError("it raised StopAsyncIteration") if isinstance(error, StopAsyncIteration) else error


def _plain(outcomes: deque[tuple[Any, BaseException | None]]) -> BatchResult:
    """What most batches come to: an output for each item."""
    tally = Tally()
    tally.taken = tally.done = tally.emitted = len(outcomes)
    return BatchResult([value for value, _ in outcomes], None, len(outcomes), (), (tally,))


def _booked(
    kernel: Kernel, op: Op, batch: Batch, outcomes: deque[tuple[Any, BaseException | None]], control: Control
) -> BatchResult:
    def say_again(item: Any) -> Any:
        value, error = outcomes.popleft()
        if error is not None:
            raise error
        return value

    told, through = copy(op), len(outcomes)
    told.fn, told.setup = say_again, None
    again = Kernel((told,), measure=kernel.measure, name=kernel.name, seed=kernel.seed)
    result = again.run(batch if through == len(batch) else batch.split(through)[0], control)
    for failure in result.failures:
        failure.trace = [frame for frame in failure.trace if frame[0] != __file__]  # from the user's function inwards
    return result


async def set_up(kernel: Kernel) -> tuple[Kernel, list[Callable[[], Awaitable[Any]]]]:
    """As `Kernel.set_up`, for the loop that runs here. A function that is an asynchronous context manager, as a class
    which holds a session may be, is entered; what is called at last has to be awaited."""
    (op,) = kernel.ops
    mine = copy(op)
    teardowns: list[Callable[[], Awaitable[Any]]] = []
    try:
        made: Any = None
        if op.setup is not None:
            made = await _awaited(op.setup.make(*op.setup.args, **op.setup.kwargs))
            if op.fn is not_set_up:
                mine.fn = made
            if (teardown := op.setup.teardown) is not None:
                teardowns.append(lambda: _awaited(teardown(made)))
        entered = mine.fn
        if is_entered(entered):
            inside = await entered.__aenter__()  # type: ignore[attr-defined]
            mine.fn = inside if callable(inside) else entered
            teardowns.insert(0, lambda: entered.__aexit__(None, None, None))  # type: ignore[attr-defined]
    except (Exception, SystemExit) as error:
        raise HeadraceError(f"the setup of operator '{op.name}' raised {said(error)}") from error
    if not callable(mine.fn):
        raise HeadraceError(
            f"operator '{op.name}' has no function, and its {op.setup!r} made none: {type(mine.fn).__name__}"
        )
    kernel = copy(kernel)
    kernel.ops = (mine,)
    return kernel, teardowns


async def tear_down_awaited(teardowns: Sequence[Callable[[], Awaitable[Any]]]) -> None:
    """Await what `set_up` gave to be awaited. The work is done: one that raises is warned of."""
    for teardown in teardowns:
        try:
            await teardown()
        except Exception as error:
            warnings.warn(f"the teardown of an operator's setup raised {said(error)}", RuntimeWarning, stacklevel=2)


def is_entered(fn: Any) -> bool:
    """Whether `fn` is an asynchronous context manager, to be entered before it is called."""
    return hasattr(type(fn), "__aenter__") and hasattr(type(fn), "__aexit__")


async def _awaited(made: Any) -> Any:
    return await made if hasattr(type(made), "__await__") else made


class Session:
    """A coroutine function as a plain one, for a thread that waits for each item: `awaited` gives what comes of a
    coroutine, and, with `last=True`, also once the run is cancelled. One that is an asynchronous context manager is
    entered before the first item, and left by `leave`."""

    def __init__(self, fn: Any, awaited: Callable[..., Any]) -> None:
        self._given = self._fn = fn
        self._awaited = awaited
        self._entered = False

    def call(self, item: Any) -> Any:
        if not self._entered and is_entered(self._given):
            inside = self._awaited(_awaited(self._given.__aenter__()))
            self._entered = True
            self._fn = inside if callable(inside) else self._given
        return self._awaited(self._fn(item))

    def leave(self) -> None:
        if self._entered:
            self._entered = False
            self._awaited(_awaited(self._given.__aexit__(None, None, None)), last=True)
