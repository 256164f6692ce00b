"""Threads, then processes, then threads again, as each library's own documentation says: see pipeline_peers.

A step says where it runs and how often at once. A filter runs wherever its library filters. The pools are made inside
the clock and ended after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from harness import Unable


@dataclass(frozen=True)
class MixedStep:
    kind: str  # "map" or "filter"
    fn: Callable[[Any], Any]
    where: str = ""  # "thread" or "process"
    workers: int = 0


Flow = Callable[[Sequence[MixedStep], Iterable[Any]], AbstractContextManager[Iterable[Any]]]
Maker = Callable[[], Flow]


def headrace(
    runner: str = "threads", *, listener: Callable[[Any], Any] | None = None, dispatcher: str | None = None
) -> Maker:
    """`listener` hears all events; `dispatcher`: another than the profile's."""

    def make() -> Flow:
        try:
            from headrace import Pipeline, PluginRef, Profile
        except (ImportError, AttributeError) as error:
            raise Unable(f"no Pipeline: {error}") from error
        other = {"dispatcher": PluginRef(dispatcher)} if dispatcher else {}
        profile: Any = Profile(name=runner, runner=PluginRef(runner), executor=PluginRef("thread"), **other)
        if runner == "threads" and not dispatcher:
            profile = "balanced"

        @contextmanager
        def flow(steps, items):
            pipeline = Pipeline("bench", profile).source("items", items)
            if listener is not None:
                from headrace import Event

                pipeline.on(Event, listener)
            for number, step in enumerate(steps, 1):
                options = {"executor": step.where, "parallel_degree": step.workers} if step.where else {}
                getattr(pipeline, step.kind)(f"{step.kind} {number}", step.fn, **options)
            with pipeline.stream() as results:
                yield results

        return flow

    return make


def forks_alone() -> Flow:
    """The limit: the step on processes and nothing else, by two forks that share nothing."""
    from process_peers import forks, halves

    stage = forks(halves)()

    @contextmanager
    def flow(steps, items):
        (step,) = (step for step in steps if step.where == "process")
        with stage(step.fn, items, step.workers) as results:
            yield results

    return flow


def futures() -> Flow:
    """`Executor.map` takes all results of the one before it, in the caller's thread."""
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

    @contextmanager
    def flow(steps, items):
        with ExitStack() as pools:
            for step in steps:
                if step.kind == "filter":
                    items = filter(step.fn, items)
                    continue
                pool = (ThreadPoolExecutor if step.where == "thread" else ProcessPoolExecutor)(step.workers)
                items = pools.enter_context(pool).map(step.fn, items)
            yield items

    return flow


def pools_imap() -> Flow:
    from multiprocessing import Pool
    from multiprocessing.pool import ThreadPool

    @contextmanager
    def flow(steps, items):
        with ExitStack() as ends:
            for step in steps:
                if step.kind == "filter":
                    items = filter(step.fn, items)
                    continue
                pool = ends.enter_context((ThreadPool if step.where == "thread" else Pool)(step.workers))
                items = pool.imap(step.fn, items)
            yield items

    return flow


def joblib_generators() -> Flow:
    from joblib import Parallel, delayed

    @contextmanager
    def flow(steps, items):
        for step in steps:
            if step.kind == "filter":
                items = filter(step.fn, items)
                continue
            backend = "threading" if step.where == "thread" else "loky"
            parallel = Parallel(n_jobs=step.workers, backend=backend, return_as="generator")
            items = parallel(map(delayed(step.fn), items))
        yield items
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)

    return flow


def mpire_pools() -> Flow:
    """It takes an iterable of unknown length whole before it begins; so each step takes all of the one before it."""
    from mpire import WorkerPool

    @contextmanager
    def flow(steps, items):
        with ExitStack() as pools:
            for step in steps:
                if step.kind == "filter":
                    items = filter(step.fn, items)
                    continue
                method = "threading" if step.where == "thread" else "fork"
                items = pools.enter_context(WorkerPool(n_jobs=step.workers, start_method=method)).imap(step.fn, items)
            yield items

    return flow


def streamable_stream() -> Flow:
    from concurrent.futures import ProcessPoolExecutor

    from streamable import stream

    @contextmanager
    def flow(steps, items):
        with ExitStack() as pools:
            results = stream(items)
            for step in steps:
                if step.kind == "filter":
                    results = results.filter(step.fn)
                elif step.where == "thread":
                    results = results.map(step.fn, concurrency=step.workers)
                else:
                    pool = pools.enter_context(ProcessPoolExecutor(step.workers))
                    results = results.map(step.fn, concurrency=pool)
            yield results

    return flow


def spdl_pipeline() -> Flow:
    """Its way to filter: what gives None is absorbed."""
    from concurrent.futures import ProcessPoolExecutor

    from spdl.pipeline import PipelineBuilder

    def kept(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda item: item if fn(item) else None

    @contextmanager
    def flow(steps, items):
        with ExitStack() as pools:
            builder = PipelineBuilder().add_source(items)
            for step in steps:
                if step.kind == "filter":
                    builder = builder.pipe(kept(step.fn), output_order="input")
                    continue
                options = {"concurrency": step.workers, "output_order": "input"}
                if step.where == "process":
                    options["executor"] = pools.enter_context(ProcessPoolExecutor(step.workers))
                builder = builder.pipe(step.fn, **options)
            threads = sum(step.workers or 1 for step in steps if step.where != "process")
            pipeline = builder.add_sink(3).build(num_threads=threads)
            with pipeline.auto_stop():
                yield pipeline

    return flow


def pypeln_mixed() -> Flow:
    """Its results come as completed."""
    import pypeln

    @contextmanager
    def flow(steps, items):
        for step in steps:
            if step.kind == "filter":
                items = pypeln.thread.filter(step.fn, items)
            else:
                module = getattr(pypeln, step.where)
                items = module.map(step.fn, items, workers=step.workers, maxsize=4 * step.workers)
        yield items

    return flow
