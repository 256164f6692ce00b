"""What comes back to be run again: the rest that a batch gave back, and items whose retry is due."""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from headrace.batch import Batch, Failure
    from headrace.flow.ordering import Slot


class Recovery:
    """Batches with a slot in the order already, so that they go before anything new."""

    def __init__(self) -> None:
        self._now: deque[tuple[Slot, Batch]] = deque()
        self._later: list[tuple[float, int, Slot, Batch]] = []
        self._ticket = 0

    def give_back(self, slot: Slot, batch: Batch, done: int) -> None:
        """The inputs of `batch` behind the first `done`."""
        self._now.append((slot, batch.behind(done)))

    def first(self, slot: Slot, batch: Batch) -> None:
        """What is left of a batch of which `next` gave more than should go at once: it is the next to go."""
        self._now.appendleft((slot, batch))

    def retry(self, slot: Slot, batch: Batch, failure: Failure, due_s: float) -> None:
        """The item of `failure`, from the operator that it failed in, not before `due_s`."""
        self._ticket += 1
        heappush(self._later, (due_s, self._ticket, slot, batch.retry(failure)))

    def next(self, now_s: float) -> tuple[Slot, Batch] | None:
        """What goes next, if anything may; slots that nobody waits for any more are passed over."""
        while self._later and self._later[0][0] <= now_s:
            self._now.append(heappop(self._later)[2:])
        while self._now:
            slot, batch = self._now.popleft()
            if not slot.dropped:
                return slot, batch
        return None

    @property
    def due_s(self) -> float | None:
        """When the next retry is due."""
        return self._later[0][0] if self._later else None

    @property
    def waiting(self) -> int:
        """Items that wait here and are still wanted."""
        queued = [*self._now, *(each[2:] for each in self._later)]
        return sum(len(batch) for slot, batch in queued if not slot.dropped)

    def __repr__(self) -> str:
        return f"<Recovery {len(self._now)} batches now, {len(self._later)} retries later>"
