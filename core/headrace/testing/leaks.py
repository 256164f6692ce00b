"""What a process has open: threads, child processes, descriptors, shared memory. To be counted before and after."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import field, frozen

GONE_S = 2.0
"""The promise: so long after the end of a run, all that was made for it is gone."""
LOOK_S = 0.01
"""Between two looks. The system tells nobody that a descriptor was closed."""


@frozen
class Resources:
    """What was there at a time.

        before = Resources.now()
        ...
        left = before.left()      # waits up to 2 s for it to go; [] is as it should be

    threads      those that `threading` knows
    children     process id -> command line; not those that Python itself starts once for all (resource tracker)
    descriptors  number -> what it leads to
    shared       names in /dev/shm; the only ones that another process could add, too
    """

    threads: tuple[threading.Thread, ...] = field(repr=False)
    children: dict[int, str]
    descriptors: dict[int, str] = field(repr=False)
    shared: frozenset[str] = field(repr=False)

    @classmethod
    def now(cls) -> Resources:
        return cls(_threads(), _children(), _descriptors(), _shared())

    def left(self, *, within_s: float | None = None) -> list[str]:
        """What is there now and was not then, by name, after waiting up to `within_s` seconds (2) for it to go.

        What only the garbage collector still knows is not left.
        """
        until_s = time.monotonic() + (GONE_S if within_s is None else within_s)
        while found := list(self._added()):
            if time.monotonic() > until_s:
                return found
            time.sleep(LOOK_S)
        return []

    def _added(self) -> Iterator[str]:
        gc.collect()
        now = Resources.now()
        for thread in now.threads:
            if thread not in self.threads:
                yield f"thread '{thread.name}'"
        for pid, command in now.children.items():
            if pid not in self.children:
                yield f"child process {pid} ({command})"
        for number, target in now.descriptors.items():
            if self.descriptors.get(number) != target:
                yield f"descriptor {number} ({target})"
        for name in sorted(now.shared - self.shared):
            yield f"shared memory '{name}'"


def _threads() -> tuple[threading.Thread, ...]:
    """Without the dummies of foreign threads that are gone: `threading` keeps these for ever."""
    alive = sys._current_frames()
    dummy: Any = getattr(threading, "_DummyThread", ())
    return tuple(each for each in threading.enumerate() if not isinstance(each, dummy) or each.ident in alive)


def _children() -> dict[int, str]:
    if Path("/proc/self/stat").exists():
        mine = {int(entry.name): entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and _is_mine(entry)}
        found = {pid: _command(entry) for pid, entry in mine.items()}
    else:
        multiprocessing = sys.modules.get("multiprocessing")
        active = multiprocessing.active_children() if multiprocessing else []
        found = {each.pid: each.name for each in active}
    for pid in _of_python_itself("_pid", "_forkserver_pid"):
        found.pop(pid, None)
    return found


def _is_mine(entry: Path) -> bool:
    # The name, in parentheses, may hold anything; the state and the parent follow behind the last of these.
    status = _read(entry / "stat").rpartition(")")[2].split()
    return len(status) > 1 and int(status[1]) == os.getpid()


def _command(entry: Path) -> str:
    words = _read(entry / "cmdline").replace("\0", " ").strip()
    return words[:80] if words else f"{_read(entry / 'comm').strip()}, ended but not waited for"


def _of_python_itself(tracker: str, forkserver: str) -> Iterator[int]:
    """What the helpers of `multiprocessing` have under these attributes. Each is started at most once, and lives as
    long as the interpreter."""
    for module, helper, attribute in (
        ("multiprocessing.resource_tracker", "_resource_tracker", tracker),
        ("multiprocessing.forkserver", "_forkserver", forkserver),
    ):
        found = getattr(getattr(sys.modules.get(module), helper, None), attribute, None)
        if found is not None:
            yield found


def _descriptors() -> dict[int, str]:
    folder = next((each for each in ("/proc/self/fd", "/dev/fd") if os.path.isdir(each)), None)
    if folder is None:
        return {}
    found = {}
    for name in os.listdir(folder):
        # That of the listing itself is closed by now, and drops out here.
        with suppress(OSError, ValueError):
            found[int(name)] = _target(folder, name, os.fstat(int(name)))
    for number in _of_python_itself("_fd", "_forkserver_alive_fd"):
        found.pop(number, None)
    return found


def _target(folder: str, name: str, status: os.stat_result) -> str:
    """Where a descriptor leads to: for a pipe or a socket, its number; on systems that do not say, device and inode."""
    try:
        return os.readlink(os.path.join(folder, name))
    except OSError:
        return f"device {status.st_dev}, inode {status.st_ino}"


def _shared() -> frozenset[str]:
    try:
        return frozenset(os.listdir("/dev/shm"))
    except OSError:
        return frozenset()


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
