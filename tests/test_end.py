"""The bound and the end of runs: what is pulled ahead, what a silent source holds back, and what is left afterwards.

What every executor promises is in the contract. Here are chains of stages, many ends in one process, other threads, the
garbage collector, signals and the end of the interpreter.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from typing import Any

import pytest

import headrace
from headrace import ExecutorFailed, LeftoversWarning, OperatorFailed, Pipeline, PipelineThreadExecutor, Stream
from headrace.contracts import Leftovers
from headrace.testing import Aside, Gate, Resources, Source
from headrace.testing.ways import EARLY, Make, exhausted_or_failed

PATIENCE_S = 10.0
GONE_S = 2.0


def same(item: Any) -> Any:
    return item


def one_stage(source: Any, fn: Callable[[Any], Any] = same) -> Stream:
    return PipelineThreadExecutor(max_workers=3, max_memory_items=200).execute(fn, source)


def chain(source: Any, fn: Callable[[Any], Any] = same) -> Stream:
    pipeline = (
        Pipeline("chain", window=100)
        .source("items", source)
        .map("first", same, parallel_degree=2)
        .batch("pairs", 2)
        .flat_map("apart", same, parallel_degree=2)
        .map("last", fn, parallel_degree=2)
    )
    return pipeline.stream()


def serial(source: Any, fn: Callable[[Any], Any] = same) -> Stream:
    return headrace.map(fn, source, profile="serial")


RUNS = {"one stage": one_stage, "chain": chain, "serial": serial}


@pytest.fixture
def frozen() -> Iterator[None]:
    """What is there already is no concern of the collector, which then has little to go through, as often as it may."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


# The window ---------------------------------------------------------------------------------------------------------


def test_a_stopped_consumer_stops_an_endless_source() -> None:
    window, taken, full = 50, 0, threading.Event()

    def look(item: int) -> None:
        ahead = source.pulled - taken
        assert ahead <= window, f"{ahead} items ahead"
        if source.pulled == window:
            full.set()

    source = Source(at_pull=look)
    with PipelineThreadExecutor(max_workers=3, max_memory_items=window).execute(same, source) as stream:
        assert next(stream) == 0
        # It stands still, with the first item in its hand, until all has come that may; `look` lets no more come.
        assert full.wait(PATIENCE_S), f"the source stopped at {source.pulled} of {window} items"
        taken = 1
        for item in range(1, 2_000):
            assert next(stream) == item
            taken += 1


@pytest.mark.parametrize("stages", [2, 3])
def test_windows_of_a_chain_add_up(stages: int) -> None:
    window, taken = 20, 0

    def look(item: int) -> None:
        assert source.pulled - taken <= stages * window

    source = Source(at_pull=look)
    pipeline = Pipeline("chain", window=window).source("items", source)
    for number in range(stages):
        pipeline.map(f"stage {number}", same, parallel_degree=2)

    def consume() -> None:
        nonlocal taken
        for _ in pipeline:
            taken += 1
            if taken == 2_000:
                break

    Aside(consume).result(PATIENCE_S)


# A silent source ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [one_stage, chain], ids=["one stage", "chain"])
def test_a_silent_source_holds_nothing_back(run: Callable[..., Stream]) -> None:
    source = Source(silent_after=8)
    stream = run(source)
    try:
        assert Aside(lambda: [next(stream) for _ in range(8)]).result(PATIENCE_S) == list(range(8))
        assert source.silent.is_set()
    finally:
        source.wake()
        stream.close()


@pytest.mark.parametrize("run", [one_stage, chain], ids=["one stage", "chain"])
def test_functions_run_on_a_silent_source_while_the_consumer_is_elsewhere(run: Callable[..., Stream]) -> None:
    gate, source = Gate(), Source(silent_after=8)
    gate.open()
    stream = run(source, gate.hold)
    try:
        next(stream)
        assert sorted(gate.wait_for(8), key=repr) == list(range(8))
    finally:
        source.wake()
        stream.close()


def test_items_of_a_silent_source_come_within_the_linger() -> None:
    """The linger is 5 ms; a busy machine gets a hundred times as long, of which an item that waits for the next one
    would know nothing: the source is silent for much longer."""
    took_s, came = [], threading.Semaphore(0)

    def fn(item: float) -> float:
        took_s.append(time.monotonic() - item)
        came.release()
        return item

    def items() -> Iterator[float]:
        for _ in range(7):
            yield time.monotonic()
        assert end.wait(PATIENCE_S)

    end = threading.Event()
    stream = PipelineThreadExecutor(max_workers=2).execute(fn, items)
    next(stream)
    for _ in range(7):
        assert came.acquire(timeout=PATIENCE_S)
    end.set()
    stream.close()
    assert max(took_s) < 0.5


