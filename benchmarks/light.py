"""A function in a module that imports next to nothing, as its import is part of what is measured."""

from __future__ import annotations

import os
import time


def pid_of(item: int) -> int:
    time.sleep(0.005)  # so that both workers get one
    return os.getpid()
