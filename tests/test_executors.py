"""The executors that ship run through the contract; what only one of them promises comes after it."""

from __future__ import annotations

from headrace import PipelineThreadExecutor, SerialExecutor
from headrace.testing import ExecutorContract


class TestSerial(ExecutorContract):
    capabilities = frozenset({"in_process"})

    def make_executor(self) -> SerialExecutor:
        return SerialExecutor()


class TestThread(ExecutorContract):
    def make_executor(self) -> PipelineThreadExecutor:
        return PipelineThreadExecutor(max_workers=4)
