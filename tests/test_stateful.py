"""The stateful operators in whole pipelines: windows, the first items, one value of all, a bound on the rate."""

from __future__ import annotations

import itertools
import operator
import threading
from collections import deque
from time import monotonic
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import GraphError, OperatorFailed, Pipeline, SettingsError, WindowTooSmall
from headrace.batch import Batch
from headrace.flow.ledger import Account
from headrace.flow.stateful import RateGate

PROFILES = pytest.mark.parametrize("profile", ["serial", "balanced"])


def numbers(profile: str, count: int = 10, **options: Any) -> Pipeline:
    return Pipeline("numbers", profile, **options).source("data", lambda: range(count))


class TestWindow:
    @PROFILES
    def test_lists_overlap(self, profile: str) -> None:
        assert numbers(profile, 5).window("three", 3).execute().outputs == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]

    @given(count=st.integers(0, 40), size=st.integers(1, 9), step=st.integers(1, 12))
    @settings(max_examples=60, deadline=None)
    def test_as_slices_of_a_list(self, count: int, size: int, step: int) -> None:
        result = numbers("serial", count).window("w", size, step).execute()
        whole = range(0, count - size + 1, step)
        assert result.outputs == [list(range(first, first + size)) for first in whole]
        inside = {item for first in whole for item in range(first, first + size)}
        stats = result.report["w"]
        assert (stats.done, stats.filtered, stats.abandoned) == (len(inside), count - len(inside), 0)

    @PROFILES
    def test_members_count_in_the_window_and_come_back(self, profile: str) -> None:
        outputs = numbers(profile, 2_000, window=10).map("same", int).window("w", 8, 3).execute().outputs
        assert len(outputs) == len(range(0, 2_000 - 8 + 1, 3))

    def test_one_that_never_fills_is_refused(self) -> None:
        with pytest.raises(WindowTooSmall, match="window 'w': lists of 11"):
            numbers("serial", window=10).window("w", 11).execute()


