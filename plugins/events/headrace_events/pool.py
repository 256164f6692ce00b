"""The threads that call listeners.

    put, subscribe --- ready ---> thread, thread, ... --- serve ---> listener
                         ^------ what is not through yet ------'

`workers` threads are at work at once, and one more waits. A thread that has been in one call for over HELD_S counts as
held inside of it and not as at work, so that the one that waits takes its place: a listener that hangs delays no other.
Nobody is served by two threads at once, so that there are at most as many threads as listeners, and one.

The lock is the dispatcher's. It guards `_ready`, `_at_work`, `_threads`, `_idle` and `_stopped`, and the queues of all
subscriptions. Nothing is called while it is held.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from time import monotonic, thread_time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace_events.subscription import AsyncSubscription

HELD_S = 0.05
"""A call that takes longer than this holds its thread."""
SLICE_S = 0.001
"""Seconds for which a listener is served before others have their turn."""
REST_S = 0.0005
"""A slice that took more CPU than this is followed by a rest of the same length: listeners take at most half of the
interpreter's time from those who emit. Not while somebody waits in `flush` or `close`."""


class Pool:
    """Owns the threads; they are daemons, end by `stop`, and hold nothing of the dispatcher but the lock."""

    def __init__(self, lock: threading.RLock, workers: int) -> None:
        self._lock = lock
        self._workers = workers
        self._changed = threading.Condition(lock)
        self._quiet = threading.Condition(lock)
        self._urgent = threading.Event()
        self._waiters = 0  # those in `wait_until_out`
        self._ready: deque[AsyncSubscription] = deque()
        self._at_work: dict[int, AsyncSubscription] = {}  # by the thread's identity
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._starting = 0
        self._stopped = False

    def begin(self) -> None:
        """Have a thread that waits. Where the system gives none, whoever waits for the end serves instead."""
        with self._lock:
            if self._stopped or self._idle or self._starting:
                return
            self._starting += 1
        thread = threading.Thread(target=self._run, name="headrace-events", daemon=True)
        with self._lock:
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:
            with self._lock:
                self._starting -= 1
                self._threads.discard(thread)

    def schedule(self, subscription: AsyncSubscription) -> None:
        """Have it served, if it is not yet. Under the lock."""
        if not subscription.scheduled:
            subscription.scheduled = True
            self._ready.append(subscription)
            self._changed.notify()

    @property
    def serves_here(self) -> bool:
        """Whether the caller's thread is one of those that serve, inside of a listener."""
        return threading.get_ident() in self._at_work

    # the threads

    def _run(self) -> None:
        with self._lock:
            self._starting -= 1
        while (subscription := self._next()) is not None:
            self.begin()
            used_s = self._serve(subscription)
            if used_s > REST_S:
                self._urgent.wait(used_s)
            self._served(subscription)
            del subscription
        with self._lock:
            self._threads.discard(threading.current_thread())
            self._quiet.notify_all()

    def _next(self) -> AsyncSubscription | None:
        """Whom to serve next; None at the end."""
        with self._lock:
            while not self._stopped:
                if self._ready and self._free():
                    return self._begun()
                self._idle += 1
                self._changed.wait(HELD_S if self._ready else None)
                self._idle -= 1
            return None

    def _free(self) -> bool:
        """Whether one more thread may be at work."""
        held_s = monotonic() - HELD_S
        return sum((each.at_work_since_s or 0.0) > held_s for each in self._at_work.values()) < self._workers

    def _begun(self) -> AsyncSubscription:
        subscription = self._ready.popleft()
        subscription.at_work_since_s = monotonic()
        self._at_work[threading.get_ident()] = subscription
        return subscription

    def _serve(self, subscription: AsyncSubscription) -> float:
        """One slice; gives the seconds of CPU that it took."""
        with self._lock:
            chunks = subscription.take() if subscription.active else []
        began_s = thread_time()
        left = subscription.serve(chunks, monotonic() + SLICE_S) if chunks else []
        used_s = thread_time() - began_s
        with self._lock:
            subscription.at_work_since_s = None
            if left:
                subscription.put_back(left)
            if not subscription.active or self._stopped:
                subscription.drop_all()
            self._quiet.notify_all()
        return used_s

    def _served(self, subscription: AsyncSubscription) -> None:
        with self._lock:
            self._at_work.pop(threading.get_ident(), None)
            subscription.scheduled = False
            if subscription.queued and not self._stopped:
                self.schedule(subscription)
            over = self._stopped or not subscription.active
            self._quiet.notify_all()
        if over:
            subscription.end()

    # who waits

    def wait_until_out(self, goals: Iterable[tuple[AsyncSubscription, int]], until_s: float) -> bool:
        """Wait until so many events are out of each queue; False if they are not at `until_s`. Listeners have no rest
        meanwhile. Where there is no thread to serve them, the caller does."""
        goals = list(goals)
        with self._lock:
            self._waiters += 1
            self._urgent.set()
        try:
            while True:
                with self._lock:
                    if all(each.out >= goal for each, goal in goals):
                        return True
                    if self._threads:
                        if monotonic() >= until_s:
                            return False
                        self._quiet.wait(max(0.0, until_s - monotonic()))
                        continue
                    subscription = self._begun() if self._ready else None
                if subscription is None or monotonic() >= until_s:
                    return False
                self._serve(subscription)
                self._served(subscription)
        finally:
            with self._lock:
                self._waiters -= 1
                if not self._waiters:
                    self._urgent.clear()

    def wait_for_room(self, subscription: AsyncSubscription, until_s: float) -> bool:
        """Under the lock: wait until its queue has room; False if it has none at `until_s`, or the caller serves it."""
        while subscription.full and subscription.active and not self._stopped:
            left_s = until_s - monotonic()
            if left_s <= 0 or self.serves_here:
                return False
            self._quiet.wait(left_s)
        return True

    def stop(self) -> None:
        """The threads end, once they are back from the listener that they are inside of."""
        with self._lock:
            self._stopped = True
            self._ready.clear()
            self._changed.notify_all()
            self._quiet.notify_all()
        self._urgent.set()

    def join(self, until_s: float) -> None:
        """Wait for the threads that are not held inside of a listener."""
        with self._lock:
            waiting = [each for each in self._threads if each.ident not in self._at_work]
        for thread in waiting:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until_s - monotonic()))

    def __repr__(self) -> str:
        return f"<Pool {len(self._at_work)}/{self._workers} at work, {len(self._threads)} threads>"
