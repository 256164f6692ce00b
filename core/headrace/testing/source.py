"""A source for tests: it counts, says who pulled and who closed it, and falls silent on request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any

from headrace.testing.gate import PATIENCE_S


class Source:
    """An iterable over `items`, by default all whole numbers from 0, that is to be iterated once.

    silent_after  this many items come, then nothing more until `wake`
    at_pull       called in the pulling thread with each item before it is given; what it raises, the source raises

    pulled     how many items were pulled
    pullers    the threads that did, by their idents
    closed_by  the thread that ended the iteration, or closed it; `closed` is set then
    silent     set when the source has fallen silent
    """

    def __init__(
        self,
        items: Iterable[Any] | None = None,
        *,
        silent_after: int | None = None,
        at_pull: Callable[[Any], object] = lambda item: None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._items = count() if items is None else items
        self._silent_after = silent_after
        self._at_pull = at_pull
        self._patience_s = patience_s
        self._woken = threading.Event()
        self.silent = threading.Event()
        self.pulled = 0
        self.pullers: set[int] = set()
        self.closed = threading.Event()
        self.closed_by: int | None = None

    def __iter__(self) -> Iterator[Any]:
        try:
            for item in self._items:
                if self.pulled == self._silent_after:
                    self._be_silent()
                self.pulled += 1
                self.pullers.add(threading.get_ident())
                self._at_pull(item)
                yield item
        finally:
            self.closed_by = threading.get_ident()
            self.closed.set()

    def _be_silent(self) -> None:
        self.silent.set()
        if not self._woken.wait(self._patience_s):
            raise AssertionError(f"the source was silent for {self._patience_s} s, and nobody woke it")

    def wake(self) -> None:
        """End the silence."""
        self._woken.set()

    @property
    def closed_where_pulled(self) -> bool:
        """Whether one thread pulled and closed it, and no other had to do with it."""
        return self.closed_by is not None and self.pullers == {self.closed_by}

    def __repr__(self) -> str:
        return (
            f"<Source, {self.pulled} pulled by {len(self.pullers)} threads, {'closed' if self.closed_by else 'open'}>"
        )
