"""Order, the bound, batches and how they overlap."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from headrace.testing.executor.case import ExecutorCase, batch, stage
from headrace.testing.executor.functions import (
    SLOW_S,
    Living,
    double,
    number_of,
    slow,
    twice,
)
from headrace.testing.promises import needs
from headrace.testing.source import Source

EXPANSIONS = ((0, 0, 0), (1, 1, 1), (30, 30, 30), (500, 500, 500), (0, 300, 0), (1, 300, 2))
"""How many outputs each of the first, second and third hundred of items expands to."""


class FlowPromises(ExecutorCase):
    """What is between a source and its consumer, and in which order it comes out."""

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
        self._stay_within(20, 1_000, lambda source: self.pipeline(source, 20).map("double", double, **self.here))

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
    @pytest.mark.parametrize("expansions", EXPANSIONS, ids=str)
    def test_bound_holds_for_expansions(self, expansions: tuple[int, ...]) -> None:
        window, degree, made, taken, lock = 100, 2, 0, 0, threading.Lock()
        # When items suddenly expand to more, that may hit as many at a time as there are batches that run.
        beyond = max(expansions) * (1 if len(set(expansions)) == 1 else degree)

        def expand(item: int) -> Iterator[int]:
            nonlocal made
            for ordinal in range(expansions[item // 100]):
                with lock:
                    made += 1
                    ahead = made - taken
                assert ahead <= window + beyond, f"{ahead} outputs that nobody has taken"
                yield ordinal

        def consume() -> int:
            nonlocal taken
            pipeline = self.pipeline(range(300), window)
            for _ in pipeline.flat_map("expand", expand, parallel_degree=degree, **self.here):
                taken += 1
            return taken

        assert self.soon(consume) == 100 * sum(expansions)

    def test_bound_of_a_batch_is_heeded(self) -> None:
        lane = self.executor.open(stage(twice, kind="flat_map"))
        result = lane.submit(batch(0, 100, bound=10)).result(self.patience_s)
        assert len(result.data) <= 12, f"{len(result.data)} outputs of a batch that was to stop at 10"
        assert result.done == len(result.data) // 2

    def test_bound_of_memory_does_not_grow_with_the_input(self) -> None:
        window, peak = 100, 0

        def watch(item: object) -> None:
            nonlocal peak
            peak = max(peak, Living.number)

        def consume() -> int:
            source = Source((Living(number) for number in range(50 * window)), at_pull=watch)
            return sum(1 for _ in self.pipeline(source, window).map("number", number_of, **self.here))

        assert self.soon(consume) == 50 * window
        # Workers may still have hold of the last batch that they ran.
        assert peak <= 4 * window, f"{peak} items were alive under a window of {window}"

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
        result = self.soon(self.pipeline(range(5_000)).map("double", double, **self.here).execute)
        assert result.report["double"].batches <= 500

    def test_batching_slow_functions_travel_alone(self) -> None:
        longer = partial(slow, seconds=max(SLOW_S, 1.25 * getattr(self.executor, "aim_s", 0.0)))
        result = self.soon(self.pipeline(range(50)).map("slow", longer, **self.here).execute)
        assert result.report["slow"].batches == 50

    # overlap

    @needs("overlap", "in_process")
    def test_overlap_of_two_batches_of_a_stage(self) -> None:
        both = threading.Barrier(2)

        def meet(item: int) -> int:
            if item < 2:
                both.wait(self.patience_s)
            return item

        pipeline = self.pipeline(range(20)).map("meet", meet, parallel_degree=2, **self.here)
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

        pipeline = self.pipeline(range(100)).map("enter", enter, parallel_degree=degree, **self.here)
        assert self.soon(pipeline.execute).outputs == list(range(100))
