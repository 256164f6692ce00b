"""A run for who awaits it: its batches, and its outputs item by item, in the running loop.

The loop is never blocked: a run is made and closed by a thread aside. One that can be polled is looked at by the loop
whenever it has news; any other is iterated by the thread aside, as that of the runner `serial`, whose work it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
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
_OVER = object()


async def batches(start: Start, begun: Callable[[Run], None]) -> AsyncGenerator[Piece, None]:
    """The (end, batch) pieces of a run that `start` makes; `begun` is told of it. However this ends, and also if the
    task is cancelled, all that the run had is ended then."""
    loop, aside = asyncio.get_running_loop(), Aside()
    made: list[tuple[Run, Callable[[], Leftovers]]] = []
    try:
        await aside.call(lambda: made.append(start(loop)))
        run = made[0][0]
        begun(run)
        taken = _polled(run) if getattr(run, "awaitable", False) else _iterated(run, aside)
        async with aclosing(taken):
            async for piece in taken:
                yield piece
                del piece  # while the next one is awaited, nobody keeps this one alive
    finally:
        await _close(aside, made)


async def _close(aside: Aside, made: list[tuple[Run, Callable[[], Leftovers]]]) -> None:
    if made and not getattr(made[0][0], "awaitable", False):
        made[0][0].cancel()  # the thread aside may be at work in it

    def close() -> Leftovers:
        return made[0][1]() if made else Leftovers()

    closed, left = await aside.finish(close, 2 * CLOSE_S)
    warn_of(left if closed else Leftovers(("headrace-aside",)))


async def _polled(run: Any) -> AsyncGenerator[Piece, None]:
    loop, news = asyncio.get_running_loop(), asyncio.Event()
    told = False

    def wake() -> None:
        nonlocal told
        if not told:
            told = True
            with suppress(RuntimeError):  # the loop is closed, and nobody awaits the run any more
                loop.call_soon_threadsafe(news.set)

    since_s = loop.time()
    while True:
        news.clear()
        told = False
        try:
            piece, patience_s = run.poll(wake)
        except StopIteration:
            return
        if piece is not None:
            yield piece
            del piece
            if loop.time() - since_s > FAIR_S:
                await asyncio.sleep(0)
                since_s = loop.time()
            continue
        later = None if patience_s is None else loop.call_later(patience_s, news.set)
        try:
            await news.wait()
        finally:
            if later is not None:
                later.cancel()
        since_s = loop.time()


async def _iterated(run: Run, aside: Aside) -> AsyncGenerator[Piece, None]:
    while (piece := await aside.call(partial(next, run, _OVER))) is not _OVER:
        yield piece
        del piece


class AsyncStream(AsyncIterator[Any]):
    """An asynchronous iterator over outputs, and the owner of the run that gives them.

    The run begins with the first item asked for, in the loop that asks. It ends, with all its tasks and threads, when
    the items are out, when one raises, when the task that awaits it is cancelled, by `aclose`, and at the end of an
    `async with` block. After a `break` without these the loop closes it as soon as the stream is dropped.
    """

    def __init__(self, start: Start, name: str) -> None:
        self._name = name
        self._run: Run | None = None
        self._items = self._all(batches(start, self._begun))

    def _begun(self, run: Run) -> None:
        self._run = run

    @staticmethod
    async def _all(pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[Any, None]:
        async with aclosing(pieces):
            async for _, batch in pieces:
                data = batch.data
                del batch
                for item in data:
                    yield item
                del data

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
        """End the run now, and wait until it has ended. What was not taken is dropped."""
        await self._items.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<AsyncStream of {self._name}>"
