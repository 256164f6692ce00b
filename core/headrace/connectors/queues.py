"""A source that takes items from a queue, such as `queue.Queue`."""

from __future__ import annotations

import queue as queues
import threading
from collections.abc import Iterator
from typing import Any

from attrs import field, frozen

from headrace.settings import Rule

LOOK_S = 0.05
"""Seconds after which one who waits for an item looks whether the run has ended."""
SHUT_DOWN: type[Exception] = getattr(queues, "ShutDown", queues.Empty)


def _is_queue(value: Any) -> bool:
    return callable(getattr(value, "get", None))


@frozen
class QueueItems:
    """The items that come in `queue`, until `end` comes, or the queue is shut down (Python 3.13).

    queue  has `get(timeout=seconds)`, which raises `queue.Empty`
    end    the item that ends the source; it is compared by `is`, and is not given out
    """

    queue: Any = field(validator=Rule("a queue with a method `get`", _is_queue))
    end: Any = None

    def __call__(self) -> Iterator[Any]:
        return _Items(self.queue, self.end)


class _Items:
    """Ends also when it is woken, from any thread."""

    def __init__(self, queue: Any, end: Any) -> None:
        self._queue = queue
        self._end = end
        self._woken = threading.Event()
        self._over = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while not (self._over or self._woken.is_set()):
            try:
                item = self._queue.get(timeout=LOOK_S)
            except queues.Empty:
                continue
            except SHUT_DOWN:
                break
            if item is self._end:
                break
            return item
        self._over = True
        raise StopIteration

    def wake(self) -> None:
        """No more is wanted."""
        self._woken.set()
