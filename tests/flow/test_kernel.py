"""The kernel: operators over a batch, stride by stride. Time is what the clock of these tests says."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from headrace.batch import Batch, BatchResult, Failure, paths
from headrace.errors import OperatorFailed
from headrace.flow import kernel as kernel_module
from headrace.flow.kernel import FIRST_STRIDE, STRIDE_S, Control, Kernel, Op

BOOKED = ("taken", "done", "filtered", "skipped", "dead", "emitted", "retried", "raised")


def batch(data: Any, **more: Any) -> Batch:
    items = list(data)
    return Batch(0, range(len(items)), items, 0.0, **more)


def run(*ops: Op, over: Any, control: Control | None = None, limit_s: float | None = None, **more: Any) -> BatchResult:
    return Kernel(ops, limit_s=limit_s).run(batch(over, **more), control or Control(), "worker")


def op(kind: str, fn: Callable[[Any], Any], on_error: str = "raise", attempts: int = 1, name: str = "") -> Op:
    return Op(name or kind, kind, fn, on_error, attempts)


def booked(result: BatchResult, position: int = 0) -> dict[str, int]:
    return {name: count for name in BOOKED if (count := getattr(result.tallies[position], name))}


def fails_on(*bad: Any, error: type[BaseException] = ValueError) -> Callable[[Any], Any]:
    def work(item: Any) -> Any:
        if item in bad:
            raise error(f"not {item}")
        return item * 10

    return work


class Clock:
    """Goes on by what the functions under test say they cost."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def costing(self, cost_s: float, fn: Callable[[Any], Any] = lambda item: item) -> Callable[[Any], Any]:
        def work(item: Any) -> Any:
            self.now_s += cost_s
            return fn(item)

        return work


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(kernel_module, "perf_counter", made)
    return made


# Operators ----------------------------------------------------------------------------------------------------------


def test_map() -> None:
    result = run(op("map", lambda number: number * 2), over=range(100))
    assert (result.data, result.where, result.done) == ([number * 2 for number in range(100)], None, 100)
    assert booked(result) == {"taken": 100, "done": 100, "emitted": 100}
    assert result.worker == "worker"


@pytest.mark.parametrize("data", [range(5), (0, 1, 2, 3, 4), [0, 1, 2, 3, 4]])
def test_items_may_be_any_sequence(data: Any) -> None:
    result = Kernel((op("map", fails_on(4), "skip"),)).run(Batch(0, range(5), data, 0.0), Control())
    assert (result.data, result.done) == ([0, 10, 20, 30], 5)


def test_filter_says_where_its_outputs_stem_from() -> None:
    result = run(op("filter", lambda number: number % 3 == 0), over=range(10))
    assert (result.data, result.where) == ([0, 3, 6, 9], [0, 3, 6, 9])
    assert booked(result) == {"taken": 10, "done": 4, "filtered": 6, "emitted": 4}


def test_flat_map_appends_an_ordinal() -> None:
    result = run(op("flat_map", lambda number: "abc"[:number]), over=[2, 0, 1])
    assert (result.data, result.where) == (["a", "b", "a"], [(0, 0), (0, 1), (2, 0)])
    assert booked(result) == {"taken": 3, "done": 3, "emitted": 3}


def test_a_sink_gives_nothing() -> None:
    got: list[int] = []
    result = run(op("sink", got.append), over=range(100))
    assert got == list(range(100))
    assert (result.data, result.done) == ([], 100)
    assert booked(result) == {"taken": 100, "done": 100}


def test_fused_operators_pass_on_what_they_give() -> None:
    result = run(
        op("filter", lambda number: number % 2 == 1),
        op("flat_map", lambda number: range(number)),
        op("map", lambda number: -number),
        op("flat_map", lambda number: [number] * 2),
        op("filter", lambda number: number),
        over=range(5),
    )
    assert result.data == [-1, -1, -2, -2]
    assert result.where == [(3, 1, 0), (3, 1, 1), (3, 2, 0), (3, 2, 1)]
    assert [tally.emitted for tally in result.tallies] == [2, 4, 4, 8, 4]


def test_an_index_that_is_a_path_is_continued() -> None:
    sent = Batch(0, [(4, 1), (6, 0)], ["ab", "c"], 0.0)
    result = Kernel((op("flat_map", list),)).run(sent, Control())
    assert list(paths(sent.index, result.where, result.done)) == [(4, 1, 0), (4, 1, 1), (6, 0, 0)]


# Failures -----------------------------------------------------------------------------------------------------------

KINDS = ("map", "filter", "flat_map", "sink")


