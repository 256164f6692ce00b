"""Event loops that coroutines of a run are awaited in, as threads see them.

    GivenLoop   the user's: the run is awaited in it, and it outlives the run
    OwnLoop     in a thread of its own, which begins when it is needed
    CallerLoop  in the thread that waits, while it waits: for a run that begins no thread

Whoever makes one closes it. `run` may be called from any thread but the loop's own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Protocol

from headrace.drive.fine_loop import new_loop

CLOSE_S = 1.0
"""Seconds that coroutines have to end once they were cancelled."""


class Loop(Protocol):
    def run(self, coroutine: Coroutine[Any, Any, Any], *, last: bool = False) -> Any:
        """What `coroutine` gives, awaited in the loop. The calling thread waits for it. After `cancel` it raises
        CancelledError, except for what is to come at the `last`."""
        ...

    def cancel(self) -> None:
        """Cancel what threads wait for in `run`. From any thread."""
        ...

    def close(self) -> bool:
        """Cancel what was left in it, and end what was begun for it; whether all has ended."""
        ...


class RunLoops:
    """The loops of one run, made when they are asked for. `given` is the one that the run is awaited in, if any."""

    def __init__(self, given: asyncio.AbstractEventLoop | None, *, threaded: bool) -> None:
        self._threaded = threaded
        self._beside: GivenLoop | None = None if given is None else GivenLoop(given)
        self._caller: CallerLoop | None = None

    @property
    def beside(self) -> GivenLoop:
        """One that runs beside the threads of the run."""
        if self._beside is None:
            self._beside = OwnLoop()
        return self._beside

    @property
    def waited(self) -> Loop:
        """One for who waits for what it gives: a source, a sink, a stage in line."""
        if self._threaded or self._beside is not None:
            return self.beside
        if self._caller is None:
            self._caller = CallerLoop()
        return self._caller

    def cancel(self) -> None:
        for loop in (self._beside, self._caller):
            if loop is not None:
                loop.cancel()

    def close(self) -> tuple[str, ...]:
        """End the loops; names what could not be ended."""
        ended = [loop.close() for loop in (self._caller, self._beside) if loop is not None]
        return () if all(ended) else ("headrace-loop",)


class GivenLoop:
    """The loop of the user's in which the run is awaited. `_awaited` are the tasks that threads wait for, and are the
    business of the loop's thread, as is `_cancelled`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.asyncio = loop
        self._awaited: set[asyncio.Task[Any]] = set()
        self._cancelled = False

    def run(self, coroutine: Coroutine[Any, Any, Any], *, last: bool = False) -> Any:
        """Does not come back before the coroutine has ended, also if it is cancelled: what comes next relies on it."""
        future: Future[Any] = Future()

        def begin() -> None:
            task = self.asyncio.create_task(_contained(coroutine))
            self._awaited.add(task)
            task.add_done_callback(end)
            if self._cancelled and not last:
                task.cancel()

        def end(task: asyncio.Task[Any]) -> None:
            self._awaited.discard(task)
            if task.cancelled():
                coroutine.close()  # it was not begun, if the task was not
                future.cancel()
            elif (error := task.exception()) is not None:
                future.set_exception(error)
            else:
                result, error = task.result()
                future.set_result(result) if error is None else future.set_exception(error)

        try:
            self.asyncio.call_soon_threadsafe(begin)
        except RuntimeError:
            coroutine.close()
            raise
        return future.result()

    def call(self, fn: Callable[[], Any]) -> None:
        """Call `fn` in the loop: at once if this is its thread."""
        if _running() is self.asyncio:
            fn()
        else:
            self.asyncio.call_soon_threadsafe(fn)

    def cancel(self) -> None:
        with suppress(RuntimeError):  # the loop is closed, and has cancelled them all
            self.call(self._cancel)

    def _cancel(self) -> None:
        self._cancelled = True
        for task in tuple(self._awaited):
            task.cancel()

    def close(self) -> bool:
        self.cancel()
        return True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.asyncio!r}>"


class OwnLoop(GivenLoop):
    """A loop in a daemon thread."""

    def __init__(self, name: str = "headrace-loop") -> None:
        super().__init__(new_loop())
        self._thread = threading.Thread(target=copy_context().run, args=(self._turn,), name=name, daemon=True)
        self._thread.start()

    def _turn(self) -> None:
        asyncio.set_event_loop(self.asyncio)
        try:
            self.asyncio.run_forever()
        finally:
            _end(self.asyncio)

    def close(self) -> bool:
        self.cancel()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self.asyncio.call_soon_threadsafe(self.asyncio.stop)
            self._thread.join(CLOSE_S)
        return not self._thread.is_alive()


class CallerLoop:
    """A loop that runs only while a thread waits in `run`: one thread at a time. Where that thread has a running loop
    already, which Python does not nest, an OwnLoop stands in for it."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._aside: OwnLoop | None = None

    def run(self, coroutine: Coroutine[Any, Any, Any], *, last: bool = False) -> Any:
        if self._loop is None and self._aside is None:
            if _running() is None:
                self._loop = new_loop()
            else:
                self._aside = OwnLoop()
        if self._aside is None and _running() is not None:
            self._aside = OwnLoop()
        if self._aside is not None:
            return self._aside.run(coroutine, last=last)
        assert self._loop is not None
        task = self._loop.create_task(coroutine)
        try:
            return self._loop.run_until_complete(task)
        finally:
            if not task.done():  # Ctrl-C: what comes next relies on its end
                task.cancel()
                self._loop.run_until_complete(asyncio.wait([task], timeout=CLOSE_S))

    def cancel(self) -> None:
        if self._aside is not None:
            self._aside.cancel()

    def close(self) -> bool:
        ended = self._aside is None or self._aside.close()
        if self._loop is not None and not self._loop.is_running() and not self._loop.is_closed():
            if _running() is None:
                _end(self._loop)
            else:
                aside = threading.Thread(target=_end, args=(self._loop,))
                aside.start()
                aside.join()
        return ended

    def __repr__(self) -> str:
        return f"<CallerLoop {self._aside or self._loop}>"


async def _contained(coroutine: Coroutine[Any, Any, Any]) -> tuple[Any, BaseException | None]:
    """What a coroutine gives, or raises: SystemExit and KeyboardInterrupt of a task would end its loop."""
    try:
        return await coroutine, None
    except (SystemExit, KeyboardInterrupt) as error:
        return None, error


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _end(loop: asyncio.AbstractEventLoop) -> None:
    """End what is left in a loop that does not run any more, as `asyncio.run` does."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=CLOSE_S))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
