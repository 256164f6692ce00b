"""What the speed and the flat memory of Headrace rest on, by counts and barriers: six groups, of which those stand
here whose parts exist. The seconds are in `benchmarks/`."""

from __future__ import annotations

import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path
from time import monotonic, sleep

import pytest

from headrace import (
    AsyncEventDispatcher,
    BatchCompleted,
    BufferedEventNotifier,
    Event,
    Pipeline,
    PipelineFinished,
    PipelineProcessExecutor,
    PipelineThreadExecutor,
    PluginRef,
)

WAIT_S = 10


def _meet_in(number: int, folder: Path) -> int:
    """Items 0 and 1 wait for each other, wherever they are."""
    if number < 2:
        (folder / str(number)).touch()
        until_s = monotonic() + WAIT_S
        while not (folder / str(1 - number)).exists():
            assert monotonic() < until_s, "the other item was not at work at the same time"
            sleep(0.001)
    return number


class Item:
    """An item that can be counted while it lives."""

    alive = 0

    def __init__(self, number: int) -> None:
        self.number = number
        Item.alive += 1
        weakref.finalize(self, Item._gone)

    @classmethod
    def _gone(cls) -> None:
        cls.alive -= 1


class TestExecutorOverlap:
    """Batches run beside each other, with no barrier between one and the next."""

    @pytest.mark.parametrize("workers", [2, 4, 8])
    def test_as_many_batches_at_once_as_there_are_workers(self, workers: int) -> None:
        all_at_work = threading.Barrier(workers, timeout=WAIT_S)

        def meet(number: int) -> int:
            if number < workers:
                all_at_work.wait()
            return number

        executor = PipelineThreadExecutor(max_workers=workers)
        assert list(executor.execute(meet, range(100))) == list(range(100))

    def test_both_worker_processes_are_at_work_at_once(self, tmp_path: Path) -> None:
        meet = partial(_meet_in, folder=tmp_path)
        assert list(PipelineProcessExecutor(max_workers=2).execute(meet, range(100))) == list(range(100))

    def test_tiny_functions_travel_to_processes_many_at_a_time(self) -> None:
        stream = PipelineProcessExecutor(max_workers=2).execute(abs, range(20_000))
        assert list(stream) == list(range(20_000))
        assert stream.report["abs"].batches <= 200

    def test_a_held_item_does_not_hold_up_the_window(self) -> None:
        released, others = threading.Event(), threading.Event()
        done = []

        def work(number: int) -> int:
            if number == 0:
                assert released.wait(WAIT_S)
            else:
                done.append(number)
                if len(done) == 99:
                    others.set()
            return number

        def release() -> None:
            assert others.wait(WAIT_S)
            released.set()

        helper = threading.Thread(target=release)
        helper.start()
        executor = PipelineThreadExecutor(max_workers=4, max_memory_items=100)
        assert list(executor.execute(work, range(1_000))) == list(range(1_000))
        helper.join()

    def test_tiny_functions_travel_many_at_a_time(self) -> None:
        result = Pipeline("tiny").source("numbers", range(200_000)).map("next", lambda number: number + 1).execute()
        assert result.report["next"].batches < 200_000 / 500

    def test_slow_functions_travel_one_at_a_time(self) -> None:
        never = threading.Event()
        pipeline = Pipeline("slow").source("numbers", range(60))
        pipeline.map("wait", lambda number: never.wait(0.01), parallel_degree=8)
        assert pipeline.execute().report["wait"].batches == 60

    def test_the_size_follows_a_change_of_cost(self) -> None:
        """Once items have become slow, they are shared by all workers, though batches had grown long."""
        slow, lock = threading.Event(), threading.Lock()
        workers: set[int] = set()

        def work(number: int) -> int:
            if number >= 50_000:
                slow.wait(0.002)
                with lock:
                    workers.add(threading.get_ident())
            return number

        executor = PipelineThreadExecutor(max_workers=4)
        assert list(executor.execute(work, range(50_400))) == list(range(50_400))
        assert len(workers) == 4

    def test_stages_overlap(self) -> None:
        both = threading.Barrier(2, timeout=WAIT_S)

        def meet(number: int) -> int:
            if number in (0, 50):
                both.wait()
            return number

        pipeline = Pipeline("stages", window=100).source("numbers", range(200))
        pipeline.map("first", lambda number: meet(number) if number == 50 else number)
        pipeline.map("second", lambda number: meet(number) if number == 0 else number)
        assert pipeline.execute().outputs == list(range(200))


