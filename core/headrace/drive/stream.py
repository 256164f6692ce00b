"""The outputs of a run, item by item."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from inspect import GEN_CREATED, GEN_RUNNING, getgeneratorstate
from itertools import chain
from types import TracebackType
from typing import Any, Self

from headrace.batch import Batch
from headrace.contracts import Leftovers
from headrace.drive.feeds import Output
from headrace.errors import LeftoversWarning
from headrace.report import DeadLetter, RunReport


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
        end: Callable[[], Leftovers],
        name: str,
        dead_letters: Callable[[], Sequence[DeadLetter]],
        report: Callable[[], RunReport],
    ) -> None:
        self._batches = batches
        self._items = chain.from_iterable(batches)
        self._cancel = cancel
        self._end = end
        self._name = name
        self._dead_letters = dead_letters
        self._report = report

    @property
    def dead_letters(self) -> Sequence[DeadLetter]:
        """The items that were set aside so far."""
        return self._dead_letters()

    @property
    def report(self) -> RunReport:
        """The account per operator, as far as the run has come."""
        return self._report()

    def __iter__(self) -> Iterator[Any]:
        return self._items

    def __next__(self) -> Any:
        return next(self._items)

    def close(self) -> None:
        """End the run now. What was not taken is dropped. From any thread; safe to call twice."""
        self._cancel()
        state = getgeneratorstate(self._batches)
        if state == GEN_CREATED:  # nothing has begun, and what was made for it is closed here
            warn_of(self._end())
        if state != GEN_RUNNING:  # else another thread waits in it, and ends by the cancel
            self._batches.close()
        self._items = chain()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Stream of {self._name}>"


def each(output: Output) -> Generator[Batch, None, None]:
    """The batches of an output; the credit of each goes back when the next is asked for."""
    while True:
        try:
            batch = output.next_batch()
        except StopIteration:
            return
        if batch is not None:
            yield batch
            output.taken(batch)


def owned(
    batches: Iterable[Batch], close: Callable[[], Leftovers], at_end: Callable[[], None] = lambda: None
) -> Generator[Sequence[Any], None, None]:
    """The data of `batches`. Always calls `close` at last, and before it `at_end` if the end was reached."""
    try:
        for batch in batches:
            yield batch.data
        at_end()
    finally:
        warn_of(close())


def warn_of(leftovers: Leftovers) -> None:
    if leftovers:
        names = ", ".join(dict.fromkeys(leftovers.names))
        message = f"still held inside user code 2 s after the end, and left to end by themselves: {names}"
        warnings.warn(LeftoversWarning(message), stacklevel=3)
