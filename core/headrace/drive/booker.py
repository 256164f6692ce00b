"""One thread that books the results of functions which wait, all that have come at once.

    worker --- put ---> results --- (a round every BOOK_S) ---> book

A thread that comes back from waiting has cold caches, and to settle a network for three results costs as much as for
one. Workers have their next batch at hand meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic, sleep
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future

    from headrace.batch import BatchResult
    from headrace.flow.nodes import StageNode
    from headrace.flow.stage import Sent

    Come = tuple[StageNode, Sent, Future[BatchResult]]

BOOK_S = 0.0005
"""Seconds between two rounds."""
WAITED_S = 0.001
"""A batch that took less is booked by its worker."""


class LoopBooker:
    """Books the results of coroutines: all that come in one turn of their loop at once, in the loop's thread, which is
    the only one that may call it."""

    def __init__(self, book: Callable[[list[Come]], None], call_soon: Callable[[Callable[[], None]], None]) -> None:
        self._book = book
        self._call_soon = call_soon
        self._come: list[Come] = []

    def put(self, come: Come) -> None:
        self._come.append(come)
        if len(self._come) == 1:
            self._call_soon(self._turn)

    def _turn(self) -> None:
        come, self._come = self._come, []
        self._book(come)

    def __repr__(self) -> str:
        return f"<LoopBooker {len(self._come)} results>"


def waited(future: Future[BatchResult]) -> bool:
    """Whether a batch was on a core for less than half of a time that is worth speaking of."""
    if future.cancelled() or future.exception() is not None:
        return False
    result = future.result()
    took_s = result.ended_s - result.began_s
    return took_s > WAITED_S and result.cpu_s < took_s / 2


class Booker:
    """Calls `book` with what has come. Owns its thread, which begins with the first result and ends by `close`.

    `_lock` guards whether there is a thread, and whether it may take any more.
    """

    def __init__(self, book: Callable[[list[Come]], None]) -> None:
        self._book = book
        self._lock = threading.Lock()
        self._results: SimpleQueue[Come | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def put(self, come: Come) -> bool:
        """Leave a result to the booker; False if it takes none any more."""
        with self._lock:
            if self._closed:
                return False
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="headrace-book", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the system gives no more threads: then workers book themselves
                    return False
                self._thread = thread
            self._results.put(come)
        return True

    def _work(self) -> None:
        next_s, more = 0.0, True
        while more and (first := self._results.get()) is not None:
            if (pause_s := next_s - monotonic()) > 0:
                sleep(pause_s)
            come = [first]
            while more and not self._results.empty():
                result = self._results.get()
                more = result is not None
                if result is not None:
                    come.append(result)
            del first
            self._book(come)
            next_s = monotonic() + BOOK_S

    def close(self, timeout_s: float) -> bool:
        """What has come is booked, and no more taken; whether the thread has ended in time."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._results.put(None)
            thread = self._thread
        if thread is None or thread is threading.current_thread() or thread.ident is None:
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    def __repr__(self) -> str:
        return f"<Booker {'closed' if self._closed else 'open'}>"
