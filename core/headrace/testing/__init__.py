"""For those who test plugins and pipelines.

ExecutorContract  the suite that proves an executor
RunnerContract    the suite that proves a runner
DispatcherContract  the suite that proves a dispatcher
Gate, Aside, Source, Resources  what tests of concurrency are made of, without sleeps
running_on        every pipeline on the plugins of one profile, for as long as a `with` block lasts
"""

from headrace.testing.aside import Aside
from headrace.testing.dispatcher import DispatcherContract
from headrace.testing.executor import ExecutorContract
from headrace.testing.gate import Gate
from headrace.testing.leaks import Resources
from headrace.testing.runner import RunnerContract
from headrace.testing.source import Source
from headrace.testing.switch import running_on

__all__ = [
    "Aside",
    "DispatcherContract",
    "ExecutorContract",
    "Gate",
    "Resources",
    "RunnerContract",
    "Source",
    "running_on",
]
