"""C6: requests in coroutines to an HTTP server in another process that takes its time: 500 at once, or some a second.

The server counts what was in flight and what began within any one second: what a contender promises is held against
that, not against its own word.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import coroutine_peers as peers
from bench_thread import collect
from harness import AtMost, Clock, Contender, Figure, Figures, RatioAtMost, Row, Trial, Unable, Wrong, expect
from thread_peers import Maker

SERVER = Path(__file__).with_name("slow_server.py")
AT_ONCE, TAKES_S = (500, 50), (1.0, 0.05)  # with --quick the second
PER_S, BURST_S = (400, 400), 0.02  # the bucket of `rate_limit` holds what comes in that time
Fetch = Callable[[int], Awaitable[int]]


class Server:
    """The address of a server that runs, and what it has counted since it was asked last."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def counts(self) -> dict[str, int]:
        with urllib.request.urlopen(f"{self.url}/counts") as answer:
            return dict(json.load(answer))


@contextmanager
def server(takes_s: float) -> Iterator[Server]:
    """A server of our own, which ends with its standard input."""
    command = [sys.executable, str(SERVER), str(takes_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        import aiohttp  # noqa: F401 - while the server does so; where it is missing, the row says so

        assert process.stdin and process.stdout
        yield Server(int(process.stdout.readline()))
        process.stdin.close()


def fetching(url: str) -> Fetch:
    """A coroutine function with one session, made in the loop that it is first called in. It bounds nothing, and stays
    open: the process ends with the trial."""
    import aiohttp

    sessions: list[aiohttp.ClientSession] = []

    async def fetch(number: int) -> int:
        if not sessions:
            sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        async with sessions[0].get(f"{url}/{number}") as response:
            return int(await response.text())

    return fetch


def pipeline(fn: Fetch, items: Sequence[int], at_once: int, per_s: float | None = None) -> Any:
    from headrace import Pipeline

    built = Pipeline("bench").source("numbers", items)
    if per_s is not None:
        if not hasattr(built, "rate_limit"):
            raise Unable("no Pipeline.rate_limit")
        built.rate_limit("pace", per_s=per_s)
    return built.map("fetch", fn, parallel_degree=at_once)


def headrace_awaited(per_s: float | None = None) -> Maker:
    """All in the loop of who awaits it, on the runner `async`."""

    def make() -> peers.Stage:
        @contextmanager
        def stage(fn, items, workers, ordered):
            yield asyncio.run(pipeline(fn, items, workers, per_s).execute_async(runner="async")).outputs

        return stage

    return make


def headrace_threads(per_s: float | None = None) -> Maker:
    """On the runner `threads`, from a program without a loop."""

    def make() -> peers.Stage:
        @contextmanager
        def stage(fn, items, workers, ordered):
            yield pipeline(fn, items, workers, per_s).execute().outputs

        return stage

    return make


def paced_tasks(per_s: float) -> Maker:
    """The limit: a bare task each time that one is due."""

    def make() -> peers.Stage:
        @contextmanager
        def stage(fn, items, workers, ordered):
            async def results() -> AsyncIterator[Any]:
                loop, tasks = asyncio.get_running_loop(), []
                began_s = loop.time()
                for number, item in enumerate(items):
                    await asyncio.sleep(max(0.0, began_s + number / per_s - loop.time()))
                    tasks.append(asyncio.create_task(fn(item)))
                for result in await asyncio.gather(*tasks):
                    yield result

            yield results()

        return stage

    return make


def streamable_throttled(per_s: float) -> Maker:
    def make() -> peers.Stage:
        from datetime import timedelta

        from streamable import stream

        @contextmanager
        def stage(fn, items, workers, ordered):
            async def results() -> AsyncIterator[Any]:
                paced = stream(items).throttle(int(per_s), per=timedelta(seconds=1))
                async for result in paced.map(fn, concurrency=workers):
                    yield result

            yield results()

        return stage

    return make


def aiostream_spaced(per_s: float) -> Maker:
    def make() -> peers.Stage:
        from aiostream import stream

        @contextmanager
        def stage(fn, items, workers, ordered):
            async def results() -> AsyncIterator[Any]:
                paced = stream.spaceout(stream.iterate(items), 1 / per_s)
                async with stream.map(paced, fn, task_limit=workers).stream() as streamer:
                    async for result in streamer:
                        yield result

            yield results()

        return stage

    return make


def requesting(maker: Callable[[float], Maker], *, paced: bool = False) -> Callable[[Trial], Figures]:
    """Seconds until the last answer is taken, and what that is of the least that it can be."""

    def run(trial: Trial) -> Figures:
        at_once, takes_s, per_s = (pair[trial.quick or trial.warm] for pair in (AT_ONCE, TAKES_S, PER_S))
        items = range(trial.size(5_000, 100))
        with server(takes_s) as serving:
            stage = maker(per_s)()
            with stage(fetching(serving.url), items[:10], at_once, True) as results:  # modules are imported
                collect(results)
            serving.counts()
            clock = Clock().start()
            with stage(fetching(serving.url), items, at_once, True) as results:
                got = collect(results)
                clock.stop()
            counts = serving.counts()
        expect(got, items)
        if counts["total"] != len(items) or counts["most"] > at_once:
            raise Wrong(f"{counts['total']:,} requests, {counts['most']:,} at once at the most")
        least_s = len(items) / per_s + takes_s if paced else len(items) / at_once * takes_s
        figures = {"s": clock.wall_s, "ideal": clock.wall_s / least_s, "flying": counts["most"], "cpu": clock.cpu_s}
        return figures | ({"rate": counts["per_s"] / per_s} if paced else {})

    return run


def plain(maker: Maker) -> Callable[[Trial], Figures]:
    return requesting(lambda per_s: maker)


def paced(maker: Callable[[float], Maker]) -> Callable[[Trial], Figures]:
    return requesting(maker, paced=True)


SECONDS = (Figure("s", "s", 2), Figure("ideal", "x ideal"), Figure("flying", "most in flight", 0))
BARE, PACED = "limit: bare asyncio, a semaphore of 500", "limit: bare asyncio, each when it is due"
C6 = Row(
    "C6",
    "5,000 requests, 500 coroutines at once, to an HTTP server that takes 1 s for each, in order",
    (*SECONDS, Figure("cpu", "CPU s")),
    (
        Contender(BARE, plain(peers.semaphore_and_gather), "limit"),
        Contender("headrace", plain(headrace_awaited()), "ours"),
        Contender("headrace, threads", plain(headrace_threads()), "ours"),
        Contender("aiostream", plain(peers.aiostream_map)),
        Contender("streamable", plain(peers.streamable_map)),
        Contender("SPDL", plain(peers.spdl_pipe)),
    ),
    (AtMost("ideal", 1.1), AtMost("ideal", 1.1, of="headrace, threads")),
    "ideal: 10 s; the server, a process of its own, counts what is in flight; more than 500 is wrong; three rounds",
    rounds=3,
    patience_s=60.0,
)
C6_RATE = Row(
    "C6-rate",
    "the same, at most 400 a second",
    (*SECONDS, Figure("rate", "most in a second, x 400"), Figure("cpu", "CPU s")),
    (
        Contender(PACED, paced(paced_tasks), "limit"),
        Contender("headrace", paced(headrace_awaited), "ours"),
        Contender("headrace, threads", paced(headrace_threads), "ours"),
        Contender("aiostream", paced(aiostream_spaced)),
        Contender("streamable", paced(streamable_throttled)),
    ),
    (RatioAtMost(PACED, 1.05), AtMost("rate", 1 + BURST_S + 0.03, always=True)),
    "ideal: 12.5 s and 1 s for the last one; the server counts what begins within any one second: 400 and the bucket's "
    "8 leave, 3 % are for late arrivals; three rounds",
    rounds=3,
    patience_s=60.0,
)
