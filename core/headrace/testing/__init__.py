"""For those who test plugins and pipelines.

ExecutorContract  the suite that proves an executor
Gate, Aside, Source, Resources  what tests of concurrency are made of, without sleeps
running_on        every pipeline on the plugins of one profile, for as long as a `with` block lasts
"""

from headrace.testing.aside import Aside
from headrace.testing.executor import ExecutorContract
from headrace.testing.gate import Gate
from headrace.testing.leaks import Resources
from headrace.testing.source import Source
from headrace.testing.switch import running_on

__all__ = ["Aside", "ExecutorContract", "Gate", "Resources", "Source", "running_on"]
