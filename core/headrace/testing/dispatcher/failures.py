"""Listeners that raise, and listeners that act while they are called."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from headrace.events import BatchCompleted, ItemRetried
from headrace.testing.dispatcher.case import DispatcherCase, fails
from headrace.testing.promises import needs

CHAIN = 1_000


class ListenerFailureTests(DispatcherCase):
    def test_a_listener_that_raises_is_named_once_and_counted_and_others_hear_all(self) -> None:
        heard: list[int] = []
        bad = self.dispatcher.subscribe(fails)
        good = self.dispatcher.subscribe(heard.append)
        with pytest.warns(RuntimeWarning) as warned:
            for number in range(3):
                self.dispatcher.emit(number)
            self.flush()
        assert len(warned) == 1
        assert "listener fails raised ValueError" in str(warned[0].message)
        assert "cannot hear 0" in str(warned[0].message)
        assert heard == [0, 1, 2]
        assert (bad.failed, good.failed) == (3, 0)

    def test_it_reaches_nobody_who_emits_where_warnings_are_errors(self) -> None:
        bad = self.dispatcher.subscribe(fails)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.dispatcher.emit(1)
            self.flush()
        assert bad.failed == 1

    def test_an_error_that_cannot_be_shown_reaches_nobody_either(self) -> None:
        class Unshowable(Exception):
            def __repr__(self) -> str:
                raise ValueError("no")

            __str__ = __repr__

        def listener(event: Any) -> None:
            raise Unshowable

        bad = self.dispatcher.subscribe(listener)
        with pytest.warns(RuntimeWarning, match="Unshowable"):
            self.dispatcher.emit(1)
            self.flush()
        assert bad.failed == 1

    def test_what_a_listener_emits_is_heard_after_the_event_it_was_called_with(self) -> None:
        heard: list[int] = []

        def listener(event: int) -> None:
            heard.append(event)
            if event < CHAIN:
                self.dispatcher.emit(event + 1)

        self.dispatcher.subscribe(listener, int)
        self.dispatcher.emit(0)
        self.soon(lambda: self._wait(heard))
        assert heard == list(range(CHAIN + 1))

    def _wait(self, heard: list[int]) -> None:
        while len(heard) <= CHAIN:
            self.flush()

    def test_a_listener_that_waits_for_what_it_emitted_is_told_that_it_is_not_heard(self) -> None:
        flushed: list[bool] = []

        def listener(event: int) -> None:
            if not event:
                self.dispatcher.emit(1)
                flushed.append(self.dispatcher.flush(self.patience_s))

        self.dispatcher.subscribe(listener, int)
        self.dispatcher.emit(0)
        self.flush()
        assert flushed == [False]

    def test_a_listener_that_cancels_itself_hears_once(self) -> None:
        heard: list[int] = []

        def once(event: int) -> None:
            heard.append(event)
            subscription.cancel()

        subscription = self.dispatcher.subscribe(once)
        self.dispatcher.emit(1)
        self.dispatcher.emit(2)
        self.flush()
        assert heard == [1]

    def test_a_listener_that_subscribes_another(self) -> None:
        heard: list[int] = []

        def listener(event: int) -> None:
            subscription.cancel()
            self.dispatcher.subscribe(heard.append)

        subscription = self.dispatcher.subscribe(listener)
        self.dispatcher.emit(1)
        self.flush()
        self.dispatcher.emit(2)
        self.flush()
        assert heard == [2]

    @needs("accounts")
    def test_the_account_is_what_was_emitted_and_what_the_listeners_saw(self) -> None:
        heard: list[Any] = []

        def picky(event: BatchCompleted) -> None:
            if event.items % 3 == 0:
                raise ValueError

        self.dispatcher.subscribe(heard.append)
        self.dispatcher.subscribe(picky, BatchCompleted)
        with pytest.warns(RuntimeWarning):
            for number in range(300):
                self.dispatcher.notify(BatchCompleted, items=number)
                self.dispatcher.notify(ItemRetried)
            self.flush()
        rows = {(row.listener.rpartition(".")[2], row.type): row for row in self.dispatcher.account()}
        assert len(rows) == 3
        for row in rows.values():
            assert row.emitted == 300
            assert row.emitted == row.delivered + row.dropped + row.failed + row.pending
            assert (row.dropped, row.pending) == (0, 0)
        assert rows["picky", "BatchCompleted"].failed == 100
        assert len(heard) == 600
