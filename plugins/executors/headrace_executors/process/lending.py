"""Which slots of memory a worker has, and which it may use: the parent's book.

    for inputs   free --> lent with a batch --> returned by the worker (or kept there, and then given up)
    for results  ours, unused --> offered with a batch --> filled, with a result --> in use by the consumer --> unused

The parent makes them, so that what comes in one it has mapped already. Where there is no memory, or no descriptor left,
buffers go over the wire instead.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from headrace_executors.process.memory import ROUND, Slot, anonymous, room_for
from headrace_executors.process.packing import LARGE

INPUTS = 3
RESULTS = 8
HELD = 4
"""Slots that the consumer may hold on to; what comes in further ones is copied, so that they can be used again."""


class Lending:
    """The slots of one worker. Guarded by the lock of whoever sends to that worker."""

    def __init__(self) -> None:
        self._count = 0
        self._free: list[Slot] = []  # for inputs
        self._lent: dict[int, Slot] = {}  # with the worker, by number
        self._unused: list[Slot] = []  # for results; some may still be in use by the consumer
        self._offered: dict[int, Slot] = {}  # with the worker
        self._news: list[tuple[int, int, int | None]] = []  # what the worker does not know of yet
        self._going: list[int] = []  # descriptors on their way
        self._wanted = 0  # bytes of a result for which there was no slot
        self._refused = False  # the worker cannot map slots

    def lend(self, buffers: Sequence[memoryview]) -> tuple[int, Any] | None:
        """Put the buffers into a slot; gives its number and where they are, or None if there is none."""
        size = room_for(buffers)
        if size < LARGE or self._refused:
            return None
        slot = self._fitting(self._free, size) or self._made(self._free, size, INPUTS - len(self._lent))
        if slot is None:
            return None
        self._free.remove(slot)
        self._lent[slot.number] = slot
        return slot.number, slot.fill(buffers)

    def returned(self, number: int, kept: bool) -> None:
        slot = self._lent.pop(number, None)
        if slot is not None and not kept:
            self._free.append(slot)

    def refused(self) -> None:
        """The worker could not map a slot: then all goes over the wire."""
        self._refused = True
        self._lent.clear()

    def offers(self) -> list[int]:
        """The numbers of the slots that the worker may fill from now on."""
        if self._wanted and not self._refused:
            wanted, self._wanted = self._wanted, 0
            self._made(self._unused, wanted + wanted // 4, RESULTS - len(self._offered))
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

    def news(self) -> list[tuple[int, int, int | None]]:
        """Slots of which the worker is to be told, as (number, size, descriptor); no descriptor: it is gone."""
        news, self._news = self._news, []
        return news

    def sent(self) -> None:
        """All that was to be sent is out."""
        for fd in self._going:
            os.close(fd)
        self._going.clear()

    def _fitting(self, slots: list[Slot], size: int) -> Slot | None:
        return min((slot for slot in slots if slot.size >= size), key=lambda slot: slot.size, default=None)

    def _made(self, slots: list[Slot], size: int, most: int) -> Slot | None:
        """A new slot among `slots`, of which there may be so many: in place of a smaller one that is not in use, if
        there is no room for one more."""
        if len(slots) >= most:
            idle = [slot for slot in slots if not slot.in_use]
            if not idle:
                return None
            old = min(idle, key=lambda slot: slot.size)
            slots.remove(old)
            self._news.append((old.number, 0, None))
        size = -(-size // ROUND) * ROUND
        try:
            fd = anonymous(size)
        except OSError:
            return None
        self._count += 1
        try:
            slot = Slot(self._count, size, fd)
        except (OSError, ValueError):
            os.close(fd)
            return None
        slots.append(slot)
        self._news.append((slot.number, size, fd))
        self._going.append(fd)
        return slot

    def close(self) -> None:
        self.sent()
        for slots in (self._free, self._unused, self._lent, self._offered):
            slots.clear()

    def __repr__(self) -> str:
        return f"<Lending {len(self._free)} + {len(self._lent)} in, {len(self._unused)} + {len(self._offered)} out>"
