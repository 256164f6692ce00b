"""One listener of a dispatcher with threads: what waits for it, what became of the rest, and how it is called.

    admit (whoever emits, under the dispatcher's lock) -> chunks -> take -> serve (one thread at a time) -> listener

The chunks and their number are guarded by the dispatcher's lock. Of the counts, `emitted` and `dropped` are written
under it, `delivered` and `failed` by the thread that serves, of which there is one at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from headrace.errors import said
from headrace.events import EventAccount
from headrace.events.wanted import Wanted
from headrace_events.counts import Counts, account
from headrace_events.listening import awaits, name_of, warn, where
from headrace_events.records import Chunk, EventBatch

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

MOST = 1_000
"""Events that are taken out at once for a listener that gets one at a time; who gets batches gets all of them."""


class AsyncSubscription:
    """A listener and what it wants to hear.

    failed   the events that it raised on
    active   False once it was cancelled, or has raised `max_failures` times in a row
    account  what became of the events, by type
    """

    def __init__(
        self,
        cancel: Callable[[AsyncSubscription], None],
        wanted: Wanted,
        *,
        max_pending: int,
        max_failures: int,
    ) -> None:
        self.wanted = wanted
        self.listener = wanted.listener
        self.batch = wanted.batch
        self.max_pending = wanted.max_pending or max_pending
        self.active = True
        self.name = name_of(wanted.listener)
        self.counts: dict[type, Counts] = {}
        self.scheduled = False  # somebody serves it, or will: the dispatcher's
        self.admitted = self.out = 0  # events that came into the queue, and those that are out of it, since it began
        self.waiting = 0  # events in the queue that count in its bound
        self.at_work_since_s: float | None = None  # when the call began that goes on
        self._cancel = cancel
        self._awaits = awaits(wanted.listener)
        self._loops: list[AbstractEventLoop] = []  # one, for coroutines; whoever takes it out closes it
        self._max_failures = max_failures
        self._in_a_row = 0
        self._told = False  # whether anybody has been told that it fails
        self._chunks: deque[Chunk] = deque()
        self._latest: dict[tuple[object, ...], Chunk] = {}

    def cancel(self) -> None:
        """No call begins after this; what waits is dropped. Safe to call twice, and from within the listener."""
        self._cancel(self)

    @property
    def failed(self) -> int:
        return sum(each.failed for each in tuple(self.counts.values()))

    @property
    def pending(self) -> int:
        """Events that wait, and those that it is being called with."""
        return self.admitted - self.out

    @property
    def account(self) -> tuple[EventAccount, ...]:
        """What became of the events, by type."""
        return account(self.name, self.counts)

    def __repr__(self) -> str:
        heard = ", ".join(type.__name__ for type in self.wanted.types) or "all events"
        state = "" if self.active else ", ended"
        return f"<AsyncSubscription {self.name} to {heard}, {self.pending} pending, failed {self.failed}{state}>"

    # the queue, under the dispatcher's lock

    def _counts(self, type: type) -> Counts:
        counts = self.counts.get(type)
        if counts is None:
            counts = self.counts[type] = Counts()
        return counts

    def missed(self, type: type, events: int) -> None:
        """So many were dropped before they came here."""
        counts = self._counts(type)
        counts.emitted += events
        counts.dropped += events

    @property
    def full(self) -> bool:
        return self.waiting >= self.max_pending

    def admit(self, chunk: Chunk) -> None:
        """Put all of it into the queue, whatever its length."""
        self._counts(chunk.stream.type).emitted += len(chunk)
        self._chunks.append(chunk)
        self.admitted += len(chunk)
        self.waiting += 0 if chunk.stream.lifecycle else len(chunk)

    def drop_oldest(self) -> None:
        """Let go of what is over the bound, the oldest first; lifecycle events stay."""
        stay: list[Chunk] = []
        while self.waiting > self.max_pending:
            chunk = self._chunks.popleft()
            if chunk.stream.lifecycle:
                stay.append(chunk)
                continue
            self._forget([chunk])
            over = min(len(chunk), self.waiting - self.max_pending)
            if over < len(chunk):
                self._chunks.appendleft(chunk.behind(over))
            self._gone(chunk.stream.type, over)
        self._chunks.extendleft(reversed(stay))

    def supersede(self, chunk: Chunk) -> None:
        """Put a chunk of one record into the queue; if it is full, in the place of the last one with the same key, or
        else of the oldest."""
        if chunk.stream.lifecycle:
            self.admit(chunk)
            return
        key = chunk.stream.key(chunk.records[0])
        before = self._latest.get(key)
        if self.full and before is not None:
            before.empty()
            self._gone(chunk.stream.type, 1)
        self.admit(chunk)
        self._latest[key] = chunk
        self.drop_oldest()
        if len(self._chunks) > 2 * self.max_pending + MOST:
            self._chunks = deque(each for each in self._chunks if len(each))

    def _gone(self, type: type, events: int) -> None:
        self._counts(type).dropped += events
        self.waiting -= events
        self.out += events

    def take(self) -> list[Chunk]:
        """The next events that it is to be called with."""
        taken: list[Chunk] = []
        room = self.admitted if self.batch else MOST
        while self._chunks and room > 0:
            chunk = self._chunks.popleft()
            if len(chunk) > room:
                self._chunks.appendleft(chunk.behind(room))
                chunk = chunk.first(room)
            if len(chunk):
                taken.append(chunk)
            room -= len(chunk)
            self.waiting -= 0 if chunk.stream.lifecycle else len(chunk)
        self._forget(taken)
        return taken

    def _forget(self, taken: Sequence[Chunk]) -> None:
        """They are not in the queue any more, where another could take their place."""
        for chunk in taken if self._latest else ():
            if len(chunk) and self._latest.get(key := chunk.stream.key(chunk.records[0])) is chunk:
                del self._latest[key]

    def put_back(self, chunks: Sequence[Chunk]) -> None:
        """Those that it was not called with, after all."""
        for chunk in reversed(chunks):
            self._chunks.appendleft(chunk)
            self.waiting += 0 if chunk.stream.lifecycle else len(chunk)

    @property
    def queued(self) -> bool:
        return bool(self._chunks)

    def drop_all(self) -> int:
        """Empty the queue; gives how many events that were."""
        dropped = 0
        for chunk in self._chunks:
            self._counts(chunk.stream.type).dropped += len(chunk)
            dropped += len(chunk)
        self._chunks.clear()
        self._latest.clear()
        self.waiting = 0
        self.out += dropped
        return dropped

    def forget_all(self) -> None:
        """As if it had just subscribed: in the child of a fork, where all of it is the parent's."""
        self.counts.clear()
        self._chunks.clear()
        self._latest.clear()
        self.scheduled = False
        self.admitted = self.out = self.waiting = 0
        self.at_work_since_s = None
        self._loops = []

    # the calls, in the thread that serves

    def serve(self, chunks: Sequence[Chunk], until_s: float) -> list[Chunk]:
        """Call the listener with all of it, but for what is left at `until_s`, or once it is not active any more; gives
        back what is left."""
        if self._awaits:
            try:
                loop = self._own_loop()
            except OSError as error:  # no descriptors are left
                self._book(chunks, error)
                return []
            return loop.run_until_complete(self._serve_awaiting(chunks, until_s))
        if self.batch:
            self._call(chunks, lambda: EventBatch(chunks))
            return []
        for position, chunk in enumerate(chunks):
            for done in range(len(chunk)):
                one = chunk.only(done)
                self._call([one], partial(next, iter(one)))
                if not self.active or monotonic() >= until_s:
                    return [chunk.behind(done + 1), *chunks[position + 1 :]]
        return []

    def _call(self, chunks: Sequence[Chunk], given: Callable[[], Any]) -> None:
        """Call it once, with what `given` makes of `chunks`."""
        self.at_work_since_s = monotonic()
        try:
            self.listener(given())
        except BaseException as error:
            self._book(chunks, error)
        else:
            self._book(chunks, None)

    def _book(self, chunks: Sequence[Chunk], error: BaseException | None) -> None:
        """What became of a call. Who waits in `flush` goes on when all of it is known, and said."""
        for chunk in chunks:
            counts = self.counts[chunk.stream.type]
            if error is None:
                counts.delivered += len(chunk)
            else:
                counts.failed += len(chunk)
        if error is None:
            self._in_a_row = 0
        else:
            self._raised(error, chunks[0].stream.type)
        self.out += sum(map(len, chunks))

    def _own_loop(self) -> AbstractEventLoop:
        """The loop that its coroutines run in, always the same, whichever thread serves."""
        if not self._loops:
            import asyncio

            self._loops.append(asyncio.new_event_loop())
        return self._loops[0]

    async def _serve_awaiting(self, chunks: Sequence[Chunk], until_s: float) -> list[Chunk]:
        pieces = [list(chunks)] if self.batch else [[chunk.only(at)] for chunk in chunks for at in range(len(chunk))]
        for position, piece in enumerate(pieces):
            self.at_work_since_s, error = monotonic(), None
            try:
                await self.listener(EventBatch(piece) if self.batch else next(iter(piece[0])))
            except BaseException as caught:
                error = caught
            self._book(piece, error)
            if not self.active or monotonic() >= until_s:
                return [chunk for left in pieces[position + 1 :] for chunk in left]
        return []

    def _raised(self, error: BaseException, type: type) -> None:
        self._in_a_row += 1
        ends = self._in_a_row >= self._max_failures
        then = "Further failures of this listener are only counted"
        if ends:
            then = f"It has failed {self._in_a_row} times in a row and hears nothing any more"
        if ends or not self._told:
            self._told = True
            warn(f"listener {self.name} raised {said(error)} on {type.__name__}, at {where(error)}. {then}")
        if ends:
            self.active = False  # it stays in the account

    def end(self) -> None:
        """Nobody serves it any more: its loop can go. Any thread may say so, also two at once."""
        with suppress(IndexError):
            self._loops.pop().close()
