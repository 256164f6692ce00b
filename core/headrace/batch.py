"""What travels: items in batches, and what comes back for them. Data only.

Worker processes import this module, so it is standard library without `typing`, and its classes are plain and slotted.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    # An item's way from its source: its position there (from 0), and an ordinal for every `flat_map` passed since.
    Path = int | tuple[int, ...]


class Batch:
    """Items that travel together.

    seq      position of the first item in its stage's input, from 0: the order key; a batch covers seq .. seq + len
    index    path of each item from its source: a range while nothing was filtered or expanded
    data     the items
    born_s   when the oldest of them entered the pipeline (monotonic clock)
    attempt  which attempt this is for its items, from 1
    enter    position of the first fused operator to run: above 0 only for the retry of an item that had got that far
    """

    __slots__ = ("attempt", "born_s", "data", "enter", "index", "seq")

    def __init__(
        self, seq: int, index: Sequence[Path], data: Sequence[Any], born_s: float, attempt: int = 1, enter: int = 0
    ) -> None:
        self.seq = seq
        self.index = index
        self.data = data
        self.born_s = born_s
        self.attempt = attempt
        self.enter = enter

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        return f"<Batch {self.seq}..{self.seq + len(self.data)}, attempt {self.attempt}>"


class Failure:
    """An item that raised.

    operator  position of the operator in its kernel, from 0
    name      its name
    offset    which input of the batch the item stems from
    index     the item's path; item: what the operator was given
    error     what it raised; attempts: how often it was tried
    verdict   "retry", "raise", "skip" or "dead_letter": what the operator's policy says
    """

    __slots__ = ("attempts", "error", "index", "item", "name", "offset", "operator", "verdict")

    def __init__(
        self,
        operator: int,
        name: str,
        offset: int,
        index: Path,
        item: Any,
        error: BaseException,
        attempts: int,
        verdict: str,
    ) -> None:
        self.operator = operator
        self.name = name
        self.offset = offset
        self.index = index
        self.item = item
        self.error = error
        self.attempts = attempts
        self.verdict = verdict

    def __repr__(self) -> str:
        return f"<Failure of '{self.name}' at item {self.index}: {type(self.error).__name__}, {self.verdict}>"


class Tally:
    """One operator's account of one batch, in items, except for the times.

    taken = done + filtered + skipped + dead + retried + raised: `retried` are those that will be tried again (their
    next attempt is not taken a second time), `raised` those that end the run. `emitted` counts outputs.
    service_s  wall seconds inside the operator's function
    """

    __slots__ = ("dead", "done", "emitted", "filtered", "raised", "retried", "service_s", "skipped", "taken")

    def __init__(self) -> None:
        self.taken = self.done = self.filtered = self.skipped = self.dead = 0
        self.emitted = self.retried = self.raised = 0
        self.service_s = 0.0

    def add(self, other: Tally) -> None:
        for name in Tally.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)}" for name in Tally.__slots__ if getattr(self, name))
        return f"<Tally {shown}>"


class BatchResult:
    """What came of a batch.

    data      the outputs, in order
    where     for each output, the offset of its input in the batch, as a path: an int, or a tuple with the ordinals
              of the `flat_map`s it passed; None while every input gave exactly one output
    done      inputs dealt with; the rest comes back to be sent anew
    failures  items that raised, except those that a policy only counts
    tallies   one per operator of the kernel
    nbytes    measured size of the outputs; 0 where the stage has no bound in bytes
    worker    who ran it; began_s, ended_s: monotonic clock; cpu_s: seconds of CPU of the worker's thread
    """

    __slots__ = (
        "began_s",
        "cpu_s",
        "data",
        "done",
        "ended_s",
        "failures",
        "nbytes",
        "tallies",
        "where",
        "worker",
    )

    def __init__(
        self,
        data: Sequence[Any],
        where: Sequence[Path] | None,
        done: int,
        failures: Sequence[Failure],
        tallies: Sequence[Tally],
        *,
        nbytes: int = 0,
        worker: str = "",
        began_s: float = 0.0,
        ended_s: float = 0.0,
        cpu_s: float = 0.0,
    ) -> None:
        self.data = data
        self.where = where
        self.done = done
        self.failures = failures
        self.tallies = tallies
        self.nbytes = nbytes
        self.worker = worker
        self.began_s = began_s
        self.ended_s = ended_s
        self.cpu_s = cpu_s

    def __repr__(self) -> str:
        return f"<BatchResult of {self.done} inputs: {len(self.data)} outputs, {len(self.failures)} failures>"
