"""Coroutine functions, and runs that are awaited: the loop goes on, and who is cancelled leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

import headrace
from headrace import AsyncPipelineExecutor, CoroutineExecutor, OperatorFailed, Pipeline, SettingsError, Setup
from headrace.testing import Resources

WAIT_S = 20


def run(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """`main` in a loop of its own, in debug mode, and it must come back."""

    async def in_time() -> Any:
        async with asyncio.timeout(WAIT_S):
            return await main()

    return asyncio.run(in_time(), debug=True)


def numbers(count: int = 100, **options: Any) -> Pipeline:
    return Pipeline("numbers", **options).source("items", range(count))


async def same(item: Any) -> Any:
    await asyncio.sleep(0)
    return item


class Flight:
    """How many coroutines are in flight. The first `hold` of them wait for each other."""

    def __init__(self, hold: int) -> None:
        self.hold = hold
        self.now = self.most = 0
        self.full = asyncio.Event()

    async def __call__(self, item: int) -> int:
        self.now += 1
        self.most = max(self.most, self.now)
        if self.now == self.hold:
            self.full.set()
        await self.full.wait()
        await asyncio.sleep(0)
        self.now -= 1
        return item


class TestCoroutines:
    @pytest.mark.parametrize("degree", [1, 7, 200])
    def test_as_many_at_once_as_the_degree_and_no_more(self, degree: int) -> None:
        async def main() -> None:
            flight = Flight(degree)
            result = await numbers(600).map("fly", flight, parallel_degree=degree).execute_async()
            assert result.outputs == list(range(600)) and flight.most == degree

        run(main)

    def test_one_that_hangs_holds_up_no_other(self) -> None:
        async def main() -> None:
            others = asyncio.Event()
            done: list[int] = []

            async def fly(item: int) -> int:
                if item == 0:
                    await others.wait()
                done.append(item)
                if len(done) == 499:
                    others.set()
                return item

            pipeline = numbers(500).map("fly", fly, parallel_degree=4, ordered=False)
            assert sorted((await pipeline.execute_async()).outputs) == list(range(500))
            assert done[-1] == 0

        run(main)

    def test_a_timeout_cancels(self) -> None:
        cancelled: list[int] = []

        async def slow(item: int) -> int:
            try:
                await asyncio.sleep(3600 if item == 3 else 0)
            except asyncio.CancelledError:
                cancelled.append(item)
                raise
            return item

        pipeline = numbers(8).map("slow", slow, timeout_s=0.1, on_error="dead_letter")
        for result in (run(pipeline.execute_async), pipeline.execute()):
            assert result.outputs == [0, 1, 2, 4, 5, 6, 7]
            assert [str(each.error) for each in result.dead_letters] == ["still running after 0.1 s"]
        assert cancelled == [3, 3]

    def test_where_an_error_was_raised(self) -> None:
        async def bad(item: int) -> int:
            raise ValueError(item)

        letters = numbers(1).map("bad", bad, on_error="dead_letter").execute().dead_letters
        assert [name for _, _, name in letters[0].trace] == ["bad"]

    def test_that_it_is_cancelled_itself_is_the_items_failure(self) -> None:
        async def gone(item: int) -> int:
            raise asyncio.CancelledError

        with pytest.raises(OperatorFailed, match=r"'gone' failed at item 0.*CancelledError"):
            numbers(3).map("gone", gone).execute()

    def test_random_numbers_do_not_depend_on_the_loop(self) -> None:
        async def drawn(item: int) -> float:
            await asyncio.sleep(0)
            return headrace.current().rng.random()

        def plain(item: int) -> float:
            return headrace.current().rng.random()

        expected = numbers(50).map("draw", plain).execute(seed=7).outputs
        assert numbers(50).map("draw", drawn).execute(seed=7).outputs == expected
        assert numbers(50, profile="serial").map("draw", drawn).execute(seed=7).outputs == expected

    def test_setup_and_teardown_are_awaited(self) -> None:
        did: list[str] = []

        async def make(name: str) -> Any:
            await asyncio.sleep(0)
            did.append(f"made {name}")
            return same

        async def end(made: Any) -> None:
            await asyncio.sleep(0)
            did.append("ended")

        for profile in ("balanced", "serial"):
            pipeline = numbers(5, profile=profile)
            pipeline.map(
                "same", setup=Setup(make, "it", teardown=end), executor="auto" if profile == "serial" else "coroutine"
            )
            assert pipeline.execute().outputs == list(range(5))
            assert did == ["made it", "ended"]
            did.clear()

    def test_a_setup_that_fails_is_told(self) -> None:
        class Bad:
            async def __aenter__(self) -> Any:
                raise OSError("no network")

            async def __aexit__(self, *error: object) -> None: ...

            async def __call__(self, item: int) -> int:
                return item

        with pytest.raises(headrace.ExecutorFailed, match="setup of operator 'bad' raised OSError: no network"):
            numbers(5).map("bad", Bad()).execute()

    def test_on_its_own(self) -> None:
        with CoroutineExecutor(max_workers=3) as executor:
            assert list(executor.execute(same, range(50))) == list(range(50))
            assert sorted(executor.execute(same, range(50), ordered=False)) == list(range(50))
        assert list(headrace.map(same, range(50), max_workers=5)) == list(range(50))

    def test_what_cannot_be_is_refused_in_words(self) -> None:
        async def expands(item: int) -> AsyncIterator[int]:
            yield item

        with pytest.raises(SettingsError, match=r"asynchronous generator function.*which a flat_map can have"):
            numbers().map("expands", expands)
        with pytest.raises(SettingsError, match=r"'same' has a coroutine function, which <.*> cannot run"):
            numbers().map("same", same, executor="thread").execute()
        with pytest.raises(SettingsError, match=r"must be a plain function for .*; got the coroutine function"):
            headrace.PipelineThreadExecutor().execute(same, [1])
        with pytest.raises(SettingsError, match=r"source 'items': items must be .* awaited first"):
            Pipeline("p").source("items", same)


class TestTheLoop:
    def test_coroutines_run_in_the_loop_that_awaits(self) -> None:
        async def main() -> None:
            async def where(item: int) -> Any:
                return asyncio.get_running_loop()

            async def source() -> AsyncIterator[Any]:
                yield asyncio.get_running_loop()

            seen: list[Any] = []

            async def see(item: Any) -> None:
                seen.extend([item, asyncio.get_running_loop()])

            pipeline = Pipeline("p").source("items", source).map("same", same).sink("see", see)
            await pipeline.map("where", where, inputs="items").execute_async()
            assert set(map(id, seen)) == {id(asyncio.get_running_loop())}
            assert (await numbers(3).map("where", where).execute_async()).outputs == [asyncio.get_running_loop()] * 3

        run(main)

    @pytest.mark.parametrize("profile", ["balanced", "serial"])
    def test_it_goes_on_while_plain_functions_hold_their_threads(self, profile: str) -> None:
        async def main() -> None:
            ticked = threading.Event()

            async def tick() -> None:
                for _ in range(100):
                    await asyncio.sleep(0)
                ticked.set()

            def held(item: int) -> int:
                assert ticked.wait(WAIT_S)
                return item

            def source() -> Any:
                yield held(1)

            pipeline = Pipeline("p", profile).source("items", source).map("held", held)
            ticking = asyncio.create_task(tick())
            await pipeline.sink("see", held).execute_async()
            await ticking

        run(main)

    def test_others_have_their_turn_while_there_is_much_to_take(self) -> None:
        async def main() -> None:
            turns = 0

            async def count() -> None:
                nonlocal turns
                while True:
                    await asyncio.sleep(0)
                    turns += 1

            counting = asyncio.create_task(count())
            async for _ in numbers(300_000).map("same", int):
                pass
            counting.cancel()
            assert turns > 10

        run(main)

    def test_the_callers_context_is_seen(self) -> None:
        variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

        async def seen(item: int) -> str:
            return variable.get()

        async def main() -> None:
            variable.set("mine")
            pipeline = numbers(2).map("seen", seen).map("both", lambda item: (item, variable.get()))
            assert (await pipeline.execute_async()).outputs == [("mine", "mine")] * 2

        run(main)

    def test_execute_inside_a_coroutine_as_in_a_notebook(self) -> None:
        async def main() -> None:
            for profile in ("balanced", "serial"):
                assert numbers(9, profile=profile).map("same", same).execute().outputs == list(range(9))
                assert list(numbers(9, profile=profile).map("same", same).stream()) == list(range(9))

        run(main)


class TestTheEnd:
    def test_cancelled_it_awaits_all_that_it_began(self) -> None:
        async def main() -> None:
            began, ended = asyncio.Event(), []

            async def long(item: int) -> None:
                if item == 9:
                    began.set()
                try:
                    await asyncio.sleep(3600)
                finally:
                    await asyncio.sleep(0.01)
                    ended.append(item)

            task = asyncio.create_task(numbers(10).map("long", long).execute_async())
            await began.wait()
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()  # twice makes no difference
            with pytest.raises(asyncio.CancelledError):
                await task
            assert sorted(ended) == list(range(10)) and asyncio.all_tasks() == {asyncio.current_task()}

        before = Resources.now()
        run(main)
        assert before.left() == []

    def test_a_source_that_hangs_is_cancelled(self) -> None:
        closed: list[bool] = []

        async def main() -> None:
            reached = asyncio.Event()

            async def source() -> AsyncIterator[int]:
                try:
                    yield 1
                    reached.set()
                    await asyncio.sleep(3600)
                finally:
                    closed.append(True)

            task = asyncio.create_task(Pipeline("p").source("items", source).map("same", same).execute_async())
            await reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert closed == [True]

        before = Resources.now()
        run(main)
        assert before.left() == []

    @pytest.mark.parametrize("profile", ["balanced", "serial"])
    def test_a_source_that_would_exit_only_fails(self, profile: str) -> None:
        async def source() -> AsyncIterator[int]:
            yield 1
            raise SystemExit(4)

        with pytest.raises(OperatorFailed, match="SystemExit: 4"):
            Pipeline("p", profile).source("items", source).map("same", same).execute(timeout_s=WAIT_S)

    @pytest.mark.parametrize("pauses", range(8))
    def test_cancelled_at_any_point(self, pauses: int) -> None:
        async def main() -> None:
            task = asyncio.create_task(numbers(2_000).map("same", same).map("plain", int).execute_async())
            for _ in range(pauses * 3):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert asyncio.all_tasks() == {asyncio.current_task()}

        before = Resources.now()
        run(main)
        assert before.left() == []

    @pytest.mark.parametrize("way", ["cancelled", "left", "dropped", "failed"])
    def test_fifty_times(self, way: str) -> None:
        async def once() -> None:
            async def bad(item: int) -> int:
                await asyncio.sleep(0)
                if item == 7:
                    raise ValueError(item)
                return item

            if way == "cancelled":
                task = asyncio.create_task(numbers(10_000).map("same", same).execute_async())
                await asyncio.sleep(0.002)
                task.cancel()
                await asyncio.wait([task])
            elif way == "failed":
                with pytest.raises(OperatorFailed):
                    await numbers().map("bad", bad).execute_async()
            elif way == "left":
                async with Pipeline("p").source("items", itertools.count()).map("same", same).stream_async() as stream:
                    assert await anext(stream) == 0
            else:
                async for _ in Pipeline("p").source("items", itertools.count()).map("same", same):
                    break

        async def main() -> None:
            for _ in range(50):
                await once()
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0.001)

        before = Resources.now()
        run(main)
        assert before.left() == []

    @pytest.mark.parametrize("way", ["awaited", "balanced", "serial"])
    def test_interrupted_fifty_times(self, way: str) -> None:
        """Ctrl-C, in the middle of a run: raised in the main thread, wherever that is."""

        async def pressed(item: int) -> int:
            await asyncio.sleep(0)
            if item == 7:
                os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0.001)
            return item

        before = Resources.now()
        for _ in range(50):
            pipeline = numbers(1_000, profile="balanced" if way == "awaited" else way).map("pressed", pressed)
            with pytest.raises(KeyboardInterrupt):
                if way == "awaited":
                    asyncio.run(pipeline.execute_async())  # type: ignore[arg-type]
                else:
                    pipeline.execute()
        assert before.left() == []

    def test_a_loop_that_ends_under_a_stream(self) -> None:
        streams: list[Any] = []

        async def main() -> None:
            stream = Pipeline("p").source("items", itertools.count()).map("same", same).stream_async()
            assert await anext(stream) == 0
            streams.append(stream)

        before = Resources.now()
        run(main)
        streams.clear()
        assert before.left() == []


def test_a_run_that_cannot_be_made_leaves_nothing() -> None:
    before = Resources.now()
    for first in ("auto", "process"):
        pipeline = numbers(3).map("first", same if first == "auto" else abs, executor=first)
        with pytest.raises(SettingsError):
            pipeline.map("second", same, executor="thread").execute()
    assert before.left() == []


class TestOperatorsAtWork:
    @pytest.mark.parametrize("most", [1, 2, 3])
    def test_never_more_than_allowed_and_none_is_stuck(self, most: int) -> None:
        lock, at_work, seen = threading.Lock(), [], set()

        def begin(name: str) -> None:
            with lock:
                at_work.append(name)
                seen.add(len(set(at_work)))

        def end(name: str) -> None:
            with lock:
                at_work.remove(name)

        def plain(name: str) -> Callable[[Any], Any]:
            def work(item: Any) -> Any:
                begin(name)
                time.sleep(0.0005)
                end(name)
                return item

            return work

        def awaited(name: str) -> Callable[[Any], Any]:
            async def work(item: Any) -> Any:
                begin(name)
                await asyncio.sleep(0.0005)
                end(name)
                return item

            return work

        pipeline = numbers(200, window=50).map("a", awaited("a"), parallel_degree=4)
        pipeline.map("b", plain("b"), parallel_degree=3).map("c", awaited("c"), inputs="a", parallel_degree=3)
        pipeline.zip("pairs", inputs=["b", "c"]).batch("tens", 10).sink("d", plain("d")).sink(
            "e", plain("e"), inputs="a"
        )
        runner = AsyncPipelineExecutor(max_concurrent_operators=most)
        result = runner.execute(pipeline)
        assert result.report["d"].done == 20 and result.report["e"].done == 200
        assert max(seen) == most
        assert run(lambda: runner.execute_async(pipeline)).report["d"].done == 20
        assert max(seen) == most


PROGRAM = """
import asyncio, itertools
from headrace import Pipeline

