"""What Headrace raises. Every error keeps what it names in `args`, so that it pickles and crosses processes."""

from __future__ import annotations

import reprlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80


def shorten(value: object) -> str:
    """A `repr` that fits a line; a value whose own `repr` raises is shown by its type."""
    try:
        return _short.repr(value)
    except Exception as error:
        return f"<{type(value).__name__} object, whose repr raised {type(error).__name__}>"


def said(error: BaseException) -> str:
    """The type of an error and what it says; one that cannot say anything is shown by its type."""
    try:
        words = str(error)
    except Exception as other:
        words = f"its str raised {type(other).__name__}"
    if type(error).__name__ == "BdbQuit":  # a debugger was left, or found no terminal
        words = "a debugger was left; breakpoint() works with the profile 'serial', in your own thread"
    return f"{type(error).__name__}: {words}"


class HeadraceError(Exception):
    """The family of all errors that Headrace raises itself. `result` is what the run had given by then, where one that
    `Pipeline.execute` began has ended with it; else None."""

    result: Any = None


class SettingsError(HeadraceError, ValueError):
    """A setting that cannot be: the message names it, what it got and what would do."""


class GraphError(HeadraceError, ValueError):
    """A pipeline that cannot run: the message names the operator."""


class WindowTooSmall(GraphError):
    """A window that is too small for what has to be collected: known beforehand, or found in a run in which every node
    waits for another.

    `channel` is the node that may give no more, `window` the items that it may have under way, `needed` a window that
    would do for what is waited for now, `waits` says who waits for what.
    """

    def __init__(self, channel: str, window: int, needed: int, waits: str) -> None:
        super().__init__(channel, window, needed, waits)
        self.channel, self.window, self.needed, self.waits = channel, window, needed, waits

    def __str__(self) -> str:
        return f"{self.waits}; a window of {self.needed} or more would do: Pipeline(..., window={self.needed})"


class PluginError(HeadraceError):
    """A plugin that cannot be had: not installed, broken, twice there, or of another API version."""


class AccountError(HeadraceError):
    """The ledger of a run does not add up: an item was lost or came twice. Always a bug, never an item's fault."""


class ExecutorFailed(HeadraceError):
    """An executor could not run a batch at all, so that no single item is to blame.

    `stage` is the stage's name, `index` the path of the first item of the batch, `reason` what the executor said.
    """

    def __init__(self, stage: str, index: object, reason: str) -> None:
        super().__init__(stage, index, reason)
        self.stage, self.index, self.reason = stage, index, reason

    def __str__(self) -> str:
        return (
            f"the executor of stage '{self.stage}' failed on the batch that starts at item {self.index}: {self.reason}"
        )


class OperatorFailed(HeadraceError):
    """An item raised under the policy `on_error="raise"`. The item's own error is `__cause__`.

    `operator` is the operator's name, `index` the path of the item from its source (None where a source or the
    opening of a sink failed), `item` what the operator was given, `reason` the original error in a line.
    """

    def __init__(self, operator: str, index: object, item: object, reason: str) -> None:
        super().__init__(operator, index, item, reason)
        self.operator, self.index, self.item, self.reason = operator, index, item, reason

    def __str__(self) -> str:
        at = "" if self.index is None else f" at item {self.index} ({shorten(self.item)})"
        return f"operator '{self.operator}' failed{at}: {self.reason}"


class PipelineFailed(HeadraceError, ExceptionGroup[Exception]):
    """Several operators failed, each on its own branch: `exceptions` has what ended each, the first one first."""

    @classmethod
    def of(cls, errors: Sequence[Any]) -> PipelineFailed:
        return cls(f"{len(errors)} operators failed, first: {errors[0]}", list(errors))

    def derive(self, errors: Sequence[Any]) -> PipelineFailed:  # type: ignore[override]
        return PipelineFailed(self.message, errors)


class PipelineTimeout(HeadraceError, TimeoutError):
    """A run that was not at its end at its deadline."""


class WorkerLost(HeadraceError):
    """A worker came to its end in the middle of a batch; or, as the error of an item: whenever it was at that item.

    `how` says how it ended. `started` tells whether it had begun with the batch, `at` the position in the batch of the
    item that it was at, where that is known: as many as there are items, if it was through with them all. `kept` is a
    BatchResult of what it had handed over before, or None. `worker` is its name, as in `BatchResult.worker`.
    """

    def __init__(
        self, how: str, started: bool = True, at: int | None = None, kept: Any = None, worker: str = ""
    ) -> None:
        super().__init__(how, started, at, kept, worker)
        self.how, self.started, self.at, self.kept, self.worker = how, started, at, kept, worker

    def __str__(self) -> str:
        return self.how


class ItemLate(HeadraceError):
    """A worker was ended because the item that it was at had run for longer than it may.

    `stack` shows where it was, as text, or is empty. The batch has that item alone.
    """

    def __init__(self, stack: str = "") -> None:
        super().__init__(stack)
        self.stack = stack


class ItemUnpicklable(HeadraceError):
    """An item, a result or an error that cannot travel between processes: `what` says which and why."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return self.what


class LeftoversWarning(RuntimeWarning):
    """Something could not be ended in time; the message names it."""
