"""Executors that are wrong in one thing each, and the tests of the contract that are meant to find it.

`WRONG` has them all: name -> (how to make it, {test: words of its failure}). Each differs from `Right` in one thing.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any

from headrace.batch import Batch, BatchResult, Tally
from headrace.contracts import Leftovers
from headrace.flow.kernel import Control, Kernel
from headrace.plan import StageSpec

WRONG: dict[str, tuple[Callable[[], Any], dict[str, str]]] = {}


def found_by(**tests: str) -> Callable[[type], type]:
    def note(executor: type) -> type:
        WRONG[executor.__name__] = executor, tests
        return executor

    return note


class Lane:
    def __init__(self, executor: Right, stage: StageSpec) -> None:
        self.executor = executor
        self.kernel = stage.kernel
        self.capacity = stage.degree or 4
        self.control = Control()
        self.running: set[Future[BatchResult]] = set()

    def submit(self, batch: Batch) -> Future[BatchResult]:
        future = self.executor.pool.submit(self.run, batch)
        self.running.add(future)
        future.add_done_callback(self.running.discard)
        return future

    def run(self, batch: Batch) -> BatchResult:
        return self.kernel.run(batch, self.control)

    def resize(self, degree: int) -> None:
        self.capacity = degree

    def close(self, *, cancel: bool = False, timeout_s: float = 2.0) -> Leftovers:
        left = {future for future in set(self.running) if not (cancel and future.cancel())}
        return Leftovers(tuple(map(str, wait(left, timeout_s).not_done)))


class Right:
    """Keeps all promises."""

    lane: type[Lane] = Lane

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(8)

    def open(self, stage: StageSpec) -> Lane:
        return self.lane(self, stage)

    def close(self, *, cancel: bool = False, timeout_s: float = 2.0) -> Leftovers:
        self.pool.shutdown(wait=False, cancel_futures=cancel)
        return Leftovers()


# What it is ---------------------------------------------------------------------------------------------------------


class NoResize(Lane):
    resize = None  # type: ignore[assignment]


@found_by(test_it_is_an_executor="isinstance")
class Unfinished(Right):
    def open(self, stage: StageSpec) -> Any:
        lane = self.lane(self, stage)
        return type("Lane", (), {"capacity": 1, "submit": lane.submit, "close": lane.close})()


@found_by(test_inline_executors_claim_neither_linger_nor_overlap="assert not")
class Boaster(Right):
    inline = True


# Order --------------------------------------------------------------------------------------------------------------


class Backwards(Lane):
    def run(self, batch: Batch) -> BatchResult:
        result = super().run(batch)
        result.data = result.data[::-1]
        return result


@found_by(test_order_is_that_of_the_input="assert")
class ReversesBatches(Right):
    lane = Backwards


@found_by(
    test_order_holds_while_the_first_item_is_held="nothing else ran while item 0 was held",
    test_order_may_be_that_of_completion="item 0 holds up all others",
    test_overlap_of_two_batches_of_a_stage="BrokenBarrierError",
)
class OneAtATime(Right):
    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1)


# Bound --------------------------------------------------------------------------------------------------------------


@found_by(test_bound_holds_for_an_endless_source="items between source and consumer")
class ReadsAhead(Right):
    def execute(self, fn: Callable[[Any], Any], items: Any) -> Iterator[Any]:
        iterator = iter(items)
        while ahead := list(islice(iterator, 20_000)):
            yield from map(fn, ahead)


class WholeBatch(Lane):
    def run(self, batch: Batch) -> BatchResult:
        batch.bound = None
        return super().run(batch)


@found_by(
    test_bound_of_a_batch_is_heeded="outputs of a batch that was to stop at 10",
    test_bound_holds_for_expansions="outputs that nobody has taken",
)
class ForgetsTheBound(Right):
    lane = WholeBatch


class RunsThriceLane(Lane):
    def run(self, batch: Batch) -> BatchResult:
        for _ in range(3):
            result = super().run(batch)
        return result


@found_by(test_account_gives_each_item_to_the_function_once="assert")
class RunsThrice(Right):
    lane = RunsThriceLane


class Hoarder(Lane):
    def submit(self, batch: Batch) -> Future[BatchResult]:
        self.executor.kept.append(list(batch.data))  # type: ignore[attr-defined]
        return super().submit(batch)


@found_by(test_bound_of_memory_does_not_grow_with_the_input="items were alive under a window of 100")
class KeepsAllBatches(Right):
    lane = Hoarder

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []


# Account ------------------------------------------------------------------------------------------------------------


def without(result: BatchResult, unwanted: Callable[[int, Any], bool]) -> BatchResult:
    """`result` less some outputs, and so that its account adds up all the same."""
    kept = [(at, item) for at, item in enumerate(result.data) if not unwanted(at, item)]
    lost = len(result.data) - len(kept)
    where = range(len(result.data)) if result.where is None else result.where
    result.data = [item for _, item in kept]
    result.where = [where[at] for at, _ in kept]
    tally = result.tallies[-1]
    tally.emitted -= lost
    if len(result.data) + lost == tally.done:  # one output each
        tally.done, tally.skipped = tally.done - lost, tally.skipped + lost
    return result


class DropsOneInAHundred(Lane):
    def run(self, batch: Batch) -> BatchResult:
        first = batch.index[0]
        result = super().run(batch)
        return without(result, lambda at, item: isinstance(first, int) and (first + at) % 100 == 99)


@found_by(test_account_adds_up_over_operators="assert")
class LosesItems(Right):
    lane = DropsOneInAHundred


class NoNone(Lane):
    def run(self, batch: Batch) -> BatchResult:
        return without(super().run(batch), lambda at, item: item is None)


@found_by(test_account_leaves_values_as_they_are="assert")
class TakesNoneForNothing(Right):
    lane = NoNone


# Errors -------------------------------------------------------------------------------------------------------------


class NoneInstead(Lane):
    def run(self, batch: Batch) -> BatchResult:
        fn = self.kernel.ops[0].fn

        def safe(item: Any) -> Any:
            try:
                return list(fn(item)) if self.kernel.expands else fn(item)
            except Exception:
                return [None] if self.kernel.expands else None

        op = type(self.kernel.ops[0])("safe", self.kernel.ops[0].kind, safe)
        return Kernel((op,)).run(batch, self.control)


@found_by(
    test_error_raise_gives_all_before_it_and_names_the_item="the error of an item was lost",
    test_error_skip_leaves_the_item_out="assert",
    test_error_in_an_expansion_leaves_no_half_of_it="assert",
    test_retries_until_it_works="assert",
)
class SwallowsErrors(Right):
    lane = NoneInstead


class RaisesItself(Lane):
    def run(self, batch: Batch) -> BatchResult:
        result = super().run(batch)
        for failure in result.failures:
            raise failure.error
        return result


@found_by(test_error_raise_gives_all_before_it_and_names_the_item="ExecutorFailed")
class FailsAsAWhole(Right):
    lane = RaisesItself


class NoFailures(Lane):
    def run(self, batch: Batch) -> BatchResult:
        result = super().run(batch)
        result.failures = ()
        return result


@found_by(test_error_dead_letter_sets_the_item_aside="ValueError")
class LosesFailures(Right):
    lane = NoFailures


@found_by(test_error_of_the_source_comes_after_all_that_it_gave="the error of an item was lost")
class EndsQuietly(Right):
    def execute(self, fn: Callable[[Any], Any], items: Any) -> Iterator[Any]:
        try:
            yield from map(fn, items)
        except Exception:
            return


class FirstAttempt(Lane):
    def run(self, batch: Batch) -> BatchResult:
        batch.attempt = 1
        return super().run(batch)


@found_by(test_retries_end_after_the_last_attempt="hangs")
class ForgetsAttempts(Right):
    lane = FirstAttempt


class PlainMap(Lane):
    """Calls the function by itself, and does not know how `map` ends."""

    def run(self, batch: Batch) -> BatchResult:
        data = list(map(self.kernel.ops[0].fn, batch.data))
        tally = Tally()
        tally.taken = len(batch)
        tally.done, tally.skipped, tally.emitted = len(data), len(batch) - len(data), len(data)
        return BatchResult(data, range(len(data)), len(batch), (), (tally,))


@found_by(test_stop_iteration_is_a_failure_of_its_item_alone="the error of an item was lost")
class EndsWithMap(Right):
    lane = PlainMap


# End ----------------------------------------------------------------------------------------------------------------


@found_by(
    test_end_by_the_consumer_leaves_nothing="still there .* after the end: .*thread 'forgotten'",
    test_end_of_the_source_leaves_nothing="still there .* after the end: .*thread 'forgotten'",
    test_end_by_an_error_leaves_nothing="still there .* after the end: .*thread 'forgotten'",
)
class LeaksAThread(Right):
    def open(self, stage: StageSpec) -> Lane:
        threading.Thread(target=threading.Event().wait, args=(20,), name="forgotten", daemon=True).start()
        return super().open(stage)


@found_by(test_end_by_the_consumer_leaves_nothing="descriptor")
class LeaksADescriptor(Right):
    def open(self, stage: StageSpec) -> Lane:
        kept.append(open(__file__))  # noqa: SIM115 - that it is not closed is the point
        return super().open(stage)


kept: list[Any] = []


@found_by(
    test_end_by_the_consumer_leaves_nothing="the source was not closed",
    test_end_by_an_error_leaves_nothing="the source was not closed",
)
class KeepsTheSource(Right):
    def execute(self, fn: Callable[[Any], Any], items: Any, **options: Any) -> Any:
        from headrace.pipeline import map

        iterator = iter(items)
        kept.append(iterator)
        return map(fn, Plain(iterator), executor=self, **options)


class Plain:
    """An iterator that cannot be closed."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self.iterator = iterator

    def __iter__(self) -> Plain:
        return self

    def __next__(self) -> Any:
        return next(self.iterator)


