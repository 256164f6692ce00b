"""The end, and independence of all else."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from headrace.contracts import Executor, Lane
from headrace.testing.executor.case import ExecutorCase, batch, stage
from headrace.testing.executor.functions import (
    double,
    is_even,
    negative,
    not_fifty,
    same,
)
from headrace.testing.leaks import Resources
from headrace.testing.promises import needs
from headrace.testing.source import Source
from headrace.testing.state import changes, global_state
from headrace.testing.ways import EARLY, Make, exhausted_or_failed


class EndPromises(ExecutorCase):
    """What is left, and what is left alone."""

    def test_it_is_an_executor(self) -> None:
        assert isinstance(self.executor, Executor)
        lane = self.executor.open(stage(double))
        assert isinstance(lane, Lane)
        assert lane.capacity >= 1, "a lane without capacity is never given a batch"
        lane.resize(2)
        assert lane.capacity >= 1
        result = lane.submit(batch(21)).result(self.patience_s)
        assert (result.data, result.done) == ([42], 1)
        assert not lane.close(timeout_s=self.patience_s)

    def test_inline_executors_claim_neither_linger_nor_overlap(self) -> None:
        if getattr(self.executor, "inline", False):
            assert not self.capabilities & {"linger", "overlap"}

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
        self.soon(way, partial(self.stream, fn, source, executor))
        assert source.closed.wait(self.gone_s), f"the source was not closed within {self.gone_s} s"
        assert source.closed_where_pulled, "the source was closed by another thread than pulled it"
        assert not executor.close()
        left = before.left(within_s=self.gone_s)
        assert not left, f"still there {self.gone_s} s after the end: {', '.join(left)}"

    @needs("overlap", "in_process")
    def test_end_gives_up_what_has_not_begun_and_names_what_is_held(self) -> None:
        gate, settled = self.gate(), threading.Semaphore(0)
        lane = self.executor.open(stage(gate.hold, degree=1))
        futures = [lane.submit(batch(number)) for number in range(lane.capacity)]
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

    @needs("overlap", "in_process")
    def test_end_of_a_lane_lets_what_was_submitted_run(self) -> None:
        gate = self.gate()
        lane = self.executor.open(stage(gate.hold, degree=1))
        futures = [lane.submit(batch(number)) for number in range(lane.capacity)]
        gate.wait_for(1)
        assert lane.close(timeout_s=0.0), "a function is held, and the lane says that it has ended"
        gate.open()
        results = [future.result(self.patience_s) for future in futures]
        assert [result.data for result in results] == [[number] for number in range(len(futures))]
        assert not lane.close(timeout_s=self.patience_s)

    def test_end_may_be_told_twice(self) -> None:
        lane = self.executor.open(stage(double))
        for _ in range(2):
            assert not lane.close()
        for _ in range(2):
            assert not self.executor.close()

    # independence

    def test_independence_of_several_callers_at_once(self) -> None:
        stages = [double, same, negative, is_even] * 2
        start = threading.Barrier(len(stages))

        def call(fn: Callable[[int], Any]) -> list[Any]:
            start.wait(self.patience_s)
            return list(self.pipeline(range(2_000)).map("fn", fn, **self.here))

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
