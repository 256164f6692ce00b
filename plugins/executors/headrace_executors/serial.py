"""The executor `serial`: batches run in the calling thread. The debugger's friend, and the yardstick of the others."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from attrs import asdict, field, frozen

from headrace.contracts import Leftovers
from headrace.drive import Standalone
from headrace.flow.coroutines import run_coroutines, set_up, tear_down_awaited
from headrace.flow.kernel import Control, tear_down
from headrace.flow.stage import FlowSettings
from headrace.hookspecs import hookimpl
from headrace.settings import flag, or_none, whole_number

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headrace.batch import Batch, BatchResult
    from headrace.plan import StageSpec

HEADRACE_API = 1


@frozen
class SerialSettings:
    """max_memory_items and max_memory_bytes bound what is between the source and the consumer."""

    max_memory_items: int = field(default=10_000, validator=whole_number(at_least=1, of="items"))
    max_memory_bytes: int | None = field(default=None, validator=or_none(whole_number(at_least=1, of="bytes")))
    adaptive_batching: bool = field(default=True, validator=flag())


class SerialLane:
    """A stage in the calling thread. Ctrl-C in the user's function ends the run; it is no failure of an item."""

    capacity = 1

    def __init__(self, stage: StageSpec) -> None:
        self._kernel = stage.kernel
        self._loop = stage.loop
        self._teardowns_awaited: list[Callable[[], Awaitable[Any]]] | None = None
        self._control = Control(passing=(KeyboardInterrupt,))
        self._teardowns: list[Callable[[], Any]] | None = None if stage.kernel.needs_setup else []

    def submit(self, batch: Batch) -> Future[BatchResult]:
        future: Future[BatchResult] = Future()
        if self._loop is not None:
            future.set_result(self._loop.run(self._awaited(batch)))
            return future
        if self._teardowns is None:
            self._kernel, self._teardowns = self._kernel.set_up()
        future.set_result(self._kernel.run(batch, self._control, "serial"))
        return future

    async def _awaited(self, batch: Batch) -> BatchResult:
        if self._teardowns_awaited is None:
            self._kernel, self._teardowns_awaited = await set_up(self._kernel)
        return await run_coroutines(self._kernel, batch, self._control, "serial")

    def resize(self, degree: int) -> None:
        """There is one caller, whatever `degree`."""

    def close(self, *, cancel: bool = False, timeout_s: float = 2.0) -> Leftovers:
        self._control.cancelled = True
        teardowns, self._teardowns = self._teardowns or [], []
        tear_down(teardowns)
        awaited, self._teardowns_awaited = self._teardowns_awaited or [], []
        if awaited and self._loop is not None:
            self._loop.run(tear_down_awaited(awaited), last=True)
        return Leftovers()


class SerialExecutor(Standalone):
    """Runs everything in the caller: no thread, no process, one batch at a time."""

    inline = True
    coroutines = True

    def __init__(self, **settings: Any) -> None:
        self._settings = SerialSettings(**settings)

    def open(self, stage: StageSpec) -> SerialLane:
        return SerialLane(stage)

    def close(self, *, cancel: bool = False, timeout_s: float = 2.0) -> Leftovers:
        return Leftovers()

    def flow_settings(self) -> FlowSettings:
        settings = self._settings
        return FlowSettings(
            window=settings.max_memory_items,
            max_bytes=settings.max_memory_bytes,
            adaptive=settings.adaptive_batching,
        )

    def fresh(self) -> SerialExecutor:
        return SerialExecutor(**asdict(self._settings))

    def __repr__(self) -> str:
        return "<SerialExecutor>"


@hookimpl
def headrace_settings(name: str) -> type:
    return SerialSettings


@hookimpl
def headrace_make_executor(name: str, settings: SerialSettings) -> SerialExecutor:
    return SerialExecutor(**asdict(settings))
