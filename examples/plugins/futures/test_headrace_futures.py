"""What a plugin's author has to write to prove an executor. Runs where the distribution is installed."""

from __future__ import annotations

from headrace_futures import FuturesExecutor

import headrace
from headrace.testing import ExecutorContract


class TestFutures(ExecutorContract):
    def make_executor(self) -> FuturesExecutor:
        return FuturesExecutor(4)


def test_it_is_selected_by_its_name() -> None:
    assert list(headrace.map(abs, range(-3, 3), executor="futures")) == [3, 2, 1, 0, 1, 2]
