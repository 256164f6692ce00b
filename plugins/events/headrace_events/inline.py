"""The dispatcher `inline`: listeners run in the caller, before `notify` returns.

    a runner's thread -> notify -> listener, listener, ... -> back to the runner's thread

So a listener that is slow or hangs holds up the run; for a debugger, and for tests, it is the simplest thing. State:

    _table    who listens, and who hears which type: replaced whole under `_lock`, read without it, so that a listener
              may subscribe, cancel and emit while it is called
    _waiting  per thread: events that a listener emitted while it was called. They follow once all have heard the one
              before them, so that everybody hears the events of a thread in the order in which they were emitted
"""

from __future__ import annotations

import logging
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

from headrace.errors import HeadraceError, SettingsError, shorten
from headrace.hookspecs import hookimpl
from headrace.settings import function, or_none, whole_number

HEADRACE_API = 1

_log = logging.getLogger("headrace.events")


class InlineSubscription:
    """One listener and what it wants to hear. `failed` counts the calls in which it raised."""

    def __init__(
        self,
        cancel: Callable[[InlineSubscription], None],
        listener: Callable[[Any], None],
        types: tuple[type, ...],
        batch: bool,
    ) -> None:
        self.failed = 0
        self.listener = listener
        self.types = types
        self.batch = batch
        self.active = True
        self._cancel = cancel

    def cancel(self) -> None:
        """No call begins after this, in this thread. Safe to call twice, and from within the listener."""
        self.active = False
        self._cancel(self)

    def __repr__(self) -> str:
        heard = ", ".join(type.__name__ for type in self.types) or "all events"
        return f"<InlineSubscription {_name(self.listener)} to {heard}, failed {self.failed}>"


class _Table:
    """Who listens. Never changed but for `routes`, which fills up with who hears a type, as types come."""

    __slots__ = ("routes", "subscriptions")

    def __init__(self, subscriptions: tuple[InlineSubscription, ...] = ()) -> None:
        self.subscriptions = subscriptions
        self.routes: dict[type, tuple[InlineSubscription, ...]] = {}

    def hearers(self, type: type) -> tuple[InlineSubscription, ...]:
        found = self.routes.get(type)
        if found is None:
            found = tuple(one for one in self.subscriptions if not one.types or issubclass(type, one.types))
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
        self._waiting = threading.local()
        self._closed = False

    def subscribe(
        self, listener: Callable[[Any], None], *types: type, batch: bool = False, max_pending: int | None = None
    ) -> InlineSubscription:
        """Call `listener` with every event of the `types` and their subclasses, of all types if none is named.

        With `batch` it gets lists: here always of one event. `max_pending` bounds what waits for a listener, and is
        never reached here, where nothing waits.
        """
        function(of="a function of one event").check("listener", listener)
        or_none(whole_number(at_least=1, of="events")).check("max_pending", max_pending)
        for wanted in types:
            if not isinstance(wanted, type):
                raise SettingsError(f"types must be classes of events; got {shorten(wanted)}")
        subscription = InlineSubscription(self._drop, listener, types, batch)
        with self._lock:
            if self._closed:
                raise HeadraceError(f"{_name(listener)} cannot subscribe: the dispatcher is closed")
            self._table = _Table((*self._table.subscriptions, subscription))
        return subscription

    def notify(self, type: type, /, **attributes: Any) -> None:
        """Tell that an event of `type` happened; it is built only if somebody listens."""
        if self._table.hearers(type):
            self.emit(type(**attributes))

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
                    subscription.listener([event] if subscription.batch else event)
                except Exception as error:
                    self._failed(subscription, event, error)

    def _failed(self, subscription: InlineSubscription, event: Any, error: Exception) -> None:
        with self._lock:
            subscription.failed += 1
            first = subscription.failed == 1
        if first:
            _warn(
                f"listener {_name(subscription.listener)} raised {shorten(error)} on {type(event).__name__}, at "
                f"{_where(error)}. The run goes on; further failures of this listener are only counted"
            )


def _name(listener: object) -> str:
    return getattr(listener, "__qualname__", None) or shorten(listener)


def _where(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{last.filename}:{last.lineno}"


def _warn(message: str) -> None:
    try:
        warnings.warn(message, RuntimeWarning, stacklevel=5)
    except RuntimeWarning:
        _log.error(message)  # where warnings are made errors, it must still not reach who emits


@hookimpl
def headrace_make_dispatcher() -> InlineDispatcher:
    return InlineDispatcher()