class RunsOn(Lane):
    def close(self, *, cancel: bool = False, timeout_s: float = 2.0) -> Leftovers:
        return super().close(timeout_s=timeout_s)


@found_by(test_end_gives_up_what_has_not_begun_and_names_what_is_held="a batch began after its lane was told")
class NeverGivesUp(Right):
    lane = RunsOn

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1)

    def open(self, stage: StageSpec) -> Lane:
        lane = super().open(stage)
        lane.capacity = 3
        return lane


class SaysNothing(Lane):
    def close(self, *, cancel: bool = False, timeout_s: float = 2.0) -> Leftovers:
        super().close(cancel=cancel, timeout_s=timeout_s)
        return Leftovers()


@found_by(
    test_end_gives_up_what_has_not_begun_and_names_what_is_held="a function is held, and the lane says that it has",
    test_end_of_a_lane_lets_what_was_submitted_run="a function is held, and the lane says that it has",
)
class NamesNothing(Right):
    lane = SaysNothing


class AlwaysCancels(Lane):
    def close(self, *, cancel: bool = False, timeout_s: float = 2.0) -> Leftovers:
        return super().close(cancel=True, timeout_s=timeout_s)


@found_by(test_end_of_a_lane_lets_what_was_submitted_run="CancelledError")
class Impatient(Right):
    lane = AlwaysCancels

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1)

    def open(self, stage: StageSpec) -> Lane:
        lane = super().open(stage)
        lane.capacity = 3
        return lane


