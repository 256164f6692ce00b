"""The global state of a process, as far as a library could be tempted to change it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LISTENS = "0A"
"""The state of a listening socket in /proc/net/tcp."""


def global_state() -> Mapping[str, Any]:
    """What must be the same before, during and after a run, by the words to show when it is not."""
    return {
        "the switch interval": sys.getswitchinterval(),
        "the recursion limit": sys.getrecursionlimit(),
        "the start method of multiprocessing": multiprocessing.get_start_method(allow_none=True),
        "signal handlers": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "handlers and level of the root logger": (tuple(logging.root.handlers), logging.root.level),
        "filters of warnings": tuple(warnings.filters),
        "the hooks for uncaught exceptions": (sys.excepthook, threading.excepthook, sys.unraisablehook),
        "functions for traces and profiles": (threading.gettrace(), threading.getprofile()),
        "the working directory": os.getcwd(),
        "the environment": dict(os.environ),
        "sys.path": tuple(sys.path),
        "listening sockets": _listening(),
    }


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs, in words."""
    return [f"{name}: {was!r}, then {after[name]!r}" for name, was in before.items() if after[name] != was]


def _listening() -> frozenset[str]:
    """The TCP addresses that this process listens at, in hexadecimal, where the system tells."""
    mine = {target for number in _numbers() if (target := _target(number)).startswith("socket:")}
    found = set()
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        for row in map(str.split, _read(table).splitlines()[1:]):
            if row[3] == _LISTENS and f"socket:[{row[9]}]" in mine:
                found.add(row[1])
    return frozenset(found)


def _numbers() -> list[str]:
    try:
        return os.listdir("/proc/self/fd")
    except OSError:
        return []


def _target(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text("ascii")
    except OSError:
        return ""
