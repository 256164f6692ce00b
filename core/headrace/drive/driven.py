"""A stage on workers: the shell of threads and locks round its flow.

    puller ---- feed.pull ---> flow.feed --.                          .--> flow.ready ---> the consumer
    clock  ---- what has come in a pull    +--> lane.submit --> (a worker) ----- finished
                that takes too long -------'        ^------------------'

    puller     one thread: opens, pulls and closes the feed; waits on `_input` for credit
    workers    the executor's: the callback of a batch's future books its result and submits what may go next
    clock      one thread, begun when a pull asks for more than one item: every `linger_s` of such a pull it hands on
               what has come, so that no item waits for a later one; also sees to what is due later
    consumer   whoever iterates; waits on `_output`

All state is in `_flow` and the underscored fields, touched only while holding `_lock` (reentrant, since the garbage
collector may close an abandoned iterator in any thread at any point). `_input`, `_output` and `_ticking` are conditions
on that lock. Nothing is submitted, pulled or called back while it is held.
"""

from __future__ import annotations

import contextvars
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import CancelledError
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from headrace.batch import Batch
from headrace.contracts import Lane, Leftovers
from headrace.drive.feeds import Feed, Listen, give, patience_s, tell
from headrace.errors import HeadraceError
from headrace.flow.stage import FlowSettings, Sent, StageFlow

if TYPE_CHECKING:
    from concurrent.futures import Future

    from headrace.batch import BatchResult

NAP_S = 0.001
"""A consumer that was served is woken again after so many seconds, if it waits, and takes all that has come by then: to
be woken for every batch costs as much as the batch does."""
FIRST_S = 0.001
"""Seconds that the puller leaves the interpreter lock to the first item, at most."""


