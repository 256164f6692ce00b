"""A stage in the calling thread."""

from __future__ import annotations

from time import monotonic

from headrace.batch import Batch
from headrace.contracts import Lane, Leftovers
from headrace.drive.feeds import CLOSE_S, Feed, Listen, give, tell
from headrace.flow.stage import FlowSettings, Sent, StageFlow


class Inline:
    """A stage on an executor that runs batches in the calling thread: no thread, no lock, no wait."""

    def __init__(self, flow: StageFlow, lane: Lane, feed: Feed, settings: FlowSettings, listen: Listen | None) -> None:
        self.depth = feed.depth
        self._flow = flow
        self._lane = lane
        self._feed = feed
        self._listen = listen
        self._more = True
        self._cancelled = False

    def next_batch(self, until_s: float | None = None) -> Batch | None:
        flow = self._flow
        while not (flow.ready or flow.exhausted or self._cancelled):
            sent = flow.next_batch(self._lane.capacity, monotonic(), eager=True)
            if sent is None:
                self._pull()
            else:
                self._run(sent)
                flow.told(tell(flow.new_failures(), self._listen))
        return give(None if self._cancelled else flow.take())

    def _run(self, sent: Sent) -> None:
        try:
            result = self._lane.submit(sent.batch).result()
        except Exception as error:
            self._flow.broken(sent, error)
        else:
            self._flow.finished(sent, result, monotonic())

    def _pull(self) -> None:
        granted = self._flow.reserve(eager=True)
        error = None
        try:
            self._more = self._feed.pull(granted, self._flow.window.left_bytes)
        except Exception as caught:
            self._more, error = False, caught
        arrived = self._feed.collect()
        if arrived is not None:
            self._flow.feed(arrived)
        self._flow.release(granted - (len(arrived) if arrived is not None else 0))
        if not self._more:
            self._flow.end(error)

    def taken(self, batch: Batch) -> None:
        self._flow.taken(batch)

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    @property
    def ended(self) -> bool:
        """Whether all that was to come is out, or nothing more will be."""
        return self._cancelled or (self._flow.exhausted and not self._flow.ready)

    def stop(self) -> None:
        if not self._feed.stop():
            self._flow.end()

    def cancel(self) -> None:
        self._cancelled = True
        self._feed.cancel()

    def close(self) -> Leftovers:
        self._cancelled = True
        left = self._lane.close(cancel=True, timeout_s=CLOSE_S)
        return self._feed.close() + left

    def __repr__(self) -> str:
        return f"<Inline {self._flow!r}>"
