"""The outputs of a run, item by item."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from inspect import GEN_RUNNING, getgeneratorstate
from itertools import chain
from types import TracebackType
from typing import Any, Self

from headrace.batch import Batch
from headrace.contracts import Leftovers
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
        next(batches)  # an empty one: from now on, to drop the stream is to close it
        self._batches = batches
        self._items = chain.from_iterable(batches)
        self._cancel = cancel
        self._consumer: int | None = None
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
        self._consumer = threading.get_ident()
        return self._items

    def __next__(self) -> Any:
        self._consumer = threading.get_ident()
        return next(self._items)

    def close(self) -> None:
        """End the run now. What was not taken is dropped. From any thread; safe to call twice."""
        self._cancel()
        running = getgeneratorstate(self._batches) == GEN_RUNNING  # the consumer waits in it, and may never ask again
        if running or self._consumer not in (None, threading.get_ident()):  # or asks while this ends it
            warn_of(self._end())
        else:
            self._throw()
        self._items = chain()

    def _throw(self) -> None:
        try:
            self._batches.throw(_Closed)
        except (_Closed, StopIteration):
            pass
        except ValueError:
            if getgeneratorstate(self._batches) != GEN_RUNNING:  # else another thread has just begun to wait in it
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Stream of {self._name}>"


def owned(
    batches: Iterable[Batch], close: Callable[[], Leftovers], at_end: Callable[[], None] = lambda: None
) -> Generator[Sequence[Any], None, None]:
    """Nothing, and then the data of `batches`. Calls `close` at last, whatever happens once it gave nothing, and before
    it `at_end` if the end was reached.

    `close` waits, which only the consumer may have to, and whoever closes explicitly. Where it is the garbage collector
    that finds an abandoned run, it does so in any thread at any point: in one that the run waits for, or that holds
    just the lock which others need to end. Then a thread of its own closes the run.
    """
    waits = threading.get_ident()
    try:
        yield ()  # a generator that was never begun would not close anything
        for batch in batches:
            data = batch.data
            del batch  # while the next one is awaited, nobody keeps this one alive
            yield data
            del data
            waits = threading.get_ident()
        at_end()
    except _Closed:
        waits = threading.get_ident()
    finally:
        if waits == threading.get_ident():
            warn_of(close())
        else:
            _close_aside(close)


class _Closed(BaseException):
    """Thrown into the batches of a stream that is closed explicitly."""


def _close_aside(close: Callable[[], Leftovers]) -> None:
    if sys.is_finalizing():  # all other threads are gone, a new one never begins, and `start` would wait for it
        return
    thread = threading.Thread(target=lambda: warn_of(close()), name="headrace-close", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter ends, or the system gives no more threads
        warn_of(close())


def named_once(close: Callable[[], Leftovers]) -> Callable[[], Leftovers]:
    """The same, except that what could not be ended is named once, whoever closes how often."""
    told = False

    def close_again() -> Leftovers:
        nonlocal told
        left = close()
        if told:
            return Leftovers()
        told = bool(left)
        return left

    return close_again


def warn_of(leftovers: Leftovers) -> None:
    if leftovers:
        names = ", ".join(dict.fromkeys(leftovers.names))
        message = f"still held inside user code after the end, and left to end by themselves: {names}"
        warnings.warn(LeftoversWarning(message), stacklevel=3)
