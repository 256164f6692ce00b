"""The outputs of a run, item by item."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import chain
from types import TracebackType
from typing import Any, Self

from headrace.contracts import Leftovers
from headrace.drive.feeds import Output
from headrace.errors import LeftoversWarning
from headrace.report import DeadLetter


class Stream(Iterator[Any]):
    """An iterator over outputs, and the owner of the run that gives them.

    The run begins with the first item asked for. It ends, with all its threads, when the items are out, when one
    raises, on `close`, at the end of a `with` block, or when the iterator is dropped.

    A `for` loop walks through `chain.from_iterable` of the batches, so that an item costs what a list's item costs;
    a batch's credit goes back when the loop asks for the item behind it.
    """

    def __init__(
        self,
        batches: Generator[Sequence[Any], None, None],
        cancel: Callable[[], None],
        name: str,
        dead_letters: list[DeadLetter],
    ) -> None:
        self._batches = batches
        self._items = chain.from_iterable(batches)
        self._cancel = cancel
        self._name = name
        self.dead_letters = dead_letters

    def __iter__(self) -> Iterator[Any]:
        return self._items

    def __next__(self) -> Any:
        return next(self._items)

    def close(self) -> None:
        """End the run now. What was not taken is dropped. From any thread; safe to call twice."""
        self._cancel()
        if not self._batches.gi_running:
            self._batches.close()
        self._items = chain()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Stream of {self._name}>"


def batches(
    output: Output, close: Callable[[], Leftovers], at_end: Callable[[], None]
) -> Generator[Sequence[Any], None, None]:
    """The data of each batch of `output`, credit given back when the next is asked for. Always calls `close`, and
    before it `at_end` if the end was reached."""
    try:
        while True:
            try:
                batch = output.next_batch()
            except StopIteration:
                break
            if batch is not None:
                yield batch.data
                output.taken(batch)
        at_end()
    finally:
        warn_of(close())


def warn_of(leftovers: Leftovers) -> None:
    if leftovers:
        names = ", ".join(dict.fromkeys(leftovers.names))
        message = f"still held inside user code 2 s after the end, and left to end by themselves: {names}"
        warnings.warn(LeftoversWarning(message), stacklevel=3)
