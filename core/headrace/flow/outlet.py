"""What a node gives, for all that read it, each at its own pace.

node -- offer --> outlet --+--> reader: queue -- take --> (a stage, a gate, the consumer) -- give_back --.
   ^                       `--> reader                                                                  |
   '---- taken: the slowest reader is done with these items <-------------------------------------------'
"""

from __future__ import annotations

from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from headrace.batch import Batch


class Owed:
    """A FIFO of items that are not done with, by their number and bytes alone."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: deque[tuple[int, int]] = deque()

    def put(self, items: int, nbytes: int) -> None:
        self._parts.append((items, nbytes))

    def take(self, items: int) -> int:
        """The first `items` are done with; says how many bytes that were. No byte is lost to rounding."""
        gone = 0
        while items:
            count, nbytes = self._parts.popleft()
            if count > items:
                left = nbytes * (count - items) // count
                self._parts.appendleft((count - items, left))
                count, nbytes = items, nbytes - left
            items -= count
            gone += nbytes
        return gone

    def __repr__(self) -> str:
        return f"<Owed {sum(items for items, _ in self._parts)} items>"


class Reader:
    """One who reads an outlet. `over` tells that all has been taken and no more will come; `dropped` that it wants no
    more. What it takes it gives back, in order, when it is done with it. `node` is who reads; None: the consumer.
    `hungry` tells that those before it know that it waits."""

    __slots__ = ("done", "dropped", "hungry", "node", "outlet", "queue", "taken")

    def __init__(self, outlet: Outlet) -> None:
        self.outlet = outlet
        self.node: Any = None
        self.queue: deque[Batch] = deque()
        self.taken = self.done = 0  # items, since the beginning
        self.dropped = self.hungry = False

    @property
    def over(self) -> bool:
        return self.dropped or (self.outlet.ended and not self.queue)

    @property
    def error(self) -> BaseException | None:
        """What ended the outlet, to be raised once this is over."""
        return None if self.dropped else self.outlet.error

    def take(self, items: int | None = None) -> Batch:
        """The next batch, or its first `items`. There must be one."""
        batch = self.queue.popleft()
        if items is not None and items < len(batch):
            batch, rest = batch.split(items)
            self.queue.appendleft(rest)
        self.taken += len(batch)
        return batch

    def give_back(self, items: int, nbytes: int) -> None:
        """The next `items` of what was taken are done with."""
        self.done += items
        self.outlet.passed(items, nbytes)

    def drop(self) -> None:
        """No more is wanted, and what is here already is done with."""
        if not self.dropped:
            self.dropped = True
            left = sum(map(len, self.queue)), sum(batch.nbytes for batch in self.queue)
            self.queue.clear()
            self.outlet.left(*left)

    def __repr__(self) -> str:
        state = "over" if self.over else f"{sum(map(len, self.queue))} items here"
        return f"<Reader of {self.outlet.name}: {state}>"


class Outlet:
    """Calls `taken(items, nbytes)` for what all readers are done with, in order, and `unwanted()` when the last of them
    has dropped. Both come at once, from within what the readers call."""

    def __init__(self, name: str, taken: Callable[[int, int], None], unwanted: Callable[[], None]) -> None:
        self.name = name
        self.node: Any = None  # whose it is
        self.readers: list[Reader] = []
        self.ended = False
        self.error: BaseException | None = None
        self._taken = taken
        self._unwanted = unwanted
        self._here = Owed()  # what not all of several readers are done with
        self._passed = self._offered = 0  # items that all are done with; that there have been

    def read(self) -> Reader:
        """A new reader, before anything was offered."""
        reader = Reader(self)
        self.readers.append(reader)
        return reader

    def offer(self, batch: Batch) -> None:
        """`batch` is now its readers' own: each may cut it and empty it."""
        items, nbytes = len(batch), batch.nbytes
        self._offered += items
        if len(self.readers) > 1:
            self._here.put(items, nbytes)
        wanted = False
        for reader in self.readers:
            if not reader.dropped:
                wanted = True
                reader.queue.append(batch if len(self.readers) == 1 else batch.copy())
                reader.hungry = False
        if not wanted:
            self.passed(items, nbytes)

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more will be offered."""
        self.ended, self.error = True, error

    def passed(self, items: int, nbytes: int) -> None:
        """A reader is done with so much."""
        if len(self.readers) == 1:
            self._taken(items, nbytes)
            return
        done = min((reader.done for reader in self.readers if not reader.dropped), default=self._offered)
        more, self._passed = done - self._passed, max(done, self._passed)
        if more > 0:
            self._taken(more, self._here.take(more))

    def left(self, items: int, nbytes: int) -> None:
        """Nobody will be done with so much that one reader had here: it has dropped."""
        self.passed(items, nbytes)
        if not self.wanted:
            self._unwanted()

    @property
    def wanted(self) -> bool:
        """Whether anybody still reads."""
        return not all(reader.dropped for reader in self.readers)

    def __repr__(self) -> str:
        return f"<Outlet {self.name}: {', '.join(map(repr, self.readers)) or 'nobody reads'}>"
