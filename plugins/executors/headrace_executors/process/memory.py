"""Memory for large buffers, which two processes map and nobody has to unlink.

A slot is known to both sides by its number; the parent makes it, and its descriptor travels once. One message at a time
uses it, and it is used again when nothing refers to its memory any more, so that its pages need not be made anew.
"""

from __future__ import annotations

import os
import sys
from mmap import mmap
from tempfile import TemporaryFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Span = tuple[int, int]  # where a buffer is in a slot: offset, length

ALIGN = 64
ROUND = 1 << 20


def anonymous(size: int) -> int:
    """A descriptor of `size` bytes of memory that is gone with the last who has it. Raises OSError if there is none,
    and not later, when it is used."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("headrace")
    else:
        with TemporaryFile() as file:
            fd = os.dup(file.fileno())
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, size)
        else:
            os.truncate(fd, size)
    except BaseException:
        os.close(fd)
        raise
    return fd


def room_for(buffers: Sequence[memoryview]) -> int:
    """Bytes of a slot that the buffers take."""
    return sum(-(-buffer.nbytes // ALIGN) * ALIGN for buffer in buffers)


class Slot:
    """A piece of memory in this process."""

    def __init__(self, number: int, size: int, fd: int) -> None:
        self.number = number
        self.size = size
        self._map = mmap(fd, size)
        self._alone = sys.getrefcount(self._map)

    @property
    def in_use(self) -> bool:
        """Whether anything refers to its memory: what was unpacked from it, an array say, or a part of that."""
        return sys.getrefcount(self._map) > self._alone

    def fill(self, buffers: Sequence[memoryview]) -> list[Span]:
        """Copy the buffers into it."""
        spans, at = [], 0
        with memoryview(self._map) as view:
            for buffer in buffers:
                view[at : at + buffer.nbytes] = buffer.cast("B") if buffer.format != "B" or buffer.ndim != 1 else buffer
                spans.append((at, buffer.nbytes))
                at += -(-buffer.nbytes // ALIGN) * ALIGN
        return spans

    def views(self, spans: Sequence[Span]) -> list[memoryview]:
        """The buffers in it, not copied."""
        view = memoryview(self._map)
        return [view[at : at + length] for at, length in spans]

    def __repr__(self) -> str:
        return f"<Slot {self.number}, {self.size} bytes{', in use' * self.in_use}>"
