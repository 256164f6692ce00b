"""Graphs as a user meets them: branches, joins, several ends, failures that stay their own, and windows too small."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest

from headrace import (
    DeadLetter,
    GraphError,
    LeftoversWarning,
    OperatorFailed,
    Pipeline,
    PipelineFailed,
    PipelineTimeout,
    PluginError,
    PluginRef,
    Retry,
    SettingsError,
    ThreadBasedPipelineExecutor,
    WindowTooSmall,
    current,
)
from headrace.testing import Resources

WAIT_S = 20.0
PROFILES = ("serial", "balanced")
both = pytest.mark.parametrize("profile", PROFILES)


def same(item: Any) -> Any:
    return item


def refuse(*bad: Any) -> Callable[[Any], Any]:
    def work(item: Any) -> Any:
        if item in bad:
            raise ValueError(f"not {item}")
        return item

    return work


def numbers(profile: str = "balanced", items: int = 1_000, **options: Any) -> Pipeline:
    return Pipeline("numbers", profile, **options).source("data", lambda: range(items))


# Shapes -------------------------------------------------------------------------------------------------------------


@both
def test_each_branch_sees_every_item(profile: str) -> None:
    pipeline = numbers(profile).map("twice", lambda item: 2 * item).filter("odd", lambda item: item % 2, inputs="data")
    result = pipeline.execute()
    assert result.outputs == {"twice": list(range(0, 2_000, 2)), "odd": list(range(1, 1_000, 2))}
    assert list(pipeline.stream("odd")) == result.outputs["odd"]


@both
def test_a_stream_of_one_end_runs_only_what_it_needs(profile: str) -> None:
    seen: list[int] = []
    pipeline = numbers(profile, 10).map("seen", seen.append).map("wanted", same, inputs="data")
    assert list(pipeline.stream("wanted")) == list(range(10))
    assert seen == []
    assert list(pipeline.stream("data")) == list(range(10))


def test_iterating_over_several_ends_names_them() -> None:
    pipeline = numbers().map("one", same).map("two", same, inputs="data")
    with pytest.raises(GraphError, match=r"several ends: 'one', 'two'\. Choose one: \.stream\('one'\)"):
        list(pipeline)
    with pytest.raises(GraphError, match=r"no operator 'tow' in pipeline 'numbers'\. Did you mean 'two'"):
        pipeline.stream("tow")


@both
def test_merge_and_zip(profile: str) -> None:
    pipeline = Pipeline("joins", profile).source("a", lambda: range(300)).source("b", lambda: range(1_000, 1_300))
    pipeline.merge("all", inputs=["a", "b"]).zip("pairs", inputs=["a", "b"])
    outputs = pipeline.execute().outputs
    assert sorted(outputs["all"]) == [*range(300), *range(1_000, 1_300)]
    assert outputs["pairs"] == [(item, item + 1_000) for item in range(300)]


@both
def test_zip_of_unequal_lengths(profile: str) -> None:
    def pair(**fill: Any) -> Pipeline:
        pipeline = Pipeline("pairs", profile).source("few", lambda: range(3)).source("many", lambda: range(5))
        return pipeline.zip("pairs", inputs=["few", "many"], **fill)

    assert pair(fill=None).execute().outputs == [(0, 0), (1, 1), (2, 2), (None, 3), (None, 4)]
    with pytest.raises(
        OperatorFailed, match=r"operator 'pairs' failed at item \('many', 3\).*'few' ended before"
    ) as caught:
        pair().execute()
    assert caught.value.result.outputs == [(0, 0), (1, 1), (2, 2)]


@both
def test_an_operator_may_read_several(profile: str) -> None:
    pipeline = Pipeline("several", profile).source("a", lambda: range(100)).source("b", lambda: range(100, 200))
    pipeline.map("more", lambda item: item + 1, inputs=["a", "b"]).batch("lists", 7)
    assert sorted(item for items in pipeline.execute().outputs for item in items) == list(range(1, 201))


@both
def test_a_second_source_prefixes_the_index(profile: str) -> None:
    pipeline = Pipeline("two", profile).source("a", [1]).source("b", [2]).merge("both", inputs=["a", "b"])
    pipeline.map("fails", refuse(1, 2), on_error="dead_letter")
    assert [letter.index for letter in pipeline.execute().dead_letters] == [0, ("b", 0)]


@pytest.mark.parametrize("slow", ["left", "right"])
@both
def test_a_diamond_with_branches_of_very_different_speed_ends_with_the_smallest_window(profile: str, slow: str) -> None:
    def branch(name: str) -> Callable[[int], int]:
        return lambda item: (time.sleep(0.002 * (name == slow)), item)[1]

    pipeline = numbers(profile, 60, window=1)
    pipeline.map("left", branch("left"), inputs="data").map("right", branch("right"), inputs="data")
    pipeline.zip("pairs", inputs=["left", "right"])
    assert pipeline.execute().outputs == [(item, item) for item in range(60)]


def test_stages_are_at_work_at_the_same_time() -> None:
    """Two stages in a row, and two branches: each waits for the others."""
    met = threading.Barrier(3, timeout=WAIT_S)

    def meet(item: int) -> int:
        if item == 0:
            met.wait()
        return item

    pipeline = numbers(items=50).source("more", lambda: range(50))
    for name, inputs in (("one", "data"), ("two", "more"), ("three", "data")):
        pipeline.map(name, meet, inputs=inputs, parallel_degree=1)
    assert all(outputs == list(range(50)) for outputs in pipeline.execute().outputs.values())


# Windows ------------------------------------------------------------------------------------------------------------


@both
def test_a_join_that_cannot_proceed_says_which_window_is_too_small(profile: str) -> None:
    pipeline = numbers(profile, window=10).batch("lists", 10).zip("pairs", inputs=["data", "lists"])
    began_s = time.monotonic()
    with pytest.raises(WindowTooSmall) as caught:
        pipeline.execute()
    assert time.monotonic() - began_s < 2
    error = caught.value
    assert (error.channel, error.window, error.needed) == ("data", 10, 19)
    assert str(error) == (
        "nothing can go on: batch 'lists' has 1 of the 10 items of a list, zip 'pairs' waits for 'lists', but 'data' "
        "has all 10 items under way that its window allows; a window of 19 or more would do: Pipeline(..., window=19)"
    )


@both
def test_a_list_that_can_never_fill_is_known_before_the_first_item(profile: str) -> None:
    pulled: list[int] = []
    pipeline = Pipeline("never", profile, window=10).source("data", lambda: map(pulled.append, range(9)))
    pipeline.batch("lists", 1_000).zip("pairs", inputs=["data", "lists"])
    with pytest.raises(WindowTooSmall, match="batch 'lists': lists of 1000 items never fill under a window of 10"):
        pipeline.execute()
    assert pulled == []


def test_an_idle_source_is_not_too_small_a_window() -> None:
    silent = threading.Event()

    def source() -> Iterator[int]:
        yield from range(10)
        silent.wait(0.5)
        yield from range(10, 20)

    pipeline = Pipeline("idle", window=10).source("data", source).map("left", same).map("right", same, inputs="data")
    pipeline.zip("pairs", inputs=["left", "right"])
    assert pipeline.execute().outputs == [(item, item) for item in range(20)]


@both
def test_the_slowest_branch_bounds_what_a_source_gives(profile: str) -> None:
    pulled = done = most = 0

    def source() -> Iterator[int]:
        nonlocal pulled
        for pulled in range(1, 2_001):  # noqa: UP028 - `pulled` is what is looked at
            yield pulled

    def slow(item: int) -> None:
        nonlocal done, most
        done += 1
        most = max(most, pulled - done)

    pipeline = Pipeline("bound", profile, window=20).source("data", source).map("fast", same, inputs="data")
    pipeline.sink("slow", slow, inputs="data")
    pipeline.execute()
    assert done == 2_000
    assert most <= 20


# Failures -----------------------------------------------------------------------------------------------------------


@both
def test_the_failure_of_one_branch_stays_its_own(profile: str) -> None:
    pipeline = numbers(profile, window=50).map("good", same, inputs="data").map("bad", refuse(500), inputs="data")
    with pytest.raises(OperatorFailed, match="operator 'bad' failed at item 500") as caught:
        pipeline.execute()
    result = caught.value.result
    assert result.outputs == {"good": list(range(1_000)), "bad": list(range(500))}
    good, bad = result.report["good"], result.report["bad"]
    assert (good.taken, good.done, good.abandoned) == (1_000, 1_000, 0)
    assert bad.taken == 1_000 == bad.done + bad.abandoned
    assert bad.raised == 1


@both
def test_all_failures_are_told_the_first_first(profile: str) -> None:
    pipeline = numbers(profile, window=10)
    pipeline.map("late", refuse(700), inputs="data").map("early", refuse(3), inputs="data")
    with pytest.raises(PipelineFailed) as caught:
        pipeline.execute()
    assert [error.operator for error in caught.value.exceptions] == ["early", "late"]  # type: ignore[attr-defined]
    assert isinstance(caught.value, ExceptionGroup)
    assert "2 operators failed, first: operator 'early' failed at item 3" in str(caught.value)
    assert caught.value.result.outputs == {"late": list(range(700)), "early": [0, 1, 2]}


@both
def test_what_fails_behind_the_item_that_ends_a_chain_is_not_told(profile: str) -> None:
    def source() -> Iterator[int]:
        yield from range(20)
        raise OSError("gone")

    pipeline = Pipeline("chain", profile).source("data", source).batch("pairs", 2).flat_map("items", same)
    with pytest.raises(OperatorFailed, match="operator 'bad' failed at item") as caught:
        pipeline.map("bad", refuse(15)).execute()
    assert caught.value.result.outputs == list(range(15))


@both
def test_a_source_that_fails_is_told_once(profile: str) -> None:
    def source() -> Iterator[int]:
        yield from range(10)
        raise OSError("gone")

    pipeline = Pipeline("gone", profile).source("data", source).map("one", same).map("two", same, inputs="data")
    with pytest.raises(OperatorFailed, match="operator 'data' failed: at item 10: OSError: gone") as caught:
        pipeline.execute()
    assert caught.value.result.outputs == {"one": list(range(10)), "two": list(range(10))}


def test_fail_fast_ends_all_at_once() -> None:
    failed = threading.Event()

    def fail(item: int) -> int:
        failed.set()
        raise ValueError(item)

    pipeline = Pipeline("fast", fail_fast=True).source("data", count)
    pipeline.map("endless", same, inputs="data").sink("end", same).map("bad", fail, inputs="data")
    before = Resources.now()
    with pytest.raises(OperatorFailed, match="operator 'bad' failed at item 0"):
        pipeline.execute()
    assert failed.is_set()
    assert before.left() == []


@both
@pytest.mark.parametrize(("cap", "words"), [(5, "6 items failed, and max_failures=5"), (0.02, "max_failures=0.02")])
def test_max_failures(profile: str, cap: float, words: str) -> None:
    def run(bad: int) -> Any:
        work = refuse(*range(0, 10 * bad, 10))
        one_by_one = PluginRef("thread", {"adaptive_batching": False})
        pipeline = numbers(profile).map("parse", work, on_error="skip", max_failures=cap, executor=one_by_one)
        return pipeline.execute()

    assert len(run(5).outputs) == 995
    with pytest.raises(OperatorFailed, match=f"operator 'parse' failed.*{words}") as caught:
        run(100)
    assert isinstance(caught.value.__cause__, ValueError)


@both
def test_a_share_of_failures_is_held_against_a_short_run_at_its_end(profile: str) -> None:
    with pytest.raises(OperatorFailed, match=r"3 of 10 items failed, and max_failures=0\.2"):
        numbers(profile, 10).map("parse", refuse(1, 2, 3), on_error="skip", max_failures=0.2).execute()
    assert len(numbers(profile, 10).map("parse", refuse(1), on_error="skip", max_failures=0.2).execute().outputs) == 9


@both
def test_a_retry_has_a_pause_that_doubles_and_errors_that_it_is_for(profile: str) -> None:
    tried: dict[int, list[float]] = {}

    def flaky(item: int) -> int:
        tried.setdefault(item, []).append(time.monotonic())
        if item == 3 and len(tried[item]) < 4:
            raise OSError("try again")
        if item == 5:
            raise ValueError("final")
        return item

    retry = Retry(4, backoff_s=0.02, jitter=0.5, on=OSError)
    result = numbers(profile, 10).map("flaky", flaky, retries=retry, on_error="dead_letter").execute()
    assert result.outputs == [item for item in range(10) if item != 5]
    assert [(letter.index, letter.attempts) for letter in result.dead_letters] == [(5, 1)]
    pauses = [after - before for before, after in zip(tried[3], tried[3][1:], strict=False)]
    assert all(pause >= least for pause, least in zip(pauses, [0.02, 0.04, 0.08], strict=True))
    assert result.report["flaky"].retried == 3


@both
def test_a_sink_that_waits_for_a_retry_keeps_the_order(profile: str) -> None:
    tried, got = [0] * 10, []

    def store(item: int) -> None:
        tried[item] += 1
        if item == 4 and tried[item] < 3:
            raise OSError
        got.append(item)

    result = numbers(profile, 10).sink("store", store, retries=Retry(3, backoff_s=0.01)).execute()
    assert got == list(range(10))
    assert (result.report["store"].done, result.report["store"].retried) == (10, 2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Retry(0), "Retry.attempts must be a whole number of attempts, at least 1; got 0"),
        (lambda: Retry(2, on="OSError"), "Retry.on must be a class of errors"),
        (lambda: numbers().map("a", same, retries=-1), "map 'a': retries must be a whole number of further attempts"),
        (
            lambda: numbers().map("a", same, max_failures=1.5),
            "max_failures must be a whole number of items, or a share",
        ),
        (lambda: numbers().map("a", same, timeout_s=0), "map 'a': timeout_s must be"),
        (lambda: numbers().map("a", same, dead_letters="b"), "dead_letters='b' needs on_error='dead_letter'"),
    ],
)
def test_wrong_policies_are_refused_as_they_are_given(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        make()
    assert words in str(caught.value)


@both
def test_dead_letters_go_to_an_operator_by_name(profile: str) -> None:
    letters: list[DeadLetter] = []
    pipeline = numbers(profile, window=20).map(
        "parse", refuse(*range(0, 1_000, 10)), on_error="dead_letter", dead_letters="bad"
    )
    pipeline.sink("store", same).sink("bad", letters.append)
    result = pipeline.execute()
    assert [letter.index for letter in letters] == list(range(0, 1_000, 10))
    assert (letters[1].operator, letters[1].item, letters[1].attempts) == ("parse", 10, 1)
    assert "ValueError: not 10" in letters[1].traceback
    assert result.dead_letters == ()
    assert result.report["bad"].taken == result.report["parse"].dead == 100


def test_dead_letters_that_nobody_can_get_are_refused() -> None:
    with pytest.raises(GraphError, match="'parse' sends its dead letters to 'bda', which is not in the pipeline"):
        numbers().map("parse", same, on_error="dead_letter", dead_letters="bda").execute()
    pipeline = numbers().map("parse", same, on_error="dead_letter", dead_letters="parse")
    with pytest.raises(GraphError, match="the dead letters of a pipeline go round in a cycle"):
        pipeline.execute()


# The end ------------------------------------------------------------------------------------------------------------


@both
def test_stop_drains_and_ends_well(profile: str) -> None:
    def source() -> Iterator[int]:
        for number in count():
            if number == 300:
                pipeline.stop()
            yield number

    pipeline = Pipeline("stopped", profile).source("data", source).map("one", same).map("two", same, inputs="data")
    result = pipeline.execute()
    emitted = result.report["data"].emitted
    assert result.outputs == {"one": list(range(emitted)), "two": list(range(emitted))}


@both
def test_a_run_has_a_deadline(profile: str) -> None:
    pipeline = Pipeline("late", profile).source("data", count).sink("end", lambda item: time.sleep(0.001))
    before, began_s = Resources.now(), time.monotonic()
    with pytest.raises(PipelineTimeout) as caught:
        pipeline.execute(timeout_s=0.2)
    assert 0.2 <= time.monotonic() - began_s < 2.2
    assert caught.value.result.report["end"].done > 0
    assert before.left() == []


@both
def test_a_sink_that_fails_ends_its_branch(profile: str) -> None:
    got: list[int] = []
    pipeline = (
        numbers(profile, window=50).sink("bad", refuse(100), inputs="data").sink("good", got.append, inputs="data")
    )
    with pytest.raises(OperatorFailed, match="operator 'bad' failed at item 100"):
        pipeline.execute()
    assert got == list(range(1_000))


def test_an_item_that_hangs_fails_and_its_thread_is_replaced_and_named() -> None:
    hanging = threading.Event()

    def work(item: int) -> int:
        if item in (3, 4, 50):
            hanging.wait(WAIT_S)
        return item

    pipeline = numbers(items=100).map("work", work, parallel_degree=2, timeout_s=0.1, on_error="dead_letter")
    with pytest.warns(LeftoversWarning, match="headrace-thread-.* in stage 'work', past its timeout"):
        result = pipeline.execute()
    hanging.set()
    assert result.outputs == [item for item in range(100) if item not in (3, 4, 50)]
    assert [(letter.index, str(letter.error)) for letter in result.dead_letters] == [
        (index, "still running after 0.1 s") for index in (3, 4, 50)
    ]


def test_what_an_executor_cannot_keep_is_said_before_the_first_item() -> None:
    with pytest.warns(RuntimeWarning, match="'work' has timeout_s=1, which <SerialExecutor.* cannot keep"):
        assert numbers("serial", 3).map("work", same, timeout_s=1).execute().outputs == [0, 1, 2]
    with ThreadPoolExecutor(1) as pool, pytest.raises(SettingsError, match="its lanes have no method `abandon`"):
        numbers().map("work", same, timeout_s=1, executor=pool).execute()


# Where and on what --------------------------------------------------------------------------------------------------


def test_any_executor_of_the_standard_library_will_do() -> None:
    with ThreadPoolExecutor(2, thread_name_prefix="mine") as pool:
        pipeline = numbers(items=100).map("who", lambda item: threading.current_thread().name, executor=pool)
        assert {name.partition("_")[0] for name in pipeline.execute().outputs} == {"mine"}
        assert pool.submit(abs, -1).result() == 1  # it is still the user's
    with ProcessPoolExecutor(1) as processes:
        assert numbers(items=100).map("abs", abs, executor=processes).execute().outputs == list(range(100))


def test_the_runner_can_be_chosen_for_a_run() -> None:
    runner = ThreadBasedPipelineExecutor(max_workers=3)
    met = threading.Barrier(3, timeout=WAIT_S)

    def meet(item: int) -> int:
        if item < 3:
            met.wait()
        return item

    pipeline = (
        Pipeline("chosen")
        .source("data", range(3))
        .map("meet", meet, executor=PluginRef("thread", {"adaptive_batching": False}))
    )
    assert runner.execute(pipeline).outputs == [0, 1, 2]
    assert numbers(items=3).execute(runner="serial").outputs == [0, 1, 2]
    with pytest.raises(SettingsError, match=r"execute\.runner must be the name of a runner plugin"):
        numbers().execute(runner=3)


@both
@pytest.mark.parametrize("fuse", [True, False])
def test_fusion_changes_nothing_but_the_stages(profile: str, fuse: bool) -> None:
    def tell(item: Any) -> Any:
        here = current()
        return here.operator, here.index, here.attempt, here.rng.random()

    pipeline = numbers(profile, 200, fuse=fuse).filter("some", lambda item: item % 3).map("one", tell)
    pipeline.flat_map("two", lambda item: [item, current().index]).map("three", lambda item: (item, current().index))
    described = pipeline.describe()
    assert ("some + one + two + three" in described) is fuse
    result = pipeline.execute(seed=7)
    wanted = numbers("serial", 200, fuse=False)
    wanted.filter("some", lambda item: item % 3).map("one", tell)
    wanted.flat_map("two", lambda item: [item, current().index]).map("three", lambda item: (item, current().index))
    assert result.outputs == wanted.execute(seed=7).outputs != wanted.execute(seed=8).outputs
    assert [stats.done + stats.filtered for stats in result.report.operators] == [200, 200, 133, 133, 266]


def test_operators_with_workers_of_their_own_are_not_fused() -> None:
    pipeline = numbers().map("one", same, parallel_degree=2).map("two", same, parallel_degree=2)
    assert "+" not in pipeline.describe()
    assert "one + two" in numbers("serial").map("one", same).map("two", same).describe()
    branches = numbers("serial").map("one", same).map("two", same).map("three", same, inputs="one")
    assert "+" not in branches.describe()


def test_where_am_i_is_asked_inside_a_function() -> None:
    with pytest.raises(
        Exception, match=r"headrace\.current\(\) tells of an item, and no operator's function is running"
    ):
        current()


@both
def test_where_am_i_in_a_sink_and_in_a_second_attempt(profile: str) -> None:
    seen: list[tuple[str, Any, int]] = []

    def note(item: int) -> None:
        here = current()
        seen.append((here.operator, here.index, here.attempt))
        if item == 2 and here.attempt == 1:
            raise ValueError

    numbers(profile, 4).sink("note", note, retries=1).execute()
    assert seen == [("note", 0, 1), ("note", 1, 1), ("note", 2, 1), ("note", 2, 2), ("note", 3, 1)]


# What was found by trying -------------------------------------------------------------------------------------------


@both
def test_dead_letters_of_a_fused_operator_reach_their_reader(profile: str) -> None:
    bad: list[DeadLetter] = []
    pipeline = numbers(profile, 10).map("one", refuse(3), on_error="dead_letter", dead_letters="bad").map("two", same)
    pipeline.sink("bad", bad.append)
    assert pipeline.execute().outputs == {"two": [0, 1, 2, 4, 5, 6, 7, 8, 9], "bad": []}
    assert [letter.index for letter in bad] == [3]


@both
def test_a_sink_that_sets_aside_stays_within_the_window(profile: str) -> None:
    taken = given = most = 0

    def refuse_all(item: int) -> None:
        nonlocal taken
        taken += 1
        raise ValueError(item)

    def store(letter: DeadLetter) -> None:
        nonlocal given, most
        most = max(most, taken - given)
        given += 1

    pipeline = numbers(profile, 3_000, window=10)
    pipeline.sink("bad", refuse_all, on_error="dead_letter", dead_letters="store").sink("store", store)
    pipeline.execute()
    assert taken == given == 3_000
    assert most <= 3 * 10  # what waits before it, what it is at, what was set aside


@both
def test_a_sink_heeds_the_deadline_and_is_called_no_more_behind_it(profile: str) -> None:
    calls: list[int] = []

    def slow(item: int) -> None:
        calls.append(item)
        time.sleep(0.01)

    began_s = time.monotonic()
    with pytest.raises(PipelineTimeout, match="pipeline 'numbers' was not at its end"):
        numbers(profile).sink("slow", slow).sink("other", same, inputs="data").execute(timeout_s=0.3)
    assert time.monotonic() - began_s < 2
    called = len(calls)
    for thread in threading.enumerate():
        assert not thread.name.startswith("headrace-run")
    assert len(calls) == called


@both
def test_errors_that_cannot_be_written_or_shown_are_set_aside_like_others(profile: str) -> None:
    @dataclasses.dataclass(frozen=True)
    class Frozen(Exception):
        code: int

    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    def work(item: int) -> int:
        if item == 3:
            raise Frozen(item)
        if item == 5:
            raise Mute
        return item

    result = numbers(profile, 7).map("work", work, on_error="dead_letter").execute()
    assert result.outputs == [0, 1, 2, 4, 6]
    assert [str(letter) for letter in result.dead_letters] == [
        "'work' at item 3 (3): Frozen: 3",
        "'work' at item 5 (5): Mute: its str raised ValueError",
    ]
    with pytest.raises(OperatorFailed, match=r"failed at item 5 .*: Mute: its str raised ValueError"):
        numbers(profile, 7).map("work", lambda item: work(item) if item == 5 else item).execute()


@both
def test_all_sources_are_closed_though_one_of_them_raises(profile: str) -> None:
    closed: list[str] = []

    def source(name: str) -> Callable[[], Iterator[int]]:
        def items() -> Iterator[int]:
            try:
                yield from count()
            finally:
                closed.append(name)
                raise OSError(name)

        return items

    pipeline = Pipeline("closed", profile).source("a", source("a")).source("b", source("b"))
    stream = pipeline.zip("pairs", inputs=["a", "b"]).stream()
    assert next(stream) == (0, 0)
    with pytest.warns(RuntimeWarning, match="raised while it was closed: OSError") as caught:
        stream.close()
    assert (sorted(closed), len(caught)) == (["a", "b"], 2)


@both
def test_a_join_is_not_at_fault_when_its_sources_are_stopped(profile: str) -> None:
    pipeline = Pipeline("stopped", profile, window=100)

    def short() -> Iterator[int]:
        for number in count():
            if number == 50:
                pipeline.stop()
            yield number

    pipeline.source("short", short).source("long", count).zip("pairs", inputs=["short", "long"])
    result = pipeline.execute()
    assert result.outputs == [(number, number) for number in range(len(result.outputs))]


@both
def test_a_deadline_names_what_had_failed_before(profile: str) -> None:
    pipeline = Pipeline("endless", profile, window=10).source("data", count)
    pipeline.sink("bad", refuse(0), inputs="data").sink("good", same, inputs="data")
    with pytest.raises(PipelineTimeout) as caught:
        pipeline.execute(timeout_s=0.2)
    assert "operator 'bad' failed at item 0" in str(caught.value.__cause__)


def test_closing_from_another_thread_is_no_error_of_the_consumer() -> None:
    for _ in range(20):
        stream = Pipeline("closed", window=50).source("data", count).map("same", same, parallel_degree=2).stream()
        next(stream)
        closer = threading.Thread(target=stream.close)
        closer.start()
        for _item in stream:
            pass
        closer.join()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: numbers().map("a", same, size=3), TypeError, "map 'a' has no option 'size'"),
        (lambda: numbers().map("a", same, kind="sink"), TypeError, "map 'a' has no option 'kind'"),
        (lambda: numbers().map("a", same, max_workers=3), TypeError, "Did you mean 'parallel_degree'?"),
        (lambda: numbers().map("a", same, inputs=3), SettingsError, "map 'a': inputs must be the name of an operator"),
        (lambda: numbers().map("a", same, executor="thred").execute(), PluginError, "the executor of 'a': no executor"),
        (lambda: numbers().execute(runner=ThreadBasedPipelineExecutor), SettingsError, "execute.runner must be"),
        (lambda: numbers().sink("a", lambda item: (yield item)), SettingsError, "which runs nothing"),
    ],
)
def test_wrong_use_is_refused_in_words(make: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        make()
    assert words in str(caught.value)


def test_dead_letters_have_no_place_in_a_zip() -> None:
    pipeline = numbers().source("more", [1]).map("a", same, on_error="dead_letter", dead_letters="pairs")
    pipeline.zip("pairs", inputs=["data", "more"])
    with pytest.raises(GraphError, match="'a' sends its dead letters to 'pairs', which is a zip"):
        pipeline.describe()
    lists = numbers(window=2).map("a", same, on_error="dead_letter", dead_letters="lists").batch("lists", 5)
    with pytest.raises(WindowTooSmall, match="lists of 5 items never fill under a window of 2"):
        lists.describe()


@both
def test_a_list_that_may_go_early_slows_nothing_down(profile: str) -> None:
    items = [bytes(1_000)] * 30
    pipeline = Pipeline("bytes", profile, max_bytes=2_500).source("data", items).map("length", len, inputs="data")
    pipeline.map("kept", same, inputs="data").batch("lists", 3, max_wait_s=WAIT_S)
    began_s = time.monotonic()
    result = pipeline.execute()
    assert time.monotonic() - began_s < WAIT_S / 2
    assert (len(result.outputs["length"]), len(result.outputs["lists"])) == (30, 10)
