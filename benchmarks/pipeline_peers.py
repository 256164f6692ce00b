"""Chains of operators, as each library's own documentation says.

A maker imports its library (so that no clock ever sees an import) and gives a `Flow`: called with the steps, the items
and the workers of each step, it is a context that holds the results, an iterable. Its pools are made inside the clock
and ended after it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import islice
from queue import SimpleQueue
from typing import Any

from harness import Unable

Step = tuple[str, Callable[[Any], Any]]  # "map" or "filter", and its function
Flow = Callable[[Sequence[Step], Iterable[Any], int | None], AbstractContextManager[Iterable[Any]]]
Maker = Callable[[], Flow]


# Ours ---------------------------------------------------------------------------------------------------------------


def headrace(profile: str = "balanced", *, runner: str | None = None) -> Maker:
    """`runner`: another than the profile's."""

    def make() -> Flow:
        try:
            from headrace import Pipeline, PluginRef, Profile
        except (ImportError, AttributeError) as error:
            raise Unable(f"no Pipeline: {error}") from error
        chosen: Any = profile
        if runner:
            chosen = Profile(name=runner, runner=PluginRef(runner), executor=PluginRef("thread"))

        @contextmanager
        def flow(steps, items, workers):
            pipeline = Pipeline("bench", chosen).source("items", items)
            for number, (kind, fn) in enumerate(steps, 1):
                getattr(pipeline, kind)(f"{kind} {number}", fn, parallel_degree=workers)
            with pipeline.stream() as results:
                yield results

        return flow

    return make


# What bare Python does ----------------------------------------------------------------------------------------------


def one_after_the_other() -> Flow:
    """Each operator over all items before the next one begins."""

    @contextmanager
    def flow(steps, items, workers):
        for kind, fn in steps:
            items = [fn(item) for item in items] if kind == "map" else [item for item in items if fn(item)]
        yield items

    return flow


def threads_in_shares() -> Flow:
    """The limit of one step alone: each thread does its share of a sequence, nothing is handed over."""

    @contextmanager
    def flow(steps, items, workers):
        ((_, fn),) = steps
        shares: list[list[Any]] = [[] for _ in range(workers)]

        def work(at: int) -> None:
            shares[at] = [fn(item) for item in items[at::workers]]

        threads = [threading.Thread(target=work, args=(at,), daemon=True) for at in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        yield (result for share in shares for result in share)

    return flow


_END = object()


def threads_and_queues() -> Flow:
    """Threads for each map, a queue before each: no order, no bound, no account.

    Each worker takes one end from its queue and passes one on, behind its last result: so the last end comes behind
    all results, and every worker of the next step gets one.
    """

    @contextmanager
    def flow(steps, items, workers):
        queues: list[SimpleQueue[Any]] = [SimpleQueue() for _ in range(len(steps) + 1)]

        def work(fn: Callable[[Any], Any], inbox: SimpleQueue[Any], outbox: SimpleQueue[Any]) -> None:
            for item in iter(inbox.get, _END):
                outbox.put(fn(item))
            outbox.put(_END)

        for (_, fn), inbox, outbox in zip(steps, queues, queues[1:], strict=False):
            for _ in range(workers):
                threading.Thread(target=work, args=(fn, inbox, outbox), daemon=True).start()
        for item in (*items, *[_END] * workers):
            queues[0].put(item)
        yield (result for _ in range(workers) for result in iter(queues[-1].get, _END))

    return flow


def nested_generators() -> Flow:
    def mapped(fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        return (fn(item) for item in items)

    def kept(fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        return (item for item in items if fn(item))

    @contextmanager
    def flow(steps, items, workers):
        for kind, fn in steps:
            items = (mapped if kind == "map" else kept)(fn, items)
        yield items

    return flow


def nested_builtins() -> Flow:
    @contextmanager
    def flow(steps, items, workers):
        for kind, fn in steps:
            items = (map if kind == "map" else filter)(fn, items)
        yield items

    return flow


def list_passes(size: int) -> Maker:
    """Each operator over one list of `size` items after the other."""

    def make() -> Flow:
        whole = one_after_the_other()

        def results(steps: Sequence[Step], items: Iterable[Any]) -> Iterator[Any]:
            iterator = iter(items)
            while some := list(islice(iterator, size)):
                with whole(steps, some, None) as passed:
                    yield from passed

        @contextmanager
        def flow(steps, items, workers):
            yield results(steps, items)

        return flow

    return make


# Peers --------------------------------------------------------------------------------------------------------------


def pools_imap() -> Flow:
    """A pool for each map; each reads the results of the one before it."""
    from multiprocessing.pool import ThreadPool

    @contextmanager
    def flow(steps, items, workers):
        with ExitStack() as pools:
            for _, fn in steps:
                items = pools.enter_context(ThreadPool(workers)).imap(fn, items)
            yield items

    return flow


def futures() -> Flow:
    """A pool for each map. `Executor.map` takes all results of the one before it, in the caller's thread."""
    from concurrent.futures import ThreadPoolExecutor

    @contextmanager
    def flow(steps, items, workers):
        with ExitStack() as pools:
            for _, fn in steps:
                items = pools.enter_context(ThreadPoolExecutor(max_workers=workers)).map(fn, items)
            yield items

    return flow


def pypeln_thread() -> Flow:
    import pypeln

    @contextmanager
    def flow(steps, items, workers):
        for kind, fn in steps:
            items = getattr(pypeln.thread, kind)(fn, items, workers=workers, maxsize=4 * workers)
        yield pypeln.thread.ordered(items)

    return flow


def pypeln_sync() -> Flow:
    import pypeln

    @contextmanager
    def flow(steps, items, workers):
        for kind, fn in steps:
            items = getattr(pypeln.sync, kind)(fn, items)
        yield items

    return flow


def streamable_threads(ahead: int | None = None) -> Maker:
    """`ahead`: results that each map holds in a `buffer` for the next one."""

    def make() -> Flow:
        from streamable import stream

        @contextmanager
        def flow(steps, items, workers):
            results = stream(items)
            for kind, fn in steps:
                results = results.map(fn, concurrency=workers or 1) if kind == "map" else results.filter(fn)
                results = results.buffer(ahead) if ahead else results
            yield results

        return flow

    return make


def spdl_pipeline() -> Flow:
    from spdl.pipeline import PipelineBuilder

    @contextmanager
    def flow(steps, items, workers):
        builder = PipelineBuilder().add_source(items)
        for _, fn in steps:
            builder = builder.pipe(fn, concurrency=workers, output_order="input")
        pipeline = builder.add_sink(3).build(num_threads=workers * len(steps))
        with pipeline.auto_stop():
            yield pipeline

    return flow
