"""A new event loop whose timers are as fine as the clock's.

epoll counts in milliseconds, and Python rounds up: each wake-up of a loop, as by work from another thread, puts off
what sleeps in it by up to one more. `docs/why/asyncio.md` has what that costs.
"""

from __future__ import annotations

import asyncio
import select
import selectors
import sys

FD_SETSIZE = 1_024
"""File descriptors that select(2) can wait for are below this."""


def new_loop() -> asyncio.AbstractEventLoop:
    """As the policy of asyncio makes it; with finer timers, if it is the plain one of asyncio on epoll."""
    loop = asyncio.new_event_loop()
    if sys.platform == "linux" and type(loop) is asyncio.SelectorEventLoop:
        loop.close()
        return asyncio.SelectorEventLoop(FineSelector())
    return loop


if sys.platform == "linux":

    class FineSelector(selectors.EpollSelector):
        """Waits for the epoll itself by select(2), which counts in microseconds, then asks it what is ready."""

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout is not None and timeout > 0 and self.fileno() < FD_SETSIZE:
                select.select((self,), (), (), timeout)
                timeout = 0
            return super().select(timeout)
