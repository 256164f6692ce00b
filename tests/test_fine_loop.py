"""Loops that Headrace makes: fine timers, woken by what is ready, and as they were where that cannot be."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import threading
import time

import pytest

from headrace.drive.fine_loop import FD_SETSIZE, new_loop

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only epoll counts in milliseconds")


def test_timers_are_finer_than_a_millisecond() -> None:
    """A wait of a third of a millisecond, which epoll by itself never ends before a whole one."""

    async def waits() -> float:
        least_s = 1.0
        for _ in range(100):
            began_s = time.perf_counter()
            await asyncio.sleep(0.0003)
            least_s = min(least_s, time.perf_counter() - began_s)
        return least_s

    loop = new_loop()
    try:
        assert 0.0003 <= loop.run_until_complete(waits()) < 0.001
    finally:
        loop.close()


def test_it_is_woken_in_a_long_wait() -> None:
    async def woken() -> None:
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        threading.Thread(target=loop.call_soon_threadsafe, args=(event.set,)).start()
        await asyncio.wait_for(event.wait(), 60.0)

    loop = new_loop()
    try:
        began_s = time.monotonic()
        loop.run_until_complete(woken())
        assert time.monotonic() - began_s < 30.0
    finally:
        loop.close()


def test_a_loop_of_another_kind_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(asyncio.SelectorEventLoop):
        pass

    monkeypatch.setattr(asyncio, "new_event_loop", Other)
    loop = new_loop()
    loop.close()
    assert type(loop) is Other


CROWDED = f"""
import asyncio, os
from headrace import AsyncPipelineExecutor, Pipeline
opened = [os.open(os.devnull, os.O_RDONLY) for _ in range({FD_SETSIZE})]

async def later(number):
    await asyncio.sleep(0.001)
    return number

pipeline = Pipeline("crowded").source("numbers", range(100)).map("later", later)
assert AsyncPipelineExecutor().execute(pipeline).outputs == list(range(100))
print("done")
"""


def test_with_more_files_open_than_select_can_name() -> None:
    needed = FD_SETSIZE + 256
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"no more than {hard} files may be open here")

    def allow() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))

    ended = subprocess.run(
        [sys.executable, "-c", CROWDED], preexec_fn=allow, capture_output=True, text=True, timeout=60, env=os.environ
    )
    assert (ended.stdout, ended.stderr) == ("done\n", "")
