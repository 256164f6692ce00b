"""The end of a program with worker processes, whatever ends it: nothing is left."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from itertools import count

import pytest
import scripts
import victims

from headrace import PipelineProcessExecutor
from headrace.testing import Resources
from headrace.testing.ways import EARLY, exhausted_or_failed

ENDLESS = """
    import time
    from headrace import PipelineProcessExecutor

    def slow(item):
        time.sleep(0.002)
        return item

    print("go")
    for item in PipelineProcessExecutor(max_workers=2).execute(slow, iter(int, 1)):
        pass
"""
STUCK = """
    import os, re
    from headrace import PipelineProcessExecutor

    def stuck(item):
        os.write(1, b"stuck\\n")  # whole: another worker writes there too
        return bool(re.match(r"(a+)+$", "a" * 64 + "b"))  # holds the interpreter lock for ages

    print("go")
    list(PipelineProcessExecutor(max_workers=2).execute(stuck, range(10)))
"""


def started(code: str) -> scripts.Program:
    """A program with two workers at work; those that get stuck are."""
    program = scripts.Program(code)
    assert program.line() == "go"
    assert len(program.workers()) == 2
    if code is STUCK:
        assert (program.line(), program.line()) == ("stuck", "stuck")
    return program


@pytest.mark.parametrize("after_ms", [0, 5, 10, 20, 30, 40, 50, 70, 100, 150, 300])
def test_ctrl_c_ends_a_program_with_one_traceback(after_ms: int) -> None:
    program = scripts.Program(ENDLESS)
    assert program.line() == "go"
    time.sleep(after_ms / 1e3)  # where it is by then is what differs
    os.killpg(program.process.pid, signal.SIGINT)
    _, err = program.ended(scripts.GONE_S)
    assert err.count("KeyboardInterrupt") == err.count("Traceback") == 1, err
    assert program.process.returncode == -signal.SIGINT
    assert not program.left(0.2)


def test_ctrl_c_ends_workers_that_are_stuck() -> None:
    program = started(STUCK)
    os.killpg(program.process.pid, signal.SIGINT)
    _, err = program.ended(scripts.GONE_S)
    assert err.count("KeyboardInterrupt") == err.count("Traceback") == 1, err
    assert not program.left(0.2)


@pytest.mark.parametrize("code", [ENDLESS, STUCK], ids=["endless", "stuck"])
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_workers_die_with_their_parent(end: signal.Signals, code: str) -> None:
    program = started(code)
    os.kill(program.process.pid, end)  # the parent alone
    program.ended()
    assert not program.left()


def test_a_program_that_forks_does_not_keep_workers_alive() -> None:
    code = """
        import os, signal, sys, time, warnings
        from headrace import PipelineProcessExecutor

        warnings.simplefilter("ignore")  # of newer Pythons, of forks beside threads

        def same(item):
            return item

        results = iter(PipelineProcessExecutor(max_workers=2).execute(same, iter(int, 1)))
        next(results)
        child = os.fork()
        if child == 0:
            time.sleep(60)
        print(child)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    program = scripts.Program(code)
    child = int(program.line())
    try:
        until_s = time.monotonic() + scripts.GONE_S
        while len(program._of_mark()) > 1 and time.monotonic() < until_s:
            time.sleep(0.01)
        assert [each.pid for each in program._of_mark()] == [child], "workers outlive their parent by a fork of it"
    finally:
        os.kill(child, signal.SIGKILL)
        program.ended()


def _make(items: object) -> object:
    return PipelineProcessExecutor(max_workers=2).execute(victims.same, items)


def test_nothing_is_left_after_fifty_runs() -> None:
    before = Resources.now()
    ways = [*EARLY.values(), exhausted_or_failed]
    for number in range(50):
        way = ways[number % len(ways)]
        items = range(500) if way is exhausted_or_failed else count()
        way(partial(_make, items))  # type: ignore[arg-type]
    left = before.left(within_s=scripts.GONE_S)
    assert not left, f"still there: {', '.join(left)}"


@pytest.mark.parametrize("end", victims.ENDS)
def test_nothing_is_left_after_workers_were_lost(end: str) -> None:
    before = Resources.now()
    for _ in range(5):
        with PipelineProcessExecutor(max_workers=2) as executor:
            fn = victims.at({300}, victims.ENDS[end])
            assert len(list(executor.execute(fn, range(600), on_error="skip"))) == 599
    left = before.left(within_s=scripts.GONE_S)
    assert not left, f"still there: {', '.join(left)}"