def _of_kind(kind: str, fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return (lambda item: [fn(item)]) if kind == "flat_map" else fn


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [0, 1, 50, 99])
@pytest.mark.parametrize("error", [ValueError, StopIteration, SystemExit, GeneratorExit, KeyboardInterrupt])
def test_the_item_that_failed_is_named(kind: str, at: int, error: type[BaseException]) -> None:
    result = run(op(kind, _of_kind(kind, fails_on(at, error=error))), over=range(100))
    (failure,) = result.failures
    assert (failure.index, failure.item, failure.where, failure.verdict) == (at, at, at, "raise")
    assert type(failure.error) is (RuntimeError if error is StopIteration else error)
    assert result.done == at + 1
    assert booked(result)["raised"] == 1 and booked(result)["taken"] == at + 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("on_error", "column"), [("skip", "skipped"), ("dead_letter", "dead")])
@pytest.mark.parametrize("error", [ValueError, StopIteration, SystemExit])
def test_what_is_set_aside_holds_up_nothing(kind: str, on_error: str, column: str, error: type[BaseException]) -> None:
    bad = (0, 1, 2, 50, 98, 99)
    result = run(op(kind, _of_kind(kind, fails_on(*bad, error=error)), on_error), over=range(100))
    assert [(failure.index, failure.item) for failure in result.failures] == [(each, each) for each in bad]
    assert result.done == 100
    assert booked(result)[column] == 6
    if kind == "map":
        assert result.data == [number * 10 for number in range(100) if number not in bad]
        assert result.where == [number for number in range(100) if number not in bad]


def test_all_may_fail() -> None:
    result = run(op("map", fails_on(*range(100)), "skip"), over=range(100))
    assert (result.data, result.done, len(result.failures)) == ([], 100, 100)


@pytest.mark.parametrize("error", [ValueError, StopIteration, SystemExit])
@pytest.mark.parametrize("on_error", ["raise", "dead_letter"])
def test_a_truth_value_that_raises_is_a_failure_of_the_item(error: type[BaseException], on_error: str) -> None:
    class Undecided:
        def __bool__(self) -> bool:
            raise error

    result = run(op("filter", lambda number: Undecided() if number == 5 else number % 2, on_error), over=range(10))
    (failure,) = result.failures
    assert (failure.index, failure.item) == (5, 5)
    assert type(failure.error) is (RuntimeError if error is StopIteration else error)
    assert result.data == ([1, 3] if on_error == "raise" else [1, 3, 7, 9])


def test_the_first_failure_ends_a_filter_whichever_way_it_fails() -> None:
    class Undecided:
        def __bool__(self) -> bool:
            raise LookupError

    answers = {3: Undecided(), 5: Undecided()}
    result = run(op("filter", lambda number: answers.get(number) or fails_on(4)(number)), over=[1, 2, 3, 4, 5])
    assert [failure.item for failure in result.failures] == [3]
    assert result.data == [1, 2] and booked(result)["taken"] == 3


def test_a_truth_value_is_asked_once() -> None:
    class Whimsical:
        asked = 0

        def __bool__(self) -> bool:
            Whimsical.asked += 1
            return Whimsical.asked % 2 == 1

    result = run(op("filter", lambda number: Whimsical()), over=range(10))
    assert Whimsical.asked == 10
    assert result.data == result.where == [0, 2, 4, 6, 8]


def test_half_an_expansion_is_none() -> None:
    def expand(number: int) -> Iterator[int]:
        yield from range(3)
        if number == 1:
            raise LookupError
        yield 3

    result = run(op("flat_map", expand, "dead_letter"), over=range(3))
    assert result.data == [0, 1, 2, 3] * 2
    assert result.where == [(0, 0), (0, 1), (0, 2), (0, 3), (2, 0), (2, 1), (2, 2), (2, 3)]
    assert [failure.index for failure in result.failures] == [1]


def test_what_cannot_be_expanded_is_a_failure() -> None:
    result = run(op("flat_map", lambda number: number, "skip"), over=[1])
    assert isinstance(result.failures[0].error, TypeError)


def test_what_may_pass_is_no_failure() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(op("map", fails_on(3, error=KeyboardInterrupt)), over=range(9), control=Control((KeyboardInterrupt,)))


def test_behind_an_expansion_a_failure_has_the_path_of_the_part() -> None:
    result = run(
        op("flat_map", lambda number: [number, number + 1]), op("map", fails_on(2), "dead_letter"), over=[0, 1, 2]
    )
    assert [(failure.operator, failure.index, failure.item) for failure in result.failures] == [
        (1, (1, 1), 2),
        (1, (2, 0), 2),
    ]
    assert result.where == [(0, 0), (0, 1), (1, 0), (2, 1)]


