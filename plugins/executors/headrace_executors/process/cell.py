"""A page of memory that a worker and its parent share: what the worker is at, and what nobody wants any more."""

from __future__ import annotations

from mmap import mmap
from struct import Struct

SIZE = 4096
UNPACKING, RUNNING, LOADING = -1, -2, -3
"""Positions that are none: no item has begun; some have, and nobody knows which is the last; functions are loaded."""

_WORK = Struct("<Qqd")  # ticket of the batch, position of the item in it, when that began (monotonic clock)
_DROPPED = Struct("<Q")
_DROPPED_AT = 64


class Cell:
    """Written by the worker, but for `dropped`; read by the parent, also when the worker is no more."""

    def __init__(self, fd: int) -> None:
        self._page = mmap(fd, SIZE)

    def put(self, ticket: int, at: int, began_s: float) -> None:
        _WORK.pack_into(self._page, 0, ticket, at, began_s)

    def get(self) -> tuple[int, int, float]:
        """The ticket of the batch, the position of the item, and when that began."""
        return _WORK.unpack_from(self._page)

    @property
    def dropped(self) -> int:
        """The number of the lane that was closed last, whose batches nobody wants."""
        return int(_DROPPED.unpack_from(self._page, _DROPPED_AT)[0])

    @dropped.setter
    def dropped(self, lane: int) -> None:
        _DROPPED.pack_into(self._page, _DROPPED_AT, lane)

    def close(self) -> None:
        self._page.close()

    def __repr__(self) -> str:
        ticket, at, _ = self.get()
        return f"<Cell: batch {ticket}, item {at}>"
