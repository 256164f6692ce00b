"""One stage on threads: what it costs over bare Python, and what the peers cost.

python benchmarks/bench_thread.py [--quick] [--rows A1,A5] [--only limit,headrace] [--rounds 9] [--json]

Ours runs with its default settings, the number of workers apart. A peer is used as its documentation says; where its
batch size was picked by hand the name says so. A clock starts before the pool is made and stops with the last result.
"""

from __future__ import annotations

import os
import random
import resource
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import thread_peers as peers
from harness import AtMost, Clock, Contender, Figure, Figures, RatioAtMost, Row, Trial, Unable, Wrong, expect, main
from thread_peers import Maker, Results

PACKAGES = ("headrace", "joblib", "mpire", "pypeln", "streamable", "aiostream", "spdl-core")
WINDOW = 10_000  # the default bound of PipelineThreadExecutor
CPU = Figure("cpu", "CPU s", 3)


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    import asyncio  # there already, if a peer has async results; else a child does without

    return asyncio.run(coroutine)


def collect(results: Results) -> list[Any]:
    """All results, also of an async iterable."""
    if hasattr(results, "__iter__"):
        return list(results)

    async def gather() -> list[Any]:
        return [result async for result in results]

    return run_coroutine(gather())


def drain(results: Results) -> Any:
    """Take every result in a bare loop; gives the last one."""
    _last = None
    if hasattr(results, "__iter__"):
        for _last in results:
            pass
        return _last

    async def loop() -> Any:
        _last = None
        async for _last in results:
            pass
        return _last

    return run_coroutine(loop())


# A1: a trivial function ---------------------------------------------------------------------------------------------


