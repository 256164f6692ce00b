"""Whole pipelines on threads: what they cost over their slowest stage, or over bare Python, and what the peers cost.

python benchmarks/bench_pipeline.py [--quick] [--rows C2,C4] [--only limit,headrace] [--rounds 9] [--json]

Ours runs with the default settings of its profile (`balanced` unless named), the degrees apart. A peer is used as its
documentation says. A clock starts before the pools are made and stops with the last result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager

import pipeline_peers as peers
from harness import AtMost, Clock, Contender, Figure, Figures, RatioAtMost, Row, Trial, Wrong, expect, main
from pipeline_peers import Flow, Maker, Step

PACKAGES = ("headrace", "pypeln", "streamable", "spdl-core")
CPU = Figure("cpu", "CPU s", 3)
SERVICE_S = 0.002


def fetch(number: int) -> int:
    time.sleep(SERVICE_S)
    return number + 1


def sleeping(
    maker: Maker, stages: int, workers: int, items: tuple[int, int], *, ordered: bool = True, over: int = 1
) -> Callable[[Trial], Figures]:
    """Seconds until the last item is through all stages and taken, and what that is of the time that the sleeps of one
    stage take. `items`: how many, and how many with `--quick`; `over`: what the seconds are divided by."""
    steps: list[Step] = [("map", fetch)] * stages

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


# C2: three stages that wait -----------------------------------------------------------------------------------------

STAGES, AT_ONCE, ITEMS = 3, 8, (2_000, 200)


def three(maker: Maker, *, stages: int = STAGES, ordered: bool = True) -> Callable[[Trial], Figures]:
    return sleeping(maker, stages, AT_ONCE, ITEMS, ordered=ordered)


C2 = Row(
    "C2",
    "three I/O stages of 2 ms, 8 at once each, 2,000 items, in order",
    (Figure("s", "s"), Figure("ideal", "x ideal"), CPU),
    (
        Contender("limit: one stage alone", three(peers.threads_in_shares, stages=1, ordered=False), "limit"),
        Contender("headrace", three(peers.headrace()), "ours"),
        Contender("headrace, one stage alone", three(peers.headrace(), stages=1), "ours"),
        Contender("bare threads and queues", three(peers.threads_and_queues, ordered=False), "hand"),
        Contender("mp ThreadPool", three(peers.pools_imap)),
        Contender("futures", three(peers.futures)),
        Contender("pypeln", three(peers.pypeln_thread)),
        Contender("streamable", three(peers.streamable_threads())),
        Contender("streamable, buffer 8", three(peers.streamable_threads(AT_ONCE))),
        Contender("SPDL", three(peers.spdl_pipeline)),
    ),
    (AtMost("ideal", 1.09),),
    "ideal: 2 ms x 2,000 / 8 = 0.5 s; limit: 8 threads sleep their shares, nothing is handed over",
)


# C3: N stages against one after the other ---------------------------------------------------------------------------

EACH = (200, 50)
SPEED_UP = 0.95  # of N, at least


def at_once_or_not(stages: int) -> Row:
    def chain(maker: Maker, *, over: int = 1) -> Callable[[Trial], Figures]:
        return sleeping(maker, stages, 1, EACH, over=over)

    limit = f"limit: one after the other / {stages}"
    return Row(
        f"C3-{stages}",
        f"{stages} I/O operators of 2 ms, 1 at once each, 200 items, against one after the other",
        (Figure("s", "s"), Figure("ideal", "x ideal"), CPU),
        (
            Contender(limit, chain(peers.one_after_the_other, over=stages), "limit"),
            Contender("headrace", chain(peers.headrace()), "ours"),
            Contender("bare threads and queues", chain(peers.threads_and_queues), "hand"),
            Contender("mp ThreadPool", chain(peers.pools_imap)),
            Contender("pypeln", chain(peers.pypeln_thread)),
            Contender("SPDL", chain(peers.spdl_pipeline)),
        ),
        (RatioAtMost(limit, 1 / SPEED_UP),),
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
        Contender("headrace serial", cheap(peers.headrace("serial")), "ours"),
        Contender("list passes, 1,000 by hand", cheap(peers.list_passes(1_000)), "hand"),
        Contender("nested map and filter", cheap(peers.nested_builtins), "hand"),
        Contender("generators without calls", cheap(written_out_flow), "hand"),
        Contender("streamable", cheap(peers.streamable_threads(), 100_000)),
        Contender("pypeln sync", cheap(peers.pypeln_sync, 20_000)),
    ),
    (RatioAtMost(GENERATORS, 1.5, aim=1.0), RatioAtMost(GENERATORS, 1.5, aim=1.0, of="headrace serial")),
    "limit: generator expressions that call the same functions; without calls: the same written out by hand",
)


if __name__ == "__main__":
    raise SystemExit(
        main("bench_pipeline", (C2, at_once_or_not(2), at_once_or_not(4), at_once_or_not(8), C4), PACKAGES)
    )
