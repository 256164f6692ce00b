"""What travels: items in batches, what comes back for them, and what a worker makes for its functions. Data only.

Worker processes import this module, so it is standard library without `typing`, and its classes are plain and slotted.
"""

from __future__ import annotations

from sys import maxsize

from headrace.errors import OperatorFailed, said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    # Which input of a batch: its offset there, and an ordinal for every `flat_map` passed since.
    Where = int | tuple[int, ...]
    # An item's way from its source: its position there (from 0), and an ordinal for every `flat_map` passed since.
    # Items of a second source have its name before it.
    Path = int | tuple[int | str, ...]


class Batch:
    """Items that travel together.

    seq      position of the first item in its stage's input, from 0: the order key; a batch covers seq .. seq + len
    index    path of each item from its source: a range while nothing was filtered or expanded
    data     the items
    born_s   when the oldest of them entered the pipeline (monotonic clock)
    attempt  which attempt this is for its items, from 1
    enter    position of the first fused operator to run: above 0 only for the retry of an item that had got that far
    bound    most that outputs, failures and inputs not begun may come to: beyond it the kernel gives the rest back;
             None: no bound
    most_bytes  the same in measured bytes of the outputs
    nbytes   measured size of the items; 0 where the stage has no bound in bytes
    began_s  when a kernel in this process began with it (monotonic clock); 0: not yet
    at_work  where a kernel in this process is in the items, if one is: an iterator of a list
    is_cut   whether that one was told to stop
    step     item by item, each noted before it is begun: it is known then which one a worker was lost with
    """

    __slots__ = (
        "at_work",
        "attempt",
        "began_s",
        "born_s",
        "bound",
        "data",
        "enter",
        "index",
        "is_cut",
        "most_bytes",
        "nbytes",
        "seq",
        "step",
    )

    def __init__(
        self,
        seq: int,
        index: Sequence[Path],
        data: Sequence[Any],
        born_s: float,
        attempt: int = 1,
        enter: int = 0,
        bound: int | None = None,
        nbytes: int = 0,
        step: bool = False,
    ) -> None:
        self.seq = seq
        self.index = index
        self.data = data
        self.born_s = born_s
        self.step = step
        self.attempt = attempt
        self.enter = enter
        self.bound = bound
        self.most_bytes: int | None = None
        self.is_cut = False
        self.began_s = 0.0
        self.at_work: Iterator[Any] | None = None
        self.nbytes = nbytes

    def __len__(self) -> int:
        return len(self.data)

    def cut(self) -> None:
        """Have the kernel give back what it has not come to, behind the item that it is at. From any thread; without
        effect where the kernel runs in another process, or is through."""
        ahead = self.at_work  # read once: the kernel may be through at any moment
        if ahead is not None:
            self.is_cut = True
            ahead.__setstate__(maxsize)  # type: ignore[attr-defined]  # it is that of a list: on to its end

    def copy(self) -> Batch:
        """Another batch of the same items, not begun."""
        return Batch(self.seq, self.index, self.data, self.born_s, self.attempt, self.enter, nbytes=self.nbytes)

    def split(self, items: int) -> tuple[Batch, Batch]:
        """The first `items`, and the rest; no byte is lost to rounding."""
        rest = self.behind(items)
        first = Batch(self.seq, self.index[:items], self.data[:items], self.born_s, self.attempt, self.enter)
        first.nbytes, first.step = self.nbytes - rest.nbytes, self.step
        return first, rest

    def behind(self, done: int) -> Batch:
        """The items behind the first `done`, to be run anew."""
        left = len(self.data) - done
        nbytes = self.nbytes * left // len(self.data)
        return Batch(
            self.seq + done,
            self.index[done:],
            self.data[done:],
            self.born_s,
            self.attempt,
            self.enter,
            nbytes=nbytes,
            step=self.step,
        )

    def retry(self, failure: Failure) -> Batch:
        """The item of `failure` alone, from the operator that it failed in on."""
        return Batch(self.seq, [failure.index], [failure.item], self.born_s, failure.attempts + 1, failure.operator)

    def __repr__(self) -> str:
        return f"<Batch {self.seq}..{self.seq + len(self.data)}, attempt {self.attempt}>"


def joined(batches: Sequence[Batch]) -> Batch:
    """The items of several batches, in their order, as one that begins where the first does."""
    first = batches[0]
    index = [path for batch in batches for path in batch.index]
    data = [item for batch in batches for item in batch.data]
    born_s = min(batch.born_s for batch in batches)
    return Batch(first.seq, index, data, born_s, nbytes=sum(batch.nbytes for batch in batches))


class Failure:
    """An item that raised.

    operator  position of the operator in its kernel, from 0
    name      its name
    where     which input of the batch the item stems from, as in `BatchResult.where`
    index     the item's path; item: what the operator was given
    error     what it raised; attempts: how often it was tried
    verdict   "retry", "raise", "skip" or "dead_letter": what the operator's policy says
    trace     (file, line, function) of each frame, outermost first. Unless the verdict is "raise", the error itself
              has lost its traceback: frames keep alive all that was in their variables, which knows no bound
    """

    __slots__ = ("attempts", "error", "index", "item", "name", "operator", "trace", "verdict", "where")

    def __init__(
        self,
        operator: int,
        name: str,
        where: Where,
        index: Path,
        item: Any,
        error: BaseException,
        attempts: int,
        verdict: str,
        trace: Sequence[tuple[str, int, str]] = (),
    ) -> None:
        self.operator = operator
        self.name = name
        self.where = where
        self.index = index
        self.item = item
        self.error = error
        self.attempts = attempts
        self.verdict = verdict
        self.trace = trace

    def as_error(self) -> OperatorFailed:
        """What ends the run for this failure, the item's own error chained."""
        error = OperatorFailed(self.name, self.index, self.item, said(self.error))
        error.__cause__ = self.error
        return error

    def __repr__(self) -> str:
        return f"<Failure of '{self.name}' at item {self.index}: {type(self.error).__name__}, {self.verdict}>"


