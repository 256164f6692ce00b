"""Whole pipelines: what they cost over their slowest stage, or over bare Python, and what the peers cost.

python benchmarks/bench_pipeline.py [--quick] [--rows C2,C4] [--only limit,headrace] [--rounds 9] [--items N] [--json]

Ours runs with the default settings of its profile (`balanced` unless named), the degrees apart; with the runner
`threads`, or `async` where the name says so. A peer is used as its
documentation says. A clock starts before the pools are made and stops with the last result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import mixed_peers as mixed
import pipeline_peers as peers
from harness import AtMost, Clock, Contender, Figure, Figures, RatioAtMost, Row, Trial, Wrong, expect, main
from pipeline_http import C6, C6_RATE
from pipeline_peers import Flow, Maker, Step
from rows import cpu_seconds

PACKAGES = ("headrace", "joblib", "mpire", "pypeln", "streamable", "aiostream", "spdl-core", "aiohttp")
CPU = Figure("cpu", "CPU s", 3)
SERVICE_S = 0.002


def fetch(number: int) -> int:
    time.sleep(SERVICE_S)
    return number + 1


async def fetch_awaited(number: int) -> int:
    import asyncio

    await asyncio.sleep(SERVICE_S)
    return number + 1


ON_ASYNC = peers.headrace(runner="async")


def sleeping(
    maker: Maker,
    stages: int,
    workers: int,
    items: tuple[int, int],
    *,
    ordered: bool = True,
    over: int = 1,
    fn: Callable[[int], Any] = fetch,
) -> Callable[[Trial], Figures]:
    """Seconds until the last item is through all stages and taken, and what that is of the time that the sleeps of one
    stage take. `items`: how many, and how many with `--quick`; `over`: what the seconds are divided by."""
    steps: list[Step] = [("map", fn)] * stages

    def run(trial: Trial) -> Figures:
        flow, some = maker(), range(trial.size(*items))
        with flow(steps, some[: 2 * workers], workers) as results:
            list(results)
        clock = Clock().start()
        with flow(steps, some, workers) as results:
            got = list(results)
            clock.stop()
        expect(got if ordered else sorted(got), range(stages, len(some) + stages))
        seconds = clock.wall_s / over
        return {"s": seconds, "ideal": seconds / (SERVICE_S * len(some) / workers), "cpu": clock.cpu_s}

    return run


# C1: threads, processes, threads --------------------------------------------------------------------------------------

MILLISECOND = 45_000  # turns of a loop that take about that long on the machine that the targets were set on


def pull(number: int) -> int:
    """Waits; for a number below 0, which stands for a start without work, it does not."""
    time.sleep(SERVICE_S if number >= 0 else 0)
    return number


def crunch(number: int) -> int:
    for _ in range(MILLISECOND if number >= 0 else 1):
        pass
    return number


def wanted(number: int) -> bool:
    return number % 10 != 9


push = pull
MIXED = (
    mixed.MixedStep("map", pull, "thread", 16),
    mixed.MixedStep("map", crunch, "process", 2),
    mixed.MixedStep("filter", wanted),
    mixed.MixedStep("map", push, "thread", 16),
)


def mixture(
    maker: mixed.Maker, *, steps: Sequence[mixed.MixedStep] = MIXED, ordered: bool = True
) -> Callable[[Trial], Figures]:
    """Seconds of a run over items that are worked on, less those of a run over a few that are not."""
    filtered = any(step.kind == "filter" for step in steps)

    def run(trial: Trial) -> Figures:
        few, many = range(-40, 0), range(trial.size(2_000, 60))
        walls, cpu = [], []
        for some in (few, few, many):  # the first time, modules are imported
            flow = maker()
            clock = Clock().start()
            with flow(steps, some) as results:
                got = list(results)
                clock.stop()
            expect(got if ordered else sorted(got), list(filter(wanted, some)) if filtered else list(some))
            walls.append(clock.wall_s)
            cpu.append(cpu_seconds())  # with that of the processes, which are gone
        return {"s": walls[2] - walls[1], "cpu": (cpu[2] - cpu[1]) - (cpu[1] - cpu[0])}

    return run


CPU_ALONE = "limit: the CPU stage alone, two forks"
CPU_STAGE = MIXED[1:2]
C1 = Row(
    "C1",
    "I/O 2 ms (16) > CPU 1 ms (2 processes) > filter > I/O 2 ms (16), 2,000 items, in order",
    (Figure("s", "s"), CPU),
    (
        Contender(CPU_ALONE, mixture(mixed.forks_alone, steps=CPU_STAGE, ordered=False), "limit"),
        Contender("headrace", mixture(mixed.headrace()), "ours"),
        Contender("headrace, async", mixture(mixed.headrace("async")), "ours"),
        Contender("headrace, the CPU stage alone", mixture(mixed.headrace(), steps=CPU_STAGE), "ours"),
        Contender("mp ThreadPool and Pool", mixture(mixed.pools_imap)),
        Contender("futures", mixture(mixed.futures)),
        Contender("joblib", mixture(mixed.joblib_generators)),
        Contender("streamable", mixture(mixed.streamable_stream)),
        Contender("mpire", mixture(mixed.mpire_pools)),
        Contender("SPDL", mixture(mixed.spdl_pipeline)),
        Contender("pypeln (as completed)", mixture(mixed.pypeln_mixed, ordered=False)),
    ),
    (RatioAtMost(CPU_ALONE, 1.04), RatioAtMost(CPU_ALONE, 1.04, of="headrace, async")),
    "start-up subtracted for all: that of a run over 40 items that nothing is done for",
    patience_s=60.0,
)


# C2: three stages that wait -----------------------------------------------------------------------------------------

STAGES, AT_ONCE, ITEMS = 3, 8, (2_000, 200)


def three(
    maker: Maker, *, stages: int = STAGES, ordered: bool = True, fn: Callable[[int], Any] = fetch
) -> Callable[[Trial], Figures]:
    return sleeping(maker, stages, AT_ONCE, ITEMS, ordered=ordered, fn=fn)


C2 = Row(
    "C2",
    "three I/O stages of 2 ms, 8 at once each, 2,000 items, in order",
    (Figure("s", "s"), Figure("ideal", "x ideal"), CPU),
    (
        Contender("limit: one stage alone", three(peers.threads_in_shares, stages=1, ordered=False), "limit"),
        Contender("headrace", three(peers.headrace()), "ours"),
        Contender("headrace, async", three(ON_ASYNC), "ours"),
        Contender("headrace, async, coroutines", three(ON_ASYNC, fn=fetch_awaited), "ours"),
        Contender("headrace, one stage alone", three(peers.headrace(), stages=1), "ours"),
        Contender("bare threads and queues", three(peers.threads_and_queues, ordered=False), "hand"),
        Contender("mp ThreadPool", three(peers.pools_imap)),
        Contender("futures", three(peers.futures)),
        Contender("pypeln", three(peers.pypeln_thread)),
        Contender("streamable", three(peers.streamable_threads())),
        Contender("streamable, buffer 8", three(peers.streamable_threads(AT_ONCE))),
        Contender("SPDL", three(peers.spdl_pipeline)),
    ),
    (
        AtMost("ideal", 1.09),
        AtMost("ideal", 1.09, of="headrace, async"),
        AtMost("ideal", 1.09, of="headrace, async, coroutines"),
    ),
    "ideal: 2 ms x 2,000 / 8 = 0.5 s; limit: 8 threads sleep their shares, nothing is handed over",
)


# C3: N stages against one after the other ---------------------------------------------------------------------------

EACH = (200, 50)
SPEED_UP = 0.95  # of N, at least


def at_once_or_not(stages: int) -> Row:
    def chain(maker: Maker, *, over: int = 1, fn: Callable[[int], Any] = fetch) -> Callable[[Trial], Figures]:
        return sleeping(maker, stages, 1, EACH, over=over, fn=fn)

    limit = f"limit: one after the other / {stages}"
    return Row(
        f"C3-{stages}",
        f"{stages} I/O operators of 2 ms, 1 at once each, 200 items, against one after the other",
        (Figure("s", "s"), Figure("ideal", "x ideal"), CPU),
        (
            Contender(limit, chain(peers.one_after_the_other, over=stages), "limit"),
            Contender("headrace", chain(peers.headrace()), "ours"),
            Contender("headrace, async", chain(ON_ASYNC), "ours"),
            Contender("headrace, async, coroutines", chain(ON_ASYNC, fn=fetch_awaited), "ours"),
            Contender("bare threads and queues", chain(peers.threads_and_queues), "hand"),
            Contender("mp ThreadPool", chain(peers.pools_imap)),
            Contender("pypeln", chain(peers.pypeln_thread)),
            Contender("SPDL", chain(peers.spdl_pipeline)),
        ),
        (
            RatioAtMost(limit, 1 / SPEED_UP),
            RatioAtMost(limit, 1 / SPEED_UP, of="headrace, async"),
            RatioAtMost(limit, 1 / SPEED_UP, of="headrace, async, coroutines"),
        ),
        f"limit: each over all items before the next begins, its s over {stages}, its CPU s whole: a speed-up of "
        f"{SPEED_UP} x {stages} is {1 / SPEED_UP:.3f} x limit; ideal: 0.4 s, which the last item's way makes longer by "
        f"{100 * (stages - 1) / EACH[0]:g} %",
    )


# C4: cheap operators ------------------------------------------------------------------------------------------------

CHEAP: list[Step] = [
    ("map", lambda x: x + 1),
    ("map", lambda x: x * 3),
    ("map", lambda x: x - 2),
    ("filter", lambda x: x % 10 != 0),  # drops one in ten
    ("map", lambda x: x ^ 5),
    ("map", lambda x: x + 7),
    ("map", lambda x: x * 2),
    ("map", lambda x: -x),
]


def written_out(items: Iterable[int]) -> Iterable[int]:
    """What `CHEAP` says, in nested generator expressions without a call: the reference."""
    up = (x + 1 for x in items)
    thrice = (x * 3 for x in up)
    down = (x - 2 for x in thrice)
    kept = (x for x in down if x % 10 != 0)
    mixed = (x ^ 5 for x in kept)
    more = (x + 7 for x in mixed)
    twice = (x * 2 for x in more)
    return (-x for x in twice)


def written_out_flow() -> Flow:
    @contextmanager
    def flow(steps, items, workers):
        yield written_out(items)

    return flow


def cheap(maker: Maker, full: int = 1_000_000) -> Callable[[Trial], Figures]:
    """Time per item of the source. The warm-up round compares every result of the full size; the timed ones only their
    sum, which takes them all with the least work of its own."""

    def run(trial: Trial) -> Figures:
        flow, items = maker(), range(20_000 if trial.quick else full)
        for some in [items[: len(items) // 20], *([items] if trial.warm or trial.quick else [])]:
            with flow(CHEAP, some, None) as results:
                expect(results, list(written_out(some)))
        clock = Clock().start()
        with flow(CHEAP, items, None) as results:
            total = sum(results)
            clock.stop()
        if total != sum(written_out(items)):
            raise Wrong(f"the results sum up to {total!r} instead of {sum(written_out(items))!r}")
        micro = 1e6 / len(items)
        note = f"{len(items):,} items, scaled" if len(items) < 1_000_000 and not trial.quick else ""
        return {"us": clock.wall_s * micro, "cpu": clock.cpu_s * micro, "note": note}

    return run


GENERATORS = "limit: nested generators"
C4 = Row(
    "C4",
    "eight cheap operators (seven maps, a filter that drops one in ten), 1,000,000 items, in order",
    (Figure("us", "µs per item"), Figure("cpu", "CPU µs per item")),
    (
        Contender(GENERATORS, cheap(peers.nested_generators), "limit"),
        Contender("headrace", cheap(peers.headrace()), "ours"),
        Contender("headrace, async", cheap(ON_ASYNC), "ours"),
        Contender("headrace serial", cheap(peers.headrace("serial")), "ours"),
        Contender("list passes, 1,000 by hand", cheap(peers.list_passes(1_000)), "hand"),
        Contender("nested map and filter", cheap(peers.nested_builtins), "hand"),
        Contender("generators without calls", cheap(written_out_flow), "hand"),
        Contender("streamable", cheap(peers.streamable_threads(), 100_000)),
        Contender("pypeln sync", cheap(peers.pypeln_sync, 20_000)),
    ),
    (
        RatioAtMost(GENERATORS, 1.5, aim=1.0),
        RatioAtMost(GENERATORS, 1.5, aim=1.0, of="headrace, async"),
        RatioAtMost(GENERATORS, 1.5, aim=1.0, of="headrace serial"),
    ),
    "limit: generator expressions that call the same functions; without calls: the same written out by hand",
)


# C5: memory ---------------------------------------------------------------------------------------------------------


def one_more(number: int) -> int:
    return number + 1


def tree_mib() -> float:
    """The proportional set size of this process and of all that it has started."""
    import psutil

    me = psutil.Process()
    return sum(each.memory_full_info().pss for each in (me, *me.children(recursive=True))) / 2**20


THREE = (
    mixed.MixedStep("map", one_more, "thread", 2),
    mixed.MixedStep("map", one_more, "process", 2),
    mixed.MixedStep("map", one_more, "thread", 2),
)


def growing(maker: mixed.Maker) -> Callable[[Trial], Figures]:
    """Memory at a tenth of the results and at the last one; in between it is looked at with each further tenth."""

    def run(trial: Trial) -> Figures:
        tree_mib()  # psutil is there before the first look
        flow, tenth = maker(), trial.size(20_000_000, 20_000) // 10
        seen, total = [], 0
        clock = Clock().start()
        with flow(THREE, range(10 * tenth)) as results:
            some = iter(results)
            for _ in range(10):
                total += sum(islice(some, tenth))
                seen.append(tree_mib())
            rest = list(some)
        clock.stop()
        want = sum(range(3, 10 * tenth + 3))
        if rest or total != want:
            raise Wrong(f"the results sum up to {total!r} instead of {want!r}, and {len(rest)} more came")
        note = f"{10 * tenth:,} items"
        most = max(seen) - seen[0]
        return {"mib": seen[-1] - seen[0], "most": most, "first": seen[0], "last": seen[-1], "s": clock.wall_s} | {
            "note": note
        }

    return run


C5 = Row(
    "C5",
    "20,000,000 items through three stages (2 threads > 2 processes > 2 threads): memory at 100 % less that at 10 %",
    (
        Figure("mib", "MiB more", 1),
        Figure("most", "MiB more, the most", 1),
        Figure("first", "MiB at 10 %", 1),
        Figure("last", "MiB at 100 %", 1),
        Figure("s", "s", 1),
    ),
    (
        Contender("headrace", growing(mixed.headrace()), "ours"),
        Contender("headrace, async", growing(mixed.headrace("async")), "ours"),
    ),
    (AtMost("mib", 5.0, always=True), AtMost("mib", 5.0, of="headrace, async", always=True)),
    "PSS of the process tree; the most: at any tenth; one round, since it is no matter of speed",
    rounds=1,
    patience_s=1_200.0,
)


if __name__ == "__main__":
    rows = (C1, C2, at_once_or_not(2), at_once_or_not(4), at_once_or_not(8), C4, C5, C6, C6_RATE)
    raise SystemExit(main("bench_pipeline", rows, PACKAGES))
