"""What a close does."""

from __future__ import annotations

import pytest

from headrace.errors import HeadraceError
from headrace.testing.dispatcher.case import DispatcherCase, fails
from headrace.testing.leaks import Resources


class DispatcherEndTests(DispatcherCase):
    def test_a_close_delivers_what_was_emitted(self) -> None:
        heard = self.hear()
        for number in range(100):
            self.dispatcher.emit(number)
        self.dispatcher.close(timeout_s=self.patience_s)
        assert heard == list(range(100))

    def test_after_close_nobody_hears_anything_and_nobody_can_subscribe(self) -> None:
        heard = self.hear()
        self.dispatcher.close(timeout_s=self.patience_s)
        self.dispatcher.close(timeout_s=self.patience_s)
        self.dispatcher.emit(1)
        assert heard == []
        with pytest.raises(HeadraceError, match="fails cannot subscribe: the dispatcher is closed"):
            self.dispatcher.subscribe(fails)

    def test_a_listener_may_close_it(self) -> None:
        heard = self.hear()
        closed = self.gate()

        def close(event: int) -> None:
            self.dispatcher.close(timeout_s=0.0)
            closed.open()
            closed.hold()

        self.dispatcher.subscribe(close)
        self.dispatcher.emit(1)
        closed.wait_for(1)
        self.dispatcher.emit(2)
        assert 2 not in heard

    def test_nothing_is_left_of_many_that_were_closed(self) -> None:
        before = Resources.now()
        for _ in range(20):
            dispatcher = self.make_dispatcher()
            dispatcher.subscribe(lambda event: None)
            dispatcher.emit(1)
            dispatcher.close(timeout_s=self.patience_s)
        assert before.left() == []
