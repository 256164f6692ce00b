"""The dispatcher `buffered`: to tell of an event is to append a tuple to a ring of the thread's own.

    emitter --- notify ---> ring ---.
    emitter --- notify ---> ring ---+--- drain (a thread) ---> dispatcher.put ---> listeners
                              `- every so many events: a wake-up

A ring is a deque that lets go of the oldest by itself when it is full. Its events are numbered, so that the drain sees
from a gap how many are missing: whoever emits takes no lock and checks nothing. The iterator that gives the numbers
wakes the drain now and then, too.

Rings are drained one after the other, but what they give is put in order by time, and what came while they were drained
waits for the next round. So if one event led to another, they are delivered in that order, whichever threads they
were emitted by.

`_lock` guards `_rings` and `_thread`; `_draining` who drains, and `_later`. To a ring the emitter appends, and the
drain takes out. Nothing of the user's is called under `_lock`; under `_draining` are the listeners of a dispatcher that
calls them at once.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain, count, repeat
from operator import itemgetter
from queue import Empty, SimpleQueue
from time import monotonic
from types import TracebackType
from typing import Any, Self

from attrs import field, frozen

from headrace.errors import HeadraceError, SettingsError, said, shorten
from headrace.hookspecs import hookimpl
from headrace.settings import seconds, whole_number
from headrace_events.dispatcher import AsyncSettings
from headrace_events.listening import name_of, warn
from headrace_events.records import Chunk, Record, Stream, by_time, until
from headrace_events.remote import reduced
from headrace_events.table import Table, Tables

HEADRACE_API = 1

_METHODS = ("subscribe", "notify", "emit", "flush", "close")


class Ring:
    """The events of one stream that have not been drained. Lifecycle events have no bound."""

    __slots__ = ("append", "expected", "number", "owner", "records", "stream")

    def __init__(
        self, stream: Stream, owner: Table[Any], most: int, max_events: int, wake: Callable[[None], None]
    ) -> None:
        self.stream = stream
        self.owner = weakref.ref(owner)
        self.records: deque[Record] = deque(maxlen=None if stream.lifecycle else most)
        self.append = self.records.append
        self.number = _numbers(max_events, wake).__next__
        self.expected = 0  # the number that comes next, if none is dropped

    def drain(self) -> tuple[list[Record], int]:
        """What is there, and how many have been dropped before it and in between."""
        pop = self.records.popleft
        records = [pop() for _ in range(len(self.records))]
        if not records:
            return records, 0
        last = records[-1][1]
        dropped = last + 1 - self.expected - len(records)
        self.expected = last + 1
        return records, dropped

    def __repr__(self) -> str:
        return f"<Ring {self.stream.source} {len(self.records)}/{self.records.maxlen}>"


def _numbers(max_events: int, wake: Callable[[None], None]) -> Iterator[int]:
    """0, 1, 2 ..., and `wake(None)` each time that so many begin. All of it runs in C, so that a signal handler which
    emits cannot come in between."""
    ranges = map(range, count(0, max_events), count(max_events, max_events))
    woken = zip(ranges, map(wake, repeat(None)), strict=True)
    return chain.from_iterable(map(itemgetter(0), woken))


class BufferedEventNotifier:
    """What operators call: `notify` costs little more than an append, whoever listens.

    dispatcher  what delivers: an AsyncEventDispatcher, or any other, whose listeners then are called by the thread of
                the notifier
    max_events  so many events of one type and thread are handed on at once
    flush_s     seconds that an event waits at most until it is handed on
    max_queue   most events of one type that a thread may have told of and that were not handed on; then the oldest is
                dropped, with its count. None: the dispatcher's. Where its `overflow` is another than "drop_oldest",
                each event goes to its queues at once

    What was told is handed on by count, by time, by `flush` and `close`, and at the end of the interpreter. `close`
    leaves the dispatcher open. The child of a `fork` begins without events. It may travel to worker processes of
    Headrace: what is told there is told here.
    """

    def __init__(
        self, dispatcher: Any, max_events: int = 256, flush_s: float = 0.1, *, max_queue: int | None = None
    ) -> None:
        for method in _METHODS:
            if not callable(getattr(dispatcher, method, None)):
                raise SettingsError(
                    f"BufferedEventNotifier.dispatcher must be a dispatcher, with the methods {', '.join(_METHODS)}; "
                    f"got {shorten(dispatcher)}"
                )
        whole_number(at_least=1, of="events").check("BufferedEventNotifier.max_events", max_events)
        seconds(above=0).check("BufferedEventNotifier.flush_s", flush_s)
        most = getattr(dispatcher, "max_queue", 10_000) if max_queue is None else max_queue
        whole_number(at_least=1, of="events").check("BufferedEventNotifier.max_queue", most)
        self._dispatcher = dispatcher
        self._max_events = max_events
        self._flush_s = flush_s
        self._most = most
        self._hears: Callable[[type], bool] = getattr(dispatcher, "hears", lambda type: True)
        self._closed = False
        self.dropped: Counter[type] = Counter()  # events that were dropped before they were handed on
        self.failed: Counter[type] = Counter()  # events that the dispatcher did not take
        self._begin()
        if getattr(dispatcher, "overflow", "drop_oldest") != "drop_oldest":
            self.notify, self.emit = dispatcher.notify, dispatcher.emit  # type: ignore[method-assign]
        if callable(getattr(dispatcher, "attach", None)):
            dispatcher.attach(self)
        _open.add(self)

    def _begin(self) -> None:
        # Reentrant: the garbage collector may close a run in any thread at any point, and listeners may flush.
        self._lock, self._draining = threading.RLock(), threading.RLock()
        self._tables: Tables[Ring | None] = Tables(self._ring)
        self._here = self._tables.here
        self._rings: dict[Stream, Ring] = {}
        self._later: list[Chunk] = []
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    # what happens

    def notify(self, type: type, /, **attributes: Any) -> None:
        """Tell that an event of `type` happened. It is built later, and only if somebody listens."""
        try:
            ring = self._here.table[type]
        except AttributeError:
            ring = self._tables.mine()[type]
        if ring is not None:
            ring.append((monotonic(), ring.number(), attributes))

    def emit(self, event: Any) -> None:
        """Tell of an event that is there already."""
        ring = self._tables.mine()[type(event),]
        if ring is not None:
            ring.append((monotonic(), ring.number(), event))

    def _ring(self, stream: Stream, table: Table[Ring | None]) -> Ring | None:
        """The ring of a stream of the calling thread; None if nobody hears its type."""
        if self._closed or not self._hears(stream.type):
            return None
        with self._lock:
            ring = self._rings.get(stream)
            if ring is None:
                ring = self._rings[stream] = Ring(stream, table, self._most, self._max_events, self._wakes.put)
        self._start()
        return ring

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            thread = self._thread = threading.Thread(
                target=_drain_on,
                args=(weakref.ref(self), self._wakes, self._flush_s),
                name="headrace-events-drain",
                daemon=True,
            )
        try:
            thread.start()
        except RuntimeError:  # the interpreter is at its end, where all is drained once more
            self._thread = None

    # who listens

    def subscribe(
        self, listener: Callable[[Any], Any], *types: type, batch: bool = False, max_pending: int | None = None
    ) -> Any:
        """As the dispatcher does it."""
        if self._closed:
            raise HeadraceError(f"{name_of(listener)} cannot subscribe: the dispatcher is closed")
        self.drain()  # which it does not hear
        subscription = self._dispatcher.subscribe(listener, *types, batch=batch, max_pending=max_pending)
        self.rewire()
        return subscription

    def rewire(self) -> None:
        """Who hears what has changed: each thread looks again."""
        self._tables.forget()

    # the drain

    def drain(self, timeout_s: float = -1) -> bool:
        """Hand on all that was emitted before; False if somebody else was at it for longer than `timeout_s`."""
        if not self._draining.acquire(timeout=timeout_s):
            return False
        try:
            self._drain()
        finally:
            self._draining.release()
        return True

    def _drain(self) -> None:
        until_s, wall_s = monotonic(), time.time() - monotonic()
        pieces, self._later = self._later, []
        missing: Counter[type] = Counter()
        with self._lock:
            rings = list(self._rings.items())
        for stream, ring in rings:
            over = ring.owner() is None  # asked first: what its thread told of at last is there when it is gone
            records, dropped = ring.drain()
            if records:
                pieces.append(Chunk(stream, records, wall_s))
            if dropped:
                missing[stream.type] += dropped
            if over:
                with self._lock:
                    self._rings.pop(stream, None)
        pieces, self._later = until(by_time(pieces), until_s)
        self.dropped.update(missing)
        self._put(pieces, missing)

    def _put(self, chunks: list[Chunk], dropped: Counter[type]) -> None:
        put = getattr(self._dispatcher, "put", None)
        if not callable(put):
            self._emit_each(chunks)
        elif chunks or dropped:
            put(chunks, dropped)

    def _emit_each(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            for record in chunk.records:
                try:
                    self._dispatcher.emit(chunk.stream.event(record, chunk.wall_s))
                except Exception as error:
                    self.failed[chunk.stream.type] += 1
                    if self.failed[chunk.stream.type] == 1:
                        warn(f"an event {chunk.stream.type.__name__} could not be handed on: {said(error)}")

    def flush(self, timeout_s: float) -> bool:
        """Hand on all that was emitted before, and wait until it is delivered; whether it has been, in time."""
        seconds().check("flush: timeout_s", timeout_s)
        until_s = monotonic() + timeout_s
        return self.drain(timeout_s) and bool(self._dispatcher.flush(max(0.0, until_s - monotonic())))

    def close(self, timeout_s: float = 5.0) -> None:
        """Hand on and deliver what was emitted; what is told from now on is not heard. Safe to call twice. The
        dispatcher stays open; what it has not delivered after `timeout_s` it goes on delivering."""
        self._closed = True
        self.rewire()
        self._wakes.put(None)
        self.flush(timeout_s)
        _open.discard(self)

    def account(self) -> Any:
        """As the dispatcher tells it."""
        return self._dispatcher.account()

    def __reduce__(self) -> Any:
        return reduced(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.drain()

    def __repr__(self) -> str:
        waiting = sum(len(ring.records) for ring in tuple(self._rings.values()))
        return f"<BufferedEventNotifier {'closed' if self._closed else f'{waiting} buffered'}, to {self._dispatcher!r}>"

    @property
    def ended(self) -> bool:
        return self._closed


def _drain_on(notifier: weakref.ref[BufferedEventNotifier], wakes: SimpleQueue[None], flush_s: float) -> None:
    """What the thread does, for as long as there is a notifier to drain."""
    while True:
        with suppress(Empty):
            wakes.get(timeout=flush_s)
            while True:
                wakes.get_nowait()
        here = notifier()
        if here is None or here.ended:
            return
        here.drain()
        del here


_open: weakref.WeakSet[BufferedEventNotifier] = weakref.WeakSet()


def _drain_all() -> None:
    for notifier in tuple(_open):
        notifier.drain()


def _all_forked() -> None:
    for notifier in tuple(_open):
        notifier._begin()


atexit.register(_drain_all)
os.register_at_fork(after_in_child=_all_forked)


class OwnedNotifier(BufferedEventNotifier):
    """A notifier that has its dispatcher for itself, and closes it."""

    def close(self, timeout_s: float = 5.0) -> None:
        """Deliver what was emitted, within `timeout_s`, then let nobody hear anything any more. Safe to call twice."""
        self._closed = True
        self.rewire()
        self._wakes.put(None)
        self.drain()
        self._dispatcher.close(timeout_s)
        _open.discard(self)


@frozen
class BufferedSettings(AsyncSettings):
    """As for `BufferedEventNotifier`, and for the `AsyncEventDispatcher` behind it."""

    max_events: int = field(default=256, validator=whole_number(at_least=1, of="events"))
    flush_s: float = field(default=0.1, validator=seconds(above=0))


@hookimpl
def headrace_settings() -> type[BufferedSettings]:
    return BufferedSettings


@hookimpl
def headrace_make_dispatcher(settings: BufferedSettings) -> BufferedEventNotifier:
    return OwnedNotifier(settings.make(), settings.max_events, settings.flush_s)
