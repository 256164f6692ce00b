"""A thread that does the work of one node: a sink, or a stage in line."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

Work = Callable[[], Sequence[Any] | None]
"""Something to do; gives what is to be done next, if anything."""


class Hand:
    """Does the work of one node, in its order, in one thread. Guarded by the engine's lock."""

    def __init__(self, lock: threading.RLock) -> None:
        self.changed = threading.Condition(lock)
        self._work: deque[Work] = deque()

    def put(self, work: Work) -> None:
        self._work.append(work)
        self.changed.notify()

    def run(self, ended: Callable[[], bool]) -> None:
        while True:
            with self.changed:
                while not (self._work or ended()):
                    self.changed.wait()
                if ended():
                    return
                work = self._work.popleft()
            work()
            del work