class Driven:
    """A stage on workers. See the picture at the top of the module."""

    def __init__(self, flow: StageFlow, lane: Lane, feed: Feed, settings: FlowSettings, listen: Listen | None) -> None:
        self.depth = feed.depth
        self._flow = flow
        self._lane = lane
        self._feed = feed
        self._linger_s = settings.linger_s
        self._listen = listen
        self._context = contextvars.copy_context()
        self._lock = threading.RLock()
        self._input = threading.Condition(self._lock)
        self._output = threading.Condition(self._lock)
        self._ticking = threading.Condition(self._lock)
        self._consumer_waits = self._puller_waits = self._clock_waits = False
        self._granted = 0  # credit of the pull that goes on
        self._gave = False  # whether the first batch of outputs was taken, or has been waited for
        self._nap_until_s = 0.0  # the consumer is not woken before, unless there is plenty
        self._pulls = 0  # pulls of more than one item
        self._cancelled = False
        self._threads: list[threading.Thread] = []
        self._upstream = Leftovers()  # what the feed could not end
        self._unheard: BaseException | None = None  # what it raised then, if nobody takes anything any more
        self._leftovers: Leftovers | None = None

    # the consumer

    def next_batch(self, until_s: float | None = None) -> Batch | None:
        if not self._threads:
            self._start("pull", self._pull)
        while True:
            with self._lock:
                failures = self._flow.new_failures()
                over = bool(self._flow.ready or self._flow.exhausted or self._cancelled)
                piece = self._take() if over else None
                now_s = monotonic()
                late = until_s is not None and until_s <= now_s
                due = [] if over or late else self._wait(until_s, now_s, bool(failures))
            if failures:
                self._told(tell(failures, self._listen))
            self._submit(due)
            if over:
                return give(piece)
            if late:
                return None

    def _told(self, failures: int) -> None:
        with self._lock:
            self._flow.told(failures)
            self._wake_puller()

    def _wait(self, until_s: float | None, now_s: float, busy: bool) -> list[Sent]:
        """Wait for something to take, or to tell of; not if there is something to do first, which is given back."""
        self._consumer_waits = True
        self._wake_puller()
        due = self._due()  # some may go just because the consumer waits
        if not (due or busy):
            ends = [end_s for end_s in (until_s, self._nap_until_s) if end_s is not None and end_s > now_s]
            self._output.wait(min(ends) - now_s if ends else None)
        self._consumer_waits = False
        return due

    def _take(self) -> Batch | BaseException | None:
        self._nap_until_s = monotonic() + NAP_S if self._gave else 0.0
        if not self._gave:
            self._gave = True
            self._input.notify()
        return None if self._cancelled else self._flow.take()

    def taken(self, batch: Batch) -> None:
        with self._lock:
            self._flow.taken(batch)
            self._wake_puller()
            due = self._due()
        self._submit(due)

    # the puller

    def _pull(self) -> None:
        error: BaseException | None = None
        try:
            while (granted := self._credit()) and self._feed.pull(granted, self._flow.window.left_bytes):
                self._collect(over=True)
                self._let_the_first_through()
        except BaseException as caught:
            error = caught
        self._collect(over=True)
        try:
            self._upstream = self._feed.close()
        except BaseException as caught:
            self._unheard = caught if self._cancelled else None
            error = error or caught
        self._end(error)

    def _end(self, error: BaseException | None = None) -> None:
        with self._lock:
            self._flow.end(error)
            self._input.notify()
            due = self._due()
        self._submit(due)

    def _let_the_first_through(self) -> None:
        """Wait for the first result to be taken, but not long: a source in Python that went on at once would keep the
        interpreter lock from the worker and the consumer, for 5 ms each time."""
        if not self._gave:
            with self._lock:
                if not self._gave:
                    self._input.wait(FIRST_S)
                self._gave = True

    def _credit(self) -> int:
        """Wait for credit, and say how many items to pull; 0 if no more are wanted."""
        with self._lock:
            while not self._cancelled and self._flow.open:
                self._granted = self._flow.reserve(eager=self._consumer_waits)
                if self._granted:
                    self._watch_pull()
                    return self._granted
                self._puller_waits = True
                self._input.wait()
                self._puller_waits = False
        return 0

    def _collect(self, *, over: bool) -> None:
        """Hand on what a pull has brought so far; `over` tells that it is done."""
        with self._lock:
            arrived = self._feed.collect() if self._granted and self._flow.open else None
            if arrived is not None:
                self._flow.feed(arrived)
                self._granted -= len(arrived)
            if over:
                self._flow.release(self._granted)
                self._granted = 0
            due = self._due()
        self._submit(due)

    def _wake_puller(self) -> None:
        if self._puller_waits and (self._flow.pullable(eager=self._consumer_waits) or not self._flow.open):
            self._input.notify()

    # the clock

    def _watch_pull(self) -> None:
        if self._granted > 1 or self._flow.due_s is not None:
            self._pulls += 1
            if len(self._threads) == 1:
                self._start("clock", self._tick)
            elif self._clock_waits:
                self._ticking.notify()

    def _tick(self) -> None:
        seen = -1
        while True:
            with self._lock:
                if self._cancelled or (self._flow.exhausted and not self._granted):
                    return
                # While pulls go on, to look every now and then is cheaper than to be woken for each of them.
                timeout_s = self._linger_s if self._granted or self._pulls != seen else self._until_due()
                seen = self._pulls
                self._clock_waits = timeout_s is None
                self._ticking.wait(timeout_s)
                self._clock_waits = False
                if self._cancelled:
                    return
                for batch in self._flow.overdue(monotonic()):
                    batch.cut()
            self._collect(over=False)

    def _until_due(self) -> float | None:
        return None if self._flow.due_s is None else max(0.0, self._flow.due_s - monotonic())

    # batches

    def _due(self) -> list[Sent]:
        """What to submit now; also wakes whom this concerns."""
        due = []
        now_s = monotonic()
        while not self._cancelled:
            sent = self._flow.next_batch(self._lane.capacity, now_s, eager=self._consumer_waits)
            if sent is None:
                break
            due.append(sent)
        served = self._consumer_waits and (self._flow.ready or self._flow.exhausted or self._flow.untold)
        if served and (now_s >= self._nap_until_s or self._flow.plenty):
            self._output.notify()
        if due and self._clock_waits and self._flow.due_s is not None:
            self._ticking.notify()
        return due

    def _submit(self, due: list[Sent]) -> None:
        while due:
            sent = due.pop(0)
            try:
                future = self._lane.submit(sent.batch)
            except Exception as error:
                due += self._broken(sent, error)
                continue
            if future.done():
                due += self._settled(sent, future)
            else:
                future.add_done_callback(partial(self._called_back, sent))

    def _called_back(self, sent: Sent, future: Future[BatchResult]) -> None:
        try:
            self._submit(self._settled(sent, future))
        except BaseException as error:  # nobody else would hear of it, and the consumer would wait for ever
            with self._lock:
                self._flow.ready.append(error)
                self._output.notify()

    def _settled(self, sent: Sent, future: Future[BatchResult]) -> list[Sent]:
        """Book what came of a batch; gives what to submit next."""
        try:
            result = future.result()
        except CancelledError:
            return [] if self._cancelled else self._broken(sent, HeadraceError("it gave the batch up"))
        except BaseException as error:
            return [] if self._cancelled else self._broken(sent, error)
        with self._lock:
            if self._cancelled:
                self._flow.book(sent, result)  # nobody takes it, but it was done
                return []
            self._flow.finished(sent, result, monotonic())
            self._wake_puller()
            return self._due()

    def _broken(self, sent: Sent, error: BaseException) -> list[Sent]:
        with self._lock:
            self._flow.broken(sent, error)
            return self._due()

    # the end

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    @property
    def ended(self) -> bool:
        """Whether all that was to come is out, or nothing more will be."""
        return self._cancelled or (self._flow.exhausted and not self._flow.ready)

    def stop(self) -> None:
        if not self._feed.stop():
            self._end()

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            self._flow.cut_all()
            for condition in (self._input, self._output, self._ticking):
                condition.notify_all()
        self._feed.cancel()

    def close(self) -> Leftovers:
        """Wake all, then wait for them; what does not end in time is named, and left to end by itself."""
        if self._leftovers is None:
            self.cancel()
            until_s = monotonic() + patience_s(self.depth)
            left = self._lane.close(cancel=True, timeout_s=patience_s(self.depth))
            # Without an identity it was not started: Ctrl-C came first. And who closes cannot wait for himself.
            others = [each for each in self._threads if each.ident not in (None, threading.get_ident())]
            for thread in others:
                thread.join(max(0.0, until_s - monotonic()))
            if not self._threads:
                self._upstream = self._feed.close()
            held = Leftovers(tuple(thread.name for thread in others if thread.is_alive()))
            self._leftovers = self._upstream + left + held
            if self._unheard is not None:
                what = f"the source of '{self._flow.name}' raised while it was closed"
                warnings.warn(f"{what}: {type(self._unheard).__name__}: {self._unheard}", RuntimeWarning, stacklevel=2)
        return self._leftovers

    def _start(self, role: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(
            target=self._context.copy().run, args=(work,), name=f"headrace-{role}-{self._flow.name}", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def __repr__(self) -> str:
        return f"<Driven {self._flow!r}>"
