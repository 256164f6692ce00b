"""What comes back to be run again: the rest that a batch gave back, and items whose retry is due."""

from __future__ import annotations

from heapq import heappop, heappush
from zlib import crc32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from headrace.batch import Batch, Failure
    from headrace.flow.kernel import Op
    from headrace.flow.ordering import Slot


def delay_s(op: Op, failure: Failure) -> float:
    """Seconds until the item of `failure` is tried again: doubled with each attempt, and up to `jitter` more of it (the
    same for the same item and attempt), as in M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog."""
    if not op.backoff_s:
        return 0.0
    share = crc32(repr((failure.index, failure.attempts)).encode()) / 2**32
    doubled = op.backoff_s * 2.0 ** min(failure.attempts - 1, 64)
    return float(min(doubled * (1 + op.jitter * share), op.max_backoff_s))


class Recovery:
    """Batches with a slot in the order already, so that they go before anything new: what stands first in the input is
    the next to go, as all that has come behind it waits for it."""

    def __init__(self) -> None:
        self._now: list[tuple[int, int, Slot, Batch]] = []  # a heap: by position in the input
        self._later: list[tuple[float, int, Slot, Batch]] = []  # a heap: by when it is due
        self._ticket = 0

    def put(self, slot: Slot, batch: Batch) -> None:
        """A batch that may go at once: the rest of one that was cut short."""
        self._ticket += 1
        heappush(self._now, (batch.seq, self._ticket, slot, batch))

    def retry(self, slot: Slot, batch: Batch, failure: Failure, due_s: float) -> None:
        """The item of `failure`, from the operator that it failed in, not before `due_s`."""
        again = batch.retry(failure)
        again.seq += failure.where if isinstance(failure.where, int) else failure.where[0]
        self._ticket += 1
        heappush(self._later, (due_s, self._ticket, slot, again))

    def ripen(self, now_s: float) -> None:
        """What is due may go at once from here on: no clock needs to look after it."""
        while self._later and self._later[0][0] <= now_s:
            self.put(*heappop(self._later)[2:])

    def next(self, now_s: float) -> tuple[Slot, Batch] | None:
        """What goes next, if anything may; slots that nobody waits for any more are passed over."""
        self.ripen(now_s)
        while self._now:
            slot, batch = heappop(self._now)[2:]
            if not slot.dropped:
                return slot, batch
        return None

    def clear(self) -> None:
        """Forget all of it."""
        self._now.clear()
        self._later.clear()

    def __bool__(self) -> bool:
        """Whether anything is here, wanted or not."""
        return bool(self._now or self._later)

    @property
    def due_s(self) -> float | None:
        """When the next retry is due."""
        return self._later[0][0] if self._later else None

    @property
    def waiting(self) -> bool:
        """Whether anything waits here that is still wanted."""
        return any(not slot.dropped for queue in (self._now, self._later) for _, _, slot, _ in queue)

    def __repr__(self) -> str:
        return f"<Recovery {len(self._now)} batches now, {len(self._later)} retries later>"
