"""A check of the core that needs no test runner and takes under 5 seconds: `python tests/smoke.py`.

Exit status 0 and a line per check, or 1 and what went wrong.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from itertools import count

import headrace
from headrace import OperatorFailed, Pipeline, PipelineProcessExecutor, PipelineThreadExecutor


def check_both_profiles_agree() -> None:
    results = []
    for profile in ("serial", "balanced"):
        pipeline = (
            Pipeline("smoke", profile)
            .source("numbers", lambda: range(10_000))
            .map("halve", lambda number: number / (number % 100), on_error="dead_letter")
            .filter("whole", float.is_integer)
            .flat_map("twice", lambda number: (number, -number))
            .batch("pairs", 2)
        )
        result = pipeline.execute()
        results.append((result.outputs, [letter.index for letter in result.dead_letters]))
    assert results[0] == results[1], "the profiles give different results"
    assert results[0][1] == list(range(0, 10_000, 100)), "not every division by zero is a dead letter"


def check_events_are_delivered() -> None:
    heard: list[object] = []
    pipeline = Pipeline("events").source("numbers", range(100)).map("fail", lambda number: 1 // 0, on_error="skip")
    pipeline.on(headrace.ItemFailed, heard.append).execute()
    assert len(heard) == 100, "not every failure was told of"


def check_order_and_account() -> None:
    result = Pipeline("order").source("numbers", range(50_000)).map("same", lambda number: number).execute()
    assert result.outputs == list(range(50_000)), "out of order, or not complete"
    stats = result.report["same"]
    assert (stats.taken, stats.done, stats.emitted, stats.abandoned) == (50_000, 50_000, 50_000, 0), stats


def check_a_failure_names_its_item() -> None:
    pipeline = Pipeline("failure").source("numbers", range(100)).map("divide", lambda number: 1 / (number - 60))
    try:
        pipeline.execute()
    except OperatorFailed as error:
        assert (error.operator, error.index, error.item) == ("divide", 60, 60), error
        assert isinstance(error.__cause__, ZeroDivisionError), error.__cause__
        assert len(error.result.outputs) == 60, "what came before the item is not there"
    else:
        raise AssertionError("nothing was raised")


def check_a_worker_that_dies_costs_its_item_alone() -> None:
    def deadly(number: int) -> int:
        if number == 50:
            os._exit(1)
        return number

    stream = PipelineProcessExecutor(max_workers=2).execute(deadly, range(100), on_error="skip")
    assert list(stream) == [number for number in range(100) if number != 50], "not all others came out, in order"


def check_an_endless_source_is_bounded() -> None:
    pulled = 0

    def endless() -> object:
        nonlocal pulled
        for pulled in count(1):  # noqa: UP028 - `pulled` is what is looked at
            yield pulled

    with PipelineThreadExecutor(max_workers=4, max_memory_items=100).execute(
        lambda number: number, endless()
    ) as stream:
        for taken, _ in enumerate(stream, start=1):
            assert pulled - taken <= 100, f"{pulled - taken} items read ahead"
            if taken == 1_000:
                break


def check_batches_overlap() -> None:
    both = threading.Barrier(2, timeout=5)
    assert list(headrace.map(lambda _: both.wait() >= 0, range(2), max_workers=2)) == [True, True]


def check_nothing_is_left() -> None:
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("headrace")]
    assert not left, f"still alive: {', '.join(left)}"


CHECKS: tuple[Callable[[], None], ...] = (
    check_both_profiles_agree,
    check_order_and_account,
    check_events_are_delivered,
    check_a_failure_names_its_item,
    check_a_worker_that_dies_costs_its_item_alone,
    check_an_endless_source_is_bounded,
    check_batches_overlap,
    check_nothing_is_left,
)


def main() -> int:
    failed = 0
    began_s = time.perf_counter()
    for check in CHECKS:
        name = check.__name__.removeprefix("check_").replace("_", " ")
        try:
            check()
        except Exception:
            failed += 1
            print(f"FAILED  {name}\n{traceback.format_exc()}")
        else:
            print(f"ok      {name}")
    print(f"{len(CHECKS) - failed} passed, {failed} failed in {time.perf_counter() - began_s:.2f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
