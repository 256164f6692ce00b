"""Workers that are killed, crash, hang or run out of memory: nothing is lost, and who is to blame is named."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

import psutil
import pytest
import victims

from headrace import ExecutorFailed, OperatorFailed, Pipeline, PipelineProcessExecutor, Result, WorkerLost

ITEMS = 2_000
PLACES = {"start": 0, "middle": 1_000, "end": ITEMS - 1}


def run(fn: object, items: int = ITEMS, **options: object) -> Result:
    pipeline = Pipeline("faults").source("items", range(items))
    pipeline.map("work", fn, executor="process", parallel_degree=2, **options)  # type: ignore[arg-type]
    return pipeline.execute(timeout_s=60)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("end", victims.ENDS)
def test_the_item_that_kills_workers_is_found_and_its_neighbours_do_not_suffer(end: str, place: str) -> None:
    bad = PLACES[place]
    result = run(victims.at({bad}, victims.ENDS[end]), on_error="dead_letter")
    assert result.outputs == [item for item in range(ITEMS) if item != bad]
    (letter,) = result.dead_letters
    assert (letter.index, letter.item) == (bad, bad)
    assert isinstance(letter.error, WorkerLost)
    assert "the 3rd worker" in str(letter.error)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("end", victims.ENDS)
def test_a_worker_that_is_lost_once_costs_nothing(end: str, place: str, tmp_path: Path) -> None:
    result = run(victims.once_at({PLACES[place]}, victims.ENDS[end], tmp_path))
    assert result.outputs == list(range(ITEMS))


def test_several_killers_side_by_side_are_found_each() -> None:
    bad = {500, 501, 502, 900}
    result = run(victims.at(bad, victims.killed), on_error="skip")
    assert result.outputs == [item for item in range(ITEMS) if item not in bad]
    assert result.report["work"].skipped == len(bad)


def test_a_killer_ends_the_run_after_all_that_came_before_it() -> None:
    pipeline = Pipeline("faults").source("items", range(ITEMS))
    pipeline.map("work", victims.at({700}, victims.exits), executor="process", parallel_degree=2)
    got: list[int] = []
    with pytest.raises(OperatorFailed, match=r"operator 'work' failed at item 700 .*ended with status 3") as failed:
        got.extend(pipeline)
    assert got == list(range(700))
    assert isinstance(failed.value.__cause__, WorkerLost)


def test_memory_that_runs_out_is_a_failure_of_the_item_at_most() -> None:
    result = run(victims.at({1_000}, victims.memory_runs_out), on_error="dead_letter")
    assert result.outputs == [item for item in range(ITEMS) if item != 1_000]
    (letter,) = result.dead_letters
    assert isinstance(letter.error, MemoryError | WorkerLost)


@pytest.mark.parametrize("place", [0, 30, 59])
@pytest.mark.parametrize("end", [victims.stopped, victims.hangs_in_c])
def test_what_hangs_fails_at_its_deadline(end: object, place: int) -> None:
    began_s = monotonic()
    result = run(victims.at({place}, end), 60, timeout_s=0.3, on_error="dead_letter")  # type: ignore[arg-type]
    assert monotonic() - began_s < 10
    assert result.outputs == [item for item in range(60) if item != place]
    (letter,) = result.dead_letters
    assert isinstance(letter.error, TimeoutError)
    if end is victims.hangs_in_c:
        assert "in hangs_in_c" in "".join(letter.error.__notes__), "it does not say where it hung"


def test_what_may_not_run_again_fails_and_is_called_once(tmp_path: Path) -> None:
    bad = {100, 101, 1_500}
    result = run(victims.noted(tmp_path, bad, victims.killed), idempotent=False, on_error="dead_letter")
    called = Counter(int(line) for file in tmp_path.iterdir() for line in file.read_text().split())
    assert called == Counter(range(ITEMS)), "an item was called for twice, or not at all"
    lost = [letter.index for letter in result.dead_letters]
    assert bad <= set(lost)
    assert all(isinstance(letter.error, WorkerLost) for letter in result.dead_letters)
    assert sorted([*result.outputs, *lost]) == list(range(ITEMS))


def test_workers_that_all_die_end_the_run() -> None:
    with pytest.raises(ExecutorFailed, match=r"workers in a row came to nothing, the last: worker process .* SIGKILL"):
        run(victims.at(set(range(ITEMS)), victims.killed), on_error="skip")


# Workers that somebody else kills -----------------------------------------------------------------------------------


@contextmanager
def killer(seed: int) -> Iterator[list[int]]:
    """Kills a random worker of this process every now and then; gives the list of those that it has killed."""
    draw, over, dead = random.Random(seed), threading.Event(), list[int]()

    def work() -> None:
        me = psutil.Process()
        while not over.wait(draw.uniform(0.0, 0.15)):
            workers = [child for child in me.children() if child.pid not in dead]
            if workers:
                victim = draw.choice(workers).pid
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                    dead.append(victim)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield dead
    finally:
        over.set()
        thread.join()


def survive(seed: int) -> None:
    items = 20_000
    with killer(seed) as dead, PipelineProcessExecutor(max_workers=2) as executor:
        got = list(executor.execute(victims.spin, range(items)))
    assert got == list(range(items)), f"seed {seed}, after {len(dead)} workers were killed"
    assert dead, f"seed {seed}: nobody was killed"


@pytest.mark.parametrize("seed", range(20))
def test_random_kills_lose_nothing_and_convict_nobody(seed: int) -> None:
    survive(seed)


@pytest.mark.stress
@pytest.mark.parametrize("seed", range(20, 220))
def test_many_random_kills(seed: int) -> None:
    survive(seed)
