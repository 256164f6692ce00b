"""Memory for large buffers, which two processes share and nobody has to unlink.

A slot is known to both sides by its number; the parent makes it, and its descriptor travels once. One side writes to
it, the first time as to a file, which asks the system for the pages: where there are none it says so, and a process
that wrote to mapped memory would die of it. The other side maps it and copies nothing. One message at a time uses it,
and it is used again when nothing refers to its memory any more.
"""

from __future__ import annotations

import os
import sys
from mmap import mmap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Span = tuple[int, int]  # where a buffer is in a slot: offset, length

ALIGN = 64


def anonymous(size: int, *, now: bool = False) -> int:
    """A descriptor of `size` bytes of memory that is gone with the last who has it; its pages are made `now`, or when
    they are written. Raises OSError if there is no memory, or no descriptor."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("headrace")
    else:
        from tempfile import TemporaryFile  # costs more than a worker may take to start

        with TemporaryFile() as file:
            fd = os.dup(file.fileno())
    try:
        os.truncate(fd, size)
        if now:
            os.pwrite(fd, bytes(size), 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def room_for(buffers: Sequence[memoryview]) -> int:
    """Bytes of a slot that the buffers take."""
    return sum(-(-buffer.nbytes // ALIGN) * ALIGN for buffer in buffers)


class WriteSlot:
    """The side of a slot that is written to: as to a file, where its pages are not there yet, and as to memory, which
    is faster, where they are. Owns the descriptor."""

    def __init__(self, number: int, size: int, fd: int) -> None:
        self.number = number
        self.size = size
        self.fd = fd
        self._map = memoryview(mmap(fd, size))
        self._there = 0  # bytes whose pages there are

    def fill(self, buffers: Sequence[memoryview]) -> list[Span]:
        """Copy the buffers into it. Raises OSError if there is no memory left."""
        spans, at = [], 0
        for buffer in buffers:
            self._write(buffer.cast("B"), at)
            spans.append((at, buffer.nbytes))
            at += -(-buffer.nbytes // ALIGN) * ALIGN
        return spans

    def _write(self, data: memoryview, at: int) -> None:
        end = at + len(data)
        if end <= self._there:
            self._map[at:end] = data
            return
        while at < end:
            at += os.pwrite(self.fd, data[len(data) - (end - at) :], at)
        self._there = max(self._there, end)

    def close(self) -> None:
        os.close(self.fd)

    def __repr__(self) -> str:
        return f"<WriteSlot {self.number}, {self.size} bytes>"


def fitting(slots: Sequence[WriteSlot], size: int) -> WriteSlot | None:
    """The smallest that will do, and of these the one that was used last: it may still be in a cache."""
    return min((slot for slot in reversed(slots) if slot.size >= size), key=lambda slot: slot.size, default=None)


class ReadSlot:
    """The side of a slot that is mapped. It is unmapped when nothing refers to it any more."""

    def __init__(self, number: int, size: int, fd: int) -> None:
        self.number = number
        self.size = size
        self._map = mmap(fd, size)
        self._alone = sys.getrefcount(self._map)

    @property
    def in_use(self) -> bool:
        """Whether anything refers to its memory: what was unpacked from it, an array say, or a part of that."""
        return sys.getrefcount(self._map) > self._alone

    def views(self, spans: Sequence[Span]) -> list[memoryview]:
        """The buffers in it, not copied."""
        view = memoryview(self._map)
        return [view[at : at + length] for at, length in spans]

    def __repr__(self) -> str:
        return f"<ReadSlot {self.number}, {self.size} bytes{', in use' * self.in_use}>"
