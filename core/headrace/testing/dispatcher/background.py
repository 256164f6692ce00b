"""What holds where listeners are called off the emitter's path."""

from __future__ import annotations

import threading
from time import monotonic
from typing import Any

import pytest

from headrace.events import BatchCompleted, OperatorFinished
from headrace.testing.dispatcher.case import DispatcherCase
from headrace.testing.promises import needs

HANGING = 5
"""More than any dispatcher has workers for."""
OVER_S = 0.05
"""Seconds that a close may take beyond its limit."""


class BackgroundTests(DispatcherCase):
    @needs("background")
    def test_listeners_are_called_in_another_thread(self) -> None:
        threads: list[int] = []
        self.dispatcher.subscribe(lambda event: threads.append(threading.get_ident()))
        self.dispatcher.emit(1)
        self.flush()
        assert threads
        assert threading.get_ident() not in threads

    @needs("background")
    def test_listeners_that_hang_hold_up_nobody(self) -> None:
        gate = self.gate()
        for _ in range(HANGING):
            self.dispatcher.subscribe(lambda event: gate.hold(), BatchCompleted)
        heard, last = [], threading.Event()

        def listener(event: BatchCompleted) -> None:
            heard.append(event.items)
            if event.items == 99:
                last.set()

        self.dispatcher.subscribe(listener, BatchCompleted)
        for number in range(100):
            self.dispatcher.notify(BatchCompleted, items=number)
        assert not self.dispatcher.flush(0.0)
        assert last.wait(self.patience_s)
        assert heard == list(range(100))
        gate.wait_for(HANGING)
        gate.open()

    @needs("background", "accounts")
    def test_what_waits_for_a_listener_is_bounded_and_what_is_dropped_is_counted(self) -> None:
        gate, heard = self.gate(), []

        def listener(event: Any) -> None:
            gate.hold()
            heard.append(event)

        self.dispatcher.subscribe(listener, max_pending=10)
        self.dispatcher.notify(BatchCompleted, items=-1)
        gate.wait_for(1)
        for number in range(1_000):
            self.dispatcher.notify(BatchCompleted, items=number)
        for number in range(50):
            self.dispatcher.notify(OperatorFinished, taken=number)
        rows = {row.type: row for row in self.dispatcher.account()}
        batches, operators = rows["BatchCompleted"], rows["OperatorFinished"]
        assert (batches.emitted, batches.delivered, batches.failed) == (1_001, 0, 0)
        assert 1 <= batches.pending <= 11
        assert batches.dropped == 1_001 - batches.pending
        assert (operators.emitted, operators.dropped, operators.pending) == (50, 0, 50)
        gate.open()
        self.flush()
        assert [event.taken for event in heard if isinstance(event, OperatorFinished)] == list(range(50))
        numbers = [event.items for event in heard if isinstance(event, BatchCompleted)]
        assert numbers == sorted(numbers)
        assert len(numbers) == batches.pending
        assert all(row.pending == 0 for row in self.dispatcher.account())

    @needs("background")
    def test_a_listener_that_hangs_is_left_at_the_close_in_time(self) -> None:
        gate = self.gate()
        self.dispatcher.subscribe(lambda event: gate.hold())
        self.dispatcher.emit(1)
        gate.wait_for(1)
        with pytest.warns(RuntimeWarning, match="still in a call"):
            began_s = monotonic()
            self.dispatcher.close(timeout_s=0.3)
            took_s = monotonic() - began_s
        gate.open()
        assert took_s < 0.3 + OVER_S
