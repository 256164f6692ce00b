"""Promise: coroutine functions are operators like any other, and who awaits a run may be cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from headrace.context import current
from headrace.errors import OperatorFailed
from headrace.testing.leaks import Resources
from headrace.testing.runner.case import RunnerCase


async def more(item: int) -> int:
    await asyncio.sleep(0)
    return item + 1


async def numbers() -> AsyncIterator[int]:
    for item in range(100):
        await asyncio.sleep(0)
        yield item


class Session:
    """An operator that is opened and closed in the loop that uses it."""

    def __init__(self) -> None:
        self.loops: list[Any] = []
        self.did: list[str] = []

    async def __aenter__(self) -> Session:
        self.did.append("enter")
        self.loops.append(asyncio.get_running_loop())
        return self

    async def __aexit__(self, *error: object) -> None:
        self.did.append("exit")
        self.loops.append(asyncio.get_running_loop())

    async def __call__(self, item: int) -> int:
        self.loops.append(asyncio.get_running_loop())
        return item


class CoroutineTests(RunnerCase):
    @pytest.mark.parametrize("awaited", [False, True])
    def test_each_kind(self, awaited: bool) -> None:
        async def even(item: int) -> bool:
            return await more(item) % 2 == 1

        async def twice(item: int) -> AsyncIterator[int]:
            for _ in range(2):
                await asyncio.sleep(0)
                yield item

        seen: list[int] = []

        async def see(item: int) -> None:
            await asyncio.sleep(0)
            seen.append(item)

        pipeline = self.pipeline(numbers).map("more", more).filter("even", even).flat_map("twice", twice)
        pipeline.map("plain", int).sink("see", see)
        run = self.run_awaited if awaited else self.run
        result = run(pipeline)
        assert seen == [item for item in range(1, 101) if item % 2 == 0 for _ in range(2)]
        assert result.report["even"].filtered == 50

    @pytest.mark.parametrize("awaited", [False, True])
    def test_failures_and_where_it_is(self, awaited: bool) -> None:
        async def tried(item: int) -> tuple[Any, int]:
            await asyncio.sleep(0)
            if item % 4 == 1 and current().attempt == 1:
                raise ValueError(item)
            if item % 10 == 7:
                raise KeyError(item)
            return current().index, current().attempt

        pipeline = self.pipeline(range(20)).map("tried", tried, retries=1, on_error="dead_letter")
        result = (self.run_awaited if awaited else self.run)(pipeline)
        assert result.outputs == [(n, 1 + (n % 4 == 1)) for n in range(20) if n % 10 != 7]
        assert [each.item for each in result.dead_letters] == [7, 17]
        with pytest.raises(OperatorFailed, match="'tried' failed at item 7") as caught:
            self.run(self.pipeline(range(20)).map("tried", tried, retries=1))
        assert isinstance(caught.value.__cause__, KeyError)

    @pytest.mark.parametrize("awaited", [False, True])
    def test_a_session_is_entered_once_in_the_loop_that_uses_it(self, awaited: bool) -> None:
        session = Session()
        run = self.run_awaited if awaited else self.run
        assert run(self.pipeline(range(30)).map("session", session)).outputs == list(range(30))
        assert session.did == ["enter", "exit"] and len(set(map(id, session.loops))) == 1

    @pytest.mark.parametrize("awaited", [False, True])
    def test_a_sink_is_entered_and_left_like_any_other(self, awaited: bool) -> None:
        session = Session()
        run = self.run_awaited if awaited else self.run
        assert run(self.pipeline(range(30)).sink("session", session)).report["session"].done == 30
        assert session.did == ["enter", "exit"] and len(set(map(id, session.loops))) == 1
        failed = Session()
        with pytest.raises(OperatorFailed):
            run(self.pipeline(range(30)).sink("session", failed).map("bad", lambda n: 1 // (n - 9), inputs="items"))
        assert failed.did in ([], ["enter", "exit"])

    @pytest.mark.parametrize("awaited", [False, True])
    def test_a_class_is_made_once(self, awaited: bool) -> None:
        made: list[Session] = []

        class Mine(Session):
            def __init__(self) -> None:
                super().__init__()
                made.append(self)

        run = self.run_awaited if awaited else self.run
        assert run(self.pipeline(range(30)).map("session", setup=Mine)).outputs == list(range(30))
        assert [each.did for each in made] == [["enter", "exit"]]

    def test_inside_a_running_loop(self) -> None:
        async def main() -> list[int]:
            outputs: list[int] = self.pipeline(range(9)).map("more", more).execute(runner=self.runner).outputs
            return outputs

        assert self.soon(lambda: asyncio.run(main())) == list(range(1, 10))

    def test_who_awaits_is_cancelled(self) -> None:
        before = Resources.now()
        began: list[int] = []

        async def main() -> None:
            started = asyncio.Event()
            loop = asyncio.get_running_loop()

            def begin(item: int) -> int:
                began.append(item)
                if len(began) == 10:
                    loop.call_soon_threadsafe(started.set)
                return item

            async def endless() -> AsyncIterator[int]:
                while True:
                    await asyncio.sleep(0)
                    yield 1

            task = asyncio.create_task(self.pipeline(endless).map("begin", begin).execute_async(runner=self.runner))
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert asyncio.all_tasks() == {asyncio.current_task()}

        self.soon(lambda: asyncio.run(main()))
        assert before.left(within_s=self.gone_s) == []
