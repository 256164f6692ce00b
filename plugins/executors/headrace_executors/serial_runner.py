"""The runner `serial`: a plan as a chain, pulled by whoever iterates. It starts no thread itself.

    source <- output <- output <- ... <- the caller

Each node of the plan is an output that pulls the one before it. A stage on an executor with workers is driven by them,
so that the stages of a chain overlap; everything else, gates too, happens in the thread that asks for the next batch:
the caller's, or that of the next such stage which pulls. Unless the profile says that items may wait as long as it
takes (`linger_s=None`), a source that no such stage pulls gets a thread that does, from `drive`.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, cast

from headrace.batch import Batch
from headrace.drive import BatchFeed, GateOutput, ItemFeed, SourceOutput, drive, pulled
from headrace.errors import GraphError
from headrace.events import ItemFailed, ItemRetried, OperatorFinished, PipelineFinished, PipelineStarted
from headrace.flow.ledger import Ledger
from headrace.flow.sizeof import sizeof
from headrace.hookspecs import hookimpl
from headrace.plan import SourceNode, StageNode
from headrace.report import DeadLetter, RunReport, run_report

if TYPE_CHECKING:
    from headrace.batch import Failure
    from headrace.contracts import Leftovers, RunContext
    from headrace.drive import Feed, Output
    from headrace.plan import Plan

HEADRACE_API = 1


class SerialRun:
    """One run. Owns its outputs; the executors are the context's."""

    def __init__(self, plan: Plan, context: RunContext) -> None:
        if len(plan.ends) != 1:
            raise GraphError(f"the runner 'serial' runs a chain; '{plan.name}' ends in {', '.join(plan.ends)}")
        self._plan = plan
        self._context = context
        self._ledger = Ledger()
        self._dead_letters: list[DeadLetter] = []
        self._began_s: float | None = None
        self._took_s: float | None = None
        self._cause: BaseException | None = None
        self._given: Batch | None = None
        self._items = 0
        self._output = self._chain()

    def _chain(self) -> Output:
        """The outputs of all nodes, each behind the one that it reads; gives the last."""
        at: ItemFeed | Output | None = None
        measured = any(isinstance(node, StageNode) and node.flow.max_bytes for node in self._plan.nodes)
        for node in self._plan.nodes:
            if isinstance(node, SourceNode):
                at = ItemFeed(node.name, node.origin, sizeof if measured else None)
                self._ledger.accounts[node.name] = at.account
            elif isinstance(node, StageNode):
                at = self._stage(node, at)
            else:
                account = self._ledger.open(node.name, (node.name,), node.inputs)
                at = GateOutput(node.make, self._whole(at), account, self._listen)
        return self._whole(at)

    def _whole(self, at: ItemFeed | Output | None) -> Output:
        """An output of what is there so far, also where that is but a source."""
        if not isinstance(at, ItemFeed):
            return cast("Output", at)
        linger_s = self._plan.linger_s
        return SourceOutput(at, self._plan.window) if linger_s is None else pulled(at, self._plan.window, linger_s)

    def _stage(self, node: StageNode, at: ItemFeed | Output | None) -> Output:
        alone = getattr(self._context.executors[node.name], "inline", False) and self._plan.linger_s is not None
        feed: Feed = at if isinstance(at, ItemFeed) and not alone else BatchFeed(self._whole(at))
        account = self._ledger.open(node.name, node.operators, node.inputs)
        return drive(self._context.executors[node.name], node.spec, feed, node.flow, account, self._listen)

    def __iter__(self) -> Iterator[tuple[str, Batch]]:
        return self

    def __next__(self) -> tuple[str, Batch]:
        if self._began_s is None:
            self._began_s = monotonic()
            self._notify(PipelineStarted, pipeline=self._plan.name, profile=self._plan.profile)
        if self._given is not None:
            self._output.taken(self._given)
            self._given = None
        try:
            while (batch := self._output.next_batch()) is None:
                pass
        except StopIteration:
            self._end()
            if self._cause is not None:
                raise self._cause from None
            raise
        except BaseException as error:
            self._finish(error)
            raise
        self._given = batch
        self._items += len(batch)
        return self._plan.ends[0], batch

    def _end(self) -> None:
        """All is out: the account must add up, unless the run was cut short."""
        try:
            if self._took_s is None:
                self._ledger.check()
        except Exception as error:
            self._finish(error)
            raise
        self._finish(None)

    def _finish(self, error: BaseException | None) -> None:
        """Tell the end, once."""
        if self._took_s is not None:
            return
        self._took_s = 0.0 if self._began_s is None else monotonic() - self._began_s
        for stats in self.snapshot().operators:
            self._notify(
                OperatorFinished,
                operator=stats.name,
                taken=stats.taken,
                emitted=stats.emitted,
                failed=stats.skipped + stats.dead + stats.raised,
                service_s=stats.service_s,
            )
        self._notify(PipelineFinished, pipeline=self._plan.name, items=self._items, took_s=self._took_s, error=error)

    def stop(self) -> None:
        self._output.stop()

    def cancel(self, cause: BaseException | None = None) -> None:
        self._cause = cause
        self._finish(cause)
        self._output.cancel()

    def close(self) -> Leftovers:
        left = self._output.close()
        if self._began_s is not None:
            self._finish(None)
        return left

    @property
    def dead_letters(self) -> list[DeadLetter]:
        return self._dead_letters

    def _listen(self, failure: Failure) -> None:
        """Book a failure. Called by the thread that took the batch in which it happened."""
        if failure.verdict == "dead_letter":
            self._dead_letters.append(DeadLetter.of(failure))
        facts = {"operator": failure.name, "index": failure.index, "error": failure.error, "attempts": failure.attempts}
        if failure.verdict == "retry":
            self._notify(ItemRetried, **facts)
        else:
            self._notify(ItemFailed, item=failure.item, verdict=failure.verdict, **facts)

    def _notify(self, type: type, **attributes: object) -> None:
        self._context.dispatcher.notify(type, run=self._context.run_id, **attributes)

    def snapshot(self) -> RunReport:
        wall_s = self._took_s
        if wall_s is None:
            wall_s = 0.0 if self._began_s is None else monotonic() - self._began_s
        ended = self._took_s is not None
        return run_report(self._plan.name, self._plan.profile, self._ledger, self._plan.made_of(), wall_s, ended=ended)

    def __repr__(self) -> str:
        return f"<SerialRun of '{self._plan.name}', {self._items} items given>"


class SerialRunner:
    """Runs a chain of operators for the thread that iterates."""

    def start(self, plan: Plan, context: RunContext) -> SerialRun:
        return SerialRun(plan, context)


@hookimpl
def headrace_make_runner(name: str) -> SerialRunner:
    return SerialRunner()
