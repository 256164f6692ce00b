"""One stage of coroutines, as each library's own documentation says; the makers are like those of thread_peers, but the
function is a coroutine function."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

from harness import Unable
from thread_peers import Maker, Stage, fair_shares

# Ours, and what bare asyncio does -----------------------------------------------------------------------------------


def headrace() -> Stage:
    try:
        from headrace import CoroutineExecutor
    except (ImportError, AttributeError) as error:
        raise Unable(f"no CoroutineExecutor: {error}") from error

    @contextmanager
    def stage(fn, items, workers, ordered):
        yield CoroutineExecutor(max_workers=workers).execute(fn, items, ordered=None if ordered else False)

    return stage


def headrace_awaited() -> Stage:
    """A pipeline on the runner `async` that is read by `async for`: all in the loop of who reads it."""
    from headrace import Pipeline, PluginRef, Profile

    profile = Profile(name="awaited", runner=PluginRef("async"), executor=PluginRef("thread"))

    @contextmanager
    def stage(fn, items, workers, ordered):
        pipeline = Pipeline("bench", profile).source("items", items)
        yield pipeline.map("work", fn, parallel_degree=workers, ordered=ordered).stream_async()

    return stage


async def _in_tasks(fn: Callable[[Any], Awaitable[Any]], shares: Iterable[Iterable[Any]]) -> AsyncIterator[Any]:
    """A task for each share; all results at the end."""

    async def work(share: Iterable[Any]) -> list[Any]:
        return [await fn(item) for item in share]

    for results in await asyncio.gather(*map(work, shares)):
        for result in results:
            yield result


def tasks_on_one_iterator() -> Stage:
    """The limit: bare tasks that each take the next item from one iterator; no order, no bound, no account."""

    @contextmanager
    def stage(fn, items, workers, ordered):
        iterator = iter(items)
        yield _in_tasks(fn, [iterator] * workers)

    return stage


def tasks_with_fair_shares(costs: Sequence[float], workers: int) -> Maker:
    """All costs known beforehand, and each task has its share."""

    def make() -> Stage:
        shares = fair_shares(costs, workers)  # made outside the clock

        @contextmanager
        def stage(fn, items, workers, ordered):
            yield _in_tasks(fn, [filter(items.__contains__, share) for share in shares])

        return stage

    return make


def semaphore_and_gather() -> Stage:
    """What most programs have: a task for every item at once, and a semaphore."""

    @contextmanager
    def stage(fn, items, workers, ordered):
        async def results() -> AsyncIterator[Any]:
            semaphore = asyncio.Semaphore(workers)

            async def work(item: Any) -> Any:
                async with semaphore:
                    return await fn(item)

            for result in await asyncio.gather(*map(work, items)):
                yield result

        yield results()

    return stage


# Peers --------------------------------------------------------------------------------------------------------------


def aiostream_map() -> Stage:
    from aiostream import stream

    @contextmanager
    def stage(fn, items, workers, ordered):
        async def results() -> AsyncIterator[Any]:
            mapped = stream.map(stream.iterate(items), fn, ordered=ordered, task_limit=workers)
            async with mapped.stream() as streamer:
                async for result in streamer:
                    yield result

        yield results()

    return stage


def streamable_map() -> Stage:
    """Read by `async for`, so that its coroutines run in the running loop."""
    from streamable import stream

    @contextmanager
    def stage(fn, items, workers, ordered):
        async def results() -> AsyncIterator[Any]:
            async for result in stream(items).map(fn, concurrency=workers, as_completed=not ordered):
                yield result

        yield results()

    return stage


def spdl_pipe() -> Stage:
    from spdl.pipeline import PipelineBuilder

    @contextmanager
    def stage(fn, items, workers, ordered):
        order = "input" if ordered else "completion"
        builder = PipelineBuilder().add_source(items).pipe(fn, concurrency=workers, output_order=order).add_sink(3)
        pipeline = builder.build(num_threads=1)
        with pipeline.auto_stop():
            yield pipeline

    return stage


def pypeln_task() -> Stage:
    import pypeln

    @contextmanager
    def stage(fn, items, workers, ordered):
        mapped = pypeln.task.map(fn, items, workers=workers, maxsize=4 * workers)
        yield iter(pypeln.task.ordered(mapped) if ordered else mapped)

    return stage
