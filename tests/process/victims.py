"""Functions for worker processes: harmless ones, and some that end, stop or exhaust the process that they run in."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any


def same(item: Any) -> Any:
    return item


def spin(item: int) -> int:
    """About 20 µs of work."""
    for _ in range(900):
        pass
    return item


def pid_of(item: Any) -> int:
    time.sleep(0.002)  # so that each worker gets some
    return os.getpid()


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def exits() -> None:
    os._exit(3)


def crashes() -> None:
    ctypes.string_at(0)


def stopped() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def hangs_in_c() -> None:
    """Holds the interpreter lock for ages."""
    re.match(r"(a+)+$", "a" * 64 + "b")


def memory_runs_out() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (1 << 20, resource.getrlimit(resource.RLIMIT_AS)[1]))
    bytearray(1 << 30)


ENDS: dict[str, Callable[[], None]] = {"SIGKILL": killed, "_exit": exits, "segfault": crashes}


def _at(item: int, *, bad: frozenset[int], end: Callable[[], None]) -> int:
    if item in bad:
        end()
    return item


def at(bad: set[int], end: Callable[[], None]) -> Callable[[int], int]:
    """A function that comes to its `end` at each of the `bad` items, each time."""
    return partial(_at, bad=frozenset(bad), end=end)


def _once_at(item: int, *, bad: frozenset[int], end: Callable[[], None], folder: Path) -> int:
    if item in bad:
        try:
            (folder / str(item)).touch(exist_ok=False)
        except FileExistsError:
            return item
        end()
    return item


def once_at(bad: set[int], end: Callable[[], None], folder: Path) -> Callable[[int], int]:
    """The same, the first time alone; `folder` remembers."""
    return partial(_once_at, bad=frozenset(bad), end=end, folder=folder)


def _noted(item: int, *, folder: Path, bad: frozenset[int], end: Callable[[], None]) -> int:
    with open(folder / str(os.getpid()), "a") as file:
        file.write(f"{item}\n")
    if item in bad:
        end()
    return item


def noted(folder: Path, bad: set[int], end: Callable[[], None]) -> Callable[[int], int]:
    """Writes down each item that it is called for."""
    return partial(_noted, folder=folder, bad=frozenset(bad), end=end)