async def same(item):
    await asyncio.sleep(0.001)
    return item

async def main():
    print((await Pipeline("p").source("items", range(500)).map("same", same).execute_async()).outputs[-1])
    async for item in Pipeline("p").source("items", itertools.count()).map("same", same):
        break
    print("left", flush=True)
    if {interrupted}:
        async for item in Pipeline("p").source("items", itertools.count()).map("same", same):
            if item == 100:
                print("ready", flush=True)

asyncio.run(main())
"""


class TestPrograms:
    def begin(self, *, interrupted: bool) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONASYNCIODEBUG": "1"}
        command = [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM.format(interrupted=interrupted)]
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, text=True, env=environment, **pipes)

    def test_debug_mode_has_nothing_to_say(self) -> None:
        said, complaints = self.begin(interrupted=False).communicate(timeout=WAIT_S)
        assert said.split() == ["499", "left"]
        assert "never" not in complaints and "destroyed" not in complaints and "Warning" not in complaints

    def test_interrupted(self) -> None:
        with self.begin(interrupted=True) as process:
            assert process.stdout is not None and process.stderr is not None
            while process.stdout.readline() != "ready\n":
                pass
            began_s = time.monotonic()
            process.send_signal(signal.SIGINT)
            complaints = process.stderr.read()
            process.wait(WAIT_S)
        assert time.monotonic() - began_s < 5
        assert process.returncode == -signal.SIGINT
        assert complaints.rstrip().endswith("KeyboardInterrupt") and "never" not in complaints


def test_uvloop_is_used_if_the_user_runs_it() -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed: nothing here depends on it")

    async def main() -> None:
        assert (await numbers(500).map("same", same).execute_async()).outputs == list(range(500))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