class TestOperatorsTrulyInParallel:
    """N equal operators are at work at the same time: in a chain, on branches, with a slow one beside them."""

    @pytest.mark.parametrize("operators", [2, 4, 8])
    def test_all_operators_of_a_chain_at_once(self, operators: int) -> None:
        together = threading.Barrier(operators, timeout=WAIT_S)
        met = []

        def meet(stage: int, number: int) -> int:
            if number == operators - stage:  # the first of them has come that far when the last is at its first item
                together.wait()
                met.append(stage)
            return number

        one_by_one = PluginRef("thread", {"adaptive_batching": False})  # or the item that is held holds up its stride
        pipeline = Pipeline("chain").source("numbers", range(50))
        for stage in range(operators):
            pipeline.map(f"stage {stage}", partial(meet, stage), parallel_degree=1, executor=one_by_one)
        assert pipeline.execute().outputs == list(range(50))
        assert sorted(met) == list(range(operators))

    def test_branches_at_once(self) -> None:
        together = threading.Barrier(3, timeout=WAIT_S)

        def meet(number: int) -> int:
            if number == 0:
                together.wait()
            return number

        pipeline = Pipeline("branches").source("numbers", range(50))
        for name in ("one", "two", "three"):
            pipeline.map(name, meet, inputs="numbers", parallel_degree=1)
        assert set(map(len, pipeline.execute().outputs.values())) == {50}

    def test_a_held_branch_holds_up_the_others_by_its_window_alone(self) -> None:
        released, enough = threading.Event(), threading.Event()
        seen = []

        def hold(number: int) -> int:
            assert number or released.wait(WAIT_S)
            return number

        def count_up(number: int) -> int:
            seen.append(number)
            if len(seen) == 100:
                enough.set()
            return number

        def release() -> None:
            assert enough.wait(WAIT_S)
            released.set()

        helper = threading.Thread(target=release)
        helper.start()
        pipeline = Pipeline("held", window=100).source("numbers", range(1_000))
        pipeline.map("held", hold, inputs="numbers", parallel_degree=1).map("free", count_up, inputs="numbers")
        result = pipeline.execute()
        helper.join()
        assert {name: len(outputs) for name, outputs in result.outputs.items()} == {"held": 1_000, "free": 1_000}


