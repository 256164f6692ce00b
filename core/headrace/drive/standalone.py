"""An executor on its own: `executor.execute(fn, items)`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from operator import itemgetter
from time import monotonic
from types import TracebackType
from typing import Any, Self

from headrace.batch import Failure
from headrace.contracts import Executor, Leftovers
from headrace.drive.feeds import CLOSE_S, LAST_S, checked_origin
from headrace.drive.opening import engine_of
from headrace.drive.stream import Stream, named_once, owned, warn_of
from headrace.errors import SettingsError, shorten
from headrace.flow.kernel import Kernel, Op
from headrace.flow.ledger import Ledger
from headrace.flow.sizeof import sizeof
from headrace.flow.stage import FlowSettings
from headrace.operators import check_function, is_awaited, name_of
from headrace.plan import Plan, SourceNode, StageNode, StageSpec
from headrace.report import DeadLetter, RunReport, run_report
from headrace.settings import choice, flag, function, whole_number

SOURCE = "items"
"""What the source is called in reports and errors."""


class Standalone(ABC):
    """Adds `execute` and the `with` statement to an executor class. A pool belongs to its call of `execute`, or to the
    `with` block that the executor was entered for.

    The class gives `flow_settings()`, and `fresh()`: an executor like this one with workers of its own.
    """

    entered = False

    @abstractmethod
    def flow_settings(self) -> FlowSettings: ...

    @abstractmethod
    def fresh(self) -> Executor: ...

    @abstractmethod
    def close(self, *, cancel: bool = False, timeout_s: float = 2.0) -> Leftovers: ...

    def execute(
        self,
        fn: Callable[[Any], Any],
        items: Iterable[Any] | Callable[[], Iterable[Any]],
        *,
        ordered: bool | None = None,
        on_error: str = "raise",
        retries: int = 0,
    ) -> Stream:
        """`fn` of each of the `items`, in their order (as they complete with `ordered=False`), as an iterator.

        `items` may be endless, or a callable that makes an iterable. Nothing is pulled before the first result is
        asked for. An item that raises is tried `retries` times more; then `on_error="raise"` gives all results before
        it and raises OperatorFailed, "skip" leaves it out, "dead_letter" puts it into `dead_letters` of the stream.
        """
        function(of="a function of one item").check("execute.fn", fn)
        check_function("execute.fn", fn)
        awaits = is_awaited(fn)
        if awaits and not getattr(self, "coroutines", False):
            raise SettingsError(
                f"execute.fn must be a plain function for {self!r}; got the coroutine function {shorten(fn)}, "
                "which a CoroutineExecutor can run"
            )
        choice("raise", "skip", "dead_letter").check("execute.on_error", on_error)
        whole_number(at_least=0, of="further attempts").check("execute.retries", retries)
        settings = self.flow_settings()
        if ordered is not None:
            flag().check("execute.ordered", ordered)
            settings.ordered = ordered
        name = name_of(fn) if name_of(fn) != SOURCE else f"{SOURCE}()"
        op = Op(name, "map", fn, on_error, retries + 1, awaits=awaits)
        kernel = Kernel((op,), measure=sizeof if settings.max_bytes else None)
        nodes = (
            SourceNode(SOURCE, checked_origin("execute.items", items)),
            StageNode(name, (SOURCE,), (name,), StageSpec(name, kernel), self, settings),
        )
        return self._stream(Plan(name, "", nodes, (name,), linger_s=settings.linger_s))

    def _stream(self, plan: Plan) -> Stream:
        executor: Any = self if self.entered else self.fresh()
        ledger = Ledger()
        dead_letters: list[DeadLetter] = []
        began_s = monotonic()

        def listen(failure: Failure) -> None:
            if failure.verdict == "dead_letter":
                dead_letters.append(DeadLetter.of(failure))

        linger_s = None if getattr(executor, "inline", False) else plan.linger_s
        running = engine_of(plan, {plan.name: executor}, ledger, linger_s=linger_s, listen=listen, run=plan.name)

        def close() -> Leftovers:
            until_s = monotonic() + CLOSE_S
            left = Leftovers()
            try:
                left += running.close()
            finally:
                if executor is not self:
                    left += executor.close(cancel=True, timeout_s=max(LAST_S, until_s - monotonic()))
            return left

        def check() -> None:
            if not running.cancelled:
                ledger.check()

        def report() -> RunReport:
            return run_report(plan.name, "", ledger, plan.made_of(), monotonic() - began_s, ended=running.ended)

        end = named_once(close)
        batches = owned(map(itemgetter(1), running), end, check)
        return Stream(batches, running.cancel, end, f"'{plan.name}'", lambda: dead_letters, report)

    def __enter__(self) -> Self:
        self.entered = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.entered = False
        warn_of(self.close(cancel=error is not None))