def test_an_error_in_a_fused_operator_lets_what_is_before_it_through() -> None:
    """The first operator was ahead by then; what it did behind the failure comes to nothing."""
    result = run(op("map", fails_on()), op("map", fails_on(30), name="second"), over=range(5))
    assert result.data == [0, 100, 200]
    assert result.done == 4
    (failure,) = result.failures
    assert (failure.name, failure.index, failure.item) == ("second", 3, 30)
    assert booked(result, 1) == {"taken": 4, "done": 3, "emitted": 3, "raised": 1}


def test_the_error_chains_the_original_with_its_traceback() -> None:
    result = run(op("map", fails_on(3), name="halve"), over=range(5))
    error = result.failures[0].as_error()
    assert isinstance(error, OperatorFailed)
    assert (error.operator, error.index, error.item) == ("halve", 3, 3)
    assert isinstance(error.__cause__, ValueError) and error.__cause__.__traceback__ is not None
    assert result.failures[0].trace[0][2] == "work"  # no frame of ours before the user's


# Retries ------------------------------------------------------------------------------------------------------------


def test_a_failure_with_attempts_left_holds_up_nothing_and_is_to_be_tried_again() -> None:
    result = run(op("map", fails_on(3), attempts=2), over=range(6))
    (failure,) = result.failures
    assert (failure.verdict, failure.attempts) == ("retry", 1)
    assert (result.data, result.done) == ([0, 10, 20, 40, 50], 6)
    assert booked(result) == {"taken": 6, "done": 5, "emitted": 5, "retried": 1}


def test_a_sink_stops_for_it_so_that_nothing_overtakes() -> None:
    result = run(op("sink", fails_on(3), attempts=2), over=range(6))
    assert result.done == 4
    assert booked(result) == {"taken": 4, "done": 3, "retried": 1}


@pytest.mark.parametrize("on_error", ["raise", "skip", "dead_letter"])
def test_the_last_attempt_is_judged_by_the_policy(on_error: str) -> None:
    kernel = Kernel((op("map", fails_on(3), on_error, attempts=3),))
    part = batch([3])
    for attempt in (1, 2):
        (failure,) = kernel.run(part, Control()).failures
        assert (failure.attempts, failure.verdict) == (attempt, "retry")
        part = part.retry(failure)
    result = kernel.run(part, Control())
    (failure,) = result.failures
    assert (failure.attempts, failure.verdict) == (3, on_error)
    assert result.tallies[0].taken == 0  # it was taken at the first attempt


def test_a_retry_enters_at_the_operator_that_failed() -> None:
    seen: list[Any] = []
    ops = (op("map", seen.append), op("map", fails_on(None), attempts=2, name="second"), op("map", lambda item: [item]))
    kernel = Kernel(ops)
    first = kernel.run(batch(["a"]), Control())
    (failure,) = first.failures
    assert (failure.operator, first.tallies[2].taken) == (1, 0)
    ops[1].fn = lambda item: "good"
    again = kernel.run(batch(["a"]).retry(failure), Control())
    assert again.data == [["good"]] and seen == ["a"]
    assert [tally.taken for tally in again.tallies] == [0, 0, 1]


def test_behind_a_retried_operator_attempts_are_counted_anew() -> None:
    ops = (op("map", lambda item: item, attempts=3), op("map", fails_on("a"), attempts=2, name="second"))
    part = Batch(0, [(5, 1)], ["a"], 0.0, attempt=3, enter=0)
    (failure,) = Kernel(ops).run(part, Control()).failures
    assert (failure.operator, failure.attempts, failure.verdict, failure.index) == (1, 1, "retry", (5, 1))


# Strides ------------------------------------------------------------------------------------------------------------


def strides(clock: Clock, cost_s: float, count: int, kind: str = "map", **more: Any) -> list[int]:
    """The sizes of the strides that a kernel makes over `count` items."""
    sizes: list[int] = []
    original = kernel_module._Work.stride

    def stride(work: Any, size: int) -> None:
        before = work.at
        original(work, size)
        sizes.append(work.at - before)

    fn = clock.costing(cost_s, (lambda item: [item]) if kind == "flat_map" else lambda item: item)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel_module._Work, "stride", stride)
        run(op(kind, fn), over=range(count), **more)
    return sizes


def test_a_stride_is_about_a_millisecond(clock: Clock) -> None:
    sizes = strides(clock, STRIDE_S / 50, 1_000)
    assert sizes[0] == 1_000 // FIRST_STRIDE
    assert set(sizes[1:-1]) <= {49, 50}


