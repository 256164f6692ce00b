"""A batch on its way to a worker and back."""

from __future__ import annotations

from concurrent.futures import InvalidStateError
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

from headrace.batch import BatchResult
from headrace.errors import ItemUnpicklable
from headrace.flow.recovery import failed_at
from headrace_executors.process.packing import pack, pack_each, unpack, unpack_each
from headrace_executors.process.results import result_of, without

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from headrace.batch import Batch
    from headrace_executors.process.lane import ProcessLane

MOST_BYTES = 8 << 20
"""Bytes of large buffers that travel at once, if it is more than one item: what stays in the caches is moved faster."""

_tickets = count(1)


class Job:
    """Belongs to who has taken it out of the pool's books.

    each    its items travel each in a pickle of its own, as together they cannot
    solo    its outputs do
    sent_s  when a worker had nothing before it any more (monotonic clock)
    """

    def __init__(self, lane: ProcessLane, batch: Batch, future: Future[BatchResult]) -> None:
        self.ticket = next(_tickets)
        self.lane = lane
        self.batch = batch
        self.future = future
        self.data = b""
        self.buffers: list[memoryview] = []
        self.each = False
        self.solo = not lane.idempotent  # it could not run again for the sake of its results
        self.sent_s = 0.0
        self._items = len(batch)
        self._most: int | None = None  # items that can travel together, where they have large buffers
        self._parts: BatchResult | None = None
        self._spoiled = False

    def pack(self) -> BatchResult | None:
        """Make its pickle, of as many of its items as can travel together; gives what came of it, if that is none."""
        data = list(self.batch.data)
        if not self.each:
            try:
                self.data, self.buffers = pack(data)
                while (nbytes := sum(buffer.nbytes for buffer in self.buffers)) > MOST_BYTES and self._items > 1:
                    self._items = max(1, min(self._items * MOST_BYTES // nbytes, self._items - 1))
                    self.data, self.buffers = pack(data[: self._items])
                self._most = max(1, MOST_BYTES * self._items // nbytes) if nbytes else None
                return None
            except (Exception, SystemExit):  # whatever the methods of an item raise
                pass
        return self._pack_each(data)

    def _pack_each(self, data: Sequence[Any]) -> BatchResult | None:
        self.each, self.buffers = True, []
        packed, bad = pack_each(data)
        self._items = min(bad, default=len(data))
        if not self._items:
            error = ItemUnpicklable(f"it cannot travel to a worker process: {bad[0]}")
            return failed_at(self.lane.ops, self.batch, 0, 1, error, final=True)
        self.data = pack(packed[: self._items])[0]
        return None

    def head(self) -> dict[str, Any]:
        batch = self.batch
        index = batch.index[: self._items]
        bound = None if batch.bound is None else batch.bound - (len(batch) - self._items)
        return {
            "lane": self.lane.number,
            "batch": (batch.seq, index, (), batch.born_s, batch.attempt, batch.enter, bound, batch.nbytes),
            "most_bytes": batch.most_bytes and max(1, batch.most_bytes * self._items // len(batch)),
            "step": batch.step,
            "each": self.each,
            "solo": self.solo,
        }

    def came(self, head: Any, data: Any, buffers: Sequence[Any], solo: bool) -> None:
        """A part of what comes of it."""
        if self._spoiled or self._raised:
            return
        bad: dict[int, str] = {}
        try:
            values = unpack(data, buffers)
            if solo:
                values, bad = unpack_each(values)
        except BaseException:  # whatever the methods of an output raise
            self._spoiled = True
            return
        result = result_of(head, values, self.batch)
        if bad:
            result = without(result, bad, self.batch, self.lane.ops)
        self._parts = result if self._parts is None else self._parts.and_then(result)

    @property
    def _raised(self) -> bool:
        return self._parts is not None and any(tally.raised for tally in self._parts.tallies)

    def result(self) -> BatchResult | None:
        """All that came of it; None if something in it could not be made again here, and it must run once more, so
        that it can be said what."""
        if self._spoiled:
            self._spoiled, self.solo, self._parts = False, True, None
            return None
        if self._parts is not None:
            self._parts.most = self._most
        return self._parts

    def finish(self, result: BatchResult) -> None:
        """Tell what came of it."""
        with suppress(InvalidStateError):  # somebody else has given it up
            self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        with suppress(InvalidStateError):
            self.future.set_exception(error)

    @property
    def kept(self) -> BatchResult | None:
        """What came before its worker was lost."""
        return None if self._spoiled else self._parts

    def __repr__(self) -> str:
        return f"<Job {self.ticket}: {self.batch!r}>"
