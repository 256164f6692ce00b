"""What an emitter leaves behind, and what becomes of it: records, in chunks, that are events once somebody looks.

    notify -> (when, number, attributes) -> Chunk(stream, records) -> EventBatch -> events

Nothing here knows of threads or locks.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, overload

from headrace_events.building import builder

Record = tuple[float, int, Any]
"""When it happened (monotonic clock), its number in its stream, and its attributes; of an event that was there already:
the event. Plain, since one is made for every event that anybody hears."""


class Stream:
    """All events of one type that one thread tells. `ready`: they are given as events, not as attributes."""

    __slots__ = ("_build", "lifecycle", "ready", "source", "type")

    def __init__(self, type: type, source: str, *, ready: bool = False) -> None:
        self.type = type
        self.source = f"{source}/{type.__name__}{'.emitted' if ready else ''}"
        self.ready = ready
        self.lifecycle = bool(getattr(type, "lifecycle", False))
        self._build = builder(type)

    def key(self, record: Record) -> tuple[object, ...]:
        """What an event is the latest of: of its type, in its run, for its operator."""
        given = record[2]
        if self.ready:
            return (self.type, getattr(given, "run", None), getattr(given, "operator", None))
        return (self.type, given.get("run"), given.get("operator"))

    def event(self, record: Record, wall_s: float) -> Any:
        """The event of a record; `wall_s` is what the wall clock is ahead of the monotonic one. Raises what its class
        does."""
        at_s, number, given = record
        if self.ready:
            return given
        return self._build(given, at_s, at_s + wall_s, self.source, number)

    def __repr__(self) -> str:
        return f"<Stream {self.source}>"


class Chunk:
    """Records of one stream, in their order: a part of a list that others see parts of, and nobody changes."""

    __slots__ = ("_start", "_stop", "_whole", "stream", "wall_s")

    def __init__(
        self, stream: Stream, records: Sequence[Record], wall_s: float, start: int = 0, stop: int | None = None
    ) -> None:
        self.stream = stream
        self.wall_s = wall_s
        self._whole = records
        self._start = start
        self._stop = len(records) if stop is None else stop

    def __len__(self) -> int:
        return self._stop - self._start

    @property
    def records(self) -> Sequence[Record]:
        return self._whole[self._start : self._stop]

    def __iter__(self) -> Iterator[Any]:
        event, wall_s = self.stream.event, self.wall_s
        return (event(record, wall_s) for record in self.records)

    def behind(self, records: int) -> Chunk:
        """All but the first so many."""
        return Chunk(self.stream, self._whole, self.wall_s, self._start + records, self._stop)

    def first(self, records: int) -> Chunk:
        return Chunk(self.stream, self._whole, self.wall_s, self._start, self._start + records)

    def only(self, at: int) -> Chunk:
        return Chunk(self.stream, self._whole, self.wall_s, self._start + at, self._start + at + 1)

    def empty(self) -> None:
        """Another has taken its place, in the queue that this chunk was made for alone."""
        self._whole, self._start, self._stop = (), 0, 0

    @property
    def last_s(self) -> float:
        return self._whole[self._stop - 1][0]

    def __repr__(self) -> str:
        return f"<Chunk of {len(self)} {self.stream.type.__name__}>"


_when = itemgetter(0)


def by_time(chunks: Sequence[Chunk]) -> list[Chunk]:
    """All of it in the order in which it happened; what happened at one moment stays as it stands."""
    if len(chunks) < 2:
        return list(chunks)
    each = [(record[0], record, chunk) for chunk in chunks for record in chunk.records]
    each.sort(key=_when)
    runs = groupby(each, itemgetter(2))
    return [Chunk(chunk.stream, [record for _, record, _ in run], chunk.wall_s) for chunk, run in runs]


def until(chunks: Sequence[Chunk], until_s: float) -> tuple[list[Chunk], list[Chunk]]:
    """What happened by then, and what came later, of chunks that are in order."""
    now: list[Chunk] = []
    later: list[Chunk] = []
    for chunk in chunks:
        if chunk.last_s <= until_s:
            now.append(chunk)
            continue
        by_then = bisect_right(chunk.records, until_s, key=_when)
        now += [chunk.first(by_then)] if by_then else []
        later.append(chunk.behind(by_then))
    return now, later


class EventBatch(Sequence[Any]):
    """What a batch listener gets: events in order, built when the first of them is looked at."""

    __slots__ = ("_chunks", "_events", "_len")

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self._chunks = chunks
        self._len = sum(map(len, chunks))
        self._events: list[Any] | None = None

    def __len__(self) -> int:
        return self._len

    @overload
    def __getitem__(self, at: int) -> Any: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Any]: ...
    def __getitem__(self, at: int | slice) -> Any:
        return self._all()[at]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._all())

    def _all(self) -> list[Any]:
        if self._events is None:
            self._events = list(chain.from_iterable(self._chunks))
        return self._events

    def __eq__(self, other: object) -> bool:
        return self._all() == list(other) if isinstance(other, Sequence) else NotImplemented

    def __repr__(self) -> str:
        return f"<EventBatch of {self._len} events>"