class ClosesOnce(Lane):
    closed = False

    def close(self, *, cancel: bool = False, timeout_s: float = 2.0) -> Leftovers:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True
        return super().close(cancel=cancel, timeout_s=timeout_s)


@found_by(test_end_may_be_told_twice="closed already")
class EndsOnce(Right):
    lane = ClosesOnce


# Linger and batching ------------------------------------------------------------------------------------------------


class WaitsForTheNext(Lane):
    """Runs a batch when the next one has come."""

    before: tuple[Batch, Future[BatchResult]] | None = None

    def submit(self, batch: Batch) -> Future[BatchResult]:
        future: Future[BatchResult] = Future()
        before, self.before = self.before, (batch, future)
        if before is not None:
            held, promised = before
            super().submit(held).add_done_callback(lambda done: promised.set_result(done.result()))
        return future


@found_by(
    test_linger_a_silent_source_holds_nothing_back="hangs",
    test_linger_functions_run_while_the_consumer_is_elsewhere="of 7 came|hangs",
)
class Hesitates(Right):
    lane = WaitsForTheNext


class SeemsSlow(Lane):
    def run(self, batch: Batch) -> BatchResult:
        result = super().run(batch)
        result.began_s -= len(batch)
        return result


@found_by(test_batching_tiny_functions_travel_many_at_a_time="assert|hangs")  # 5,000 batches take their time
class TellsLongTimes(Right):
    lane = SeemsSlow


class SeemsFast(Lane):
    def run(self, batch: Batch) -> BatchResult:
        self.kernel.limit_s = None
        result = super().run(batch)
        result.began_s = result.ended_s
        return result


@found_by(test_batching_slow_functions_travel_alone="assert")
class TellsNoTimes(Right):
    lane = SeemsFast


class Wide(Lane):
    def __init__(self, executor: Right, stage: StageSpec) -> None:
        super().__init__(executor, stage)
        self.capacity = 8


@found_by(test_overlap_is_at_most_the_degree="batches run at once, where 1 may")
class IgnoresTheDegree(Right):
    lane = Wide


# Independence -------------------------------------------------------------------------------------------------------


class LatestKernel(Lane):
    def run(self, batch: Batch) -> BatchResult:
        return self.executor.kernel.run(batch, self.control)  # type: ignore[attr-defined, no-any-return]


@found_by(test_independence_of_several_callers_at_once="assert")
class OneKernelForAll(Right):
    lane = LatestKernel

    def open(self, stage: StageSpec) -> Lane:
        self.kernel = stage.kernel
        return super().open(stage)


@found_by(test_independence_of_the_process_whose_state_is_left_alone="the switch interval")
class Tunes(Right):
    def open(self, stage: StageSpec) -> Lane:
        sys.setswitchinterval(0.001)
        return super().open(stage)


@found_by(test_the_capabilities_are_known="no such capabilities: \\['teleports'\\]")
class Teleporter(Right):
    pass
