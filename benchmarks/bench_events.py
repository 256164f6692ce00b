"""Events: what it costs to tell one, and what listeners cost the run that they listen to.

python benchmarks/bench_events.py [--quick] [--rows E1,E3] [--only limit,headrace] [--rounds 9] [--items N] [--json]

Ours runs with its default settings. E1, E2, E4 use an AsyncEventDispatcher with a BufferedEventNotifier, which is what
a pipeline uses; E3 the pipeline of bench_pipeline's C1.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import events_peers as peers
import mixed_peers as mixed
from bench_pipeline import MIXED, mixture
from events_peers import Maker
from harness import Contender, Figure, Figures, RatioAtMost, Row, Trial, Unable, Wrong, main

PACKAGES = ("headrace", "pyee", "blinker", "psygnal", "opentelemetry-sdk")
BURST = 5_000
"""Events that are told in one go: fewer than any queue holds, so that all of them are heard."""


def ignore(event: Any) -> None:
    pass


# E1: what one costs the emitter -------------------------------------------------------------------------------------


def costs(maker: Maker) -> Callable[[Trial], Figures]:
    """Nanoseconds of one call, in bursts, with all heard before the next; the median of the bursts."""

    def run(trial: Trial) -> Figures:
        emitter, bursts = maker(ignore), []
        emit, clock_ns, numbers = emitter.emit, time.perf_counter_ns, range(BURST)
        for _ in range(trial.size(60, 3)):
            began_ns = clock_ns()
            for number in numbers:
                emit(number)
            bursts.append((clock_ns() - began_ns) / BURST)
            emitter.flush()
        emitter.close()
        return {"ns": sorted(bursts)[len(bursts) // 2]}

    return run


APPEND = "limit: append with a time stamp"
E1 = Row(
    "E1",
    "one event told, one listener",
    (Figure("ns", "ns", 0),),
    (
        Contender(APPEND, costs(peers.append), "limit"),
        Contender("headrace", costs(peers.headrace(batch=True)), "ours"),
        Contender("headrace, 10 listeners", costs(peers.headrace(batch=True, listeners=10)), "ours"),
        Contender("headrace, no listener", costs(peers.headrace(listeners=0)), "ours"),
        Contender("headrace, not buffered", costs(peers.headrace("async", batch=True)), "ours"),
        Contender("headrace, inline", costs(peers.headrace("inline")), "ours"),
        Contender("the append in a method with keywords", costs(peers.notify_by_hand), "hand"),
        Contender("direct call", costs(peers.direct_call), "hand"),
        Contender("SimpleQueue and a thread", costs(peers.simple_queue), "hand"),
        Contender("executor submit", costs(peers.executor_submit)),
        Contender("logging QueueHandler", costs(peers.queue_handler)),
        Contender("pyee", costs(peers.pyee)),
        Contender("blinker", costs(peers.blinker)),
        Contender("psygnal", costs(peers.psygnal)),
        Contender("OpenTelemetry span", costs(peers.opentelemetry)),
    ),
    (
        RatioAtMost(APPEND, 3.0),
        RatioAtMost(APPEND, 3.0, of="headrace, 10 listeners"),
    ),
    f"bursts of {BURST:,}; the limit is called through a function, as all are",
)


# E2: what a slow listener costs the emitter -------------------------------------------------------------------------


def worst(maker: Maker, listener: Callable[[Any], Any], *, busy: bool) -> Callable[[Trial], Figures]:
    """The 99th percentile of one call, in nanoseconds, and the 50th. The emitter waits for 1 ms between two events; or
    is busy for 0.1 ms, and never lets go of the interpreter."""

    def run(trial: Trial) -> Figures:
        emitter, took = maker(listener), []
        emit, clock_ns = emitter.emit, time.perf_counter_ns
        due_ns = clock_ns()
        for number in range(trial.size(20_000 if busy else 4_000, 300)):
            due_ns += 100_000
            while busy and clock_ns() < due_ns:
                pass
            if not busy:
                time.sleep(0.001)
            began_ns = clock_ns()
            emit(number)
            took.append(clock_ns() - began_ns)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what waits for the slow listener is dropped at the close
            emitter.close()
        took.sort()
        return {"ns": took[len(took) * 99 // 100], "p50": took[len(took) // 2]}

    return run


def sleeps_1_ms(event: Any) -> None:
    time.sleep(0.001)


def computes_1_ms(event: Any) -> None:
    until_s = time.perf_counter() + 0.001
    while time.perf_counter() < until_s:
        pass


NO_LISTENER = "limit: no listener"


def emitters(*, busy: bool) -> Iterator[Contender]:
    yield Contender(NO_LISTENER, worst(peers.headrace(listeners=0), ignore, busy=busy), "limit")
    yield Contender("headrace", worst(peers.headrace(), sleeps_1_ms, busy=busy), "ours")
    yield Contender("headrace, it computes", worst(peers.headrace(), computes_1_ms, busy=busy), "ours")
    yield Contender("headrace, it does nothing", worst(peers.headrace(), ignore, busy=busy), "ours")
    yield Contender("SimpleQueue and a thread, it does nothing", worst(peers.simple_queue, ignore, busy=busy), "hand")
    yield Contender("direct call", worst(peers.direct_call, sleeps_1_ms, busy=busy), "hand")
    yield Contender("pyee", worst(peers.pyee, sleeps_1_ms, busy=busy))
    yield Contender("OpenTelemetry span", worst(peers.opentelemetry, sleeps_1_ms, busy=busy))


TWICE = (RatioAtMost(NO_LISTENER, 2.0), RatioAtMost(NO_LISTENER, 2.0, of="headrace, it computes"))
E2_FIGURES = (Figure("ns", "p99 ns", 0), Figure("p50", "p50 ns", 0))
E2 = Row(
    "E2",
    "p99 of telling an event, the listener takes 1 ms",
    E2_FIGURES,
    tuple(emitters(busy=False)),
    TWICE,
    "the emitter waits for 1 ms between two events",
    patience_s=120,
)
E2_BUSY = Row(
    "E2-busy",
    "the same, the emitter computes for 0.1 ms between two events",
    E2_FIGURES,
    tuple(emitters(busy=True)),
    TWICE,
    patience_s=120,
)


# E3: what a listener costs a pipeline -------------------------------------------------------------------------------


def computes_a_little(event: Any) -> None:
    """0.2 ms of CPU."""
    until_s = time.thread_time() + 0.0002
    while time.thread_time() < until_s:
        pass


ALONE = "limit: no listener"


def listened(listener: Callable[[Any], Any], dispatcher: str | None = None) -> Callable[[Trial], Figures]:
    """C1 with a listener to all events."""
    return mixture(mixed.headrace(listener=listener, dispatcher=dispatcher), steps=MIXED)


E3 = Row(
    "E3",
    "the pipeline of C1, a listener takes 0.2 ms of CPU per event",
    (Figure("s", "s"), Figure("cpu", "CPU s", 3)),
    (
        Contender(ALONE, mixture(mixed.headrace()), "limit"),
        Contender("headrace", listened(computes_a_little), "ours"),
        Contender("headrace, it sleeps 1 ms", listened(sleeps_1_ms), "ours"),
        Contender("headrace, inline", listened(computes_a_little, "inline"), "ours"),
        Contender("headrace, inline, it sleeps 1 ms", listened(sleeps_1_ms, "inline"), "ours"),
    ),
    (RatioAtMost(ALONE, 1.05), RatioAtMost(ALONE, 1.05, of="headrace, it sleeps 1 ms")),
    "less the time of a run over a few items without work",
)


# E4: events through to a listener -----------------------------------------------------------------------------------


def through(maker: Callable[[Callable[[Any], Any]], Any], *, built: bool) -> Callable[[Trial], Figures]:
    """Nanoseconds per event until it is heard: in bursts that no queue overflows on, each followed by a flush."""

    def run(trial: Trial) -> Figures:
        heard, bursts = [0], trial.size(60, 3)

        def listener(events: Any) -> None:
            heard[0] += len(list(events)) if built else len(events)

        emitter, took = maker(listener), []
        emit, clock_ns, numbers = emitter.emit, time.perf_counter_ns, range(BURST)
        for _ in range(bursts):
            began_ns = clock_ns()
            for number in numbers:
                emit(number)
            emitter.flush()
            took.append((clock_ns() - began_ns) / BURST)
        emitter.close()
        if maker is not peers.append and heard[0] != BURST * bursts:
            raise Wrong(f"{heard[0]:,} of {BURST * bursts:,} events were heard")
        return {"ns": sorted(took)[len(took) // 2]}

    return run


APPENDS = "limit: appends, not heard"
E4 = Row(
    "E4",
    "an event through to a batch listener",
    (Figure("ns", "ns", 0),),
    (
        Contender(APPENDS, through(peers.append, built=False), "limit"),
        Contender("headrace", through(peers.headrace(batch=True), built=False), "ours"),
        Contender("headrace, events built", through(peers.headrace(batch=True), built=True), "ours"),
    ),
    (RatioAtMost(APPENDS, 3.0), RatioAtMost(APPENDS, 12.0, of="headrace, events built")),
    f"bursts of {BURST:,}; the listener gets a lazy sequence, and looks at its length or at each event",
)


# The account --------------------------------------------------------------------------------------------------------

EMITTERS = 4


def accounted(overflow: str) -> Callable[[Trial], Figures]:
    """Two million events from four threads to three listeners, one of which raises and one is slow; `Wrong` unless each
    event is accounted for."""

    def run(trial: Trial) -> Figures:
        try:
            from headrace import AsyncEventDispatcher, BatchCompleted, BufferedEventNotifier, EventQueueFull
        except ImportError as error:
            raise Unable(f"no events: {error}") from error
        each = trial.size(2_000_000, 4_000) // EMITTERS
        heard = [0]

        def counts(events: Any) -> None:
            heard[0] += len(events)

        def picky(event: Any) -> None:
            if event.items % 3 == 0:
                raise ValueError

        def slow(events: Any) -> None:
            time.sleep(0.001)

        def emit(number: int) -> None:
            for step in range(each):
                try:
                    notifier.notify(BatchCompleted, operator=str(number), items=step)
                except EventQueueFull:
                    refused[number] += 1

        refused = [0] * EMITTERS
        dispatcher = AsyncEventDispatcher(overflow=overflow, block_s=0.001, max_failures=10**9)
        notifier = BufferedEventNotifier(dispatcher)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            told = [
                notifier.subscribe(counts, BatchCompleted, batch=True),
                notifier.subscribe(picky, BatchCompleted, max_pending=1_000),
                notifier.subscribe(slow, BatchCompleted, batch=True, max_pending=1_000),
            ]
            began_s = time.perf_counter()
            threads = [threading.Thread(target=emit, args=(number,)) for number in range(EMITTERS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if not notifier.flush(60):
                raise Wrong("it was not all delivered within 60 s")
            took_s = time.perf_counter() - began_s
        rows = [row for subscription in told for row in subscription.account]
        for row in rows:
            if row.emitted != EMITTERS * each or row.pending or row.emitted != row.delivered + row.dropped + row.failed:
                raise Wrong(f"it does not add up: {row}")
        if rows[0].delivered != heard[0]:
            raise Wrong(f"{heard[0]:,} events were heard, and {rows[0].delivered:,} are accounted for")
        if sum(refused) and overflow != "raise":
            raise Wrong(f"{sum(refused):,} were refused")
        notifier.close()
        dispatcher.close()
        note = ", ".join(f"{row.listener.split('.')[-1]} {row.delivered + row.failed:,}" for row in rows)
        return {"s": took_s, "note": f"of {EMITTERS * each:,}: {note}"}

    return run


def policies() -> Iterator[Contender]:
    for overflow in ("drop_oldest", "drop_newest", "block", "coalesce", "raise"):
        name = "headrace" if overflow == "drop_oldest" else f"headrace, {overflow}"
        yield Contender(name, partial(accounted(overflow)), "ours")


E5 = Row(
    "E5",
    "10,000,000 events from 4 threads over all policies, each accounted for",
    (Figure("s", "s", 1),),
    tuple(policies()),
    about="2,000,000 for each policy; three listeners: one counts, one raises on a third, one sleeps 1 ms per batch",
    rounds=1,
    patience_s=600,
)


if __name__ == "__main__":
    raise SystemExit(main("bench_events", (E1, E2, E2_BUSY, E3, E4, E5), PACKAGES))
