"""Open a stage on an executor."""

from __future__ import annotations

from attrs import evolve

from headrace.contracts import Executor
from headrace.drive.driven import Driven
from headrace.drive.feeds import Feed, Listen
from headrace.drive.inline import Inline
from headrace.flow.kernel import Kernel
from headrace.flow.ledger import Account
from headrace.flow.sizing import aim
from headrace.flow.stage import FlowSettings, StageFlow
from headrace.plan import StageSpec

LIMIT = 2
"""A batch that has run for this many times what it aims at gives back what it has not begun, for others to share."""


def drive(
    executor: Executor,
    stage: StageSpec,
    feed: Feed,
    settings: FlowSettings,
    account: Account,
    listen: Listen | None = None,
) -> Inline | Driven:
    """Open `stage` on `executor` and run what `feed` gives through it. Nothing is pulled before the first batch is
    asked for. `listen` is called with every failure, retries included, in the thread of the consumer."""
    wanted = stage.degree or getattr(executor, "max_workers", None) or 1
    kernel = Kernel(stage.kernel.ops, limit_s=LIMIT * aim(settings.aim_s, wanted), measure=stage.kernel.measure)
    lane = executor.open(evolve(stage, kernel=kernel))
    degree = getattr(lane, "degree", None) or stage.degree or getattr(executor, "max_workers", None) or lane.capacity
    flow = StageFlow(stage.name, stage.kernel, settings, degree, account)
    shell = Inline if getattr(executor, "inline", False) else Driven
    return shell(flow, lane, feed, settings, listen)
