"""Promise: one operator's failure stays its own, nothing that failed is lost, and each is reported by name."""

from __future__ import annotations

import pytest

from headrace.errors import OperatorFailed, PipelineFailed, PipelineTimeout
from headrace.testing.runner.case import RunnerCase


def inverse(item: int) -> int:
    return 12 // (item - 5)


class FailureTests(RunnerCase):
    def test_all_before_the_bad_item_comes_out_in_order(self) -> None:
        with pytest.raises(OperatorFailed, match="'inverse' failed at item 5") as caught:
            self.run(self.pipeline(range(100)).map("inverse", inverse))
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert caught.value.result is not None and caught.value.result.outputs == [inverse(n) for n in range(5)]

    def test_other_branches_run_to_their_end(self) -> None:
        pipeline = self.pipeline(range(2_000)).map("inverse", inverse).map("all", int, inputs="items")
        with pytest.raises(OperatorFailed) as caught:
            self.run(pipeline)
        assert caught.value.result is not None and caught.value.result.outputs["all"] == list(range(2_000))

    def test_several_failures_are_all_told(self) -> None:
        pipeline = self.pipeline(range(9)).map("one", inverse).map("two", inverse, inputs="items")
        with pytest.raises(PipelineFailed) as caught:
            self.run(pipeline)
        assert sorted(getattr(each, "operator", "") for each in caught.value.exceptions) == ["one", "two"]
        with pytest.raises(PipelineFailed):
            self.run_awaited(pipeline)

    def test_fail_fast(self) -> None:
        pipeline = self.pipeline(range(9), fail_fast=True).map("one", inverse).map("all", int, inputs="items")
        with pytest.raises(OperatorFailed, match="'one' failed at item 5"):
            self.run(pipeline)

    def test_what_is_skipped_or_set_aside_is_counted(self) -> None:
        pipeline = self.pipeline(range(20)).map("skip", inverse, on_error="skip")
        pipeline.map("aside", inverse, inputs="items", on_error="dead_letter")
        result = self.run(pipeline)
        good = [inverse(n) for n in range(20) if n != 5]
        assert result.outputs == {"skip": good, "aside": good}
        assert [(each.operator, each.index, each.item) for each in result.dead_letters] == [("aside", 5, 5)]
        assert (result.report["skip"].skipped, result.report["aside"].dead) == (1, 1)

    def test_dead_letters_to_an_operator(self) -> None:
        pipeline = self.pipeline(range(9)).map("aside", inverse, on_error="dead_letter", dead_letters="bad")
        pipeline.map("bad", lambda letter: letter.item)
        assert self.run(pipeline).outputs == {"aside": [inverse(n) for n in range(9) if n != 5], "bad": [5]}

    def test_what_is_tried_again_comes_out_once_and_in_its_place(self) -> None:
        tried: list[int] = []

        def second_time(item: int) -> int:
            tried.append(item)
            if item % 10 == 3 and tried.count(item) == 1:
                raise ValueError(item)
            return item

        result = self.run(self.pipeline(range(50)).map("again", second_time, retries=1))
        assert result.outputs == list(range(50)) and result.report["again"].retried == 5

    def test_a_source_that_fails(self) -> None:
        def source() -> object:
            yield from range(5)
            raise OSError("gone")

        with pytest.raises(OperatorFailed, match="'items' failed: at item 5: OSError: gone") as caught:
            self.run(self.pipeline(source).map("same", int))
        assert caught.value.result is not None and caught.value.result.outputs == list(range(5))

    def test_a_deadline(self) -> None:
        def endless() -> object:
            while True:
                yield 1

        with pytest.raises(PipelineTimeout):
            self.run(self.pipeline(endless).map("same", int).filter("none", lambda _: False), timeout_s=0.2)
