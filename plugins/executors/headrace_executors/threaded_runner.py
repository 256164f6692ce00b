"""The runner `threads`: each node of a plan at work at the same time.

    source --(puller)--> stage --(workers)--> stage --(workers)--> sink (hand)

A source is pulled by a thread of its own; a sink, or a stage that runs in line, has one too. What a worker gives
is sent on to the next stage by that worker. The channels between them are bounded by the windows of the stages. The
threads, their locks and conditions are those of `headrace.drive.engine`, whose picture shows them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.drive import PlanRun
from headrace.hookspecs import hookimpl

if TYPE_CHECKING:
    from headrace.contracts import RunContext
    from headrace.plan import Plan

HEADRACE_API = 1

LINGER_S = 0.005
"""Longest that an item waits for a later one, where the profile does not say."""


class ThreadBasedPipelineExecutor:
    """Runs a plan on threads."""

    def start(self, plan: Plan, context: RunContext) -> PlanRun:
        return PlanRun(plan, context, linger_s=plan.linger_s or LINGER_S)


@hookimpl
def headrace_make_runner(name: str) -> ThreadBasedPipelineExecutor:
    return ThreadBasedPipelineExecutor()
