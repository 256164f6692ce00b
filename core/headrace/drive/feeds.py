"""Where items come from: the user's iterable. Made, pulled and closed by one thread."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from inspect import isasyncgen, iscoroutinefunction, isgenerator
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from headrace.batch import Batch, Failure
from headrace.errors import OperatorFailed, SettingsError, said, shorten
from headrace.flow.ledger import Account

if TYPE_CHECKING:
    from headrace.batch import Path
    from headrace.drive.loops import Loop

PULL_S = 0.0002
"""Seconds that one pull aims at: what has arrived can go on after that long, however much is wanted."""
AWAITED_PULL_S = 0.002
"""The same where the event loop is waited for, which takes about 0.2 ms by itself."""
CLOSE_S = 2.0
"""The promise: everything idle is gone this long after an end."""
LAST_S = 0.1
"""What is left to close when that time is over gets this long: enough for what is idle."""

Origin = Iterable[Any] | AsyncIterable[Any] | Callable[[], Iterable[Any] | AsyncIterable[Any]]


def checked_origin(where: str, origin: Any) -> Origin:
    """`origin` if it is an iterable, plain or asynchronous, or a callable that may make one; else SettingsError."""
    kind = type(origin)
    if iscoroutinefunction(origin):
        what = "an iterable, or something to call that makes one, where a coroutine would have to be awaited first"
        raise SettingsError(f"{where} must be {what}; got {shorten(origin)}")
    if not (
        callable(origin) or hasattr(kind, "__iter__") or hasattr(kind, "__aiter__") or hasattr(kind, "__getitem__")
    ):
        what = "an iterable, or something to call that makes one"
        raise SettingsError(f"{where} must be {what}; got {shorten(origin)}")
    return cast(Origin, origin)


Listen = Callable[[Failure], None]


class _Pull:
    """One pull: what has arrived and, if it is measured, of how many bytes each item is; how much of that others have
    collected, and whether more can arrive."""

    __slots__ = ("arrived", "collected", "over", "sizes")

    def __init__(self) -> None:
        self.arrived: list[Any] = []
        self.sizes: list[int] = []
        self.collected = 0
        self.over = False


def _weighed(items: Iterator[Any], most_bytes: int, measure: Callable[[Any], int], sizes: list[int]) -> Iterator[Any]:
    """The items up to the one that fills `most_bytes`. Their sizes are there before them."""
    for item in items:
        size = measure(item)
        sizes.append(size)
        most_bytes -= size
        yield item
        if most_bytes <= 0:
            return


async def _arrive(items: AsyncIterator[Any], wanted: int, arrived: list[Any]) -> None:
    """Have up to `wanted` items arrive. The loop is waited for once for all of them, and not for each."""
    while len(arrived) < wanted:
        try:
            arrived.append(await anext(items))
        except StopAsyncIteration:
            return


async def _arrive_weighed(
    items: AsyncIterator[Any],
    wanted: int,
    arrived: list[Any],
    most_bytes: int,
    measure: Callable[[Any], int],
    sizes: list[int],
) -> None:
    """The same up to the one that fills `most_bytes`."""
    while len(arrived) < wanted and sum(sizes) < most_bytes:
        try:
            item = await anext(items)
        except StopAsyncIteration:
            return
        sizes.append(measure(item))
        arrived.append(item)


class ItemFeed:
    """Items of an iterable, or of what a callable makes, which is made, pulled and closed by the pulling thread.

    `list.extend(islice(iterator, n))` lets others see the items as they arrive, at C speed: whoever finds that a pull
    takes too long may collect what is there. The size of pulls follows the pace of the source, from one item up.

    Pulling takes no lock, so that each pull has an object of its own: whoever collects while the next one begins still
    sees one or the other, whole.

    prefix   what the paths of the items begin with; None: they are just their positions
    measure  gives the bytes of an item, where these matter
    loop     gives the event loop of the run, where an asynchronous iterable is made, awaited and closed
    """

    def __init__(
        self,
        name: str,
        origin: Origin,
        measure: Callable[[Any], int] | None = None,
        *,
        prefix: str | None = None,
        loop: Callable[[], Loop] | None = None,
    ) -> None:
        self.account = Account((name,))
        self.name = name
        self._origin = origin
        self._measure = measure
        self._prefix = prefix
        self._loop = loop
        self._awaited: AsyncIterator[Any] | None = None
        self._iterator: Iterator[Any] | None = None
        self._mine = False  # the iterator was made here, so that it is ours to close
        self._most = 1
        self._last = _Pull()
        self.position = 0  # in the source, of the next item to collect

    def pull(self, items: int, most_bytes: int | None = None) -> bool:
        """Get up to `items` more, at least one if there is any, and, where they are measured, none behind the one that
        fills `most_bytes`. False once there will be no more."""
        wanted = min(items, self._most)
        start, pull = self.position, _Pull()  # all that came before was collected
        arrived, sizes, self._last = pull.arrived, pull.sizes, pull
        began_s = monotonic()
        try:
            if self._iterator is None and self._awaited is None:
                self._open()
            if self._awaited is not None and self._loop is not None:
                self._loop().run(self._arrival(self._awaited, wanted, pull, most_bytes))
            elif self._iterator is not None:
                iterator = self._iterator
                if self._measure is not None and most_bytes is not None:
                    iterator = _weighed(iterator, most_bytes, self._measure, sizes)
                arrived.extend(islice(iterator, wanted))
        except KeyboardInterrupt:  # Ctrl-C, where the source is pulled in the main thread, is no failure of the source
            raise
        except BaseException as error:
            raise self._failed(error, start + len(arrived)) from error
        finally:
            pull.over = True
        took_s = monotonic() - began_s
        aim_s = PULL_S if self._awaited is None else AWAITED_PULL_S
        self._most = max(1, min(wanted * 4, int(wanted * aim_s / took_s))) if took_s > 0 else wanted * 4
        filled = most_bytes is not None and bool(arrived) and sum(sizes) >= most_bytes
        return filled or len(arrived) == wanted

    def _arrival(
        self, items: AsyncIterator[Any], wanted: int, pull: _Pull, most_bytes: int | None
    ) -> Coroutine[Any, Any, None]:
        if self._measure is None or most_bytes is None:
            return _arrive(items, wanted, pull.arrived)
        return _arrive_weighed(items, wanted, pull.arrived, most_bytes, self._measure, pull.sizes)

    def _open(self) -> None:
        made: Any = self._origin() if callable(self._origin) else self._origin
        if hasattr(type(made), "__aiter__"):
            self._awaited = aiter(made)
            self._mine = callable(self._origin) or self._awaited is not made or isasyncgen(made)
        else:
            self._iterator = iter(made)
            self._mine = callable(self._origin) or self._iterator is not made or isgenerator(made)

    def _failed(self, error: BaseException, index: int) -> OperatorFailed:
        return OperatorFailed(self.name, None, None, f"at item {index}: {said(error)}")

    def collect(self) -> Batch | None:
        """What has come and was not collected yet, also while a pull goes on. Called under the run's lock."""
        pull = self._last
        over, data = pull.over, pull.arrived  # in this order: when it is over, nothing arrives any more
        start = pull.collected
        if start or not over:
            data = data[start:]
        nbytes = sum(pull.sizes[start : start + len(data)])
        if over:
            pull.arrived, pull.collected, pull.sizes = [], 0, []  # what goes on from here is not kept alive here
        else:
            pull.collected += len(data)
        if not data:
            return None
        first, self.position = self.position, self.position + len(data)
        self.account.gave(len(data))
        index: Sequence[Path] = range(first, self.position)
        if self._prefix is not None:
            index = [(self._prefix, position) for position in index]  # type: ignore[misc]
        return Batch(first, index, data, monotonic(), nbytes=nbytes)

    def wake(self) -> None:
        """Tell the iterator that no more is wanted, if it can be told: from any thread, while another waits in it."""
        wake = getattr(self._iterator, "wake", None) if self._mine else None
        if callable(wake):
            wake()

    def close(self) -> None:
        """Nothing wakes a thread that waits inside the user's iterator; what it holds is let go when it comes back."""
        if self._awaited is not None and self._loop is not None:
            awaited, self._awaited = self._awaited, None
            if self._mine and hasattr(awaited, "aclose"):
                self._loop().run(awaited.aclose(), last=True)
            return
        close = getattr(self._iterator, "close", None) if self._mine else None
        # A generator that another thread is in (a stream was closed from outside) is closed when it comes back.
        if close is not None and not getattr(self._iterator, "gi_running", False):
            close()
