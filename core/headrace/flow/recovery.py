"""What comes back to be run again: the rest that a batch gave back, items whose retry is due, and what was under way in
a worker that was lost.

A batch is lost with its worker and nobody knows at which item: it goes on item by item, each noted before it is begun.
The item that the next worker is lost with is a suspect, and goes alone from then on. Only three workers lost at the
same item convict it: that others are killed by somebody else is nothing that an item did.
"""

from __future__ import annotations

from heapq import heappop, heappush
from zlib import crc32

from headrace.batch import BatchResult, Failure, Tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.batch import Batch
    from headrace.flow.kernel import Op
    from headrace.flow.ordering import Slot


CONVICTED = 3
"""So many workers lost at the same item, and it fails."""
LOST_IN_A_ROW = 20
"""So many workers lost while no item of the stage was finished, and the stage fails."""


class Suspects:
    """The items of a stage that workers were lost at, by their position in its input."""

    def __init__(self) -> None:
        self._lost: dict[int, int] = {}  # workers lost at an item
        self._halve: set[int] = set()  # where batches begin of which nothing more is known

    def blame(self, batch: Batch, at: int | None) -> bool:
        """A worker was lost with `batch`, at its item `at` if that is known; says whether it fails for that."""
        if at is not None and at >= len(batch):
            at = None  # it was through with them all, and died of what it did with the results
        if at is None and len(batch) == 1:
            at = 0
        if at is None:
            if batch.step:
                self._halve.add(batch.seq)
            return False
        position = batch.seq + at
        self._lost[position] = self._lost.get(position, 0) + 1
        return len(batch) == 1 and self._lost[position] >= CONVICTED

    def together(self, batch: Batch) -> int:
        """How many of the first items of `batch` may go together."""
        if batch.seq in self._halve:
            self._halve.discard(batch.seq)
            return (len(batch) + 1) // 2
        inside = [each - batch.seq for each in self._lost if 0 <= each - batch.seq < len(batch)]
        return min((each or 1 for each in inside), default=len(batch))

    def clear(self, batch: Batch, done: int) -> None:
        """The first `done` items of `batch` have an outcome."""
        if self._lost:
            for position in range(batch.seq, batch.seq + done):
                self._lost.pop(position, None)

    def __repr__(self) -> str:
        return f"<Suspects {self._lost}>"


def delay_s(op: Op, failure: Failure) -> float:
    """Seconds until the item of `failure` is tried again: doubled with each attempt, and up to `jitter` more of it (the
    same for the same item and attempt), as in M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog."""
    if not op.backoff_s:
        return 0.0
    share = crc32(repr((failure.index, failure.attempts)).encode()) / 2**32
    doubled = op.backoff_s * 2.0 ** min(failure.attempts - 1, 64)
    return float(min(doubled * (1 + op.jitter * share), op.max_backoff_s))


def failed_at(
    ops: Sequence[Op], batch: Batch, first: int, items: int, error: BaseException, *, final: bool = False
) -> BatchResult:
    """What is to be booked for `items` of `batch`, from its item `first` on, that failed without their function's
    doing. If that is `final`, they are not tried again."""
    op, tallies = ops[batch.enter], [Tally() for _ in ops]
    verdict = op.on_error if final else op.verdict(batch.attempt, error)
    positions = range(first, first + (1 if verdict == "raise" else items))  # nothing behind the first one is wanted
    failures = []
    for at in positions:
        index, item = batch.index[at], batch.data[at]
        failures.append(Failure(batch.enter, op.name, at, index, item, error, batch.attempt, verdict))
        tallies[batch.enter].failed(verdict, first=batch.attempt == 1)
    return BatchResult([], [], positions.stop, failures, tallies)


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
