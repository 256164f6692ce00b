"""One stage on two worker processes: what it costs over what two cores can do, and what the peers cost.

python benchmarks/bench_process.py [--quick] [--rows B1,B4] [--only limit,headrace] [--rounds 9] [--json]

Ours runs with default settings but for the number of workers, and no batch size is given. A clock starts before the
pools are made and stops with the last result; where a row says so, the time of a run over a few trivial items is taken
off, for all contenders alike: that is what a pool takes to start and to end.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import light
import process_peers as peers
from harness import AtMost, Clock, Contender, Figure, Figures, RatioAtMost, Row, Trial, Wrong, expect, main
from process_peers import Maker

PACKAGES = ("headrace", "joblib", "mpire", "streamable", "spdl-core", "numpy")
WORKERS = 2
MILLISECOND = 45_000  # turns of a loop that take about that long on the machine that the targets were set on
CPU = Figure("cpu", "CPU s", 3)


def spin(turns: int) -> int:
    for _ in range(turns):
        pass
    return turns


def nothing(item: Any) -> None:
    return None


def timed(maker: Maker, fn: Callable[[Any], Any], items: Sequence[Any], want: Sequence[Any] | None) -> Clock:
    stage = maker()
    clock = Clock().start()
    with stage(fn, items, WORKERS) as results:
        got = list(results)
        clock.stop()
    clock.cpu_s = 0.0  # known when the processes are gone
    if want is not None:
        expect(got, want)
    elif sorted(got) != sorted(items):
        raise Wrong("not the results of these items")
    return clock


def without_start(
    maker: Maker, work: Callable[[Trial], Sequence[int]], *, ordered: bool = True
) -> Callable[[Trial], Figures]:
    """Seconds of a run over items that are spun for, less those of a run over a few that are not."""

    def run(trial: Trial) -> Figures:
        from rows import cpu_seconds

        items = work(trial)
        few = [1] * 8
        cpu = [cpu_seconds()]
        walls = []
        for some in (few, items):
            walls.append(timed(maker, spin, some, some if ordered else None).wall_s)
            cpu.append(cpu_seconds())
        return {"s": walls[1] - walls[0], "cpu": (cpu[2] - cpu[1]) - (cpu[1] - cpu[0])}

    return run


def equal(items: tuple[int, int], turns: int) -> Callable[[Trial], Sequence[int]]:
    return lambda trial: [turns] * trial.size(*items)


def pareto(trial: Trial) -> Sequence[int]:
    """Costs of 1 ms in the mean, most far below it, some far above."""
    draw = random.Random(7)
    costs = [draw.paretovariate(1.5) for _ in range(trial.size(4_000, 200))]
    costs = [min(cost, 100.0) for cost in costs]
    return [int(MILLISECOND * cost * len(costs) / sum(costs)) for cost in costs]


def fair(items: Sequence[int], workers: int) -> list[list[int]]:
    loads, shares = [0] * workers, [[] for _ in range(workers)]
    for item in sorted(items, reverse=True):
        least = loads.index(min(loads))
        loads[least] += item
        shares[least].append(item)
    return shares


def computing(key: str, title: str, work: Callable[[Trial], Sequence[int]], bound: float, *rest: Contender) -> Row:
    limit = "limit: two forks that share nothing"
    split = fair if work is pareto else peers.halves
    return Row(
        key,
        title,
        (Figure("s", "s"), CPU),
        (
            Contender(limit, without_start(peers.forks(split), work, ordered=False), "limit"),
            Contender("headrace", without_start(peers.headrace, work), "ours"),
            *rest,
        ),
        (RatioAtMost(limit, bound),),
        "start-up subtracted for all",
    )


def peer(name: str, maker: Maker, work: Callable[[Trial], Sequence[int]]) -> Contender:
    return Contender(name, without_start(maker, work))


EVEN = equal((4_000, 100), MILLISECOND)
TINY = equal((200_000, 2_000), MILLISECOND // 50)
B1 = computing(
    "B1",
    "4,000 x 1 ms of CPU on 2 processes, in order",
    EVEN,
    1.04,
    peer("mp Pool, 8 by hand", peers.pool_imap(8), EVEN),
    peer("mp Pool", peers.pool_imap(), EVEN),
    peer("futures", peers.futures, EVEN),
    peer("joblib", peers.joblib_loky, EVEN),
    peer("mpire", peers.mpire_pool, EVEN),
    peer("streamable", peers.streamable_processes, EVEN),
    peer("SPDL", peers.spdl_processes, EVEN),
)
B2 = computing(
    "B2",
    "200,000 x 20 µs of CPU on 2 processes, in order, no batch size given",
    TINY,
    1.06,
    peer("joblib", peers.joblib_loky, TINY),
    peer("mpire", peers.mpire_pool, TINY),
    peer("mp Pool", peers.pool_imap(), TINY),
)
B3 = computing(
    "B3",
    "4,000 Pareto-distributed costs, 1 ms in the mean, on 2 processes, in order",
    pareto,
    1.06,
    peer("mp Pool, 4 by hand", peers.pool_imap(4), pareto),
    peer("futures", peers.futures, pareto),
    peer("joblib", peers.joblib_loky, pareto),
    peer("mpire", peers.mpire_pool, pareto),
    peer("streamable", peers.streamable_processes, pareto),
)


# B4, B5: arrays ------------------------------------------------------------------------------------------------------

MIB = 4
WARM = 100


def negate(array: Any) -> Any:
    return ~array


def first_of(array: Any) -> float:
    return float(array[0])


def arrays(count: int) -> Iterator[Any]:
    """Eight arrays, made beforehand, over and over; each says by its first number which it is."""
    import numpy

    made = [numpy.arange(number, number + (MIB << 17), dtype=numpy.int64) for number in range(8)]
    return itertools.islice(itertools.cycle(made), count)


def moving(maker: Maker, fn: Callable[[Any], Any], full: int = 400) -> Callable[[Trial], Figures]:
    """µs per MiB that goes in, once both workers have begun: without the first `WARM` results."""

    def run(trial: Trial) -> Figures:
        import numpy

        count, warm = trial.size(full, 20), trial.size(WARM, 5)
        stage, items = maker(), arrays(count)
        with stage(fn, items, WORKERS) as results:
            taken = 0
            for result in results:
                first = int(result[0]) if isinstance(result, numpy.ndarray) else result
                if first != (~(taken % 8) if isinstance(result, numpy.ndarray) else taken % 8):
                    raise Wrong(f"result {taken} begins with {first}")
                taken += 1
                if taken == warm:
                    clock = Clock().start()
            clock.stop()
        if taken != count:
            raise Wrong(f"{taken} results instead of {count}")
        mib = (count - warm) * MIB
        return {"us": clock.wall_s / mib * 1e6, "rate": mib / clock.wall_s, "note": f"{mib / clock.wall_s:,.0f} MiB/s"}

    return run


def copies(times: int) -> Callable[[Trial], Figures]:
    """The limit: copied into memory that was used before, and out again (`times` 2), or in alone."""

    def run(trial: Trial) -> Figures:
        import numpy

        there, back = numpy.zeros(MIB << 17, dtype=numpy.int64), numpy.zeros(MIB << 17, dtype=numpy.int64)
        source = numpy.arange(MIB << 17, dtype=numpy.int64)
        count = trial.size(300, 20)
        clock = Clock().start()
        for _ in range(count):
            numpy.copyto(there, source)
            if times == 2:
                numpy.copyto(back, there)
        clock.stop()
        mib = count * MIB
        return {"us": clock.wall_s / mib * 1e6, "rate": mib / clock.wall_s, "note": f"{mib / clock.wall_s:,.0f} MiB/s"}

    return run


def array_row(key: str, title: str, fn: Callable[[Any], Any], times: int, rate: float) -> Row:
    return Row(
        key,
        title,
        (Figure("us", "µs per MiB in", 1),),
        (
            Contender("limit: copies", copies(times), "limit"),
            Contender("headrace", moving(peers.headrace, fn), "ours"),
            Contender("joblib", moving(peers.joblib_loky, fn)),
            Contender("futures", moving(peers.futures, fn)),
            Contender("mp Pool", moving(peers.pool_imap(), fn)),
            Contender("SPDL", moving(peers.spdl_processes, fn)),
        ),
        (AtMost("us", 1e6 / rate),),
        f"{rate:,.0f} MiB/s are {1e6 / rate:.0f} µs per MiB; from the hundredth result of 400 on",
    )


B4 = array_row("B4", "300 arrays of 4 MiB in, 4 MiB out, on 2 processes", negate, 2, 5_000)
B5 = array_row("B5", "300 arrays of 4 MiB in, a float out, on 2 processes", first_of, 1, 8_000)


# B7: the first result ------------------------------------------------------------------------------------------------


def pid_of(item: int) -> int:
    time.sleep(0.005)  # so that both workers get one
    return os.getpid()


def both_workers(maker: Maker, fn: Callable[[int], int] = pid_of) -> Callable[[Trial], Figures]:
    """Milliseconds to the first result, and until both workers have given one; `over` what a bare interpreter took just
    before."""

    def run(trial: Trial) -> Figures:
        bare = interpreter(trial)["ms"]
        stage = maker()
        clock, first_s, seen = Clock().start(), 0.0, set[int]()
        with stage(fn, range(40), WORKERS) as results:
            for result in results:
                first_s = first_s or time.perf_counter() - began_s(clock)
                seen.add(result)
                if len(seen) == WORKERS and not clock.wall_s:
                    clock.stop()
        if len(seen) < WORKERS:
            raise Wrong(f"{len(seen)} of {WORKERS} workers were at work")
        return {"ms": first_s * 1e3, "both": clock.wall_s * 1e3, "over": first_s * 1e3 - bare}

    return run


def began_s(clock: Clock) -> float:
    return clock._wall_s


def interpreter(trial: Trial) -> Figures:
    clock = Clock().start()
    peers.one_interpreter()
    clock.stop()
    return {"ms": clock.wall_s * 1e3, "both": clock.wall_s * 1e3}


B7 = Row(
    "B7",
    "first result from cold on 2 processes, the function of the program's own",
    (Figure("ms", "ms"), Figure("both", "ms, both workers"), Figure("over", "ms over a bare interpreter")),
    (
        Contender("limit: one python -S -c pass", interpreter, "limit"),
        Contender("headrace", both_workers(peers.headrace), "ours"),
        Contender("headrace, an imported function", both_workers(peers.headrace, light.pid_of), "ours"),
        Contender("mp Pool (forks)", both_workers(peers.pool_imap())),
        Contender("joblib", both_workers(peers.joblib_loky)),
    ),
    (AtMost("over", 30), AtMost("over", 30, of="headrace, an imported function")),
    "over: less what `python -S -c pass` took just before",
)


# B8: a worker is killed ----------------------------------------------------------------------------------------------

KILLED_AT = 100


def dies_once(item: tuple[int, str]) -> int:
    """1 ms of CPU; the first time that it comes to item 100, its process is killed."""
    number, flag = item
    if number == KILLED_AT:
        try:
            os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    spin(MILLISECOND)
    return number


def killed(maker: Maker) -> Callable[[Trial], Figures]:
    def run(trial: Trial) -> Figures:
        import tempfile

        count = trial.size(2_000, 200)
        with tempfile.TemporaryDirectory() as folder:
            flags = [os.path.join(folder, name) for name in ("warm", "there", "killed")]
            for flag in flags[:2]:
                open(flag, "w").close()
            walls = []
            for flag in flags:
                clock = Clock().start()
                with maker()(dies_once, [(number, flag) for number in range(count)], WORKERS) as results:
                    got = list(results)
                clock.stop()
                expect(got, range(count))
                walls.append(clock.wall_s)
        return {"ms": (walls[2] - walls[1]) * 1e3, "s": walls[2]}

    return run


B8 = Row(
    "B8",
    "a worker is killed at item 100 of 2,000, 1 ms of CPU each",
    (Figure("ms", "ms lost"), Figure("s", "s")),
    (
        Contender("headrace", killed(peers.headrace), "ours"),
        Contender("futures", killed(peers.futures)),
        Contender("joblib", killed(peers.joblib_loky)),
        Contender("streamable", killed(peers.streamable_processes)),
        Contender("mp Pool", killed(peers.pool_imap())),
    ),
    (AtMost("ms", 100),),
    "all 2,000 in order, once; less the time of the same without a kill",
)


if __name__ == "__main__":
    raise SystemExit(main("bench_process", (B1, B2, B3, B4, B5, B7, B8), PACKAGES))
