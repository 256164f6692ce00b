"""What went wrong once: runs that share workers, programs that fork, results that end a worker, odd errors."""

from __future__ import annotations

import dataclasses
import os
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import scripts
import victims

from headrace import (
    ExecutorFailed,
    ItemUnpicklable,
    OperatorFailed,
    Pipeline,
    PipelineProcessExecutor,
    PipelineTimeout,
    Retry,
    WorkerLost,
)
from headrace.testing import Resources


def _slow(item: int, *, folder: Path) -> int:
    with open(folder / str(item), "a") as file:
        file.write("x")
    time.sleep(0.5)  # stands for work that takes its time
    return item


@pytest.mark.parametrize("idempotent", [True, False])
def test_runs_that_end_early_cost_others_nothing_that_share_their_workers(idempotent: bool, tmp_path: Path) -> None:
    before = Resources.now()
    with PipelineProcessExecutor(max_workers=2) as executor:
        slow = Pipeline("slow").source("items", range(4))
        slow.map("slow", partial(_slow, folder=tmp_path), executor=executor, idempotent=idempotent)
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.append(slow.execute().outputs))
        thread.start()
        while thread.is_alive():
            other = Pipeline("other").source("items", range(10_000)).map("spin", victims.spin, executor=executor)
            with pytest.raises(PipelineTimeout):
                other.execute(timeout_s=0.02)
        thread.join()
    assert not before.left(within_s=scripts.GONE_S)
    assert results == [[0, 1, 2, 3]]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys("0123", "x")


def test_a_fork_of_the_program_may_end_as_it_likes() -> None:
    code = """
        import os, sys, warnings
        from headrace import PipelineProcessExecutor

        warnings.simplefilter("ignore")  # of newer Pythons, of forks beside threads

        def same(item):
            return item

        def forked():
            for item in PipelineProcessExecutor(max_workers=2).execute(same, range(20_000)):
                if item == 100 and os.fork() == 0:
                    sys.exit(0)
                yield item

        print(list(forked()) == list(range(20_000)))
        print(os.waitstatus_to_exitcode(os.wait()[1]))
    """
    assert scripts.run(code).split() == ["True", "0"]


def _forks(item: int) -> int:
    if item == 7 and os.fork() == 0:
        sys.exit(0)
    return item


def test_a_function_may_fork_and_the_fork_is_no_second_worker() -> None:
    assert list(PipelineProcessExecutor(max_workers=2).execute(_forks, range(5_000))) == list(range(5_000))


