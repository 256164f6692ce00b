"""The dispatcher `inline`: listeners run in the caller, before `notify` returns.

    a runner's thread -> notify -> listener, listener, ... -> back to the runner's thread

So a listener that is slow or hangs holds up the run; for a debugger, and for tests, it is the simplest thing. State:

    _table    who listens, and who hears which type: replaced whole under `_lock`, read without it, so that a listener
              may subscribe, cancel and emit while it is called
    _waiting  per thread: events that a listener emitted while it was called. They follow once all have heard the one
              before them, so that everybody hears the events of a thread in the order in which they were emitted
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from itertools import count
from time import monotonic, time
from typing import Any

from headrace.errors import HeadraceError, SettingsError, shorten
from headrace.events import EventAccount
from headrace.events.wanted import Wanted
from headrace.hookspecs import hookimpl
from headrace_events.counts import Counts, account
from headrace_events.listening import awaits, name_of, warn, where
from headrace_events.records import Stream
from headrace_events.table import Tables

HEADRACE_API = 1


class InlineSubscription:
    """One listener and what it wants to hear.

    failed   the events that it raised on
    account  what became of the events, by type
    """

    def __init__(
        self,
        cancel: Callable[[InlineSubscription], None],
        wanted: Wanted,
    ) -> None:
        self.wanted = wanted
        self.counts: dict[type, Counts] = {}
        self.active = True
        self._cancel = cancel

    def cancel(self) -> None:
        """No call begins after this, in this thread. Safe to call twice, and from within the listener."""
        self.active = False
        self._cancel(self)

    @property
    def failed(self) -> int:
        return sum(each.failed for each in tuple(self.counts.values()))

    @property
    def account(self) -> tuple[EventAccount, ...]:
        """What became of the events, by type: none is ever dropped, or waits."""
        return account(name_of(self.wanted.listener), self.counts)

    def count(self, type: type, *, failed: bool) -> None:
        """What became of an event. Under the dispatcher's lock."""
        counts = self.counts.setdefault(type, Counts())
        counts.emitted += 1
        counts.delivered += not failed
        counts.failed += failed

    def __repr__(self) -> str:
        heard = ", ".join(type.__name__ for type in self.wanted.types) or "all events"
        return f"<InlineSubscription {name_of(self.wanted.listener)} to {heard}, failed {self.failed}>"


class _Table:
    """Who listens. Never changed but for `routes`, which fills up with who hears a type, as types come."""

    __slots__ = ("routes", "subscriptions")

    def __init__(self, subscriptions: tuple[InlineSubscription, ...] = ()) -> None:
        self.subscriptions = subscriptions
        self.routes: dict[type, tuple[InlineSubscription, ...]] = {}

    def hearers(self, type: type) -> tuple[InlineSubscription, ...]:
        found = self.routes.get(type)
        if found is None:
            found = tuple(one for one in self.subscriptions if one.wanted.hears(type))
            self.routes[type] = found
        return found


class InlineDispatcher:
    """Calls listeners at once, in the thread that emits.

    A listener that raises is warned of once and counted in its subscription; the others hear the event all the same,
    and whoever emitted it learns nothing of it. Only what is no `Exception` comes through: Ctrl-C, `sys.exit`. As
    runners emit from several threads, a listener may be called by several at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._table = _Table()
        self._tables: Tables[tuple[Stream, Callable[[], int]]] = Tables(lambda stream, _: (stream, count().__next__))
        self._waiting = threading.local()
        self._closed = False

    def subscribe(
        self, listener: Callable[[Any], None], *types: type, batch: bool = False, max_pending: int | None = None
    ) -> InlineSubscription:
        """Call `listener` with every event of the `types` and their subclasses, of all types if none is named.

        With `batch` it gets lists: here always of one event. `max_pending` bounds what waits for a listener, and is
        never reached here, where nothing waits.
        """
        wanted = Wanted(listener, types, batch=batch, max_pending=max_pending)
        if awaits(listener):
            raise SettingsError(
                f"listener {name_of(listener)} is a coroutine function, which the dispatcher 'inline' has no loop for; "
                "a plain function, or the dispatcher 'buffered' would do"
            )
        subscription = InlineSubscription(self._drop, wanted)
        with self._lock:
            if self._closed:
                raise HeadraceError(f"{name_of(listener)} cannot subscribe: the dispatcher is closed")
            self._table = _Table((*self._table.subscriptions, subscription))
        return subscription

    def notify(self, type: type, /, **attributes: Any) -> None:
        """Tell that an event of `type` happened; it is built only if somebody listens."""
        if self._table.hearers(type):
            stream, number = self._tables.mine()[type]
            at_s = monotonic()
            self.emit(stream.event((at_s, number(), attributes), time() - at_s))

    def hears(self, type: type) -> bool:
        """Whether anybody hears events of this type."""
        return bool(self._table.hearers(type))

    def emit(self, event: Any) -> None:
        waiting: deque[Any] | None = getattr(self._waiting, "events", None)
        if waiting is not None:
            waiting.append(event)  # by a listener: this thread is in the loop below already
            return
        waiting = self._waiting.events = deque([event])
        try:
            while waiting:
                self._tell_all(waiting.popleft())
        finally:
            del self._waiting.events

    def account(self) -> tuple[EventAccount, ...]:
        """What became of the events, for each listener that there is and each type that it was to hear."""
        return tuple(row for subscription in self._table.subscriptions for row in subscription.account)

    def flush(self, timeout_s: float) -> bool:
        """True: what this thread emitted has been heard, unless it is a listener that asks."""
        return not getattr(self._waiting, "events", None)

    def close(self, timeout_s: float) -> None:
        """Let nobody hear anything from now on. Safe to call twice."""
        with self._lock:
            self._closed = True
            for subscription in self._table.subscriptions:
                subscription.active = False
            self._table = _Table()

    def __repr__(self) -> str:
        return f"<InlineDispatcher {'closed' if self._closed else f'{len(self._table.subscriptions)} listeners'}>"

    def _drop(self, subscription: InlineSubscription) -> None:
        with self._lock:
            self._table = _Table(tuple(one for one in self._table.subscriptions if one is not subscription))

    def _tell_all(self, event: Any) -> None:
        for subscription in self._table.hearers(type(event)):
            if subscription.active:
                try:
                    subscription.wanted.listener([event] if subscription.wanted.batch else event)
                except Exception as error:
                    self._failed(subscription, event, error)
                else:
                    with self._lock:
                        subscription.count(type(event), failed=False)

    def _failed(self, subscription: InlineSubscription, event: Any, error: Exception) -> None:
        with self._lock:
            first = not subscription.failed
            subscription.count(type(event), failed=True)
        if first:
            name = name_of(subscription.wanted.listener)
            warn(
                f"listener {name} raised {shorten(error)} on {type(event).__name__}, at {where(error)}. "
                "The run goes on; further failures of this listener are only counted"
            )


@hookimpl
def headrace_make_dispatcher() -> InlineDispatcher:
    return InlineDispatcher()
