"""What a run did: the account per operator, and the items that were set aside."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from headrace.errors import said, shorten

if TYPE_CHECKING:
    from headrace.batch import Failure, Path
    from headrace.flow.ledger import Ledger


@frozen
class DeadLetter:
    """An item that was set aside under the policy `on_error="dead_letter"`.

    `index` is the item's path from its source, `item` what the operator was given, `error` what it raised last,
    `attempts` how often it was tried. `trace` holds (file, line, function) of each frame, outermost first.
    """

    operator: str
    index: Path
    item: object
    error: BaseException
    attempts: int
    trace: tuple[tuple[str, int, str], ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, failure: Failure) -> DeadLetter:
        return cls(failure.name, failure.index, failure.item, failure.error, failure.attempts, tuple(failure.trace))

    @property
    def traceback(self) -> str:
        """As Python would print it; source lines are read when asked for."""
        frames = traceback.StackSummary.from_list([(file, line, name, None) for file, line, name in self.trace])
        head = "Traceback (most recent call last):\n" if self.trace else ""
        return head + "".join([*frames.format(), *traceback.format_exception_only(self.error)])

    def __str__(self) -> str:
        return f"'{self.operator}' at item {self.index} ({shorten(self.item)}): {said(self.error)}"


@frozen
class OperatorStats:
    """One operator's account, in items, and its times in seconds.

    taken = done + filtered + skipped + dead + abandoned. `emitted` counts outputs apart; `retried` attempts that were
    followed by another; `raised` failures that ended the run (they are among the abandoned). `service_s` is the time
    inside the operator's function, summed over workers.
    """

    name: str
    kind: str
    executor: str
    taken: int = 0
    done: int = 0
    filtered: int = 0
    skipped: int = 0
    dead: int = 0
    abandoned: int = 0
    emitted: int = 0
    retried: int = 0
    raised: int = 0
    batches: int = 0
    service_s: float = 0.0


def run_report(
    pipeline: str, profile: str, ledger: Ledger, made_of: Mapping[str, tuple[str, str]], wall_s: float, *, ended: bool
) -> RunReport:
    """The report of a run: `made_of` has the kind and the executor of each operator."""
    stats = []
    for account in ledger.accounts.values():
        for position, (name, tally) in enumerate(zip(account.operators, account.tallies, strict=True)):
            kind, executor = made_of[name]
            reads = bool(account.inputs or account.letters)
            taken = account.taken(position) if reads else tally.taken
            if ended and position == 0 and reads:
                taken = ledger.given(account)  # what it did not take any more is abandoned here
            stats.append(
                OperatorStats(
                    name,
                    kind,
                    executor,
                    taken=taken,
                    done=tally.done,
                    filtered=tally.filtered,
                    skipped=tally.skipped,
                    dead=tally.dead,
                    abandoned=taken - tally.done - tally.filtered - tally.skipped - tally.dead,
                    emitted=tally.emitted,
                    retried=tally.retried,
                    raised=tally.raised,
                    batches=account.batches,
                    service_s=tally.service_s,
                )
            )
    return RunReport(pipeline, profile, tuple(stats), wall_s, ended)


_COLUMNS = ("taken", "done", "filtered", "skipped", "dead", "abandoned", "emitted", "retried", "batches")


@frozen
class RunReport:
    """The account of a run per operator, in topological order. `str` gives it as a table."""

    pipeline: str
    profile: str
    operators: tuple[OperatorStats, ...]
    wall_s: float
    ended: bool = True

    def __getitem__(self, operator: str) -> OperatorStats:
        for stats in self.operators:
            if stats.name == operator:
                return stats
        raise KeyError(f"no operator '{operator}'; there are {', '.join(each.name for each in self.operators)}")

    def __str__(self) -> str:
        state = "ended" if self.ended else "running"
        head = f"pipeline '{self.pipeline}', profile '{self.profile}', {state} after {self.wall_s:.3f} s"
        rows = [["operator", "kind", "executor", *(name for name in _COLUMNS if self._shown(name)), "service s"]]
        for stats in self.operators:
            counts = [f"{getattr(stats, name):,}" for name in _COLUMNS if self._shown(name)]
            rows.append([stats.name, stats.kind, stats.executor, *counts, f"{stats.service_s:.3f}"])
        return "\n".join([head, *_aligned(rows)])

    def _shown(self, column: str) -> bool:
        """The columns of the identity that are all zero tell nothing and are left out."""
        return column in ("taken", "done", "emitted", "batches") or any(
            getattr(each, column) for each in self.operators
        )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of a table: the first three columns to the left, numbers to the right."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if at < 3 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(" ".join(cells).rstrip())
    return lines


def _counted(outputs: Any) -> str:
    if isinstance(outputs, dict):
        return f"{{{', '.join(f'{name!r}: {_counted(each)}' for name, each in outputs.items())}}}"
    return f"[{len(outputs)} items]"


@frozen
class Result:
    """What a run gave. `outputs` is a list, in order, and empty where the pipeline ends in a sink; with several ends it
    is a dict of such lists by the name of the end. `dead_letters` are in the order of their items."""

    outputs: Any = field(repr=_counted)
    report: RunReport = field(repr=False)
    dead_letters: tuple[DeadLetter, ...] = field(default=(), repr=lambda letters: f"({len(letters)})")
