"""Outputs without workers: a source that no stage pulls, and a gate. Run by whoever asks for the next batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic
from typing import Any

from headrace.batch import Batch, BatchResult
from headrace.contracts import Leftovers
from headrace.drive.driven import Driven
from headrace.drive.feeds import ItemFeed, Listen, Output
from headrace.flow.gates import Gate, Step
from headrace.flow.kernel import Control, Kernel, Op
from headrace.flow.ledger import Account
from headrace.flow.stage import FlowSettings, StageFlow
from headrace.plan import StageSpec


class SourceOutput:
    """The items of a source that no stage pulls, in batches, as they come: pulled by whoever asks for the next one."""

    def __init__(self, feed: ItemFeed, window: int) -> None:
        self.depth = feed.depth
        self._feed = feed
        self._window = window
        self._more = True
        self._error: BaseException | None = None

    def next_batch(self, until_s: float | None = None) -> Batch | None:
        while self._more:
            try:
                if not self._feed.pull(self._window):
                    self._more = False  # never set again: a stop may come meanwhile, also from the source itself
            except Exception as error:
                self._more, self._error = False, error
            batch = self._feed.collect()
            if batch is not None:
                return batch
        if self._error is not None:
            raise self._error
        raise StopIteration

    def taken(self, batch: Batch) -> None:
        """A source counts no credit."""

    def stop(self) -> None:
        self._more = False

    def cancel(self) -> None:
        self._more = False

    def close(self) -> Leftovers:
        return self._feed.close()

    def __repr__(self) -> str:
        return f"<SourceOutput {self._feed!r}>"


def pulled(feed: ItemFeed, window: int, linger_s: float) -> Driven:
    """The same with a thread of its own that pulls, so that whoever asks need not wait for what does not come."""
    stage = StageSpec(feed.name, Kernel((Op(feed.name, "map", _same),)))
    settings = FlowSettings(window=window, linger_s=linger_s)
    flow = StageFlow(feed.name, stage.kernel, settings, 1, Account((feed.name,)))
    return Driven(flow, _Passage(stage), feed, settings, None)


def _same(item: Any) -> Any:
    return item


class _Passage:
    """A lane whose batches are through as they are submitted."""

    capacity = degree = 1

    def __init__(self, stage: StageSpec) -> None:
        self._kernel = stage.kernel

    def submit(self, batch: Batch) -> Future[BatchResult]:
        future: Future[BatchResult] = Future()
        future.set_result(self._kernel.run(batch, Control()))
        return future

    def resize(self, degree: int) -> None:
        """There is nothing to run beside another."""

    def close(self, *, cancel: bool = False, timeout_s: float = 2.0) -> Leftovers:
        return Leftovers()


class GateOutput:
    """A gate behind another output. What the gate holds, and what it gave that was not taken, is owed to the output
    before it, whose credit comes back item by item."""

    def __init__(self, make: Callable[[Account], Gate], upstream: Output, account: Account, listen: Listen) -> None:
        self.depth = upstream.depth
        self._gate = make(account)
        self._upstream = upstream
        self._account = account
        self._listen = listen
        self._ready: deque[tuple[Batch, int]] = deque()
        self._given: deque[int] = deque()  # inputs that each batch stands for which the consumer has
        self._owed: deque[Batch] = deque()  # items from upstream that are not through
        self._due_s: float | None = None
        self._ended = self._cancelled = False
        self._error: BaseException | None = None

    def next_batch(self, until_s: float | None = None) -> Batch | None:
        while not self._ready:
            if self._ended and self._error is not None:
                raise self._error
            if self._ended or self._cancelled:
                raise StopIteration
            step = self._step(until_s)
            if step is None:
                return None
            self._apply(step)
        batch, members = self._ready.popleft()
        self._given.append(members)
        return batch

    def _step(self, until_s: float | None) -> Step | None:
        """Wait for a batch, the end or what is due, and let the gate act on it; None if `until_s` came first."""
        dues = [due for due in (until_s, self._due_s) if due is not None]
        try:
            batch = self._upstream.next_batch(min(dues, default=None))
        except StopIteration:
            self._ended = True
            return self._gate.end(0, monotonic())
        except Exception as error:  # what came before it goes out first
            self._ended, self._error = True, error
            return self._gate.end(0, monotonic())
        now_s = monotonic()
        if batch is not None:
            self._account.fed += len(batch)
            self._owed.append(batch)
            return self._gate.feed(0, batch, now_s)
        return self._gate.tick(now_s) if self._due_s is not None and now_s >= self._due_s else None

    def _apply(self, step: Step) -> None:
        for failure in step.failures:
            self._listen(failure)
        self._ready.extend(step.out)
        self._due_s = step.due_s
        self._pay(step.consumed)
        if step.error is not None:
            self._ended, self._error = True, step.error

    def _pay(self, items: int) -> None:
        """So many more items are through, in the order in which they came."""
        while items:
            batch = self._owed.popleft()
            if len(batch) > items:
                batch, rest = batch.split(items)
                self._owed.appendleft(rest)
            items -= len(batch)
            self._upstream.taken(batch)

    def taken(self, batch: Batch) -> None:
        self._pay(self._given.popleft())

    def stop(self) -> None:
        self._upstream.stop()

    def cancel(self) -> None:
        self._cancelled = True
        self._upstream.cancel()

    def close(self) -> Leftovers:
        return self._upstream.close()

    def __repr__(self) -> str:
        return f"<GateOutput {self._gate!r}>"
