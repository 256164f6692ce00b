"""The runner `async`: a plan for programs of coroutines.

    source --(puller)--> stage --(tasks in the loop, or workers)--> stage --> ... --> who awaits the run

Coroutines are tasks in one event loop: in that of the caller, if the run is awaited in it, else in one of the run's
own. What waits inside the user's plain functions, sources, sinks and stages in line, has threads of its own, so that
the loop is never blocked. A stage is no task: it is state in a network that whoever brings news moves on, under one
lock, as `headrace.drive.engine` has it, and the channels between stages are bounded by their windows.
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
class AsyncSettings:
    """The settings of the runner `async`.

    max_concurrent_operators  operators that may be at work at once; None: all. One that waits for input or for room is
                              not at work, so that no bound can stop a pipeline; sources do not count
    """

    max_concurrent_operators: int | None = field(
        default=None, validator=or_none(whole_number(at_least=1, of="operators"))
    )


class AsyncPipelineExecutor:
    """Runs a plan whose coroutine functions share one event loop.

        result = AsyncPipelineExecutor(max_concurrent_operators=4).execute(pipeline)
        result = await AsyncPipelineExecutor(max_concurrent_operators=4).execute_async(pipeline)

    `max_concurrent_operators` as in AsyncSettings.
    """

    def __init__(self, max_concurrent_operators: int | None = None) -> None:
        self.settings = AsyncSettings(max_concurrent_operators)

    def execute(self, pipeline: Pipeline, *, seed: int = 0, timeout_s: float | None = None) -> Result:
        """Run `pipeline` to its end, as `pipeline.execute` does, on this runner."""
        return pipeline.execute(seed=seed, timeout_s=timeout_s, runner=self)

    async def execute_async(self, pipeline: Pipeline, *, seed: int = 0, timeout_s: float | None = None) -> Result:
        """The same in the running loop, which goes on meanwhile."""
        return await pipeline.execute_async(seed=seed, timeout_s=timeout_s, runner=self)

    def start(self, plan: Plan, context: RunContext) -> PlanRun:
        most = self.settings.max_concurrent_operators
        return PlanRun(plan, context, linger_s=plan.linger_s or LINGER_S, most_at_work=most)

    def __repr__(self) -> str:
        return f"AsyncPipelineExecutor(max_concurrent_operators={self.settings.max_concurrent_operators})"


class Pipeline(Protocol):
    """What can be executed here: a `headrace.Pipeline`."""

    def execute(self, *, seed: int = 0, timeout_s: float | None = None, runner: Any = None) -> Result: ...

    async def execute_async(self, *, seed: int = 0, timeout_s: float | None = None, runner: Any = None) -> Result: ...


@hookimpl
def headrace_settings(name: str) -> type:
    return AsyncSettings


@hookimpl
def headrace_make_runner(name: str, settings: AsyncSettings) -> AsyncPipelineExecutor:
    return AsyncPipelineExecutor(settings.max_concurrent_operators)
