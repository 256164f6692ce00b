"""Items that have come and wait to be cut into batches of another size."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

from headrace.batch import Batch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.batch import Path


class Backlog:
    """A FIFO of items, fed and cut in batches. A batch that comes and goes whole is never copied."""

    def __init__(self) -> None:
        self._parts: deque[Batch] = deque()
        self._seq = 0  # position in the stage's input of the next item to go
        self.count = 0

    def put(self, batch: Batch) -> None:
        if len(batch):
            self._parts.append(batch)
            self.count += len(batch)

    def take(self, items: int) -> Batch:
        """The next batch: `items`, or somewhat fewer where that saves a copy. At least one must be there."""
        first = self._piece(items)
        parts, got = [first], len(first)
        while 2 * got < items and self._parts:
            parts.append(self._piece(items - got))
            got += len(parts[-1])
        self._seq += got
        return first if len(parts) == 1 else _joined(parts)

    def _piece(self, items: int) -> Batch:
        """The next items of the first part: all of it, or `items` of them. What goes is kept alive by nobody here."""
        part = self._parts[0]
        if len(part) <= items:
            self._parts.popleft()
            piece = part
        else:
            piece, self._parts[0] = part.split(items)
        piece.seq = self._seq
        self.count -= len(piece)
        return piece

    def clear(self) -> tuple[int, int]:
        """Drop all; says how many items and bytes that were."""
        items, nbytes = self.count, sum(part.nbytes for part in self._parts)
        self._parts.clear()
        self.count = 0
        return items, nbytes

    def __repr__(self) -> str:
        return f"<Backlog {self.count} items in {len(self._parts)} parts>"


def _joined(parts: list[Batch]) -> Batch:
    data = [item for part in parts for item in part.data]
    index = _joined_index([part.index for part in parts])
    born_s = min(part.born_s for part in parts)
    return Batch(parts[0].seq, index, data, born_s, nbytes=sum(part.nbytes for part in parts))


def _joined_index(parts: list[Sequence[Path]]) -> Sequence[Path]:
    """One index of several: still a range where they are ranges that follow each other."""
    ranges = [part for part in parts if isinstance(part, range)]
    if len(ranges) == len(parts) and all(one.stop == next.start for one, next in pairwise(ranges)):
        return range(ranges[0].start, ranges[-1].stop)
    return [path for part in parts for path in part]