class TestMemoryUnderControl:
    """Never more than the window between a source and its consumer, however long the input is."""

    @pytest.mark.parametrize("window", [1, 7, 100, 10_000])
    def test_an_endless_source_stays_within_the_window(self, window: int) -> None:
        pulled = 0

        def source() -> Iterator[int]:
            nonlocal pulled
            for pulled in count(1):  # noqa: UP028 - `pulled` is what is looked at
                yield pulled

        executor = PipelineThreadExecutor(max_workers=4, max_memory_items=window)
        with executor.execute(lambda number: number, source()) as stream:
            for taken, _ in enumerate(stream):
                assert pulled - taken <= window
                if taken == 30_000:
                    break

    def test_items_are_let_go(self) -> None:
        """Counted by the items themselves: what was consumed is gone, wherever it has been."""
        executor = PipelineThreadExecutor(max_workers=4, max_memory_items=200)
        most = 0
        with executor.execute(lambda item: item, map(Item, range(20_000))) as stream:
            for item in stream:
                most = max(most, Item.alive)
                del item
        assert most <= 200 + 1  # the one that the loop has in hand
        assert Item.alive == 0

    def test_an_expansion_counts(self) -> None:
        """The window, and the largest single expansion beside it."""
        made = taken = most = 0

        def expand(number: int) -> Iterator[int]:
            nonlocal made
            for each in range(50):
                made += 1
                yield each

        pipeline = Pipeline("expand", window=100).source("numbers", range(400))
        pipeline.flat_map("expand", expand, parallel_degree=4)
        for _ in pipeline:
            taken += 1
            most = max(most, made - taken)
        assert taken == made == 400 * 50
        assert most <= 100 + 50

    def test_bytes_are_bounded(self) -> None:
        """Megabyte items under a bound of 4 MB: a few at a time, though the window would take thousands."""
        most = 0
        alive: weakref.WeakSet[bytearray] = weakref.WeakSet()

        class Block(bytearray):
            __hash__ = object.__hash__

        def block(number: int) -> Block:
            made = Block(1_000_000)
            alive.add(made)
            return made

        workers = 2
        executor = PipelineThreadExecutor(max_workers=workers, max_memory_bytes=4_000_000)
        with executor.execute(block, range(100)) as stream:
            for made in stream:
                most = max(most, len(alive))
                del made
        assert most <= 4 + 2 * workers

    def test_memory_is_flat_in_the_length_of_the_input(self) -> None:
        peaks = [_peak_rss_kib(items) for items in (200_000, 2_000_000)]
        assert peaks[1] - peaks[0] < 5 * 1024


class TestEventHandling:
    """To tell an event costs its emitter no wait, no thread and no lock of a listener's."""

    def test_a_run_does_not_wait_for_its_listeners(self) -> None:
        """The listener is inside of its first call until the run has given out its last item."""
        released = threading.Event()
        heard: list[Event] = []

        def listener(event: Event) -> None:
            assert released.wait(WAIT_S)
            heard.append(event)

        pipeline = Pipeline("events").source("numbers", range(10_000)).map("next", lambda number: number + 1)
        pipeline.on(Event, listener)
        with pipeline.stream() as stream:
            assert list(islice(stream, 10_000)) == list(range(1, 10_001))
            assert heard == []
            released.set()
        assert isinstance(heard[-1], PipelineFinished)

    def test_events_come_in_batches(self) -> None:
        batches: list[int] = []
        with AsyncEventDispatcher() as dispatcher, BufferedEventNotifier(dispatcher, flush_s=3600) as notifier:
            dispatcher.subscribe(lambda events: batches.append(len(events)), batch=True)
            for number in range(5_000):
                notifier.notify(BatchCompleted, items=number)
            assert notifier.flush(WAIT_S)
        assert sum(batches) == 5_000
        assert len(batches) <= 5_000 / 256 + 2

    def test_a_run_without_listeners_starts_no_thread_for_them(self) -> None:
        names: set[str] = set()

        def work(number: int) -> int:
            names.update(thread.name for thread in threading.enumerate())
            return number

        Pipeline("silent").source("numbers", range(100)).map("work", work).execute()
        assert not {name for name in names if "event" in name}

    def test_a_run_tells_of_its_batches_at_most_fifty_times_a_second(self) -> None:
        heard: list[BatchCompleted] = []
        executor = PluginRef("thread", {"max_workers": 8, "adaptive_batching": False})
        pipeline = Pipeline("often").source("numbers", range(2_000)).map("same", abs, executor=executor)
        result = pipeline.on(BatchCompleted, heard.append).execute()
        assert sum(event.batches for event in heard) == result.report["same"].batches == 2_000
        assert len(heard) <= 2 + result.report.wall_s * 50


def _peak_rss_kib(items: int) -> int:
    """The peak of a fresh process that streams so many items through two stages."""
    script = f"""
import resource
from headrace import Pipeline
pipeline = Pipeline("flat").source("numbers", range({items}))
pipeline.map("text", str).filter("even", lambda text: text[-1] in "02468")
assert sum(1 for _ in pipeline) == {items} // 2
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path.cwd())
    return int(done.stdout)
