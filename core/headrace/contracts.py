"""The protocols that a plugin fulfils. Plain method calls: they happen per batch, where a hook would be too dear."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from attrs import field, frozen

from headrace.batch import Batch, BatchResult
from headrace.plan import Plan, StageSpec
from headrace.report import DeadLetter, RunReport

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from concurrent.futures import Future

HEADRACE_API = 1
"""The version of these contracts. A plugin module states the one it was made for under the same name."""


@frozen
class Leftovers:
    """What could not be ended in time, by name: threads, processes. False when there is none."""

    names: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.names)

    def __add__(self, other: Leftovers) -> Leftovers:
        return Leftovers(self.names + other.names)


@runtime_checkable
class Lane(Protocol):
    """One stage on one executor. Its methods may be called from any thread.

    A future may raise WorkerLost, if the worker came to its end that was to run the batch, or ItemLate, if the lane
    sees to deadlines itself: then what is left of the batch runs again, and the item that is to blame fails.

    A lane that can replace a worker which hangs has a method `abandon(batch)`: from then on nobody waits for that
    batch, and another worker takes the place of the one that is at it. Without it `timeout_s` cannot be kept.
    """

    @property
    def capacity(self) -> int:
        """Batches worth having in flight now, the running ones included; read again before each submit."""
        ...

    def submit(self, batch: Batch) -> Future[BatchResult]:
        """Have the stage's kernel run over `batch`. The future raises only if the batch could not be run at all."""
        ...

    def resize(self, degree: int) -> None:
        """Let `degree` batches run at once from now on."""
        ...

    def close(self, *, cancel: bool = False, timeout_s: float = 2.0) -> Leftovers:
        """End the lane. `cancel` gives up what has not begun and asks running batches to stop after their stride."""
        ...


@runtime_checkable
class Executor(Protocol):
    """Owns workers and serves many stages at once; called from any thread.

    An executor whose `submit` runs the batch itself before it returns says so with a class attribute `inline = True`:
    it is then driven without any thread. One for which it is dear to hand a batch over says with `aim_s` how many
    seconds of work a batch should aim at, at least. One that can run coroutine functions (`flow.coroutines`) says so
    with `coroutines = True`, in the loop that `StageSpec.loop` names, and with `plain = False` if it takes each item by
    itself whatever its function is.
    """

    def open(self, stage: StageSpec) -> Lane: ...

    def close(self, *, cancel: bool = False, timeout_s: float = 2.0) -> Leftovers: ...


@frozen
class RunContext:
    """What a run is given besides its plan. It closes none of it: whoever made the context does.

    `executors` has an executor for every stage of the plan, by the stage's name. At `deadline_s` (monotonic clock) the
    run ends with PipelineTimeout. `seed` is that of the random numbers of `headrace.current().rng`. `loop` is the event
    loop that the run is awaited in, where its coroutines belong; None: it is iterated by a thread.
    """

    run_id: str
    executors: Mapping[str, Executor] = field(repr=False)
    session: MonitorSession = field(repr=False)
    dispatcher: Dispatcher = field(repr=False)
    deadline_s: float | None = None
    seed: int = 0
    loop: AbstractEventLoop | None = None


class Run(Protocol):
    """One execution of a plan: an iterator of (name of the end, batch of outputs). Iterated by one thread."""

    def __iter__(self) -> Iterator[tuple[str, Batch]]: ...

    def __next__(self) -> tuple[str, Batch]: ...

    def stop(self) -> None:
        """No more from the sources; what is in flight is given out, and the run ends well. From any thread."""
        ...

    def cancel(self, cause: BaseException | None = None) -> None:
        """End now: the iterator raises `cause`, or just ends. From any thread."""
        ...

    def close(self) -> Leftovers:
        """End all that the run started, within 2 s; names what it could not end. Safe to call twice."""
        ...

    def snapshot(self) -> RunReport: ...

    # A run that can be awaited says so with `awaitable = True` and has `poll(wake)`, as `drive.engine.Engine` has it,
    # and `end()`, to be called after StopIteration. Any other is iterated by a thread for whoever awaits it.

    @property
    def dead_letters(self) -> Sequence[DeadLetter]:
        """The items set aside so far."""
        ...


class Runner(Protocol):
    """Runs a whole plan."""

    def start(self, plan: Plan, context: RunContext) -> Run: ...


class Recorder(Protocol):
    """What one stage tells the monitor, once per batch."""

    def record(self, result: BatchResult) -> None: ...


class MonitorSession(Protocol):
    """A monitor's view of one run."""

    def recorder(self, stage: str) -> Recorder | None:
        """The stage's recorder, or None if nobody wants to know: then nothing is called per batch."""
        ...

    def snapshot(self) -> dict[str, Any]: ...

    def close(self) -> None: ...


class Monitor(Protocol):
    def session(self, name: str) -> MonitorSession: ...


Listener = Callable[[Any], None]


class Subscription(Protocol):
    """What `subscribe` gives back. `failed` counts the events that the listener raised on."""

    failed: int

    def cancel(self) -> None: ...


class Dispatcher(Protocol):
    """Brings events from whoever emits them to whoever listens."""

    def subscribe(
        self, listener: Listener, *types: type, batch: bool = False, max_pending: int | None = None
    ) -> Subscription:
        """Call `listener` with every event of the `types` (all, if none is named); with lists of them if `batch`."""
        ...

    def notify(self, type: type, /, **attributes: Any) -> None:
        """Tell that an event of `type` happened. What runners call: the event is built only if somebody listens."""
        ...

    def emit(self, event: Any) -> None: ...

    def flush(self, timeout_s: float) -> bool: ...

    def close(self, timeout_s: float) -> None: ...