COUNTS = {"retry": "retried", "raise": "raised", "skip": "skipped", "dead_letter": "dead"}
"""Which count of a `Tally` each verdict goes to."""


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

    def failed(self, verdict: str, *, first: bool) -> None:
        """An item failed, in its `first` attempt or a later one."""
        self.taken += first
        count = COUNTS[verdict]
        setattr(self, count, getattr(self, count) + 1)

    def add(self, other: Tally) -> None:
        self.taken += other.taken
        self.done += other.done
        self.filtered += other.filtered
        self.skipped += other.skipped
        self.dead += other.dead
        self.emitted += other.emitted
        self.retried += other.retried
        self.raised += other.raised
        self.service_s += other.service_s

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)}" for name in Tally.__slots__ if getattr(self, name))
        return f"<Tally {shown}>"


class BatchResult:
    """What came of a batch.

    data      the outputs, in order
    where     for each output, the offset of its input in the batch, as a path: an int, or a tuple with the ordinals
              of the `flat_map`s it passed; None while every input gave exactly one output
    done      inputs dealt with; the rest comes back to be sent anew
    failures  the items that raised
    tallies   one per operator of the kernel
    nbytes    measured size of the outputs; 0 where the stage has no bound in bytes
    most      items that the executor can take at once, as things are: larger batches come back in parts; None: any
    worker    who ran it; began_s, ended_s: monotonic clock; cpu_s: seconds of CPU of the worker's thread
    """

    __slots__ = (
        "began_s",
        "cpu_s",
        "data",
        "done",
        "ended_s",
        "failures",
        "most",
        "nbytes",
        "tallies",
        "where",
        "worker",
    )

    def __init__(
        self,
        data: Sequence[Any],
        where: Sequence[Where] | None,
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
        self.most: int | None = None
        self.worker = worker
        self.began_s = began_s
        self.ended_s = ended_s
        self.cpu_s = cpu_s

    def and_then(self, later: BatchResult) -> BatchResult:
        """This and what came of the inputs behind it, as one; `where` and `done` of both count from the first input."""
        where: Sequence[Where] | None = None
        if self.where is not None or later.where is not None:
            before = range(self.done) if self.where is None else self.where
            where = [*before, *(range(self.done, later.done) if later.where is None else later.where)]
        for mine, its in zip(self.tallies, later.tallies, strict=True):
            mine.add(its)
        return BatchResult(
            [*self.data, *later.data],
            where,
            later.done,
            [*self.failures, *later.failures],
            self.tallies,
            nbytes=self.nbytes + later.nbytes,
            worker=later.worker,
            began_s=self.began_s,
            ended_s=later.ended_s,
            cpu_s=self.cpu_s + later.cpu_s,
        )

    def __repr__(self) -> str:
        return f"<BatchResult of {self.done} inputs: {len(self.data)} outputs, {len(self.failures)} failures>"


class Setup:
    """`make(*args, **kwargs)` is called once in each worker, before the first item of its operator. If the operator has
    no function of its own, what it gives is that function: an instance of a class with `__call__`, say.

    teardown  called with what `make` gave when the worker is done with the operator, unless it is killed

        .map("embed", setup=Setup(Model, "weights.bin", teardown=Model.close))
    """

    __slots__ = ("args", "kwargs", "make", "teardown")

    def __init__(
        self, make: Callable[..., Any], *args: Any, teardown: Callable[[Any], Any] | None = None, **kwargs: Any
    ) -> None:
        self.make = make
        self.args = args
        self.kwargs = kwargs
        self.teardown = teardown

    def __repr__(self) -> str:
        given = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        return f"Setup({', '.join([getattr(self.make, '__qualname__', repr(self.make)), *given])})"


def order_key(path: Path) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Sorts paths: by source, by position there, by ordinals."""
    parts = path if isinstance(path, tuple) else (path,)
    return (
        tuple(part for part in parts if isinstance(part, str)),
        tuple(part for part in parts if isinstance(part, int)),
    )


def locate(index: Sequence[Path], where: Where) -> Path:
    """The path of an item that stems from input `where` of a batch with this `index`."""
    if isinstance(where, int):
        return index[where]
    base = index[where[0]]
    return (base if isinstance(base, tuple) else (base,)) + where[1:]


def paths(index: Sequence[Path], where: Sequence[Where] | None, done: int) -> Sequence[Path]:
    """The paths of the outputs of a batch's first `done` inputs."""
    if where is None:
        return index if done == len(index) else index[:done]
    if where and isinstance(where[0], tuple):
        return [locate(index, each) for each in where]
    return list(map(index.__getitem__, where))  # type: ignore[arg-type]
