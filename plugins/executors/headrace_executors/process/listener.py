"""The thread of a pool that hears of its workers: messages, ends, deadlines."""

from __future__ import annotations

import os
import selectors
import threading
from contextlib import suppress
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING

from headrace_executors.process.deadlines import due_s, look

if TYPE_CHECKING:
    from headrace_executors.process.child import Child
    from headrace_executors.process.pool import Pool

_names = count(1)


class Listener:
    """Tells the pool: `heard` for a message, `gone` for a worker's end, `turn` before it waits for the next.

    Begins with the first worker, and ends when the pool is closed and has none left. The selector belongs to its
    thread; `_new` and `_unsent`, guarded by `_lock`, are what others leave for it.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._lock = threading.RLock()
        self._new: list[Child] = []  # workers that are not watched yet
        self._unsent: set[Child] = set()  # those for whom there is more to send than went at once
        self._selector = selectors.DefaultSelector()
        self._ear, self._bell = os.pipe()
        for fd in (self._ear, self._bell):
            os.set_blocking(fd, False)
        self._thread: threading.Thread | None = None

    @property
    def is_current(self) -> bool:
        """Whether the caller is its thread."""
        return threading.current_thread() is self._thread

    def watch(self, child: Child) -> None:
        """Listen to another worker."""
        with self._lock:
            self._new.append(child)
            if self._thread is None:
                name = f"headrace-processes-{next(_names)}"
                thread = threading.Thread(target=self._work, name=name, daemon=True)
                thread.start()
                self._thread = thread
        self.wake()

    def send_later(self, child: Child) -> None:
        """Send what is left for a worker when it takes more."""
        with self._lock:
            self._unsent.add(child)
        self.wake()

    def wake(self) -> None:
        """Have it take its turn."""
        with suppress(OSError):  # full: then it is awake; closed: then nobody sleeps
            os.write(self._bell, b"\0")

    def _work(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self._pool.failed(error)
        finally:
            self.disown()

    def _run(self) -> None:
        self._selector.register(self._ear, selectors.EVENT_READ)
        while (here := self._pool.turn()) is not None:
            self._take_up()
            now_s = monotonic()
            due = [at_s for child in here if (at_s := due_s(child, self._pool.jobs_of(child), now_s)) is not None]
            gone: dict[Child, None] = {}
            for key, events in self._selector.select(max(0.0, min(due) - now_s) if due else None):
                if key.data is None:
                    with suppress(BlockingIOError):
                        os.read(self._ear, 4096)
                elif key.fd == key.data.pidfd or not self._serve(key.data, events):
                    gone[key.data] = None
            for child in gone:
                self._forget(child)
                self._pool.gone(child)
            for child in here:
                look(child, self._pool.jobs_of(child), monotonic())

    def _take_up(self) -> None:
        """What others have left to be done."""
        with self._lock:
            new, self._new = self._new, []
            unsent, self._unsent = self._unsent, set()
        for child in new:
            self._selector.register(child.wire.sock, selectors.EVENT_READ, child)
            if child.pidfd is not None:
                self._selector.register(child.pidfd, selectors.EVENT_READ, child)
        for child in unsent:
            self._watch_for(child, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def _watch_for(self, child: Child, events: int) -> None:
        with suppress(KeyError, ValueError):  # it is gone
            self._selector.modify(child.wire.sock, events, child)

    def _forget(self, child: Child) -> None:
        for key in (child.wire.sock, child.pidfd):
            if key is not None:
                with suppress(KeyError, ValueError):
                    self._selector.unregister(key)

    def _serve(self, child: Child, events: int) -> bool:
        """Take what has come, send what is left; False if it is at its end."""
        if events & selectors.EVENT_WRITE and child.flush():
            self._watch_for(child, selectors.EVENT_READ)
        if not events & selectors.EVENT_READ:
            return True
        messages = child.read()
        for message in messages or ():
            self._pool.heard(child, message)
        return messages is not None

    def close(self, timeout_s: float) -> None:
        """Wait for its end, which comes when the pool is closed and has no workers any more."""
        if self._thread is None:
            self.disown()
        else:
            self.wake()
            self._thread.join(timeout_s)

    def disown(self) -> None:
        """Let go of all that it has opened."""
        fds, self._ear, self._bell = (self._ear, self._bell), -1, -1
        for fd in fds:
            if fd >= 0:
                os.close(fd)
        self._selector.close()

    def __repr__(self) -> str:
        return f"<Listener {'at work' if self._thread is not None else 'not begun'}>"
