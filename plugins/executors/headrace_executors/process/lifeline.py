"""A worker dies with its parent, whatever it is doing.

The parent holds the one end of a pipe, and nobody else: when it is no more, the kernel sends what the worker asked for
at the other end. Not PR_SET_PDEATHSIG: that comes when the thread ends which started the worker.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import threading
from weakref import WeakSet


class Lifeline:
    """The parent's side, one for each worker: whom the signal goes to is a property of the open end. `end` is what the
    worker inherits. A fork of the program closes its copy of the other."""

    def __init__(self) -> None:
        self.end, self._held = os.pipe()
        _lines.add(self)

    def given(self) -> None:
        """The worker has its end."""
        os.close(self.end)
        self.end = -1

    def close(self) -> None:
        """Let go: who hangs on it dies now."""
        for fd in (self.end, self._held):
            if fd >= 0:
                os.close(fd)
        self.end = self._held = -1

    def __repr__(self) -> str:
        return f"<Lifeline {self._held}>"


_lines: WeakSet[Lifeline] = WeakSet()


def _let_go() -> None:
    for line in tuple(_lines):
        line.close()


os.register_at_fork(after_in_child=_let_go)


def hang_on(end: int) -> None:
    """The worker's side: from here on this process ends with its parent."""
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(end, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(end, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(end, fcntl.F_SETFL, fcntl.fcntl(end, fcntl.F_GETFL) | os.O_ASYNC)
    else:
        threading.Thread(target=_watch, args=(end,), daemon=True).start()
    if select.select([end], [], [], 0)[0]:  # it was gone before
        os._exit(1)


def _watch(end: int) -> None:
    os.read(end, 1)  # there is never anything to read
    os._exit(1)
