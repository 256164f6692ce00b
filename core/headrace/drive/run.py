"""The run of a plan on an engine: its account, its dead letters, and the events of its life."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from headrace.drive.opening import engine_of
from headrace.drive.reporter import Reporter
from headrace.errors import said
from headrace.events import (
    ItemFailed,
    ItemRetried,
    OperatorFinished,
    OperatorStarted,
    PipelineFinished,
    PipelineStarted,
)
from headrace.flow.ledger import Ledger
from headrace.plan import GateNode
from headrace.report import DeadLetter, RunReport, run_report

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.batch import Batch, Failure
    from headrace.contracts import Leftovers, RunContext
    from headrace.plan import Plan


Taken = TypeVar("Taken", "tuple[str, Batch]", "tuple[str, Batch] | None")


class PlanRun:
    """One run. Owns its engine; the executors are the context's. `linger_s=None`: without a thread of its own."""

    def __init__(
        self, plan: Plan, context: RunContext, *, linger_s: float | None, most_at_work: int | None = None
    ) -> None:
        self.awaitable = linger_s is not None
        self._plan = plan
        self._context = context
        self._ledger = Ledger()
        self._dead_letters: list[DeadLetter] = []
        self._read = {name for node in plan.nodes for name in getattr(node, "letters", ())}  # whose letters others get
        self._began_s: float | None = None
        self._took_s: float | None = None
        self._cause: BaseException | None = None
        self._items = 0
        self._unheard = False  # whether the dispatcher has raised, which is warned of once
        self._reporter = Reporter(self._notify, self._progress, monotonic())
        self._engine = engine_of(
            plan,
            context.executors,
            self._ledger,
            linger_s=linger_s,
            listen=self._listen,
            reporter=self._reporter,
            deadline_s=context.deadline_s,
            run=context.run_id,
            seed=context.seed,
            loop=context.loop,
            most_at_work=most_at_work,
        )

    def __iter__(self) -> Iterator[tuple[str, Batch]]:
        return self

    def __next__(self) -> tuple[str, Batch]:
        try:
            return self._taken(self._engine.__next__)
        except StopIteration:
            self.end()
            raise

    def poll(self, wake: Callable[[], None]) -> tuple[tuple[str, Batch] | None, float | None]:
        """For a consumer that awaits, as `Engine.poll`. After StopIteration it calls `end`, which may take a while."""
        patience_s: list[float | None] = [None]

        def poll() -> tuple[str, Batch] | None:
            piece, patience_s[0] = self._engine.poll(wake)
            return piece

        return self._taken(poll), patience_s[0]

    def _taken(self, take: Callable[[], Taken]) -> Taken:
        """What `take` gives, told and counted."""
        if self._began_s is None:
            self._began_s = monotonic()
            self._notify(PipelineStarted, pipeline=self._plan.name, profile=self._plan.profile)
            for name, (kind, executor) in self._plan.made_of().items():
                self._notify(OperatorStarted, operator=name, kind=kind, executor=executor)
        try:
            piece = take()
        except StopIteration:
            raise
        except BaseException as error:
            self._finish(error)
            raise
        if piece is not None:
            self._items += len(piece[1])
        return piece

    def end(self) -> None:
        """All is out: the account must add up, unless the run was cut short, and what waited for that is made to last.
        Raises what goes wrong with it."""
        try:
            if self._took_s is None and not self._engine.cancelled:
                self._ledger.check()
                self._engine.commit()
        except Exception as error:
            self._finish(error)
            raise
        self._finish(None)
        if self._cause is not None:
            raise self._cause from None

    def _finish(self, error: BaseException | None) -> None:
        """Tell the end, once."""
        if self._took_s is not None:
            return
        self._took_s = 0.0 if self._began_s is None else monotonic() - self._began_s
        self._reporter.end(monotonic())
        self._reporter.tell()
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
        self._engine.stop()

    def cancel(self, cause: BaseException | None = None) -> None:
        self._cause = cause
        self._finish(cause)
        self._engine.cancel()

    def close(self) -> Leftovers:
        left = self._engine.close()
        if self._began_s is not None:
            self._finish(None)
        return left

    @property
    def dead_letters(self) -> list[DeadLetter]:
        return self._dead_letters

    def _listen(self, failure: Failure) -> None:
        """Book a failure. Called by the thread that takes the outputs."""
        if failure.verdict == "dead_letter" and failure.name not in self._read:
            self._dead_letters.append(DeadLetter.of(failure))
        facts = {"operator": failure.name, "index": failure.index, "error": failure.error, "attempts": failure.attempts}
        if failure.verdict == "retry":
            self._notify(ItemRetried, **facts)
        else:
            self._notify(ItemFailed, item=failure.item, verdict=failure.verdict, **facts)

    def _notify(self, type: type, /, **attributes: object) -> None:
        try:
            self._context.dispatcher.notify(type, run=self._context.run_id, **attributes)
        except Exception as error:
            if not self._unheard:
                self._unheard = True
                message = f"{self._context.dispatcher!r} raised {said(error)} on {type.__name__}; the run goes on"
                warnings.warn(message, RuntimeWarning, stacklevel=2)

    def _progress(self) -> dict[str, int]:
        """The items that each end has given, or that a sink there has taken."""
        progress = {}
        for name in self._plan.ends:
            tally = self._ledger.accounts[name].tallies[-1]
            sink = isinstance(node := self._plan.node(name), GateNode) and node.kind == "sink"
            progress[name] = tally.done if sink else tally.emitted
        return progress

    def snapshot(self) -> RunReport:
        wall_s = self._took_s
        if wall_s is None:
            wall_s = 0.0 if self._began_s is None else monotonic() - self._began_s
        ended = self._took_s is not None
        return run_report(self._plan.name, self._plan.profile, self._ledger, self._plan.made_of(), wall_s, ended=ended)

    def __repr__(self) -> str:
        return f"<PlanRun of '{self._plan.name}', {self._items} items given>"
