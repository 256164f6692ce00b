"""The conformance suite of executors.

    from headrace.testing import ExecutorContract

    class TestMine(ExecutorContract):
        def make_executor(self):
            return MyExecutor(workers=4)

Each test holds one promise. The names say which: order, bound, account, errors, end, linger, batching, independence.
"""

from __future__ import annotations

import itertools
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headrace import pipeline as pipelines
from headrace.batch import Batch
from headrace.contracts import Executor, Lane
from headrace.drive import Stream
from headrace.errors import OperatorFailed
from headrace.flow.kernel import Kernel, Op
from headrace.pipeline import Pipeline
from headrace.plan import StageSpec
from headrace.report import OperatorStats
from headrace.testing.leaks import Resources
from headrace.testing.promises import Contract, needs
from headrace.testing.source import Source
from headrace.testing.state import changes, global_state
from headrace.testing.ways import EARLY, Make, exhausted_or_failed

SLOW_S = 0.05
"""What a slow function takes: long enough to travel alone, whatever the number of workers."""


class ExecutorContract(Contract):
    """Proves an executor: subclass it, and say how to make one.

    The executor is used as `executor.execute(fn, items)` if it has that, else as `headrace.map(..., executor=executor)`,
    and in pipelines as an operator's `executor=`. A new one is made for each test, and closed after it.

    capabilities  "overlap"     two batches of a stage can run at once
                  "linger"      items do not wait for later ones, also while nobody asks for a result; not for
                                executors that run in the calling thread (`inline = True`)
                  "in_process"  functions run in the process of the caller, and see its objects
    window        most items between source and consumer where `execute` of the executor is used
    """

    known = frozenset({"in_process", "linger", "overlap"})
    capabilities = known
    window = 10_000

    executor: Executor

    def make_executor(self) -> Executor:
        """A new executor. For the sake of "overlap", with two workers or more."""
        raise NotImplementedError(f"{type(self).__name__}.make_executor")

    @pytest.fixture(autouse=True)
    def _one_for_each_test(self) -> Iterator[None]:
        self.executor = self.make_executor()
        yield
        self.executor.close(cancel=True)

    def stream(self, fn: Callable[[Any], Any], items: Any, executor: Executor | None = None, **options: Any) -> Stream:
        """`fn` over `items` on the executor of the test, or on another."""
        executor = executor or self.executor
        execute = getattr(executor, "execute", None)
        if execute is not None:
            stream: Stream = execute(fn, items, **options)
            return stream
        return pipelines.map(fn, items, executor=executor, **options)

    def pipeline(self, items: Any, window: int | None = None) -> Pipeline:
        return Pipeline("contract", window=window).source("items", items)

    # what it is

    def test_it_is_an_executor(self) -> None:
        assert isinstance(self.executor, Executor)
        lane = self.executor.open(_stage(double))
        assert isinstance(lane, Lane)
        assert lane.capacity >= 1, "a lane without capacity is never given a batch"
        lane.resize(2)
        assert lane.capacity >= 1
        assert not lane.close()

    def test_inline_executors_claim_neither_linger_nor_overlap(self) -> None:
        if getattr(self.executor, "inline", False):
            assert not self.capabilities & {"linger", "overlap"}

    # order

    def test_order_is_that_of_the_input(self) -> None:
        assert self.soon(lambda: list(self.stream(double, range(5_000)))) == [2 * item for item in range(5_000)]

    @needs("overlap", "in_process")
    def test_order_holds_while_the_first_item_is_held(self) -> None:
        overtaken = threading.Event()

        def first_waits_for_others(item: int) -> int:
            if item:
                overtaken.set()
            else:
                assert overtaken.wait(self.patience_s), "nothing else ran while item 0 was held"
            return item

        assert self.soon(lambda: list(self.stream(first_waits_for_others, range(100)))) == list(range(100))

    @needs("overlap", "in_process")
    def test_order_may_be_that_of_completion(self) -> None:
        release = threading.Event()

        def first_is_held(item: int) -> int:
            assert item or release.wait(self.patience_s), "item 0 holds up all others"
            return item

        def consume() -> list[int]:
            stream = self.stream(first_is_held, range(100), ordered=False)
            first = next(stream)
            release.set()
            return [first, *stream]

        got = self.soon(consume)
        assert got[0] != 0
        assert sorted(got) == list(range(100))

    # bound

    def test_bound_holds_for_an_endless_source(self) -> None:
        self._stay_within(self.window, 3 * self.window, lambda source: self.stream(double, source))
        self._stay_within(20, 1_000, lambda source: self.pipeline(source, 20).map("double", double, **self._here))

    def _stay_within(self, window: int, items: int, run: Callable[[Source], Any]) -> None:
        taken = 0

        def check(item: object) -> None:
            ahead = source.pulled - taken
            assert ahead <= window, f"{ahead} items between source and consumer, where {window} may be"

        source = Source(at_pull=check)

        def consume() -> None:
            nonlocal taken
            for _ in run(source):
                taken += 1  # before the next is asked for, which gives the credit of this one back
                if taken == items:
                    break

        self.soon(consume)

    @needs("in_process")
    @pytest.mark.parametrize("expansion", [0, 1, 30, 500])
    def test_bound_holds_for_expansions(self, expansion: int) -> None:
        window, made, taken, lock = 100, 0, 0, threading.Lock()

        def expand(item: int) -> Iterator[int]:
            nonlocal made
            for ordinal in range(expansion):
                with lock:
                    made += 1
                    ahead = made - taken
                assert ahead <= window + expansion, f"{ahead} outputs that nobody has taken"
                yield ordinal

        def consume() -> int:
            nonlocal taken
            for _ in self.pipeline(range(1_000), window).flat_map("expand", expand, **self._here):
                taken += 1
            return taken

        assert self.soon(consume) == 1_000 * expansion

    def test_bound_of_memory_does_not_grow_with_the_input(self) -> None:
        window, peak = 100, 0

        def watch(item: object) -> None:
            nonlocal peak
            peak = max(peak, Living.number)

        def consume() -> int:
            source = Source((Living(number) for number in range(50 * window)), at_pull=watch)
            return sum(1 for _ in self.pipeline(source, window).map("number", number_of, **self._here))

        assert self.soon(consume) == 50 * window
        # Workers may still have hold of the last batch that they ran.
        assert peak <= 4 * window, f"{peak} items were alive under a window of {window}"

    # account

    @needs("in_process")
    def test_account_gives_each_item_to_the_function_once(self) -> None:
        calls: list[int] = []
        items = list(range(3_000))
        assert self.soon(lambda: list(self.stream(lambda item: calls.append(item) or item, items))) == items
        assert Counter(calls) == Counter(items)

    def test_account_leaves_values_as_they_are(self) -> None:
        values = [None, False, 0, "", (), [], ValueError("a value"), StopIteration(1), float("inf"), [None], ...]
        got = self.soon(lambda: list(self.stream(same, values * 5)))
        assert list(map(repr, got)) == list(map(repr, values * 5))

    def test_account_adds_up_over_operators(self) -> None:
        pipeline = (
            self.pipeline(range(2_000))
            .map("sevens", not_a_seventh, on_error="skip", **self._here)
            .map("elevens", not_an_eleventh, on_error="dead_letter", **self._here)
            .filter("even", is_even, **self._here)
            .flat_map("twice", twice, **self._here)
        )
        result = self.soon(pipeline.execute)
        kept = [item for item in range(2_000) if item % 7 and item % 11 and not item % 2]
        assert result.outputs == [item for item in kept for _ in range(2)]
        assert [letter.item for letter in result.dead_letters] == [n for n in range(0, 2_000, 11) if n % 7]
        _, *operators = result.report.operators
        for before, after in itertools.pairwise(result.report.operators):
            assert after.taken == before.emitted, f"what '{before.name}' emitted and '{after.name}' took"
        for stats in operators:
            assert stats.abandoned == 0, stats
            assert stats.taken == stats.done + stats.filtered + stats.skipped + stats.dead, stats

    # errors

    def test_error_raise_gives_all_before_it_and_names_the_item(self) -> None:
        got, error = self._until_error(self.pipeline(range(100)).map("picky", not_fifty, **self._here))
        assert got == list(range(50))
        assert (error.operator, error.index, error.item) == ("picky", 50, 50)
        assert isinstance(error.__cause__, ValueError)
        if "in_process" in self.capabilities:
            frames = traceback.extract_tb(error.__cause__.__traceback__)
            assert frames[-1].name == "not_fifty", "the original traceback is lost"

    def test_error_skip_leaves_the_item_out(self) -> None:
        result = self.soon(self.pipeline(range(100)).map("picky", not_fifty, on_error="skip", **self._here).execute)
        assert result.outputs == [item for item in range(100) if item != 50]
        assert _counts(result.report["picky"]) == {"taken": 100, "done": 99, "skipped": 1, "emitted": 99}

    def test_error_dead_letter_sets_the_item_aside(self) -> None:
        pipeline = self.pipeline(range(100)).map("picky", not_fifty, on_error="dead_letter", **self._here)
        result = self.soon(pipeline.execute)
        assert result.outputs == [item for item in range(100) if item != 50]
        (letter,) = result.dead_letters
        assert (letter.operator, letter.index, letter.item, letter.attempts) == ("picky", 50, 50, 1)
        assert isinstance(letter.error, ValueError)
        assert _counts(result.report["picky"]) == {"taken": 100, "done": 99, "dead": 1, "emitted": 99}

    def test_error_in_an_expansion_leaves_no_half_of_it(self) -> None:
        pipeline = self.pipeline(range(10)).flat_map("halves", breaks_at_three, on_error="skip", **self._here)
        assert self.soon(pipeline.execute).outputs == [item for item in range(10) if item != 3 for _ in range(2)]

    def test_error_of_the_source_comes_after_all_that_it_gave(self) -> None:
        def items() -> Iterator[int]:
            yield from range(10)
            raise OSError("the disk is gone")

        got, error = self._until_error(self.stream(double, items()))
        assert got == [2 * item for item in range(10)]
        assert error.operator == "items"
        assert isinstance(error.__cause__, OSError)

    def test_stop_iteration_is_a_failure_of_its_item_alone(self) -> None:
        got, error = self._until_error(self.pipeline(range(20)).map("stops", stops_at_five, **self._here))
        assert got == list(range(5))
        assert (error.index, error.item) == (5, 5)
        result = self.soon(self.pipeline(range(20)).map("stops", stops_at_five, on_error="skip", **self._here).execute)
        assert result.outputs == [item for item in range(20) if item != 5]

    @needs("in_process")
    def test_retries_until_it_works(self) -> None:
        tries: Counter[int] = Counter()
        lock = threading.Lock()

        def works_the_third_time(item: int) -> int:
            with lock:
                tries[item] += 1
                if tries[item] < 3 and item % 5 == 0:
                    raise OSError("not yet")
            return item

        pipeline = self.pipeline(range(200)).map("flaky", works_the_third_time, retries=2, **self._here)
        result = self.soon(pipeline.execute)
        assert result.outputs == list(range(200))
        assert tries == {item: 1 if item % 5 else 3 for item in range(200)}
        assert _counts(result.report["flaky"]) == {"taken": 200, "done": 200, "emitted": 200, "retried": 80}

    def test_retries_end_after_the_last_attempt(self) -> None:
        pipeline = self.pipeline(range(100)).map("picky", not_fifty, retries=2, on_error="dead_letter", **self._here)
        result = self.soon(pipeline.execute)
        assert result.outputs == [item for item in range(100) if item != 50]
        assert [(letter.item, letter.attempts) for letter in result.dead_letters] == [(50, 3)]

    def _until_error(self, run: Any) -> tuple[list[Any], OperatorFailed]:
        """What came before the run failed, and what it failed with."""

        def consume() -> tuple[list[Any], OperatorFailed]:
            got = []
            try:
                for item in run:
                    got.append(item)
            except OperatorFailed as error:
                return got, error
            raise AssertionError("the error of an item was lost")

        return self.soon(consume)

    # end

    @pytest.mark.parametrize("way", EARLY)
    def test_end_by_the_consumer_leaves_nothing(self, way: str) -> None:
        self._end(EARLY[way], same)

    def test_end_of_the_source_leaves_nothing(self) -> None:
        self._end(exhausted_or_failed, same, range(2_000))

    def test_end_by_an_error_leaves_nothing(self) -> None:
        self._end(exhausted_or_failed, not_fifty)
        self._end(exhausted_or_failed, same, (1 // (20 - item) for item in itertools.count()))

    def _end(self, way: Callable[[Make], None], fn: Callable[[Any], Any], items: Any = None) -> None:
        """Run on an executor of its own, which is all that may be there after the run, and not after its close."""
        before = Resources.now()
        executor, source = self.make_executor(), Source(items)
        self.soon(way, lambda: self.stream(fn, source, executor))
        assert source.closed.wait(2), "the source was not closed within 2 s"
        assert source.closed_where_pulled, "the source was closed by another thread than pulled it"
        assert not executor.close()
        del executor
        assert not (left := before.left()), f"still there 2 s after the end: {left}"

    @needs("overlap", "in_process")
    def test_end_gives_up_what_has_not_begun_and_names_what_is_held(self) -> None:
        gate, settled = self.gate(), threading.Semaphore(0)
        lane = self.executor.open(_stage(gate.hold, degree=1))
        futures = [lane.submit(_batch(number)) for number in range(lane.capacity)]
        for future in futures:
            future.add_done_callback(lambda _: settled.release())
        gate.wait_for(1)
        left = lane.close(cancel=True, timeout_s=0.0)
        assert left, "a function is held, and the lane says that it has ended"
        gate.open()
        for _ in futures:
            assert settled.acquire(timeout=self.patience_s), "a batch was neither run nor given up"
        assert gate.came == [0], "a batch began after its lane was told to give up"
        assert not self.executor.close(timeout_s=self.patience_s)

    def test_end_of_a_lane_waits_for_what_was_submitted(self) -> None:
        lane = self.executor.open(_stage(double))
        futures = [lane.submit(_batch(number)) for number in range(lane.capacity)]
        assert not lane.close(timeout_s=self.patience_s)
        assert [future.result(0).data for future in futures] == [[2 * number] for number in range(len(futures))]

    def test_end_may_be_told_twice(self) -> None:
        lane = self.executor.open(_stage(double))
        for _ in range(2):
            assert not lane.close()
        for _ in range(2):
            assert not self.executor.close()

    # linger

    @needs("linger")
    def test_linger_a_silent_source_holds_nothing_back(self) -> None:
        source = Source(silent_after=7)
        stream = self.stream(double, source)
        try:
            assert self.soon(lambda: [next(stream) for _ in range(7)]) == [0, 2, 4, 6, 8, 10, 12]
        finally:
            source.wake()
            stream.close()

    @needs("linger", "in_process")
    def test_linger_functions_run_while_the_consumer_is_elsewhere(self) -> None:
        gate, source = self.gate(), Source(silent_after=7)
        gate.open()
        stream = self.stream(gate.hold, source)
        try:
            self.soon(next, stream)
            assert sorted(gate.wait_for(7), key=repr) == list(range(7))
        finally:
            source.wake()
            stream.close()

    # batching

    def test_batching_tiny_functions_travel_many_at_a_time(self) -> None:
        result = self.soon(self.pipeline(range(20_000)).map("double", double, **self._here).execute)
        assert result.report["double"].batches <= 2_000

    def test_batching_slow_functions_travel_alone(self) -> None:
        result = self.soon(self.pipeline(range(8)).map("slow", slow, **self._here).execute)
        assert result.report["slow"].batches == 8

    # overlap

    @needs("overlap", "in_process")
    def test_overlap_of_two_batches_of_a_stage(self) -> None:
        both = threading.Barrier(2)

        def meet(item: int) -> int:
            both.wait(self.patience_s)
            return item

        pipeline = self.pipeline(range(20)).map("meet", meet, parallel_degree=2, **self._here)
        assert self.soon(pipeline.execute).outputs == list(range(20))

    @needs("in_process")
    @pytest.mark.parametrize("degree", [1, 2])
    def test_overlap_is_at_most_the_degree(self, degree: int) -> None:
        inside, lock = 0, threading.Lock()

        def enter(item: int) -> int:
            nonlocal inside
            with lock:
                inside += 1
                assert inside <= degree, f"{inside} batches run at once, where {degree} may"
            time.sleep(0.001)  # others get their chance to come in
            with lock:
                inside -= 1
            return item

        pipeline = self.pipeline(range(100)).map("enter", enter, parallel_degree=degree, **self._here)
        assert self.soon(pipeline.execute).outputs == list(range(100))

    # independence

    def test_independence_of_several_callers_at_once(self) -> None:
        stages = [double, same, negative, is_even] * 2
        start = threading.Barrier(len(stages))

        def call(fn: Callable[[int], Any]) -> list[Any]:
            start.wait(self.patience_s)
            return list(self.pipeline(range(2_000)).map("fn", fn, **self._here))

        for fn, caller in [(fn, self.aside(call, fn)) for fn in stages]:
            assert caller.result(self.patience_s) == list(map(fn, range(2_000)))

    def test_independence_of_the_process_whose_state_is_left_alone(self) -> None:
        before = global_state()
        meanwhile = []

        def items() -> Iterator[int]:
            yield 0
            meanwhile.append(global_state())
            yield 1

        executor = self.make_executor()
        assert self.soon(lambda: list(self.stream(same, items, executor))) == [0, 1]
        assert not executor.close()
        for after in (*meanwhile, global_state()):
            assert not (found := changes(before, after)), f"changed by the executor: {'; '.join(found)}"

    @property
    def _here(self) -> dict[str, Any]:
        return {"executor": self.executor}


def _stage(fn: Callable[[Any], Any], degree: int = 2) -> StageSpec:
    return StageSpec("stage", Kernel((Op("stage", "map", fn),)), degree)


def _batch(number: int) -> Batch:
    return Batch(number, [number], [number], time.monotonic())


def _counts(stats: OperatorStats) -> dict[str, int]:
    """The counts that are not zero."""
    names = ("taken", "done", "filtered", "skipped", "dead", "abandoned", "emitted", "retried", "raised")
    return {name: getattr(stats, name) for name in names if getattr(stats, name)}


# The functions stand here, and not in the tests, so that they can travel to another process.


def same(item: Any) -> Any:
    return item


def double(item: int) -> int:
    return 2 * item


def negative(item: int) -> int:
    return -item


def twice(item: int) -> list[int]:
    return [item, item]


def is_even(item: int) -> bool:
    return item % 2 == 0


def slow(item: int) -> int:
    time.sleep(SLOW_S)  # stands for work that takes its time
    return item


def not_fifty(item: int) -> int:
    if item == 50:
        raise ValueError("fifty")
    return item


def not_a_seventh(item: int) -> int:
    if item % 7 == 0:
        raise ValueError("a multiple of seven")
    return item


def not_an_eleventh(item: int) -> int:
    if item % 11 == 0:
        raise ValueError("a multiple of eleven")
    return item


def stops_at_five(item: int) -> int:
    if item == 5:
        raise StopIteration
    return item


def breaks_at_three(item: int) -> Iterator[int]:
    yield item
    if item == 3:
        raise ValueError("three")
    yield item


class Living:
    """An item that knows how many of its kind are alive."""

    number = 0
    _lock = threading.RLock()  # an item may die while another is made, in the same thread

    def __init__(self, value: int) -> None:
        self.value = value
        with Living._lock:
            Living.number += 1

    def __del__(self) -> None:
        with Living._lock:
            Living.number -= 1


def number_of(item: Living) -> int:
    return item.value
