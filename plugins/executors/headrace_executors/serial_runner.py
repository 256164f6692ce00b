"""The runner `serial`: the whole plan in the thread that iterates. It starts no thread itself.

Whoever asks for the next outputs pulls the sources, runs the stages in line and the sinks, and waits for stages on
executors that have workers of their own. While nobody asks, nothing is pulled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.drive import PlanRun
from headrace.hookspecs import hookimpl

if TYPE_CHECKING:
    from headrace.contracts import RunContext
    from headrace.plan import Plan

HEADRACE_API = 1


class SerialRunner:
    """Runs a plan for the thread that iterates."""

    def start(self, plan: Plan, context: RunContext) -> PlanRun:
        return PlanRun(plan, context, linger_s=None)


@hookimpl
def headrace_make_runner(name: str) -> SerialRunner:
    return SerialRunner()
