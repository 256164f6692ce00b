"""Which slots of memory a worker has, and which it may use: the parent's book.

    for inputs   free --> lent with a batch --> returned by the worker (or kept there, and then given up)
    for results  unused --> offered with a batch --> filled, with a result --> in use by the consumer --> unused

The parent makes them, so that what comes in one it has mapped already. Where there is no memory, or no descriptor left,
buffers go over the wire instead.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeVar

from headrace_executors.process import wire
from headrace_executors.process.memory import ReadSlot, WriteSlot, anonymous, fitting, room_for
from headrace_executors.process.packing import LARGE

INPUTS = 3
RESULTS = 10
HELD = 6
"""Slots that the consumer may hold on to; what comes in further ones is copied, so that they can be used again."""
SIZE = 16 << 20
"""Bytes of a slot, at least: only those that were once used take memory."""

Slot = TypeVar("Slot", ReadSlot, WriteSlot)
News = tuple[int, int, int, Sequence[int]]
"""A slot that a worker is to be told of: the kind of the message, its number, size and descriptor."""


class Lending:
    """The slots of one worker. Guarded by the lock of whoever sends to that worker."""

    def __init__(self) -> None:
        self._count = 0
        self._free: list[WriteSlot] = []  # for inputs
        self._lent: dict[int, WriteSlot] = {}  # with the worker, by number
        self._unused: list[ReadSlot] = []  # for results; some may still be in use by the consumer
        self._offered: dict[int, ReadSlot] = {}  # with the worker
        self._news: list[News] = []
        self._going: list[int] = []  # descriptors on their way that are closed then
        self._wanted = 0  # bytes of a result for which there was no slot
        self._refused = False  # the worker cannot map slots

    def lend(self, buffers: Sequence[memoryview]) -> tuple[int, Any] | None:
        """Put the buffers into a slot; gives its number and where they are, or None if there is none."""
        size = room_for(buffers)
        if size < LARGE or self._refused:
            return None
        slot = fitting(self._free, size) or self._new_input(size)
        if slot is None:
            return None
        try:
            spans = slot.fill(buffers)
        except OSError:  # no memory
            return None
        self._free.remove(slot)
        self._lent[slot.number] = slot
        return slot.number, spans

    def returned(self, number: int, kept: bool) -> None:
        slot = self._lent.pop(number, None)
        if slot is not None and kept:
            slot.close()
        elif slot is not None:
            self._free.append(slot)

    def refused(self) -> None:
        """The worker could not map a slot: then all goes over the wire."""
        self._refused = True

    def offers(self) -> list[int]:
        """The numbers of the slots that the worker may fill from now on."""
        if self._wanted and not self._refused:
            wanted, self._wanted = self._wanted, 0
            self._new_result(wanted)
        idle = [slot for slot in self._unused if not slot.in_use]
        for slot in idle:
            self._unused.remove(slot)
            self._offered[slot.number] = slot
        return [slot.number for slot in idle]

    def want(self, size: int) -> None:
        self._wanted = max(self._wanted, size)

    def take(self, number: int, spans: Any) -> list[Any]:
        """What the worker has put into a slot: as it is there, or copied, if the consumer holds many."""
        slot = self._offered.pop(number)
        views: list[Any] = slot.views(spans)
        if sum(each.in_use for each in self._unused) >= HELD:
            views = [bytearray(view) for view in views]
        self._unused.append(slot)
        return views

    def news(self) -> list[News]:
        """What the worker does not know of yet."""
        news, self._news = self._news, []
        return news

    def sent(self) -> None:
        """All that was to be sent is out."""
        for fd in self._going:
            os.close(fd)
        self._going.clear()

    def _new_input(self, size: int) -> WriteSlot | None:
        if len(self._free) + len(self._lent) >= INPUTS:
            if not self._free:
                return None
            small = self._free.pop(0)
            small.close()
            self._news.append((wire.NO_SLOT, small.number, 0, ()))
        return self._new(WriteSlot, self._free, size)

    def _new_result(self, size: int) -> None:
        if len(self._unused) + len(self._offered) >= RESULTS:
            small = next((slot for slot in self._unused if slot.size < size and not slot.in_use), None)
            if small is None:
                return
            self._unused.remove(small)
            self._news.append((wire.NO_SLOT, small.number, 0, ()))
        self._new(ReadSlot, self._unused, size)

    def _new(self, kind: type[Slot], slots: list[Slot], size: int) -> Slot | None:
        size = max(SIZE, 1 << (size - 1).bit_length())
        try:
            fd = anonymous(size)
        except OSError:
            return None
        try:
            slot = kind(self._count + 1, size, fd)
        except (OSError, ValueError):
            os.close(fd)
            return None
        self._count += 1
        slots.append(slot)
        self._news.append((wire.RESULT_SLOT if kind is ReadSlot else wire.INPUT_SLOT, slot.number, size, (fd,)))
        if kind is ReadSlot:  # the mapping has one of its own
            self._going.append(fd)
        return slot

    def close(self) -> None:
        self.sent()
        for slot in (*self._free, *self._lent.values()):
            slot.close()
        for slots in (self._free, self._lent, self._unused, self._offered):
            slots.clear()

    def __repr__(self) -> str:
        return f"<Lending {len(self._free)} + {len(self._lent)} in, {len(self._unused)} + {len(self._offered)} out>"