def overhead(maker: Maker, full: int, *, ordered: bool = True) -> Callable[[Trial], Figures]:
    """Time per item of `x + 1` on 4 threads. The warm-up round compares every result of the full size, the timed ones
    only the last (comparing costs more than the work)."""

    def run(trial: Trial) -> Figures:
        stage, items = maker(), range(2_000 if trial.quick else full)
        for some in [items[: len(items) // 20], *([items] if trial.warm or trial.quick else [])]:
            with stage(lambda x: x + 1, some, 4, ordered) as results:
                got = collect(results)
            expect(got if ordered else sorted(got), range(1, len(some) + 1))
        clock = Clock().start()
        with stage(lambda x: x + 1, items, 4, ordered) as results:
            last = drain(results)
            clock.stop()
        if ordered and last != len(items):
            raise Wrong(f"the last result is {last!r} instead of {len(items)!r}")
        micro = 1e6 / len(items)
        note = f"{len(items):,} items, scaled" if len(items) < 2_000_000 and not trial.quick else ""
        return {"us": clock.wall_s * micro, "cpu": clock.cpu_s * micro, "note": note}

    return run


A1 = Row(
    "A1",
    "overhead: x + 1 on 4 threads, 2,000,000 items, in order",
    (Figure("us", "µs per item"), Figure("cpu", "CPU µs per item")),
    (
        Contender("limit: map", overhead(peers.bare_map, 2_000_000), "limit"),
        Contender("headrace", overhead(peers.headrace, 2_000_000), "ours"),
        Contender("mp ThreadPool, 256 by hand", overhead(peers.pool_imap(256), 1_000_000)),
        Contender("mp ThreadPool", overhead(peers.pool_imap(), 50_000)),
        Contender("futures", overhead(peers.futures, 10_000)),
        Contender("joblib", overhead(peers.joblib_threading, 3_000)),
        Contender("mpire", overhead(peers.mpire_threading, 10_000)),
        Contender("pypeln (as completed)", overhead(peers.pypeln_thread, 5_000, ordered=False)),
        Contender("streamable", overhead(peers.streamable_threads, 5_000)),
        Contender("aiostream", overhead(peers.aiostream_threads, 600)),
        Contender("SPDL", overhead(peers.spdl_pipeline, 400)),
    ),
    (RatioAtMost("limit: map", 2.0, aim=1.3),),
)


# A2 to A4: sleeps ---------------------------------------------------------------------------------------------------

SLEEPERS, SLEEPS, TOTAL_S = 32, 2_000, 4.0
EVEN = [TOTAL_S / SLEEPS] * SLEEPS


def pareto(shape: float = 1.5, cap: float = 150.0, seed: int = 11) -> list[float]:
    """SLEEPS costs that sum up to TOTAL_S; the largest at most `cap` times the smallest possible."""
    rng = random.Random(seed)
    raw = [min(rng.paretovariate(shape), cap) for _ in range(SLEEPS)]
    return [TOTAL_S * cost / sum(raw) for cost in raw]


UNEVEN = pareto()


def sleeping(maker: Maker, costs: Sequence[float], *, ordered: bool) -> Callable[[Trial], Figures]:
    """Seconds until the last of all these sleeps is over and taken, 32 at once."""

    def work(item: int) -> int:
        time.sleep(costs[item])
        return item

    def run(trial: Trial) -> Figures:
        stage, items = maker(), range(trial.size(len(costs), 100))
        with stage(work, items[: 2 * SLEEPERS], SLEEPERS, ordered) as results:
            collect(results)
        clock = Clock().start()
        with stage(work, items, SLEEPERS, ordered) as results:
            got = collect(results)
            clock.stop()
        expect(got if ordered else sorted(got), items)
        return {"s": clock.wall_s, "cpu": clock.cpu_s}

    return run


def sleepers(costs: Sequence[float], *, ordered: bool) -> Iterator[Contender]:
    limit = peers.threads_with_fair_shares(costs, SLEEPERS)
    yield Contender("limit: threads, fair shares", sleeping(limit, costs, ordered=False), "limit")
    yield Contender("headrace", sleeping(peers.headrace, costs, ordered=ordered), "ours")
    if ordered and costs is UNEVEN:
        yield Contender("headrace as completed", sleeping(peers.headrace, costs, ordered=False), "ours")
    by_hand = sleeping(peers.threads_on_one_iterator, costs, ordered=False)
    yield Contender("bare threads, one iterator", by_hand, "hand")
    makers: dict[str, Maker] = {
        "mp ThreadPool": peers.pool_imap(),
        "futures": peers.futures,
        "joblib": peers.joblib_threading,
        "mpire": peers.mpire_threading,
        "pypeln": peers.pypeln_thread,
        "streamable": peers.streamable_threads,
        "aiostream": peers.aiostream_threads,
        "SPDL": peers.spdl_pipeline,
    }
    for name, maker in makers.items():
        yield Contender(name, sleeping(maker, costs, ordered=ordered))


UNEVEN_TITLE = f"{SLEEPS:,} sleeps, {TOTAL_S:g} s in all, Pareto-distributed, 32 at once"
UNEVEN_ABOUT = (
    f"shape 1.5, capped at 150 x the least, seed 11: the largest {1e3 * max(UNEVEN):.0f} ms "
    f"(item {UNEVEN.index(max(UNEVEN)):,}), the median {1e3 * sorted(UNEVEN)[SLEEPS // 2]:.2f} ms; "
    "limit: all costs known beforehand, shares of one total"
)

A2 = Row(
    "A2",
    "2,000 sleeps of 2 ms, 32 at once, in order",
    (Figure("s", "s"), CPU),
    tuple(sleepers(EVEN, ordered=True)),
    (RatioAtMost("limit: threads, fair shares", 1.15),),
    "limit: each thread sleeps its share, nothing is handed over",
)
A3 = Row(
    "A3",
    f"{UNEVEN_TITLE}, in order",
    (Figure("s", "s"), CPU),
    tuple(sleepers(UNEVEN, ordered=True)),
    (RatioAtMost("headrace as completed", 1.05),),
    UNEVEN_ABOUT,
)
A4 = Row(
    "A4",
    f"{UNEVEN_TITLE}, as completed",
    (Figure("s", "s"), CPU),
    tuple(sleepers(UNEVEN, ordered=False)),
    (RatioAtMost("best peer", 1.0),),
    UNEVEN_ABOUT,
)


# A5: how far a source is read ahead of its consumer -----------------------------------------------------------------


class Source:
    """`length` whole numbers; knows how many were pulled, and when the first. Gives up if no result comes of it."""

    def __init__(self, length: int, patience_s: float) -> None:
        self.length = length
        self.pulled = 0
        self.first_s = 0.0
        self.answered = self.gave_up = False
        self._patience_s = patience_s

    def __iter__(self) -> Iterator[int]:
        self.first_s = time.perf_counter()
        give_up_s = self.first_s + self._patience_s
        for number in range(self.length):
            self.pulled = number + 1
            if not number % 64 and not self.answered and time.perf_counter() > give_up_s:
                self.gave_up = True
                return
            yield number


class Watch:
    """What a consumer sees of its source: it calls `taken` with each result, and `rested` before it asks for another.

    What is ahead only grows between two takes, so that these two moments see the most there was.
    """

    def __init__(self, source: Source, *, ordered: bool) -> None:
        self.source = source
        self.ordered = ordered
        self.seen: set[int] = set()
        self.ahead = 0
        self.first_s = 0.0

    def taken(self, result: int) -> None:
        if self.source.gave_up:
            raise Unable(f"no result before the end: {self.source.pulled:,} items read, then the source was stopped")
        if not self.seen:
            self.first_s = time.perf_counter() - self.source.first_s
            self.source.answered = True
        if result in self.seen or (self.ordered and result != len(self.seen) + 1):
            raise Wrong(f"result {len(self.seen):,} is {result!r}")
        self.seen.add(result)
        self.rested()

    def rested(self) -> None:
        self.ahead = max(self.ahead, self.source.pulled - len(self.seen))


def resident_mib() -> float:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:  # no /proc: the high-water mark
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def consume(results: Results, watch: Watch, items: int, per_s: float) -> None:
    """Take `items` results, the next one each 1 / `per_s` seconds."""
    due_s = 0.0

    def rest_s(result: int) -> float:
        nonlocal due_s
        watch.taken(result)
        due_s = (due_s or time.perf_counter()) + 1 / per_s
        return max(0.0, due_s - time.perf_counter())

    async def loop() -> None:
        import asyncio

        async for result in results:
            await asyncio.sleep(rest_s(result))
            watch.rested()
            if len(watch.seen) == items:
                return

    if not hasattr(results, "__iter__"):
        run_coroutine(loop())
        return
    for result in results:
        time.sleep(rest_s(result))
        watch.rested()
        if len(watch.seen) == items:
            return


_kept: list[Any] = []  # stages must not end before the process does: some would work off all that they have read


def reading_ahead(maker: Maker, *, ordered: bool = True) -> Callable[[Trial], Figures]:
    def run(trial: Trial) -> Figures:
        stage, items = maker(), trial.size(300, 50)
        source = Source(2_000_000, patience_s=0.2 if trial.quick else 1.0)
        watch = Watch(source, ordered=ordered)
        before_mib = resident_mib()
        context = stage(lambda x: x + 1, source, 4, ordered)
        results = context.__enter__()
        _kept.extend((context, results))
        consume(results, watch, items, per_s=1_000.0)
        if len(watch.seen) != items:
            raise Wrong(f"{len(watch.seen):,} results instead of {items:,}, then the end")
        return {"ahead": watch.ahead, "first": 1e3 * watch.first_s, "grown": resident_mib() - before_mib}

    return run


A5 = Row(
    "A5",
    "items read ahead of a consumer of 1,000 items/s, 2,000,000 in the source, x + 1 on 4 threads",
    (Figure("ahead", "most items ahead", 0), Figure("first", "first result ms", 2), Figure("grown", "MiB grown", 1)),
    (
        Contender("headrace", reading_ahead(peers.headrace), "ours"),
        Contender("mp ThreadPool", reading_ahead(peers.pool_imap())),
        Contender("futures", reading_ahead(peers.futures)),
        Contender("joblib", reading_ahead(peers.joblib_threading)),
        Contender("mpire", reading_ahead(peers.mpire_threading)),
        Contender("pypeln (as completed)", reading_ahead(peers.pypeln_thread, ordered=False)),
        Contender("streamable", reading_ahead(peers.streamable_threads)),
        Contender("aiostream", reading_ahead(peers.aiostream_threads)),
        Contender("SPDL", reading_ahead(peers.spdl_pipeline)),
    ),
    (AtMost("ahead", WINDOW, always=True), AtMost("first", 2.0)),
    "first result: after the source's first item; grown: resident memory, from before the pool to the 300th item",
)


# A7: the first result from cold -------------------------------------------------------------------------------------


def first_and_rest(results: Results, clock: Clock) -> list[Any]:
    """All results; `clock` stops at the first."""

    def stopping(result: Any) -> Any:
        if not clock.wall_s:
            clock.stop()
        return result

    async def gather() -> list[Any]:
        return [stopping(result) async for result in results]

    return [stopping(result) for result in results] if hasattr(results, "__iter__") else run_coroutine(gather())


def from_cold(maker: Maker, *, ordered: bool = True) -> Callable[[Trial], Figures]:
    def run(trial: Trial) -> Figures:
        stage, items, clock = maker(), range(100), Clock()
        clock.start()
        with stage(lambda x: x + 1, items, 4, ordered) as results:
            got = first_and_rest(results, clock)
        expect(got if ordered else sorted(got), range(1, 101))
        return {"ms": 1e3 * clock.wall_s, "cpu": 1e3 * clock.cpu_s}

    return run


A7 = Row(
    "A7",
    "first of 100 results from cold, after the import, x + 1 on 4 threads",
    (Figure("ms", "ms", 2), Figure("cpu", "CPU ms", 2)),
    (
        Contender("limit: 4 bare threads", from_cold(peers.threads_and_a_queue, ordered=False), "limit"),
        Contender("headrace", from_cold(peers.headrace), "ours"),
        Contender("mp ThreadPool", from_cold(peers.pool_imap())),
        Contender("futures", from_cold(peers.futures)),
        Contender("joblib", from_cold(peers.joblib_threading)),
        Contender("mpire", from_cold(peers.mpire_threading)),
        Contender("pypeln (as completed)", from_cold(peers.pypeln_thread, ordered=False)),
        Contender("streamable", from_cold(peers.streamable_threads)),
        Contender("aiostream", from_cold(peers.aiostream_threads)),
        Contender("SPDL", from_cold(peers.spdl_pipeline)),
    ),
    (AtMost("ms", 3.0),),
    "CPU: until the first result",
)


if __name__ == "__main__":
    raise SystemExit(main("bench_thread", (A1, A2, A3, A4, A5, A7), PACKAGES))
