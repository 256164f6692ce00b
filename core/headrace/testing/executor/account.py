"""The account, and what becomes of items that raise."""

from __future__ import annotations

import itertools
import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from typing import Any

from headrace.errors import OperatorFailed
from headrace.testing.executor.case import ExecutorCase, counts
from headrace.testing.executor.functions import (
    breaks_at_three,
    double,
    is_even,
    not_a_seventh,
    not_an_eleventh,
    not_fifty,
    same,
    stops_at_five,
    twice,
)
from headrace.testing.promises import needs


class AccountPromises(ExecutorCase):
    """Nothing is lost in silence."""

    @needs("in_process")
    def test_account_gives_each_item_to_the_function_once(self) -> None:
        calls: list[int] = []

        def noted(item: int) -> int:
            calls.append(item)
            return item

        assert self.soon(lambda: list(self.stream(noted, range(3_000)))) == list(range(3_000))
        assert Counter(calls) == Counter(range(3_000))

    def test_account_leaves_values_as_they_are(self) -> None:
        values = [None, False, 0, "", (), [], ValueError("a value"), StopIteration(1), float("inf"), [None], ...]
        got = self.soon(lambda: list(self.stream(same, values * 5)))
        assert list(map(repr, got)) == list(map(repr, values * 5))

    def test_account_adds_up_over_operators(self) -> None:
        pipeline = (
            self.pipeline(range(2_000))
            .map("sevens", not_a_seventh, on_error="skip", **self.here)
            .map("elevens", not_an_eleventh, on_error="dead_letter", **self.here)
            .filter("even", is_even, **self.here)
            .flat_map("twice", twice, **self.here)
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
        got, error = self._until_error(self.pipeline(range(100)).map("picky", not_fifty, **self.here))
        assert got == list(range(50))
        assert (error.operator, error.index, error.item) == ("picky", 50, 50)
        assert isinstance(error.__cause__, ValueError)
        if "in_process" in self.capabilities:
            frames = traceback.extract_tb(error.__cause__.__traceback__)
            assert frames[-1].name == "not_fifty", "the original traceback is lost"

    def test_error_skip_leaves_the_item_out(self) -> None:
        result = self.soon(self.pipeline(range(100)).map("picky", not_fifty, on_error="skip", **self.here).execute)
        assert result.outputs == [item for item in range(100) if item != 50]
        assert counts(result.report["picky"]) == {"taken": 100, "done": 99, "skipped": 1, "emitted": 99}

    def test_error_dead_letter_sets_the_item_aside(self) -> None:
        pipeline = self.pipeline(range(100)).map("picky", not_fifty, on_error="dead_letter", **self.here)
        result = self.soon(pipeline.execute)
        assert result.outputs == [item for item in range(100) if item != 50]
        (letter,) = result.dead_letters
        assert (letter.operator, letter.index, letter.item, letter.attempts) == ("picky", 50, 50, 1)
        assert isinstance(letter.error, ValueError)
        assert counts(result.report["picky"]) == {"taken": 100, "done": 99, "dead": 1, "emitted": 99}

    def test_error_in_an_expansion_leaves_no_half_of_it(self) -> None:
        pipeline = self.pipeline(range(10)).flat_map("halves", breaks_at_three, on_error="skip", **self.here)
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
        got, error = self._until_error(self.pipeline(range(20)).map("stops", stops_at_five, **self.here))
        assert got == list(range(5))
        assert (error.index, error.item) == (5, 5)
        result = self.soon(self.pipeline(range(20)).map("stops", stops_at_five, on_error="skip", **self.here).execute)
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

        pipeline = self.pipeline(range(200)).map("flaky", works_the_third_time, retries=2, **self.here)
        result = self.soon(pipeline.execute)
        assert result.outputs == list(range(200))
        assert tries == {item: 1 if item % 5 else 3 for item in range(200)}
        assert counts(result.report["flaky"]) == {"taken": 200, "done": 200, "emitted": 200, "retried": 80}

    def test_retries_end_after_the_last_attempt(self) -> None:
        pipeline = self.pipeline(range(100)).map("picky", not_fifty, retries=2, on_error="dead_letter", **self.here)
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
