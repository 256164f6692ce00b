"""What the tests of the suite are made of: an executor for each test, and the two ways to use it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headrace import pipeline as pipelines
from headrace.batch import Batch
from headrace.contracts import Executor
from headrace.drive import Stream
from headrace.flow.kernel import Kernel, Op
from headrace.pipeline import Pipeline
from headrace.plan import StageSpec
from headrace.report import OperatorStats
from headrace.testing.promises import Contract


class ExecutorCase(Contract):
    """See ExecutorContract."""

    known = frozenset({"in_process", "linger", "overlap"})
    capabilities = known
    window = 10_000

    executor: Executor

    def make_executor(self) -> Executor:
        """A new executor. For the sake of "overlap", with two workers or more."""
        raise NotImplementedError(f"{type(self).__name__}.make_executor")

    @pytest.fixture(autouse=True)
    def _one_for_each_test(self) -> Iterator[None]:
        self.executor = self.make_executor()
        yield
        self.executor.close(cancel=True)

    @property
    def here(self) -> dict[str, Any]:
        """An operator's options to be run on the executor of the test."""
        return {"executor": self.executor}

    def stream(self, fn: Callable[[Any], Any], items: Any, executor: Executor | None = None, **options: Any) -> Stream:
        """`fn` over `items` on the executor of the test, or on another."""
        executor = self.executor if executor is None else executor
        execute = getattr(executor, "execute", None)
        if execute is not None:
            stream: Stream = execute(fn, items, **options)
            return stream
        return pipelines.map(fn, items, executor=executor, **options)

    def pipeline(self, items: Any, window: int | None = None) -> Pipeline:
        return Pipeline("contract", window=window).source("items", items)


def stage(fn: Callable[[Any], Any], degree: int = 2, kind: str = "map") -> StageSpec:
    return StageSpec("stage", Kernel((Op("stage", kind, fn),)), degree)


def batch(first: int, items: int = 1, bound: int | None = None) -> Batch:
    index = range(first, first + items)
    return Batch(first, index, list(index), time.monotonic(), bound=bound)


def counts(stats: OperatorStats) -> dict[str, int]:
    """The counts that are not zero."""
    names = ("taken", "done", "filtered", "skipped", "dead", "abandoned", "emitted", "retried", "raised")
    return {name: getattr(stats, name) for name in names if getattr(stats, name)}