class TestTake:
    @PROFILES
    def test_an_endless_source_ends(self, profile: str) -> None:
        closed = threading.Event()

        def endless() -> Any:
            try:
                yield from itertools.count()
            finally:
                closed.set()

        began_s = monotonic()
        result = Pipeline("p", profile).source("data", endless).map("more", lambda n: n + 1).take("few", 7).execute()
        assert result.outputs == [1, 2, 3, 4, 5, 6, 7]
        assert closed.is_set() and monotonic() - began_s < 2
        assert not [each.name for each in threading.enumerate() if each.name.startswith("headrace")]

    @PROFILES
    def test_a_failure_behind_it_is_nobodys(self, profile: str) -> None:
        pipeline = numbers(profile).map("inverse", lambda n: 1 // (5 - n)).take("five", 5)
        assert pipeline.execute().outputs == [0, 0, 0, 0, 1]

    @PROFILES
    def test_others_that_read_the_same_go_on(self, profile: str) -> None:
        pipeline = numbers(profile, 3_000).map("same", int).take("few", 3).map("all", int, inputs="same")
        assert pipeline.execute().outputs == {"few": [0, 1, 2], "all": list(range(3_000))}

    @PROFILES
    def test_fewer_than_asked_for(self, profile: str) -> None:
        assert numbers(profile, 3).take("few", 5).execute().outputs == [0, 1, 2]

    @PROFILES
    def test_behind_a_gate_and_before_one(self, profile: str) -> None:
        pipeline = numbers(profile, 100_000).batch("twos", 2).take("two", 2).batch("all", 10)
        assert pipeline.execute().outputs == [[[0, 1], [2, 3]]]

    def test_none_is_refused(self) -> None:
        with pytest.raises(SettingsError, match="take 'few': count must be"):
            numbers("serial").take("few", 0)


class TestReduceAndFold:
    @PROFILES
    def test_one_value_of_all(self, profile: str) -> None:
        assert numbers(profile, 1_000).map("same", int).reduce("sum", operator.add).execute().outputs == [499_500]
        assert numbers(profile).fold("text", lambda text, n: text + str(n), "").execute().outputs == ["0123456789"]

    @PROFILES
    def test_of_a_part_there_is_none(self, profile: str) -> None:
        """A total of what came before a failure could be taken for that of all."""
        stored: list[int] = []
        broken = numbers(profile, 10).map("inverse", lambda n: 1 // (5 - n)).fold("sum", operator.add, 0)
        with pytest.raises(OperatorFailed, match="inverse"):
            broken.sink("store", stored.append).execute()
        assert stored == []

    @PROFILES
    def test_of_nothing(self, profile: str) -> None:
        assert numbers(profile, 0).fold("sum", operator.add, 7).execute().outputs == [7]
        with pytest.raises(OperatorFailed, match="nothing to reduce"):
            numbers(profile, 0).reduce("sum", operator.add).execute()

    @PROFILES
    def test_what_it_begins_with_is_copied_for_each_run(self, profile: str) -> None:
        def put(items: list[int], item: int) -> list[int]:
            items.append(item)
            return items

        pipeline = numbers(profile, 3).fold("list", put, [])
        assert pipeline.execute().outputs == pipeline.execute().outputs == [[0, 1, 2]]

    @PROFILES
    def test_an_item_that_fails_leaves_the_value(self, profile: str) -> None:
        def add(total: int, item: int) -> int:
            return total + 10 // (item - 3)

        result = numbers(profile, 5).fold("sum", add, 0, on_error="dead_letter").execute()
        assert result.outputs == [-4 - 5 - 10 + 10]
        assert [letter.index for letter in result.dead_letters] == [3]
        with pytest.raises(OperatorFailed, match="operator 'sum' failed at item 3"):
            numbers(profile, 5).fold("sum", add, 0).execute()

    def test_a_coroutine_function_is_refused(self) -> None:
        async def add(total: int, item: int) -> int:
            return total + item

        with pytest.raises(SettingsError, match="fold 'sum': fn must be a plain function"):
            numbers("serial").fold("sum", add, 0)

    def test_an_option_of_others_is_refused(self) -> None:
        with pytest.raises(TypeError, match="reduce 'sum' has no option 'ordered'"):
            numbers("serial").reduce("sum", operator.add, ordered=False)


class TestRateLimit:
    @given(
        per_s=st.floats(0.5, 5_000),
        burst=st.integers(1, 50),
        sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8),
        late_s=st.floats(0, 0.05),
    )
    @settings(max_examples=200, deadline=None)
    def test_no_interval_has_more_than_its_share(
        self, per_s: float, burst: int, sizes: list[int], late_s: float
    ) -> None:
        """Driven by a clock that comes late, each time by the same."""
        gate = RateGate(Account(("r",)), per_s, burst)
        gone: list[float] = []
        now_s, todo = 1_000.0, deque(sizes)
        while True:
            batch = Batch(0, range(size), range(size), 0.0) if todo and (size := todo.popleft()) else None
            step = gate.tick(now_s) if batch is None else gate.feed(0, batch, now_s)
            gone += [now_s for piece, _ in step.out for _ in range(len(piece))]
            if step.due_s is None and not todo:
                break
            now_s = max(now_s, step.due_s or now_s) + late_s
        assert len(gone) == sum(sizes)
        for first, last in itertools.combinations(range(0, len(gone)), 2):
            assert last - first + 1 <= burst + per_s * (gone[last] - gone[first]) + 1e-3

    @PROFILES
    def test_for_real(self, profile: str) -> None:
        seen: list[float] = []
        pipeline = numbers(profile, 60).rate_limit("pace", 200).sink("see", lambda _: seen.append(monotonic()))
        pipeline.execute()
        assert len(seen) == 60
        assert seen[-1] - seen[0] >= (60 - 4) / 200 - 0.01  # but for what goes at once

    def test_wrong_ones_are_refused(self) -> None:
        with pytest.raises(SettingsError, match="rate_limit 'pace': per_s must be a number of items per second"):
            numbers("serial").rate_limit("pace", 0)
        with pytest.raises(SettingsError, match="rate_limit 'pace': burst must be"):
            numbers("serial").rate_limit("pace", 5, burst=0)


def test_they_read_what_they_are_told_to() -> None:
    pipeline = numbers("serial", 4).window("pairs", 2).take("two", 2, inputs="data").reduce("sum", operator.add)
    assert pipeline.execute().outputs == {"pairs": [[0, 1], [1, 2], [2, 3]], "sum": [1]}
    with pytest.raises(GraphError, match="has no source"):
        Pipeline("p").take("few", 3)
