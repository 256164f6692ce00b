"""Credit: how much may be between a stage's input and its output taken."""

from __future__ import annotations


class Window:
    """A bound in items and, if `max_bytes` is given, in measured bytes.

    Whatever is admitted counts until it is given back. Bytes are known only once an item is here, so that admission
    stops when they reach the bound; an item larger than all of it is admitted alone.
    """

    def __init__(self, items: int, max_bytes: int | None = None) -> None:
        self.items = items
        self.max_bytes = max_bytes
        self.used = 0
        self.used_bytes = 0

    @property
    def room(self) -> int:
        """Items that may be admitted now."""
        free = self.items - self.used
        if self.max_bytes is None or not self.used:
            return max(0, free if self.max_bytes is None else min(free, 1))
        left = self.max_bytes - self.used_bytes
        mean = max(1, self.used_bytes // self.used)
        return max(0, min(free, -(-left // mean)))

    @property
    def left_bytes(self) -> int | None:
        """Bytes that may be admitted now; None: any."""
        return None if self.max_bytes is None else self.max_bytes - self.used_bytes

    @property
    def over(self) -> bool:
        """Whether more is here than the bound allows."""
        return self.used > self.items or (self.max_bytes is not None and self.used_bytes > self.max_bytes)

    def admit(self, items: int, nbytes: int = 0) -> None:
        """Count `items` more (fewer, if negative)."""
        self.used += items
        self.used_bytes += nbytes

    def __repr__(self) -> str:
        limit = "" if self.max_bytes is None else f", {self.used_bytes}/{self.max_bytes} bytes"
        return f"<Window {self.used}/{self.items}{limit}>"
