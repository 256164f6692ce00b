"""The dispatcher `async`: listeners are called by a pool of threads, and no emitter waits for them.

    emitter --- notify, emit ---> the queue of each listener --- pool ---> listener
    BufferedEventNotifier --- put ------^

State, all guarded by `_lock`, but for what the subscriptions and the pool say of theirs:

    _subscriptions  who listens; _routes: who hears a type, filled up as types come, and emptied when that changes
    _feeders        the notifiers in front, which are told when that changes
    _closed         nothing is taken any more

Nothing of the user's is called while it is held.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from time import monotonic
from types import TracebackType
from typing import Any, Protocol, Self

from attrs import field, frozen

from headrace.errors import HeadraceError, LeftoversWarning
from headrace.events import EventAccount, EventQueueFull
from headrace.events.wanted import Wanted
from headrace.hookspecs import hookimpl
from headrace.settings import choice, seconds, whole_number
from headrace_events.listening import warn
from headrace_events.pool import Pool
from headrace_events.records import Chunk, Stream
from headrace_events.remote import reduced
from headrace_events.subscription import AsyncSubscription
from headrace_events.table import Tables

HEADRACE_API = 1

OVERFLOWS = ("drop_oldest", "drop_newest", "block", "coalesce", "raise")

STALL_S = 2.0
"""At the end of the interpreter, listeners are waited for as long as they come on: one that takes longer than this for
its next event is left."""


class Feeder(Protocol):
    """What stands in front of a dispatcher and keeps events back for a while."""

    def drain(self) -> bool:
        """Put all that was emitted before."""
        ...

    def rewire(self) -> None:
        """Who hears what has changed."""
        ...


class AsyncEventDispatcher:
    """Calls listeners in threads of its own, in order for each emitter and listener.

    max_queue     most events that wait for one listener, unless `subscribe` says otherwise
    workers       threads that call listeners at once; one that a listener holds on to is replaced
    overflow      what becomes of an event for which there is no room: "drop_oldest", "drop_newest", "block" (the
                  emitter waits, for `block_s` seconds at most, then it is dropped), "coalesce" (it takes the place of
                  the last one of the same type, run and operator; if there is none, of the oldest), "raise" (the
                  emitter gets EventQueueFull). Lifecycle events are never dropped, and not counted in the bound
    max_failures  a listener that raises so many times in a row hears nothing any more, which is warned of; what it
                  would have heard is counted as dropped

    `account()` tells what became of each event. Nothing that a listener does reaches an emitter, or another listener.
    Close it, or use it as a context manager; at the end of the interpreter what was emitted is still delivered. The
    child of a `fork` begins with the listeners and without events. It may travel to worker processes of Headrace: what
    is told there is told here.
    """

    def __init__(
        self,
        max_queue: int = 10_000,
        workers: int = 2,
        overflow: str = "drop_oldest",
        *,
        block_s: float = 1.0,
        max_failures: int = 100,
    ) -> None:
        whole_number(at_least=1, of="events").check("AsyncEventDispatcher.max_queue", max_queue)
        whole_number(at_least=1, of="threads").check("AsyncEventDispatcher.workers", workers)
        choice(*OVERFLOWS).check("AsyncEventDispatcher.overflow", overflow)
        seconds().check("AsyncEventDispatcher.block_s", block_s)
        whole_number(at_least=1, of="failures in a row").check("AsyncEventDispatcher.max_failures", max_failures)
        self.max_queue = max_queue
        self.overflow = overflow
        self._workers = workers
        self._block_s = block_s
        self._max_failures = max_failures
        self._subscriptions: tuple[AsyncSubscription, ...] = ()
        self._feeders: weakref.WeakSet[Any] = weakref.WeakSet()
        self._closed = False
        self._begin()
        _open.add(self)

    def _begin(self) -> None:
        self._lock = threading.RLock()  # the garbage collector may close a run in any thread at any point
        self._pool = Pool(self._lock, self._workers)
        self._routes: dict[type, tuple[AsyncSubscription, ...]] = {}
        self._tables: Tables[tuple[Stream, Callable[[], int]]] = Tables(lambda stream, _: (stream, count().__next__))
        self._end = weakref.finalize(self, self._pool.stop)
        self._end.atexit = False  # that is seen to below

    # who listens

    def subscribe(
        self, listener: Callable[[Any], Any], *types: type, batch: bool = False, max_pending: int | None = None
    ) -> AsyncSubscription:
        """Call `listener` with every event of the `types` and their subclasses, of all types if none is named, that is
        emitted from now on.

        listener     a function of one event, plain or a coroutine function, whose calls share a loop of their own
        batch        it gets sequences of events instead, all that wait, which are built when one of them is looked at
        max_pending  most events that wait for it; None: the dispatcher's `max_queue`
        """
        wanted = Wanted(listener, types, batch=batch, max_pending=max_pending)
        subscription = AsyncSubscription(
            self._drop, wanted, max_pending=self.max_queue, max_failures=self._max_failures
        )
        self._drain()
        with self._lock:
            if self._closed:
                raise HeadraceError(f"{subscription.name} cannot subscribe: the dispatcher is closed")
            self._subscriptions += (subscription,)
        self._rewire()
        self._pool.begin()
        return subscription

    def _drop(self, subscription: AsyncSubscription) -> None:
        with self._lock:
            subscription.active = False
            subscription.drop_all()
            self._subscriptions = tuple(each for each in self._subscriptions if each is not subscription)
        self._rewire()

    def _rewire(self) -> None:
        with self._lock:
            self._routes.clear()
            feeders = list(self._feeders)
        for feeder in feeders:
            feeder.rewire()

    def _drain(self) -> None:
        with self._lock:
            feeders = list(self._feeders)
        for feeder in feeders:
            feeder.drain()

    def hears(self, type: type) -> bool:
        """Whether anybody hears events of this type."""
        return bool(self._hearers(type))

    def _hearers(self, type: type) -> tuple[AsyncSubscription, ...]:
        found = self._routes.get(type)
        if found is None:
            with self._lock:
                found = tuple(each for each in self._subscriptions if each.wanted.hears(type))
                self._routes[type] = found
        return found

    # what happens

    def notify(self, type: type, /, **attributes: Any) -> None:
        """Tell that an event of `type` happened; it is built only if somebody listens, and not here."""
        if self._hearers(type):
            self._admit(*self._tables.mine()[type], attributes)

    def emit(self, event: Any) -> None:
        """Tell of an event that is there already."""
        if self._hearers(type(event)):
            self._admit(*self._tables.mine()[type(event),], event)

    def _admit(self, stream: Stream, number: Callable[[], int], given: Any) -> None:
        at_s = monotonic()
        chunk = Chunk(stream, [(at_s, number(), given)], time.time() - at_s)
        until_s = at_s + self._block_s
        full: AsyncSubscription | None = None
        with self._lock:
            for subscription in () if self._closed else self._hearers(stream.type):
                if self._admitted(subscription, chunk, until_s):
                    self._pool.schedule(subscription)
                else:
                    subscription.missed(stream.type, 1)
                    full = subscription if subscription.active else full
        if full is not None and self.overflow == "raise":
            raise EventQueueFull(full.name, full.max_pending)

    def _admitted(self, subscription: AsyncSubscription, chunk: Chunk, until_s: float) -> bool:
        """Whether a chunk of one record has come into the queue, or its place has been taken by it."""
        if not subscription.active:
            return False
        if self.overflow == "drop_oldest":
            subscription.admit(chunk)
            subscription.drop_oldest()
        elif self.overflow == "coalesce":
            subscription.supersede(Chunk(chunk.stream, chunk.records, chunk.wall_s))
        else:
            room = chunk.stream.lifecycle or not subscription.full
            if self.overflow == "block" and not room:
                room = self._pool.wait_for_room(subscription, until_s) and subscription.active
            if room:
                subscription.admit(chunk)
            return room
        return True

    def attach(self, feeder: Feeder) -> None:
        """`feeder` will `put` what is emitted to it."""
        with self._lock:
            self._feeders.add(feeder)

    def put(self, chunks: Sequence[Chunk], dropped: Mapping[type, int]) -> None:
        """Take over events, in order, the oldest dropped where there is no room; `dropped` are those that were lost
        before."""
        with self._lock:
            if self._closed:
                return
            for type, events in dropped.items():
                for subscription in self._hearers(type):
                    subscription.missed(type, events)
            for chunk in chunks:
                for subscription in self._hearers(chunk.stream.type):
                    if not subscription.active:
                        subscription.missed(chunk.stream.type, len(chunk))
                        continue
                    subscription.admit(chunk)
                    subscription.drop_oldest()
                    self._pool.schedule(subscription)

    # the account, and the end

    def account(self) -> tuple[EventAccount, ...]:
        """What became of the events, for each listener that there is and each type that it was to hear."""
        self._drain()
        return tuple(row for subscription in self._subscriptions for row in subscription.account)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was emitted before has been delivered; whether it has, in time. False at once for a
        listener that asks while anything waits: it is waited for itself."""
        seconds().check("flush: timeout_s", timeout_s)
        until_s = monotonic() + timeout_s
        self._drain()
        with self._lock:
            goals = [(each, each.admitted) for each in self._subscriptions]
        if self._pool.serves_here:
            return all(each.out >= goal for each, goal in goals)
        return self._pool.wait_until_out(goals, until_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """Deliver what was emitted, then let nobody hear anything any more. Safe to call twice.

        What is not through after `timeout_s` is dropped, and a listener that is still inside of a call is left there;
        both are warned of.
        """
        seconds().check("close: timeout_s", timeout_s)
        until_s = monotonic() + timeout_s
        if not self._closed:
            self.flush(timeout_s)
        with self._lock:
            subscriptions, self._subscriptions = self._subscriptions, ()
            first, self._closed = not self._closed, True
            left = [(each, dropped) for each in subscriptions if (dropped := each.drop_all()) or each.pending]
            self._routes.clear()
        self._pool.stop()
        self._end.detach()
        _open.discard(self)
        self._rewire()
        self._pool.join(until_s)
        for each in subscriptions:
            if not each.scheduled:  # else whoever serves it does that
                each.end()
        if first and left:
            told = [_left(each, dropped) for each, dropped in left]
            warn(f"the event dispatcher was closed after {timeout_s:g} s: {'; '.join(told)}", LeftoversWarning)

    def __reduce__(self) -> Any:
        return reduced(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        waiting = sum(each.pending for each in self._subscriptions)
        state = "closed" if self._closed else f"{len(self._subscriptions)} listeners, {waiting} pending"
        return f"<AsyncEventDispatcher {state}>"

    # what is beyond one's control

    def _settle(self) -> None:
        """At the end of the interpreter: deliver for as long as listeners come on, then close."""
        before = -1
        while not self.flush(STALL_S):
            out = sum(each.out for each in self._subscriptions)
            if out == before:
                break
            before = out
        self.close(0.0)

    def _forked(self) -> None:
        """In the child of a fork: threads and locks are the parent's, and so are the events."""
        self._end.detach()
        self._begin()
        for subscription in self._subscriptions:
            subscription.forget_all()


def _left(subscription: AsyncSubscription, dropped: int) -> str:
    state = f"listener {subscription.name} {'is still in a call' if subscription.pending else 'was too slow'}"
    return f"{state}, {dropped} events that waited for it were dropped" if dropped else state


_open: weakref.WeakSet[AsyncEventDispatcher] = weakref.WeakSet()


def _settle_all() -> None:
    for dispatcher in tuple(_open):
        dispatcher._settle()


def _all_forked() -> None:
    for dispatcher in tuple(_open):
        dispatcher._forked()


atexit.register(_settle_all)
os.register_at_fork(after_in_child=_all_forked)


@frozen
class AsyncSettings:
    """As for `AsyncEventDispatcher`."""

    max_queue: int = field(default=10_000, validator=whole_number(at_least=1, of="events"))
    workers: int = field(default=2, validator=whole_number(at_least=1, of="threads"))
    overflow: str = field(default="drop_oldest", validator=choice(*OVERFLOWS))
    block_s: float = field(default=1.0, validator=seconds())
    max_failures: int = field(default=100, validator=whole_number(at_least=1, of="failures in a row"))

    def make(self) -> AsyncEventDispatcher:
        return AsyncEventDispatcher(
            self.max_queue, self.workers, self.overflow, block_s=self.block_s, max_failures=self.max_failures
        )


@hookimpl
def headrace_settings() -> type[AsyncSettings]:
    return AsyncSettings


@hookimpl
def headrace_make_dispatcher(settings: AsyncSettings) -> AsyncEventDispatcher:
    return settings.make()