# Nothing is left ----------------------------------------------------------------------------------------------------


def not_forty(item: int) -> int:
    if item == 40:
        raise ValueError(item)
    return item


def fails_at_forty() -> Iterator[int]:
    yield from range(40)
    raise OSError("the disk is gone")


ENDS: dict[str, tuple[Callable[[Make], None], Callable[[], Any], Callable[[Any], Any]]] = {
    # how it ends, over what, by which function
    **{name: (way, count, same) for name, way in EARLY.items()},
    "all are out": (exhausted_or_failed, lambda: range(100), same),
    "an item fails": (exhausted_or_failed, count, not_forty),
    "the source fails": (exhausted_or_failed, fails_at_forty, same),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize(("way", "items", "fn"), ENDS.values(), ids=ENDS)
def test_fifty_ends_leave_nothing(
    frozen: None, run: Callable[..., Stream], way: Callable[[Make], None], items: Any, fn: Any
) -> None:
    before = Resources.now()
    for _ in range(50):
        source = Source(items())
        way(lambda source=source: run(source, fn))  # type: ignore[misc]
        assert source.closed.wait(GONE_S)
        assert source.closed_where_pulled
        assert before.left() == []


def test_a_run_that_is_never_begun_leaves_nothing() -> None:
    before, source = Resources.now(), Source()
    for run in RUNS.values():
        run(source)
        run(source).close()
        with run(source):
            pass
    assert before.left() == []
    assert source.pulled == 0


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_closed_from_another_thread_while_the_consumer_waits(run: Callable[..., Stream]) -> None:
    before, source = Resources.now(), Source(silent_after=8)
    stream = run(source)
    consumer = Aside(list, stream)
    assert source.silent.wait(PATIENCE_S)
    closer = Aside(stream.close)
    source.wake()
    got = consumer.result(PATIENCE_S)
    closer.result(PATIENCE_S)
    assert got == list(range(len(got)))
    assert source.closed.wait(GONE_S)
    assert before.left() == []


def test_closed_from_another_thread_while_the_consumer_is_elsewhere() -> None:
    before, source = Resources.now(), Source()
    stream = one_stage(source)
    next(stream)
    Aside(stream.close).result(GONE_S)
    assert source.closed.is_set()
    assert before.left() == []
    assert list(stream) == []


def test_closed_by_a_function_of_its_own() -> None:
    before, closed = Resources.now(), threading.Event()

    def close_it(item: int) -> int:
        if item == 50:
            stream.close()
            closed.set()
        return item

    stream = one_stage(count(), close_it)
    while not closed.is_set():
        with suppress(StopIteration):
            next(stream)
    assert list(stream) == []
    assert before.left() == []


def test_what_a_source_says_at_its_end_is_heard() -> None:
    def items() -> Iterator[int]:
        try:
            yield from range(10)
        finally:
            raise OSError("cannot be flushed")

    for run in RUNS.values():
        with pytest.raises(OperatorFailed, match="cannot be flushed"):
            list(run(items))


def test_what_a_source_says_while_it_is_closed_is_warned_of() -> None:
    def endless() -> Iterator[int]:
        try:
            yield from count()
        finally:
            raise OSError("the cursor is gone")

    stream = one_stage(endless)
    assert next(stream) == 0
    with pytest.warns(RuntimeWarning, match="source 'items' raised while it was closed: OSError: the cursor"):
        stream.close()


@pytest.mark.parametrize("run", [one_stage, chain], ids=["one stage", "chain"])
def test_a_source_that_is_blocked_for_ever_is_named(run: Callable[..., Stream]) -> None:
    before, source = Resources.now(), Source(silent_after=8)
    stream = run(source)
    for _ in range(8):
        next(stream)
    assert source.silent.wait(PATIENCE_S)
    began_s = time.monotonic()
    with pytest.warns(LeftoversWarning, match="headrace-pull-(items|data|source)") as caught:
        stream.close()
    assert time.monotonic() - began_s < GONE_S + 1
    assert len(caught) == 1
    left = [each for each in threading.enumerate() if each not in before.threads]
    # In a chain, the next stage's puller waits for the one that is blocked.
    assert all(each.name.startswith("headrace-pull-") for each in left), "an idle thread is still there"
    source.wake()
    assert source.closed.wait(GONE_S)
    assert source.closed_where_pulled
    assert before.left() == []


class GivesUp:
    """An executor, and its lane, that cancels what it was given: while it is submitted, or later from elsewhere."""

    capacity = 1

    def __init__(self, gives_up: Callable[[Future[Any]], object]) -> None:
        self.gives_up = gives_up

    def open(self, stage: object) -> GivesUp:
        return self

    def submit(self, batch: object) -> Future[Any]:
        future: Future[Any] = Future()
        self.gives_up(future)
        return future

    def resize(self, degree: int) -> None: ...

    def close(self, *, cancel: bool = False, timeout_s: float = 2.0) -> Leftovers:
        return Leftovers()


@pytest.mark.parametrize(
    "gives_up", [Future.cancel, lambda future: Aside(future.cancel)], ids=["at once", "from another thread"]
)
def test_a_batch_that_the_executor_gives_up_fails_the_run(gives_up: Callable[[Future[Any]], object]) -> None:
    before = Resources.now()
    with pytest.raises(ExecutorFailed, match=r"failed on the batch that starts at item 0: .* it gave the batch up"):
        Aside(list, headrace.map(same, count(), executor=GivesUp(gives_up))).result(PATIENCE_S)
    assert before.left() == []


class Falsy:
    """An iterator that is not true, as those are which tell how many items they have left."""

    def __init__(self, items: int) -> None:
        self.items = iter(range(items))

    def __iter__(self) -> Falsy:
        return self

    def __next__(self) -> int:
        return next(self.items)

    def __len__(self) -> int:
        return 0


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_source_is_opened_once_whatever_its_truth(run: Callable[..., Stream]) -> None:
    assert Aside(list, run(lambda: Falsy(300))).result(PATIENCE_S) == list(range(300))


# The garbage collector ----------------------------------------------------------------------------------------------


def abandoned(run: Callable[..., Stream], source: Any, fn: Callable[[Any], Any] = same) -> None:
    """Begin a run, and lose it in a cycle that only the collector finds."""
    stream = run(source, fn)
    next(stream)
    cycle: list[Any] = [stream]
    cycle.append(cycle)


@pytest.fixture
def no_automatic_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_collected_by_another_thread(no_automatic_collection: None, run: Callable[..., Stream]) -> None:
    before, source = Resources.now(), Source()
    abandoned(run, source)
    Aside(gc.collect).result(PATIENCE_S)
    assert source.closed.wait(GONE_S)
    assert run is serial or source.closed_where_pulled
    assert before.left() == []


@pytest.mark.parametrize("run", [one_stage, chain], ids=["one stage", "chain"])
@pytest.mark.parametrize("place", ["function", "source"])
def test_collected_by_a_thread_of_its_own(
    no_automatic_collection: None, run: Callable[..., Stream], place: str
) -> None:
    """It does not wait for itself, nor does it pass for one that is held."""
    lost, took_s = threading.Event(), []
    before = Resources.now()

    def collect(item: int) -> int:
        if item == 30 and lost.wait(PATIENCE_S):
            began_s = time.monotonic()
            gc.collect()
            took_s.append(time.monotonic() - began_s)
        return item

    source = Source(at_pull=collect if place == "source" else same)
    abandoned(run, source, collect if place == "function" else same)
    lost.set()
    assert source.closed.wait(PATIENCE_S)
    assert source.closed_where_pulled
    assert before.left() == []
    assert max(took_s) < 1


@pytest.mark.stress
@pytest.mark.parametrize("run", [one_stage, chain], ids=["one stage", "chain"])
def test_collected_at_any_point(run: Callable[..., Stream]) -> None:
    """The collector comes so often that it also comes to threads that hold the lock of the run."""
    before, thresholds = Resources.now(), gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(3, 1, 1)
    try:
        for _ in range(500):
            source = Source()
            abandoned(run, source)
            assert source.closed.wait(GONE_S)
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
    assert before.left() == []


# Programs -----------------------------------------------------------------------------------------------------------

PRELUDE = """
import itertools, signal, sys, threading, time

signal.signal(signal.SIGURG, lambda *_: None)

import headrace
from headrace import Pipeline, PipelineThreadExecutor

def same(item):
    return item

def ready(item=None):
    print("ready", flush=True)
    return item

def silent():
    yield from range(8)
    ready()
    threading.Event().wait()
"""


class Program:
    """A program of its own, which says "ready" when it is where it should be."""

    def __init__(self, code: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(code)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"},
        )

    def wait_until_ready(self) -> None:
        assert self._process.stdout is not None
        assert Aside(self._process.stdout.readline).result(PATIENCE_S) == "ready\n"

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def end(self, within_s: float) -> tuple[int, str]:
        """How it ended, and what it said to stderr. Fails if that takes longer than `within_s`.

        A signal that comes just as the main thread begins to wait for a lock is noticed by CPython only when the thread
        wakes up. So it is woken now and then, by a signal that does nothing.
        """
        until_s = time.monotonic() + within_s
        while time.monotonic() < until_s:
            with suppress(subprocess.TimeoutExpired):
                _, said = self._process.communicate(timeout=0.1)
                return self._process.returncode, said
            self._process.send_signal(signal.SIGURG)
        self._process.kill()
        pytest.fail(f"still there after {within_s} s: {self._process.communicate()[1]}")


INTERRUPTED = {
    "next": """
        for item in PipelineThreadExecutor(max_workers=2).execute(same, silent()):
            pass
    """,
    "the body of the loop": """
        for item in PipelineThreadExecutor(max_workers=2).execute(same, itertools.count()):
            if item == 100:
                ready()
                threading.Event().wait()
    """,
    "execute of a chain": """
        pipeline = Pipeline("chain").source("items", itertools.count()).map("first", same).map("second", same)
        pipeline.batch("ten", 10).sink("sink", lambda ten: ready() if ten[0] == 1000 else None).execute()
    """,
    "a function on serial": """
        list(headrace.map(lambda item: (ready(), time.sleep(60)), [1], profile="serial"))
    """,
    "a source on serial": """
        list(headrace.map(same, silent, profile="serial"))
    """,
    "a sink": """
        Pipeline("sink").source("items", [1]).sink("sink", lambda item: (ready(), time.sleep(60))).execute()
    """,
    "an entered executor": """
        with PipelineThreadExecutor(max_workers=2) as executor:
            for item in executor.execute(same, itertools.count()):
                if item == 100:
                    ready()
                    threading.Event().wait()
    """,
}


@pytest.mark.parametrize("code", INTERRUPTED.values(), ids=INTERRUPTED)
def test_ctrl_c_ends_a_program_at_once_and_without_noise(code: str) -> None:
    program = Program(code)
    program.wait_until_ready()
    program.interrupt()
    status, said = program.end(within_s=GONE_S + 1)
    assert status == -signal.SIGINT, said
    # A source that is silent for ever cannot be ended, and is named.
    lines = [line for line in said.splitlines() if "LeftoversWarning" not in line]
    assert said.count("Traceback (most recent call last)") == 1, said
    assert lines[-1] == "KeyboardInterrupt"
    assert "Exception ignored" not in said
    assert ("LeftoversWarning" in said) == ("silent()" in code and "profile" not in code)


UNFINISHED = {
    "a global iterator": """
        stream = PipelineThreadExecutor(max_workers=2).execute(same, itertools.count())
        print(next(stream), next(stream))
    """,
    "a chain": """
        stream = iter(Pipeline("chain").source("items", itertools.count()).map("first", same).map("second", same))
        print(next(stream), next(stream))
    """,
    "a source that is silent": """
        stream = PipelineThreadExecutor(max_workers=2).execute(same, silent())
        print(next(stream), next(stream))
    """,
    "a function that is held": """
        stream = PipelineThreadExecutor(max_workers=2, adaptive_batching=False).execute(
            lambda item: threading.Event().wait() if item > 3 else item, itertools.count()
        )
        print(next(stream), next(stream))
    """,
    "an iterator in a cycle": """
        class Owner:
            def __init__(self):
                self.stream = PipelineThreadExecutor(max_workers=2).execute(self.method, itertools.count())
                print(next(self.stream), next(self.stream))

            def method(self, item):
                return item

        Owner()
    """,
    "a cycle that another thread has made": """
        def begin():
            stream = PipelineThreadExecutor(max_workers=2).execute(same, itertools.count())
            print(next(stream), next(stream))
            stream.me = stream

        thread = threading.Thread(target=begin)
        thread.start()
        thread.join()
    """,
    "an executor that was entered": """
        executor = PipelineThreadExecutor(max_workers=2).__enter__()
        stream = executor.execute(same, itertools.count())
        print(next(stream), next(stream))
    """,
    "serial": """
        stream = headrace.map(same, itertools.count(), profile="serial")
        print(next(stream), next(stream))
    """,
    "sys.exit": """
        for item in PipelineThreadExecutor(max_workers=2).execute(same, itertools.count()):
            if item == 100:
                print("0 1")
                sys.exit(0)
    """,
}


@pytest.mark.parametrize("code", UNFINISHED.values(), ids=UNFINISHED)
def test_a_program_ends_quietly_with_a_run_unfinished(code: str) -> None:
    status, said = Program(code).end(within_s=5)
    assert (status, said) == (0, "")
