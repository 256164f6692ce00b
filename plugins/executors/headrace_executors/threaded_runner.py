"""The runner `threads`: each node of a plan at work at the same time.

    source --(puller)--> stage --(workers)--> stage --(workers)--> sink (hand)

A source is pulled by a thread of its own; a sink, or a stage that runs in line, has one too. What a worker gives
is sent on to the next stage by that worker. The channels between them are bounded by the windows of the stages. The
threads, their locks and conditions are those of `headrace.drive.engine`, whose picture shows them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from attrs import field, frozen

from headrace.drive import PlanRun
from headrace.hookspecs import hookimpl
from headrace.settings import or_none, whole_number

if TYPE_CHECKING:
    from headrace.contracts import RunContext
    from headrace.plan import Plan
    from headrace.report import Result

HEADRACE_API = 1

LINGER_S = 0.005
"""Longest that an item waits for a later one, where the profile does not say."""


@frozen
class ThreadedSettings:
    """The settings of the runner `threads`.

    max_workers  batches that an operator without a `parallel_degree` may run at once; None: as its executor says
    """

    max_workers: int | None = field(default=None, validator=or_none(whole_number(at_least=1, of="threads")))


class ThreadBasedPipelineExecutor:
    """Runs a plan on threads.

        result = ThreadBasedPipelineExecutor(max_workers=8).execute(pipeline)

    `max_workers` as in ThreadedSettings.
    """

    def __init__(self, max_workers: int | None = None) -> None:
        self.settings = ThreadedSettings(max_workers)

    @property
    def max_workers(self) -> int | None:
        return self.settings.max_workers

    def execute(self, pipeline: Pipeline, *, seed: int = 0, timeout_s: float | None = None) -> Result:
        """Run `pipeline` to its end, as `pipeline.execute` does, on this runner."""
        return pipeline.execute(seed=seed, timeout_s=timeout_s, runner=self)

    def start(self, plan: Plan, context: RunContext) -> PlanRun:
        return PlanRun(plan, context, linger_s=plan.linger_s or LINGER_S)

    def __repr__(self) -> str:
        return f"ThreadBasedPipelineExecutor(max_workers={self.max_workers})"


class Pipeline(Protocol):
    """What can be executed here: a `headrace.Pipeline`."""

    def execute(self, *, seed: int = 0, timeout_s: float | None = None, runner: Any = None) -> Result: ...


@hookimpl
def headrace_settings(name: str) -> type:
    return ThreadedSettings


@hookimpl
def headrace_make_runner(name: str, settings: ThreadedSettings) -> ThreadBasedPipelineExecutor:
    return ThreadBasedPipelineExecutor(settings.max_workers)
