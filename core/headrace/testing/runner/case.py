"""What the tests of the suite are made of: a runner for each test, and pipelines to run on it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headrace.contracts import Runner
from headrace.pipeline import Pipeline
from headrace.report import Result
from headrace.testing.promises import Contract


class RunnerCase(Contract):
    """See RunnerContract."""

    known = frozenset({"overlap"})
    capabilities = known

    runner: Runner

    def make_runner(self) -> Runner:
        """A new runner."""
        raise NotImplementedError(f"{type(self).__name__}.make_runner")

    @pytest.fixture(autouse=True)
    def _runner_for_each_test(self) -> None:
        self.runner = self.make_runner()

    def pipeline(self, items: Any, **options: Any) -> Pipeline:
        return Pipeline("contract", **options).source("items", items)

    def run(self, pipeline: Pipeline, **options: Any) -> Result:
        """`execute`, in a thread of its own, which must come back."""
        return self.soon(lambda: pipeline.execute(runner=self.runner, **options))

    def run_awaited(self, pipeline: Pipeline, **options: Any) -> Result:
        """`execute_async` in a loop of its own."""
        return self.soon(lambda: asyncio.run(pipeline.execute_async(runner=self.runner, **options)))
