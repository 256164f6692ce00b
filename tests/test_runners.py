"""The conformance suite on the runners that ship."""

from __future__ import annotations

from headrace import PluginRef, plugins
from headrace.contracts import Runner
from headrace.testing import RunnerContract


def made(name: str) -> Runner:
    runner: Runner = plugins.make("runner", PluginRef(name))
    return runner


class TestSerialRunner(RunnerContract):
    capabilities = frozenset()

    def make_runner(self) -> Runner:
        return made("serial")


class TestThreadsRunner(RunnerContract):
    def make_runner(self) -> Runner:
        return made("threads")


class TestAsyncRunner(RunnerContract):
    def make_runner(self) -> Runner:
        return made("async")
