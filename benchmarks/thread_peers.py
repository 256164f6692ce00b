"""One stage on threads, as each library's own documentation says.

A maker imports its library (so that no clock ever sees an import) and gives a `Stage`: called with the function, the
items, the number of workers and whether order matters, it is a context that holds the results, an iterable or an async
iterable. Its pool is made inside the clock and ended after it.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from queue import SimpleQueue
from typing import Any

from harness import Unable

Results = Iterable[Any] | AsyncIterable[Any]
Stage = Callable[[Callable[[Any], Any], Iterable[Any], int, bool], AbstractContextManager[Results]]
Maker = Callable[[], Stage]


# Ours, and what bare Python does ------------------------------------------------------------------------------------


def headrace() -> Stage:
    try:
        from headrace import PipelineThreadExecutor
    except (ImportError, AttributeError) as error:
        raise Unable(f"no PipelineThreadExecutor: {error}") from error

    @contextmanager
    def stage(fn, items, workers, ordered):
        yield PipelineThreadExecutor(max_workers=workers).execute(fn, items, ordered=None if ordered else False)

    return stage


def bare_map() -> Stage:
    @contextmanager
    def stage(fn, items, workers, ordered):
        yield map(fn, items)

    return stage


def _on_threads(fn: Callable[[Any], Any], shares: Iterable[Iterable[Any]]) -> Iterator[Any]:
    """A thread for each share; results in any order, batchwise."""
    results: SimpleQueue[list[Any]] = SimpleQueue()

    def work(share: Iterable[Any]) -> None:
        results.put([fn(item) for item in share])

    threads = [threading.Thread(target=work, args=(share,), daemon=True) for share in shares]
    for thread in threads:
        thread.start()
    for _ in threads:
        yield from results.get()


def fair_shares(costs: Sequence[float], workers: int) -> list[list[int]]:
    """Positions in `costs` in `workers` shares of nearly one total: always the dearest left to the least laden."""
    loads = [0.0] * workers
    shares: list[list[int]] = [[] for _ in range(workers)]
    for position in sorted(range(len(costs)), key=lambda position: -costs[position]):
        least = loads.index(min(loads))
        loads[least] += costs[position]
        shares[least].append(position)
    return shares


def threads_with_fair_shares(costs: Sequence[float], workers: int) -> Maker:
    """The limit of a stage of sleeps: all is known beforehand, each thread does its share, nobody hands over."""

    def make() -> Stage:
        shares = fair_shares(costs, workers)  # made outside the clock

        @contextmanager
        def stage(fn, items, workers, ordered):
            yield _on_threads(fn, [filter(items.__contains__, share) for share in shares])

        return stage

    return make


def threads_on_one_iterator() -> Stage:
    """Threads that each take the next item from one iterator: no order, no bound, no account."""

    @contextmanager
    def stage(fn, items, workers, ordered):
        iterator = iter(items)
        yield _on_threads(fn, [iterator] * workers)

    return stage


def threads_and_a_queue() -> Stage:
    """Threads that put single results on one queue: the least that a first result can cost."""

    @contextmanager
    def stage(fn, items, workers, ordered):
        results: SimpleQueue[Any] = SimpleQueue()
        iterator = iter(items)

        def work() -> None:
            for item in iterator:
                results.put(fn(item))

        threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
        for thread in threads:
            thread.start()
        yield (results.get() for _ in items)

    return stage


# Peers --------------------------------------------------------------------------------------------------------------


def futures() -> Stage:
    from concurrent.futures import ThreadPoolExecutor, as_completed

    @contextmanager
    def stage(fn, items, workers, ordered):
        with ThreadPoolExecutor(max_workers=workers) as pool:
            if ordered:
                yield pool.map(fn, items)
            else:
                yield (future.result() for future in as_completed([pool.submit(fn, item) for item in items]))

    return stage


def pool_imap(chunksize: int = 1) -> Maker:
    def make() -> Stage:
        from multiprocessing.pool import ThreadPool

        @contextmanager
        def stage(fn, items, workers, ordered):
            with ThreadPool(workers) as pool:
                yield (pool.imap if ordered else pool.imap_unordered)(fn, items, chunksize)

        return stage

    return make


def joblib_threading() -> Stage:
    from joblib import Parallel, delayed

    @contextmanager
    def stage(fn, items, workers, ordered):
        kind = "generator" if ordered else "generator_unordered"
        yield Parallel(n_jobs=workers, backend="threading", return_as=kind)(delayed(fn)(item) for item in items)

    return stage


def mpire_threading() -> Stage:
    from mpire import WorkerPool

    @contextmanager
    def stage(fn, items, workers, ordered):
        length = getattr(items, "length", None)  # of a source without len()
        with WorkerPool(n_jobs=workers, start_method="threading") as pool:
            yield (pool.imap if ordered else pool.imap_unordered)(fn, items, iterable_len=length)

    return stage


def pypeln_thread() -> Stage:
    import pypeln

    @contextmanager
    def stage(fn, items, workers, ordered):
        mapped = pypeln.thread.map(fn, items, workers=workers, maxsize=4 * workers)
        yield pypeln.thread.ordered(mapped) if ordered else mapped

    return stage


def streamable_threads() -> Stage:
    from streamable import stream

    @contextmanager
    def stage(fn, items, workers, ordered):
        yield stream(items).map(fn, concurrency=workers, as_completed=not ordered)

    return stage


def aiostream_threads() -> Stage:
    """Its `map` awaits coroutines; the plain function goes to a pool by `run_in_executor`."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    from aiostream import stream

    @contextmanager
    def stage(fn, items, workers, ordered):
        with ThreadPoolExecutor(max_workers=workers) as pool:

            async def call(item: Any) -> Any:
                return await asyncio.get_running_loop().run_in_executor(pool, fn, item)

            async def results() -> AsyncIterable[Any]:
                mapped = stream.map(stream.iterate(items), call, ordered=ordered, task_limit=workers)
                async with mapped.stream() as streamer:
                    async for result in streamer:
                        yield result

            yield results()

    return stage


def spdl_pipeline() -> Stage:
    from spdl.pipeline import PipelineBuilder

    @contextmanager
    def stage(fn, items, workers, ordered):
        order = "input" if ordered else "completion"
        builder = PipelineBuilder().add_source(items).pipe(fn, concurrency=workers, output_order=order).add_sink(3)
        pipeline = builder.build(num_threads=workers)
        with pipeline.auto_stop():
            yield pipeline

    return stage
