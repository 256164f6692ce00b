"""Where one thread that emits finds what belongs to a type of events, without a lock, since the table is its own."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from itertools import count
from typing import Any, Generic, TypeVar

from headrace_events.records import Stream

Kept = TypeVar("Kept")

_numbers = count(1)


class Table(dict[Any, Kept]):
    """What `route(stream, table)` gave, by `SomeType` for what is told of by its attributes, and by `(SomeType,)` for
    events that are there already. Asked for again once `Tables.forget` was called. A stream is made once."""

    __slots__ = ("__weakref__", "_source", "_streams", "_tables")

    def __init__(self, tables: Tables[Kept]) -> None:
        self._tables = tables
        self._source = f"{threading.current_thread().name}-{os.getpid()}-{next(_numbers)}"
        self._streams: dict[Any, Stream] = {}

    def __missing__(self, key: Any) -> Kept:
        stream = self._streams.get(key)
        if stream is None:
            ready = isinstance(key, tuple)
            stream = self._streams[key] = Stream(key[0] if ready else key, self._source, ready=ready)
        while True:
            version = self._tables.version
            self[key] = found = self._tables.route(stream, self)
            if self._tables.version == version:  # else it may have been emptied just before
                return found


class Tables(Generic[Kept]):
    """The tables of all threads. `here` is the calling thread's, once `make` was called there; a thread that ends takes
    its table with it."""

    def __init__(self, route: Callable[[Stream, Table[Kept]], Kept]) -> None:
        self.route = route
        self.here = threading.local()
        self.version = 0
        self._lock = threading.RLock()
        self._all: list[weakref.ref[Table[Kept]]] = []

    def mine(self) -> Table[Kept]:
        """The calling thread's."""
        try:
            found: Table[Kept] = self.here.table
        except AttributeError:
            found = self.here.table = Table(self)
            with self._lock:
                self._all = [each for each in self._all if each() is not None]
                self._all.append(weakref.ref(found))
        return found

    def forget(self) -> None:
        with self._lock:
            self.version += 1
            for each in self._all:
                if (table := each()) is not None:
                    table.clear()