def test_slow_items_go_one_by_one(clock: Clock) -> None:
    assert strides(clock, 10 * STRIDE_S, 8) == [1] * 8


def test_tiny_functions_take_few_strides(clock: Clock) -> None:
    assert len(strides(clock, 1e-9, 100_000)) <= 3


def test_the_first_expansion_is_looked_at_alone(clock: Clock) -> None:
    assert strides(clock, 1e-9, 1_000, "flat_map")[0] == 1


def test_a_batch_that_takes_too_long_gives_back_what_it_has_not_begun(clock: Clock) -> None:
    result = run(op("map", clock.costing(0.003)), over=range(100), limit_s=0.01)
    assert result.data == list(range(result.done))
    assert 0.01 <= result.done * 0.003 < 0.04
    assert booked(result) == {"taken": result.done, "done": result.done, "emitted": result.done}


def test_at_least_one_stride_is_done(clock: Clock) -> None:
    assert run(op("map", clock.costing(1.0)), over=range(4), limit_s=0.0).done == 1


def test_cancelling_ends_a_batch_behind_its_stride(clock: Clock) -> None:
    control = Control()

    def work(number: int) -> int:
        control.cancelled = number == 3
        clock.now_s += STRIDE_S
        return number

    assert run(op("map", work), over=range(16), control=control).done == 4


def test_times_are_those_of_the_clock(clock: Clock) -> None:
    clock.now_s = 5.0
    result = run(op("map", clock.costing(0.001)), op("map", clock.costing(0.002)), over=range(10))
    assert result.began_s == 5.0 and result.ended_s == pytest.approx(5.03)
    assert [tally.service_s for tally in result.tallies] == [pytest.approx(0.01), pytest.approx(0.02)]


# Cut in the middle of a stride --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["map", "filter", "flat_map"])
@pytest.mark.parametrize("at", [0, 3, 99])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("error", [None, ValueError, StopIteration])
def test_a_cut_ends_a_batch_behind_the_item_that_it_is_at(
    kind: str, at: int, on_error: str, error: type[BaseException] | None
) -> None:
    """Also if that item fails: it was run, and is booked."""
    sent, called = batch(range(1, 101)), []

    def work(number: int) -> int:
        called.append(number)
        if number == at + 1:
            sent.cut()
            if error is not None:
                raise error
        return number

    result = Kernel((op(kind, _of_kind(kind, work), on_error),)).run(sent, Control())
    assert called == list(range(1, at + 2))
    assert result.done == at + 1
    assert result.data == (called if error is None else called[:-1])
    assert len(result.failures) == (error is not None)
    assert booked(result)["taken"] == at + 1


def test_a_batch_that_no_kernel_is_at_cannot_be_cut() -> None:
    sent = batch(range(3))
    sent.cut()
    assert Kernel((op("map", abs),)).run(sent, Control()).done == 3
    sent.cut()
    assert sent.data == [0, 1, 2]


# Bounds -------------------------------------------------------------------------------------------------------------


def held(sent: Batch, result: BatchResult) -> int:
    """Outputs, and items that were not begun."""
    return len(result.data) + len(sent) - result.done


def test_without_growth_there_is_nothing_to_give_back(clock: Clock) -> None:
    assert run(op("flat_map", lambda item: [item]), over=range(100), bound=100).done == 100


@pytest.mark.parametrize("fan", [2, 3, 100])
@pytest.mark.parametrize("bound", [100, 150, 1_000])
def test_an_expansion_goes_no_further_beyond_the_bound_than_by_itself(clock: Clock, fan: int, bound: int) -> None:
    sent = batch(range(100), bound=bound)
    result = Kernel((op("flat_map", clock.costing(1e-9, lambda item: [item] * fan)),)).run(sent, Control())
    assert result.done == 100 or bound < held(sent, result) <= bound + fan - 1


def test_an_expansion_in_the_middle_of_a_stride_ends_it(clock: Clock) -> None:
    """Though a hundred small ones before it had the strides grow."""
    sent = batch(range(1_000), bound=1_050)
    result = Kernel((op("flat_map", lambda item: range(500 if item >= 600 else 1)),)).run(sent, Control())
    assert result.done == 601
    assert booked(result) == {"taken": 601, "done": 601, "emitted": 1_100}


def test_retries_take_room_too(clock: Clock) -> None:
    sent = batch(range(100), bound=120)
    ops = (op("flat_map", lambda item: [item] * 10), op("map", fails_on(*range(100)), attempts=2))
    result = Kernel(ops).run(sent, Control())
    assert len(result.failures) + len(sent) - result.done <= 120 + 9


