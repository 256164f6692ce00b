"""One stage on two processes, as each library's own documentation says; the makers are like those of thread_peers."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from harness import Unable

Stage = Callable[[Callable[[Any], Any], Iterable[Any], int], AbstractContextManager[Iterable[Any]]]
Maker = Callable[[], Stage]


def headrace() -> Stage:
    try:
        from headrace import PipelineProcessExecutor
    except (ImportError, AttributeError) as error:
        raise Unable(f"no PipelineProcessExecutor: {error}") from error

    @contextmanager
    def stage(fn, items, workers):
        with PipelineProcessExecutor(max_workers=workers) as executor:
            yield executor.execute(fn, items)

    return stage


def forks(shares: Callable[[Sequence[Any], int], Sequence[Sequence[Any]]]) -> Maker:
    """Forks that share nothing: each does its share and says at last what came of it. The results come by share."""

    def make() -> Stage:
        @contextmanager
        def stage(fn, items, workers):
            yield _forked(fn, shares(items, workers))

        return stage

    return make


def halves(items: Sequence[Any], workers: int) -> list[Sequence[Any]]:
    return [items[number::workers] for number in range(workers)]


def _forked(fn: Callable[[Any], Any], shares: Sequence[Sequence[Any]]) -> Iterator[Any]:
    ends = []
    for share in shares:
        read, write = os.pipe()
        if os.fork() == 0:
            try:
                with open(write, "wb") as file:
                    pickle.dump([fn(item) for item in share], file, 5)
                os._exit(0)
            finally:
                os._exit(1)
        os.close(write)
        ends.append(read)
    for end in ends:
        with open(end, "rb") as file:
            yield from pickle.load(file)
    for _ in ends:
        os.wait()


# Peers --------------------------------------------------------------------------------------------------------------


def futures() -> Stage:
    from concurrent.futures import ProcessPoolExecutor

    @contextmanager
    def stage(fn, items, workers):
        with ProcessPoolExecutor(max_workers=workers) as pool:
            yield pool.map(fn, items)

    return stage


def pool_imap(chunksize: int = 1) -> Maker:
    def make() -> Stage:
        from multiprocessing import Pool

        @contextmanager
        def stage(fn, items, workers):
            with Pool(workers) as pool:
                yield pool.imap(fn, items, chunksize)
                pool.close()
                pool.join()

        return stage

    return make


def joblib_loky() -> Stage:
    from joblib import Parallel, delayed

    @contextmanager
    def stage(fn, items, workers):
        yield Parallel(n_jobs=workers, return_as="generator")(delayed(fn)(item) for item in items)
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)

    return stage


def mpire_pool() -> Stage:
    from mpire import WorkerPool

    @contextmanager
    def stage(fn, items, workers):
        with WorkerPool(n_jobs=workers) as pool:
            yield pool.imap(fn, items)

    return stage


def streamable_processes() -> Stage:
    from concurrent.futures import ProcessPoolExecutor

    from streamable import stream

    @contextmanager
    def stage(fn, items, workers):
        with ProcessPoolExecutor(max_workers=workers) as pool:
            yield stream(items).map(fn, concurrency=pool)

    return stage


def spdl_processes() -> Stage:
    from concurrent.futures import ProcessPoolExecutor

    from spdl.pipeline import PipelineBuilder

    @contextmanager
    def stage(fn, items, workers):
        with ProcessPoolExecutor(max_workers=workers) as pool:
            builder = PipelineBuilder().add_source(items)
            built = builder.pipe(fn, concurrency=workers, executor=pool, output_order="input").add_sink(3)
            pipeline = built.build(num_threads=1)
            with pipeline.auto_stop():
                yield pipeline

    return stage


def one_interpreter() -> None:
    """Start one bare interpreter and wait for its end."""
    pid = os.posix_spawn(sys.executable, [sys.executable, "-S", "-c", "pass"], os.environ)
    os.waitpid(pid, 0)