class Raises:
    """Cannot be made again from its pickle: that raises what is no Exception, even."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        return _raise, (self.error,)


def _raise(error: type[BaseException]) -> None:
    raise error("not here")


def _odd_at_three(item: int, *, error: type[BaseException]) -> Any:
    return Raises(error) if item == 3 else item


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, SystemExit])
def test_a_result_may_raise_anything_when_it_comes_home(error: type[BaseException]) -> None:
    stream = PipelineProcessExecutor(max_workers=2).execute(
        partial(_odd_at_three, error=error), range(10), on_error="dead_letter"
    )
    assert list(stream) == [item for item in range(10) if item != 3]
    assert isinstance(stream.dead_letters[0].error, ItemUnpicklable)


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    pass


def _frozen(item: int) -> int:
    if item == 3:
        raise Frozen
    return item


def test_an_error_may_be_frozen() -> None:
    with pytest.raises(OperatorFailed, match="at item 3"):
        list(PipelineProcessExecutor(max_workers=2).execute(_frozen, range(10)))


def _three(item: int) -> list[tuple[int, int]]:
    return [(item, number) for number in range(3)]


def _lock_at(pair: tuple[int, int]) -> Any:
    return threading.Lock() if pair == (2, 1) else pair


def _locks_of(item: int) -> list[Any]:
    return [threading.Lock()] if item == 2 else [item, item]


def test_of_an_expansion_only_what_cannot_travel_fails() -> None:
    pipeline = Pipeline("p").source("items", range(4)).flat_map("three", _three, executor="process")
    pipeline.map("lock", _lock_at, executor="process", on_error="dead_letter")
    result = pipeline.execute()
    assert result.outputs == [(item, number) for item in range(4) for number in range(3) if (item, number) != (2, 1)]
    assert [letter.index for letter in result.dead_letters] == [(2, 1)]
    lock = result.report["lock"]
    assert (lock.taken, lock.done, lock.dead, lock.emitted) == (12, 11, 1, 11)


def test_an_expansion_that_cannot_travel_fails_whole() -> None:
    pipeline = Pipeline("p").source("items", range(4)).flat_map("locks", _locks_of, executor="process", on_error="skip")
    result = pipeline.execute()
    assert result.outputs == [0, 0, 1, 1, 3, 3]
    assert (result.report["locks"].done, result.report["locks"].skipped) == (3, 1)


class EndsWhenPickled:
    def __reduce__(self) -> Any:
        os._exit(3)


class EndsWhenUnpickled:
    def __reduce__(self) -> Any:
        return _end_elsewhere, (os.getpid(),)


def _end_elsewhere(pid: int) -> Any:
    if os.getpid() != pid:
        os._exit(4)
    return EndsWhenUnpickled()


def _ends_at_500(item: int) -> Any:
    return EndsWhenPickled() if item == 500 else item


def test_a_result_that_ends_its_worker_is_found() -> None:
    stream = PipelineProcessExecutor(max_workers=2).execute(_ends_at_500, range(1_000), on_error="dead_letter")
    assert list(stream) == [item for item in range(1_000) if item != 500]
    (letter,) = stream.dead_letters
    assert letter.index == 500 and isinstance(letter.error, WorkerLost)


def test_an_item_that_ends_its_worker_when_it_arrives_is_found() -> None:
    items = [EndsWhenUnpickled() if number == 500 else number for number in range(1_000)]
    stream = PipelineProcessExecutor(max_workers=2).execute(victims.same, items, on_error="dead_letter")
    assert list(stream) == [item for item in range(1_000) if item != 500]
    (letter,) = stream.dead_letters
    assert letter.index == 500 and isinstance(letter.error, WorkerLost)


class EndsWhenLoaded:
    def __call__(self, item: int) -> int:
        return item

    def __reduce__(self) -> Any:
        return _end_elsewhere, (os.getpid(),)


def test_a_function_that_ends_workers_when_it_is_loaded_convicts_no_item() -> None:
    with pytest.raises(ExecutorFailed, match="end while they load the stage's functions"):
        list(PipelineProcessExecutor(max_workers=2).execute(EndsWhenLoaded(), range(10), on_error="skip"))


def test_each_attempt_has_its_deadline() -> None:
    pipeline = Pipeline("p").source("items", range(6))
    fn = victims.at({3}, victims.stopped)
    pipeline.map("f", fn, executor="process", timeout_s=0.2, retries=Retry(3), on_error="dead_letter")
    began_s = time.monotonic()
    result = pipeline.execute()
    assert time.monotonic() - began_s < 4
    (letter,) = result.dead_letters
    assert (letter.index, letter.attempts) == (3, 3) and isinstance(letter.error, TimeoutError)


def _fails_then_dies(item: int, *, folder: Path) -> int:
    with open(folder / str(item), "a") as file:
        file.write("x")
    if item == 2:
        if (folder / "2").read_text() == "x":
            raise OSError("the first time")
        os._exit(5)
    return item


def test_a_retry_that_is_lost_does_not_run_again_either(tmp_path: Path) -> None:
    pipeline = Pipeline("p").source("items", range(5))
    fn = partial(_fails_then_dies, folder=tmp_path)
    pipeline.map("f", fn, executor="process", retries=3, idempotent=False, on_error="dead_letter")
    result = pipeline.execute()
    assert result.outputs == [0, 1, 3, 4]
    assert (tmp_path / "2").read_text() == "xx"


def test_a_pool_that_cannot_replace_a_worker_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def items() -> Iterator[int]:
        yield 0
        monkeypatch.setattr(sys, "executable", "/nonexistent/python")
        yield from range(1, 100)

    fn = victims.at({50}, victims.killed)
    executor = PipelineProcessExecutor(max_workers=1, ordered=False)
    with pytest.raises(ExecutorFailed, match="no worker process can be started"):
        list(executor.execute(fn, items))
