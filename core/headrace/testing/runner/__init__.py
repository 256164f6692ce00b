"""The suite that proves a runner."""

from headrace.testing.runner.coroutines import CoroutineTests
from headrace.testing.runner.end import EndTests
from headrace.testing.runner.failures import FailureTests
from headrace.testing.runner.graphs import GraphTests


class RunnerContract(GraphTests, FailureTests, EndTests, CoroutineTests):
    """Proves that a runner keeps the promises: subclass it, and give it one.

        class TestMyRunner(RunnerContract):
            def make_runner(self):
                return MyRunner()

    capabilities  "overlap": operators are at work at the same time, on threads of their own. A runner that does all in
                  the thread that iterates claims none
    """


__all__ = ["RunnerContract"]
