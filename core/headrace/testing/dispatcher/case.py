"""What the tests of the suite are made of: a dispatcher for each test, listeners, threads that emit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headrace.contracts import Dispatcher
from headrace.events import Event
from headrace.testing.promises import Contract


class Unbuildable(Event):
    """An event that nobody may build."""

    def __init__(self, **attributes: object) -> None:
        raise AssertionError("nobody listens to this")


def fails(event: Any) -> None:
    raise ValueError(f"cannot hear {event}")


class DispatcherCase(Contract):
    """See DispatcherContract."""

    known = frozenset({"accounts", "background", "coroutines"})
    capabilities = known

    dispatcher: Any

    def make_dispatcher(self) -> Dispatcher:
        """A new dispatcher."""
        raise NotImplementedError(f"{type(self).__name__}.make_dispatcher")

    @pytest.fixture(autouse=True)
    def _dispatcher_for_each_test(self) -> Iterator[None]:
        self.dispatcher = self.make_dispatcher()
        yield
        self.dispatcher.close(timeout_s=self.gone_s)

    def flush(self) -> None:
        """All that was emitted has been heard."""
        assert self.soon(lambda: self.dispatcher.flush(self.patience_s)), "what was emitted was not delivered in time"

    def hear(self, *types: type) -> list[Any]:
        """A list that the events of these types come into."""
        heard: list[Any] = []
        self.dispatcher.subscribe(heard.append, *types)
        return heard

    def in_threads(self, threads: int, work: Callable[[int], None]) -> None:
        """`work(number)` in so many threads, which begin at once."""
        begin = threading.Barrier(threads)

        def run(number: int) -> None:
            begin.wait(self.patience_s)
            work(number)

        asides = [self.aside(run, number) for number in range(threads)]
        for aside in asides:
            aside.result(2 * self.patience_s)