def test_measured_outputs_are_bounded(clock: Clock) -> None:
    sent = batch(["x" * 100] * 1_000)
    sent.most_bytes = 5_000
    result = Kernel((op("map", clock.costing(STRIDE_S)),), measure=len).run(sent, Control())
    assert result.nbytes == sum(map(len, result.data))
    assert 5_000 <= result.nbytes < 5_000 + 100 * (1_000 // FIRST_STRIDE)


# What is kept alive -------------------------------------------------------------------------------------------------


class Heavy:
    pass


@pytest.mark.parametrize("on_error", ["skip", "dead_letter"])
@pytest.mark.parametrize("kind", ["map", "filter", "flat_map"])
def test_a_failure_that_is_set_aside_keeps_no_frame_alive(kind: str, on_error: str) -> None:
    """Frames hold all that was in their variables. That goes for the errors behind an error, and those in a group."""
    left: list[weakref.ref[Heavy]] = []

    def work(number: int) -> Any:
        heavy = Heavy()
        left.append(weakref.ref(heavy))
        try:
            try:
                raise KeyError(number)
            except KeyError as error:
                raise ExceptionGroup("several", [error, LookupError()]) from OSError()
        except ExceptionGroup as group:
            raise ValueError(number) from group

    result = run(op(kind, work, on_error), over=range(3))
    gc.collect()
    assert len(result.failures) == 3
    assert [reference() for reference in left] == [None] * 3
    assert [entry[2] for entry in result.failures[0].trace] == ["work"]


def test_an_error_that_goes_round_in_a_circle_is_stripped() -> None:
    def work(number: int) -> Any:
        error = ValueError()
        other = KeyError()
        error.__cause__, other.__cause__ = other, error
        raise error

    (failure,) = run(op("map", work, "skip"), over=[0]).failures
    assert failure.error.__traceback__ is None


# Any kernel ---------------------------------------------------------------------------------------------------------


class Work:
    """Fails, filters and expands by what the item is; lists are made of numbers, so that all operators can follow each
    other."""

    def __init__(self, kind: str, bad: frozenset[int], error: type[BaseException]) -> None:
        self.kind, self.bad, self.error = kind, bad, error

    def __call__(self, item: int) -> Any:
        if item % 23 in self.bad:
            raise self.error(item)
        if self.kind == "filter":
            return item % 5
        return item * 7 + 3 if self.kind == "map" else [item + 31 * each for each in range(item % 4)]


@st.composite
def chains(draw: st.DrawFn) -> list[reference.Step]:
    kinds = draw(st.lists(st.sampled_from(["map", "filter", "flat_map"]), min_size=1, max_size=4))
    return [
        reference.Step(
            f"{kind} {at}",
            kind,
            Work(
                kind,
                draw(st.frozensets(st.integers(0, 22), max_size=3)),
                draw(st.sampled_from([ValueError, StopIteration, SystemExit])),
            ),
            draw(st.sampled_from(["raise", "skip", "dead_letter"])),
        )
        for at, kind in enumerate(kinds)
    ]


@settings(deadline=None, derandomize=True, max_examples=300)
@given(
    chains(), st.lists(st.integers(0, 100), min_size=1, max_size=60), st.sampled_from([None, 0.0]), st.integers(1, 99)
)
def test_batch_by_batch_a_kernel_gives_what_the_oracle_gives(
    steps: list[reference.Step], items: list[int], limit_s: float | None, bound: int
) -> None:
    """Whatever it gives back, and wherever an error ends it."""
    expected = reference.run(items, steps)
    kernel = Kernel(tuple(Op(step.name, step.kind, step.fn, step.on_error) for step in steps), limit_s=limit_s)
    rest, outputs, index, failures = batch(items), [], [], []
    while len(rest) and not any(failure.verdict == "raise" for failure in failures):
        rest.bound = bound
        result = kernel.run(rest, Control())
        outputs += result.data
        index += paths(rest.index, result.where, result.done)
        failures += result.failures
        rest = rest.behind(result.done)
    assert (outputs, index) == (expected.outputs, expected.index)
    ended = min((failure for failure in failures if failure.verdict == "raise"), key=_place, default=None)
    assert (ended is None) == (expected.error is None)
    if ended is not None:
        assert (ended.name, ended.index, ended.item) == (
            expected.error.operator,
            expected.error.index,
            expected.error.item,
        )
    else:
        found = [(failure.name, failure.index) for failure in failures if failure.verdict == "dead_letter"]
        assert sorted(found, key=repr) == sorted(((each.operator, each.index) for each in expected.letters), key=repr)


def _place(failure: Failure) -> tuple[int, ...]:
    return failure.index if isinstance(failure.index, tuple) else (failure.index,)
