"""A thread for what a coroutine must not wait for in its loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any


class Aside:
    """Calls functions one after the other in one daemon thread, in a copy of the context that it was made in.

    Used by one task of one loop. The thread ends after `close`, when it is back from what it is at.
    """

    def __init__(self, name: str = "headrace-aside") -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=copy_context().run, args=(self._work,), name=name, daemon=True)
        self._thread.start()

    def call(self, fn: Callable[[], Any]) -> asyncio.Future[Any]:
        """What `fn` gives, to be awaited. To cancel the future does not stop `fn`."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._jobs.put((fn, future))
        return future

    async def finish(self, fn: Callable[[], Any], timeout_s: float) -> tuple[bool, Any]:
        """Whether `fn` is through in time, and what it gave. A task that is cancelled meanwhile still waits for it, and
        is cancelled then."""
        future = self.call(fn)
        until_s = self._loop.time() + timeout_s
        cancelled: asyncio.CancelledError | None = None
        while not future.done() and (left_s := until_s - self._loop.time()) > 0:
            try:
                await asyncio.wait([future], timeout=left_s)
            except asyncio.CancelledError as error:
                cancelled = error
        self._jobs.put(None)
        if future.done():
            self._thread.join(timeout_s)  # it has nothing else to do
        if cancelled is not None:
            raise cancelled
        return (True, future.result()) if future.done() else (False, None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            fn, future = job
            try:
                result, error = fn(), None
            except BaseException as caught:
                result, error = None, caught
            self._tell(future, result, error)
            del job, fn, future, result, error

    def _tell(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        def tell() -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        with suppress(RuntimeError):  # the loop is closed: nobody waits for it any more
            self._loop.call_soon_threadsafe(tell)
