"""One stage of coroutines: what it costs over bare tasks, and what the peers cost. The rows are those of bench_thread.

python benchmarks/bench_coroutine.py [--quick] [--rows A2c,A4c] [--only limit,headrace] [--rounds 9] [--json]

Ours runs with its default settings, the number of coroutines apart. A peer is used as its documentation says. A clock
starts before the loop is made and stops with the last result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

import coroutine_peers as peers
from bench_thread import CPU, EVEN, SLEEPERS, SLEEPS, UNEVEN, UNEVEN_ABOUT, UNEVEN_TITLE, collect
from harness import Clock, Contender, Figure, Figures, RatioAtMost, Row, Trial, expect, main
from thread_peers import Maker

PACKAGES = ("headrace", "pypeln", "streamable", "aiostream", "spdl-core")
LIMIT = "limit: bare tasks, one iterator"


def sleeping(maker: Maker, costs: Sequence[float], *, ordered: bool) -> Callable[[Trial], Figures]:
    """Seconds until the last of all these sleeps is over and taken, 32 at once."""

    async def work(item: int) -> int:
        await asyncio.sleep(costs[item])
        return item

    def run(trial: Trial) -> Figures:
        stage, items = maker(), range(min(SLEEPS, trial.size(len(costs), 100)))
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
    yield Contender(LIMIT, sleeping(peers.tasks_on_one_iterator, costs, ordered=False), "limit")
    yield Contender("headrace", sleeping(peers.headrace, costs, ordered=ordered), "ours")
    if ordered and costs is UNEVEN:
        yield Contender("headrace as completed", sleeping(peers.headrace, costs, ordered=False), "ours")
    yield Contender("headrace, async for", sleeping(peers.headrace_awaited, costs, ordered=ordered), "ours")
    fair = peers.tasks_with_fair_shares(costs, SLEEPERS)
    yield Contender("bare tasks, fair shares", sleeping(fair, costs, ordered=False), "hand")
    yield Contender("bare semaphore and gather", sleeping(peers.semaphore_and_gather, costs, ordered=True), "hand")
    makers: dict[str, Maker] = {
        "aiostream": peers.aiostream_map,
        "streamable": peers.streamable_map,
        "SPDL": peers.spdl_pipe,
        "pypeln": peers.pypeln_task,
    }
    for name, maker in makers.items():
        yield Contender(name, sleeping(maker, costs, ordered=ordered))


TITLE = UNEVEN_TITLE.replace("32 at once", "32 coroutines")
ABOUT = f"{UNEVEN_ABOUT.split('; limit')[0]}; limit: bare tasks, no order, no bound; window: 10,000 items"
FIGURES = (Figure("s", "s"), CPU)

A2 = Row(
    "A2c",
    "2,000 sleeps of 2 ms, 32 coroutines, in order",
    FIGURES,
    tuple(sleepers(EVEN, ordered=True)),
    (RatioAtMost(LIMIT, 1.15),),
    "limit: 32 bare tasks that take from one iterator, no order, no bound",
)
A3 = Row(
    "A3c",
    f"{TITLE}, in order",
    FIGURES,
    tuple(sleepers(UNEVEN, ordered=True)),
    (RatioAtMost("headrace as completed", 1.05),),
    ABOUT,
)
A4 = Row(
    "A4c",
    f"{TITLE}, as completed",
    FIGURES,
    tuple(sleepers(UNEVEN, ordered=False)),
    (RatioAtMost("best peer", 1.0),),
    ABOUT,
)


if __name__ == "__main__":
    raise SystemExit(main("bench_coroutine", (A2, A3, A4), PACKAGES))
