"""Promise: however a run ends, all that was made for it is gone within two seconds."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

from headrace.errors import OperatorFailed
from headrace.testing.leaks import Resources
from headrace.testing.runner.case import RunnerCase
from headrace.testing.runner.failures import inverse


class EndTests(RunnerCase):
    def test_at_its_end(self) -> None:
        before = Resources.now()
        self.run(self.pipeline(range(100)).map("same", int, parallel_degree=4).sink("see", str))
        assert before.left(within_s=self.gone_s) == []

    def test_broken_out_of(self) -> None:
        before = Resources.now()
        stream = self.pipeline(count).map("same", int, parallel_degree=4).stream(runner=self.runner)
        assert next(stream) == 0
        del stream
        assert before.left(within_s=self.gone_s) == []

    def test_closed(self) -> None:
        before = Resources.now()
        with self.pipeline(count).map("same", int).batch("tens", 10).stream(runner=self.runner) as stream:
            assert next(stream) == list(range(10))
        assert before.left(within_s=self.gone_s) == []

    def test_failed(self) -> None:
        before = Resources.now()
        with pytest.raises(OperatorFailed):
            self.run(self.pipeline(count).map("inverse", inverse))
        assert before.left(within_s=self.gone_s) == []

    def test_awaited_and_broken_out_of(self) -> None:
        before = Resources.now()

        async def first() -> int:
            async with self.pipeline(count).map("same", int).stream_async(runner=self.runner) as stream:
                async for item in stream:
                    return int(item)
            return -1

        assert self.soon(lambda: asyncio.run(first())) == 0
        assert before.left(within_s=self.gone_s) == []

    def test_stopped_it_gives_all_that_it_took(self) -> None:
        pipeline = self.pipeline(count).map("same", int)
        taken: list[int] = []
        for item in pipeline.stream(runner=self.runner):
            taken.append(item)
            if len(taken) == 100:
                pipeline.stop()
        assert taken == list(range(len(taken))) and len(taken) >= 100

    def test_a_source_is_closed(self) -> None:
        closed: list[bool] = []

        def source() -> object:
            try:
                yield from count()
            finally:
                closed.append(True)

        with self.pipeline(source).map("same", int).stream(runner=self.runner) as stream:
            next(stream)
        assert closed == [True]
