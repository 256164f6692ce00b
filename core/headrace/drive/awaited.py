"""A run for who awaits it: its batches, and its outputs item by item, in the running loop.

The loop is never blocked: a run is made and closed by a thread aside. One that can be polled is looked at by the loop
whenever it has news; any other is iterated by the thread aside, as that of the runner `serial`, whose work it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from headrace.contracts import Leftovers
from headrace.drive.aside import Aside
from headrace.drive.feeds import CLOSE_S
from headrace.drive.stream import warn_of

if TYPE_CHECKING:
    from headrace.batch import Batch
    from headrace.contracts import Run
    from headrace.report import DeadLetter, RunReport

    Start = Callable[[asyncio.AbstractEventLoop], tuple[Run, Callable[[], Leftovers]]]
    Piece = tuple[str, Batch]

FAIR_S = 0.005
"""Seconds after which others in the loop have their turn, although there is more to take."""


class AwaitedRun:
    """The run that `start` makes when the first batch is asked for. Used in an `async with` block: however that ends,
    also if the task is cancelled, all that the run had has ended then.

    All fields are those of the one task that uses it, but for `_told`, which whoever wakes it writes: to be woken once
    too often does no harm.
    """

    def __init__(self, start: Start) -> None:
        self._start = start
        self._loop = asyncio.get_running_loop()
        self._aside = Aside()
        self._made: tuple[Run, Callable[[], Leftovers]] | None = None
        self._news = asyncio.Event()
        self._told = False
        self._fair_s = 0.0  # until then it may go on without a pause

    @property
    def run(self) -> Run | None:
        """None before it has begun."""
        return None if self._made is None else self._made[0]

    async def __aenter__(self) -> Self:
        return self

    async def take(self) -> Piece | None:
        """The next batch of outputs and the end that it comes from; None once all is out."""
        if self._made is None:
            await self._aside.call(self._make)
            self._fair_s = self._loop.time() + FAIR_S
        run: Any = self.run
        if not _polled(run):
            piece: Piece | None = await self._aside.call(partial(next, run, None))
            return piece
        while True:
            self._news.clear()
            self._told = False
            try:
                piece, patience_s = run.poll(self._wake)
            except StopIteration:
                await self._aside.call(run.end)
                return None
            if piece is None:
                await self._rest(patience_s)
                continue
            if self._loop.time() > self._fair_s:
                await self._pause()
            return piece

    def _make(self) -> None:
        self._made = self._start(self._loop)

    def _wake(self) -> None:
        if not self._told:
            self._told = True
            with suppress(RuntimeError):  # the loop is closed, and nobody awaits the run any more
                self._loop.call_soon_threadsafe(self._news.set)

    async def _rest(self, patience_s: float | None) -> None:
        later = None if patience_s is None else self._loop.call_later(patience_s, self._news.set)
        try:
            await self._news.wait()
        finally:
            if later is not None:
                later.cancel()
        self._fair_s = self._loop.time() + FAIR_S

    async def _pause(self) -> None:
        await asyncio.sleep(0)
        self._fair_s = self._loop.time() + FAIR_S

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self.run is not None and not _polled(self.run):
            self.run.cancel()  # the thread aside may be at work in it
        closed, left = await self._aside.finish(self._close, 2 * CLOSE_S)
        warn_of(left if closed else Leftovers(("headrace-aside",)))

    def _close(self) -> Leftovers:
        return self._made[1]() if self._made is not None else Leftovers()

    def __repr__(self) -> str:
        return f"<AwaitedRun {self.run or 'not begun'}>"


def _polled(run: Run) -> bool:
    return getattr(run, "awaitable", False)


class AsyncStream(AsyncIterator[Any]):
    """An asynchronous iterator over outputs, and the owner of the run that gives them.

    The run begins with the first item asked for, in the loop that asks. It ends, with all its tasks and threads, when
    the items are out, when one raises, when the task that awaits it is cancelled, by `aclose`, and at the end of an
    `async with` block. After a `break` without these the loop closes it as soon as the stream is dropped.
    """

    def __init__(self, start: Start, name: str) -> None:
        self._name = name
        self._awaited: list[AwaitedRun] = []
        self._items = _items(start, self._awaited)

    @property
    def _run(self) -> Run | None:
        return self._awaited[0].run if self._awaited else None

    @property
    def dead_letters(self) -> Sequence[DeadLetter]:
        """The items that were set aside so far."""
        return () if self._run is None else self._run.dead_letters

    @property
    def report(self) -> RunReport | None:
        """The account per operator, as far as the run has come; None before it has begun."""
        return None if self._run is None else self._run.snapshot()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._items

    async def __anext__(self) -> Any:
        return await anext(self._items)

    async def aclose(self) -> None:
        """End the run now, and wait until it has ended. What was not taken is dropped. Not while another task awaits
        an item of it: cancel that task."""
        await self._items.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<AsyncStream of {self._name}>"


async def _items(start: Start, awaited: list[AwaitedRun]) -> AsyncGenerator[Any, None]:
    """The one generator of a stream: of several, one in the other, each would be closed apart when it is dropped."""
    async with AwaitedRun(start) as run:
        awaited.append(run)
        while (piece := await run.take()) is not None:
            data = piece[1].data
            del piece  # while the next one is awaited, nobody keeps this one alive
            for item in data:
                yield item
            del data
