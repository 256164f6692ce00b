"""The executors that ship run through the contract; what only `thread` promises comes after it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from itertools import count, islice
from typing import Any

import pytest

from headrace import (
    HeadraceError,
    LeftoversWarning,
    Pipeline,
    PipelineProcessExecutor,
    PipelineThreadExecutor,
    PluginRef,
    SerialExecutor,
    SettingsError,
)
from headrace.testing import Aside, ExecutorContract, Gate, Resources, Source

PATIENCE_S = 10.0


class TestSerial(ExecutorContract):
    capabilities = frozenset({"in_process"})

    def make_executor(self) -> SerialExecutor:
        return SerialExecutor()


class TestThread(ExecutorContract):
    def make_executor(self) -> PipelineThreadExecutor:
        return PipelineThreadExecutor(max_workers=4)


class TestThreadByDefault(ExecutorContract):
    def make_executor(self) -> PipelineThreadExecutor:
        return PipelineThreadExecutor()


class TestThreadEntered(ExecutorContract):
    """One pool for all that a test does, as in a `with` block."""

    def make_executor(self) -> PipelineThreadExecutor:
        return PipelineThreadExecutor(max_workers=4).__enter__()


@pytest.fixture(params=range(25))
def again(request: pytest.FixtureRequest) -> None:
    """Once more, and once more."""


@pytest.mark.stress
@pytest.mark.usefixtures("again")
class TestThreadAgain(TestThread):
    pass


def same(item: Any) -> Any:
    return item


# Overlap ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [10, 500])
@pytest.mark.parametrize("adaptive", [True, False])
def test_while_item_0_is_held_everything_up_to_the_window_completes(window: int, adaptive: bool) -> None:
    gate, others, lock, done = Gate(), threading.Event(), threading.Lock(), 0

    def fn(item: int) -> int:
        nonlocal done
        if item == 0:
            gate.hold()
        else:
            with lock:
                done += 1
                if done == window - 1:
                    others.set()
        return item

    source = Source(at_pull=lambda item: _at_most(window, source.pulled - taken))
    taken = 0
    executor = PipelineThreadExecutor(max_workers=2, max_memory_items=window, adaptive_batching=adaptive)

    def consume() -> list[int]:
        nonlocal taken
        got = []
        for item in executor.execute(fn, source):
            taken += 1
            got.append(item)
            if taken == 3 * window:
                return got
        raise AssertionError("the endless source has ended")

    consumer = Aside(consume)
    gate.wait_for(1)
    assert others.wait(PATIENCE_S), f"{done} of {window - 1} completed"
    assert source.pulled == window
    gate.open()
    assert consumer.result(PATIENCE_S) == list(range(3 * window))


def _at_most(window: int, ahead: int) -> None:
    assert ahead <= window, f"{ahead} items ahead"


def test_as_many_batches_as_workers_run_at_the_same_time() -> None:
    gate = Gate()
    consumer = Aside(list, PipelineThreadExecutor(max_workers=12).execute(gate.hold, range(24)))
    assert len(gate.wait_for(12)) == 12
    gate.open()
    assert consumer.result(PATIENCE_S) == list(range(24))


def test_max_workers_caps_the_parallel_degree() -> None:
    inside, most, lock, both = 0, 0, threading.Lock(), threading.Barrier(2)

    def fn(item: int) -> int:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        if item < 2:
            both.wait(PATIENCE_S)
        with lock:
            inside -= 1
        return item

    pipeline = Pipeline("capped").source("items", range(500))
    pipeline.map("fn", fn, parallel_degree=8, executor=PluginRef("thread", {"max_workers": 2}))
    assert Aside(pipeline.execute).result(PATIENCE_S).outputs == list(range(500))
    assert most == 2


def test_a_degree_may_ask_for_more_than_the_default() -> None:
    everybody = threading.Barrier(50)

    def meet(item: int) -> int:
        if item < 50:
            everybody.wait(PATIENCE_S)
        return item

    pipeline = Pipeline("many").source("items", range(60)).map("meet", meet, parallel_degree=50, executor="thread")
    assert Aside(pipeline.execute).result(2 * PATIENCE_S).outputs == list(range(60))


def test_without_adaptive_batching_items_travel_alone() -> None:
    stream = PipelineThreadExecutor(max_workers=2, adaptive_batching=False).execute(same, range(200))
    assert list(stream) == list(range(200))
    assert stream.report["same"].batches == 200


# The pool -----------------------------------------------------------------------------------------------------------


def _worker(item: object) -> int:
    return threading.get_ident()


def test_a_context_manager_keeps_its_threads_over_several_calls() -> None:
    before = Resources.now()
    with PipelineThreadExecutor(max_workers=1) as executor:
        workers = [set(executor.execute(_worker, range(200))) for _ in range(5)]
        assert len(set().union(*workers)) == 1
    assert before.left() == []


def test_threads_are_shared_by_the_calls_of_a_context_manager() -> None:
    with PipelineThreadExecutor(max_workers=3) as executor:
        workers = {worker for _ in range(10) for worker in executor.execute(_worker, range(200))}
        assert len(workers) <= 3


def test_without_it_a_pool_belongs_to_its_call() -> None:
    before, executor = Resources.now(), PipelineThreadExecutor(max_workers=2)
    for _ in range(3):
        assert list(executor.execute(same, range(200))) == list(range(200))
        assert [each.name for each in threading.enumerate() if each not in before.threads] == []


def test_threads_are_daemons_with_telling_names() -> None:
    def tell(item: int) -> tuple[str, bool]:
        return threading.current_thread().name, threading.current_thread().daemon

    def items() -> Iterator[int]:
        seen.append(tell(0))
        yield 0

    seen: list[tuple[str, bool]] = []
    ((worker, is_daemon),) = PipelineThreadExecutor(max_workers=1).execute(tell, items)
    assert re.fullmatch(r"headrace-thread-\d+", worker)
    assert is_daemon
    assert seen == [("headrace-pull-items", True)]


def test_a_closed_executor_says_so() -> None:
    with PipelineThreadExecutor(max_workers=1) as executor:
        executor.close()
        with pytest.raises(HeadraceError, match=r"PipelineThreadExecutor .* is closed; stage 'same' needs an open one"):
            list(executor.execute(same, range(3)))


def test_after_its_block_an_executor_serves_single_calls_again() -> None:
    with PipelineThreadExecutor(max_workers=1) as executor:
        pass
    assert list(executor.execute(same, range(3))) == [0, 1, 2]


def test_a_stream_that_outlives_its_block_fails_and_does_not_hang() -> None:
    with PipelineThreadExecutor(max_workers=1) as executor:
        stream = executor.execute(same, count())
        next(stream)
    with pytest.raises(HeadraceError, match="the lane of stage 'same' is closed"):
        Aside(lambda: [None for _ in stream]).result(PATIENCE_S)


def test_lanes_that_are_over_are_forgotten() -> None:
    with PipelineThreadExecutor(max_workers=2) as executor:
        for _ in range(20):
            assert list(executor.execute(same, range(5))) == list(range(5))
            executor.execute(same, range(5))  # never begun
            next(executor.execute(same, count()))
        assert ", 0 lanes>" in repr(executor)


def test_several_calls_at_once_on_one_executor() -> None:
    with PipelineThreadExecutor(max_workers=2) as executor:
        start = threading.Barrier(6)

        def call(factor: int) -> list[int]:
            start.wait(PATIENCE_S)
            return list(executor.execute(lambda item: factor * item, range(3_000)))

        for factor, caller in [(factor, Aside(call, factor)) for factor in range(6)]:
            assert caller.result(PATIENCE_S) == [factor * item for item in range(3_000)]


def test_two_streams_of_one_executor_take_turns_in_one_thread() -> None:
    with PipelineThreadExecutor(max_workers=2) as executor:
        pairs = zip(executor.execute(same, count()), executor.execute(str, count()), strict=True)
        assert Aside(list, islice(pairs, 2_000)).result(PATIENCE_S) == [(item, str(item)) for item in range(2_000)]


def test_a_function_may_use_the_executor_that_runs_it() -> None:
    with PipelineThreadExecutor(max_workers=1) as executor:

        def outer(item: int) -> int:
            return sum(executor.execute(lambda inner: inner * item, range(10)))

        got = Aside(lambda: list(executor.execute(outer, range(20)))).result(PATIENCE_S)
    assert got == [45 * item for item in range(20)]


def test_a_stream_may_be_the_source_of_another() -> None:
    before = Resources.now()
    with PipelineThreadExecutor(max_workers=2) as executor:
        numbers: Any = count()
        for _ in range(3):
            numbers = executor.execute(lambda item: item + 1, numbers)
        assert Aside(list, islice(numbers, 1_000)).result(PATIENCE_S) == list(range(3, 1_003))
        del numbers
    assert before.left() == []


def test_what_is_held_in_user_code_is_named_and_the_idle_are_gone() -> None:
    gate, before = Gate(), Resources.now()

    def hold_the_last(item: int) -> int:
        if item == 30:
            gate.hold()
        return item

    executor = PipelineThreadExecutor(max_workers=4, adaptive_batching=False)
    source = Source(silent_after=31)
    stream = executor.execute(hold_the_last, source)
    assert [next(stream) for _ in range(30)] == list(range(30))
    gate.wait_for(1)
    with pytest.warns(LeftoversWarning, match=r"headrace-thread-\d+ in stage 'hold_the_last'") as caught:
        Aside(stream.close).result(PATIENCE_S)
    assert len(caught) == 1
    said = str(caught[0].message)
    for thread in threading.enumerate():
        if thread not in before.threads and thread.name not in said:
            thread.join(0.5)
            assert not thread.is_alive(), f"{thread.name} is idle, and still there"
    assert re.findall(r"headrace-[a-z]+", said) == ["headrace-thread", "headrace-pull"]
    gate.open()
    source.wake()
    assert before.left() == []


# Contexts -----------------------------------------------------------------------------------------------------------

colour: ContextVar[str] = ContextVar("colour", default="none")


def test_workers_and_the_source_see_the_context_of_the_caller() -> None:
    def items() -> Iterator[str]:
        for _ in range(3):
            yield colour.get()

    token = colour.set("red")
    try:
        stream = PipelineThreadExecutor(max_workers=2).execute(lambda item: (item, colour.get()), items)
        assert list(stream) == [("red", "red")] * 3
        pipeline = Pipeline("coloured").source("items", items).map("fn", lambda item: (item, colour.get()))
        assert pipeline.execute().outputs == [("red", "red")] * 3
    finally:
        colour.reset(token)


def test_what_a_function_sets_stays_in_its_batch() -> None:
    def paint(item: int) -> str:
        before = colour.get()
        colour.set("blue")
        return before

    executor = PipelineThreadExecutor(max_workers=1, adaptive_batching=False)
    assert list(executor.execute(paint, range(50))) == ["none"] * 50
    assert colour.get() == "none"


# Wrong words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: PipelineThreadExecutor(max_workers="4"),  # type: ignore[arg-type]
            "ThreadSettings.max_workers must be a whole number of threads, at least 1, or None; got '4'",
        ),
        (
            lambda: PipelineThreadExecutor(max_workers=0),
            "ThreadSettings.max_workers must be a whole number of threads, at least 1, or None; got 0",
        ),
        (
            lambda: PipelineThreadExecutor(max_memory_items=0),
            "ThreadSettings.max_memory_items must be a whole number of items, at least 1; got 0",
        ),
        (
            lambda: PipelineThreadExecutor(pipeline_depth=1.5),  # type: ignore[arg-type]
            "ThreadSettings.pipeline_depth must be a whole number of batches, at least 1; got 1.5",
        ),
        (
            lambda: PipelineThreadExecutor(adaptive_batching="no"),  # type: ignore[arg-type]
            "ThreadSettings.adaptive_batching must be True or False; got 'no'",
        ),
        (
            lambda: PipelineThreadExecutor(ordered=None),  # type: ignore[arg-type]
            "ThreadSettings.ordered must be True or False; got None",
        ),
        (
            lambda: PipelineThreadExecutor(max_memory_bytes=0),
            "ThreadSettings.max_memory_bytes must be a whole number of bytes, at least 1, or None; got 0",
        ),
        (
            lambda: SerialExecutor(max_memory_items=-1),
            "SerialSettings.max_memory_items must be a whole number of items, at least 1; got -1",
        ),
        (
            lambda: PipelineThreadExecutor().execute("fn", []),  # type: ignore[arg-type]
            "execute.fn must be a function of one item, or something else that can be called; got 'fn'",
        ),
        (
            lambda: PipelineThreadExecutor().execute(same, 7),  # type: ignore[arg-type]
            "execute.items must be an iterable, or something to call that makes one; got 7",
        ),
        (
            lambda: PipelineThreadExecutor().execute(same, [], on_error="skipp"),
            "execute.on_error must be one of 'raise', 'skip', 'dead_letter'; got 'skipp'. Did you mean 'skip'?",
        ),
        (
            lambda: PipelineThreadExecutor().execute(same, [], retries=-1),
            "execute.retries must be a whole number of further attempts, at least 0; got -1",
        ),
        (
            lambda: PipelineThreadExecutor().execute(same, [], ordered=1),  # type: ignore[arg-type]
            "execute.ordered must be True or False; got 1",
        ),
    ],
)
def test_settings_refuse_early_and_in_words(make: Callable[[], object], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        make()
    assert str(caught.value) == said


def test_nothing_is_pulled_before_the_first_result_is_asked_for() -> None:
    before, source = Resources.now(), Source()
    stream = PipelineThreadExecutor().execute(same, source)
    assert source.pulled == 0
    assert before.left() == []
    stream.close()
    assert source.pulled == 0
    assert list(stream) == []


class TestProcess(ExecutorContract):
    capabilities = frozenset({"linger", "overlap"})
    window = 2_000

    def make_executor(self) -> PipelineProcessExecutor:
        return PipelineProcessExecutor(max_workers=2)


class TestProcessEntered(TestProcess):
    """One pool for all that a test does, as in a `with` block."""

    def make_executor(self) -> PipelineProcessExecutor:
        return super().make_executor().__enter__()
