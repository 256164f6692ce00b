"""Give pieces back in order.

A batch gets a slot when it leaves; what comes of it fills the slot, or splits it: into what is done, what is to be
tried again and what was given back. So order needs no arithmetic on positions, whatever an item expands to.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Slot:
    """A place in the order. `piece` is what has come for it; `dropped` tells that it is not wanted any more."""

    __slots__ = ("dropped", "following", "piece")

    def __init__(self) -> None:
        self.piece: Any = None
        self.following: Slot | None = None
        self.dropped = False


class Ordering:
    """Slots from the oldest that is still waited for to the newest. Pieces come out in the order of their slots, or
    as they come if not `ordered`."""

    def __init__(self, ordered: bool = True) -> None:
        self.ordered = ordered
        self._head = self._tail = Slot()  # a slot that has been given out already

    def open(self) -> Slot:
        """A slot behind all others."""
        return self.split(self._tail)

    def split(self, slot: Slot) -> Slot:
        """A slot right behind `slot`."""
        new = Slot()
        new.dropped = slot.dropped
        if self.ordered:
            new.following, slot.following = slot.following, new
            if slot is self._tail:
                self._tail = new
        return new

    def put(self, slot: Slot, piece: Any) -> list[Any]:
        """Fill `slot`, once, after all splits of it; gives the pieces that are out by it."""
        if slot.dropped:
            return []
        if not self.ordered:
            return [piece]
        slot.piece, out = piece, []
        while (ahead := self._head.following) is not None and ahead.piece is not None:
            out.append(ahead.piece)
            ahead.piece, self._head = None, ahead
        return out

    def cut(self, slot: Slot) -> list[Any]:
        """Drop all slots behind `slot`: nothing that comes for them is wanted. Gives the pieces that had come."""
        at, dropped = slot.following, []
        while at is not None:
            at.dropped = True
            if at.piece is not None:
                dropped.append(at.piece)
            at = at.following
        slot.following = None
        self._tail = slot
        return dropped

    def __repr__(self) -> str:
        waiting, at = 0, self._head.following
        while at is not None:
            waiting, at = waiting + 1, at.following
        return f"<Ordering {waiting} slots {'in order' if self.ordered else 'as they come'}>"
