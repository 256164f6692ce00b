"""The executor `coroutine`: coroutine functions in an event loop, so many items at once as the stage has degrees.

    submit (any thread) --> lane.pending --(one wake-up of the loop for all that came)--> tasks, `degree` at most

loop   the run's, where there is one: the user's, if the run is awaited in it. Else one in a thread that the executor
       begins, and ends by `close`
lane   `_lock` guards what is pending, how many tasks there are and whether a wake-up is on its way; tasks are made and
       cancelled in the loop's thread only, and go from batch to batch while any is pending
batch  has one item, as the flow of a stage of coroutines sees to: a slow one holds up no other
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from attrs import asdict, field, frozen

from headrace.contracts import Leftovers
from headrace.drive import Standalone
from headrace.drive.loops import OwnLoop
from headrace.errors import HeadraceError
from headrace.flow.coroutines import is_entered, run_coroutines, set_up, tear_down_awaited
from headrace.flow.kernel import Control
from headrace.flow.stage import FlowSettings
from headrace.hookspecs import hookimpl
from headrace.settings import flag, or_none, whole_number

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headrace.batch import Batch, BatchResult
    from headrace.drive.loops import GivenLoop
    from headrace.flow.kernel import Kernel
    from headrace.plan import StageSpec

    Job = tuple[Batch, Future[BatchResult]]

HEADRACE_API = 1

DEFAULT_WORKERS = 100
"""Coroutines at once, unless somebody says: as many connections as aiohttp and httpx keep by default."""


@frozen
class CoroutineSettings:
    """The settings of the executor `coroutine`.

    max_workers        coroutines of a stage at once; also the most that an operator's `parallel_degree` may ask for.
                       None: 100, and `parallel_degree` may ask for more
    max_memory_items   most items between source and consumer, wherever they are
    ordered            results in input order, or as they complete
    max_memory_bytes   the same bound in measured bytes, or None
    """

    max_workers: int | None = field(default=None, validator=or_none(whole_number(at_least=1, of="coroutines")))
    max_memory_items: int = field(default=10_000, validator=whole_number(at_least=1, of="items"))
    ordered: bool = field(default=True, validator=flag())
    max_memory_bytes: int | None = field(default=None, validator=or_none(whole_number(at_least=1, of="bytes")))


class CoroutineLane:
    """One stage in a loop: at most `degree` of its batches at once."""

    def __init__(self, loop: GivenLoop, stage: StageSpec, degree: int) -> None:
        self._loop = loop
        self._name = stage.name
        self._kernel = stage.kernel
        self._control = Control()
        self._degree = degree
        self._lock = threading.Lock()
        self._quiet = threading.Condition(self._lock)
        self._pending: deque[Job] = deque()
        self._tasks: dict[asyncio.Task[None], Batch] = {}
        self._running = 0
        self._woken = False
        self._closed = False
        self._needs_setup = self._kernel.needs_setup or is_entered(self._kernel.ops[0].fn)
        self._ready: asyncio.Task[Kernel] | None = None
        self._teardowns: list[Callable[[], Awaitable[Any]]] = []

    @property
    def degree(self) -> int:
        return self._degree

    @property
    def capacity(self) -> int:
        """Twice the degree: where items come back together, the next ones begin before all of that is booked."""
        return 2 * self._degree

    def resize(self, degree: int) -> None:
        self._degree = degree

    def call_soon(self, fn: Callable[[], Any]) -> None:
        """Call `fn` in the loop, after all that has its turn already; from the loop's thread."""
        self._loop.asyncio.call_soon(fn)

    def submit(self, batch: Batch) -> Future[BatchResult]:
        future: Future[BatchResult] = Future()
        with self._lock:
            if self._closed:
                raise HeadraceError(f"the lane of stage '{self._name}' is closed")
            self._pending.append((batch, future))
            wake = not self._woken and self._running < self._degree
            self._woken = self._woken or wake
        if wake:
            self._loop.call(self._start)
        return future

    def abandon(self, batch: Batch) -> None:
        """Cancel the coroutine of `batch`, whose item has run for longer than it may."""
        self._loop.call(partial(self._cancel, batch))

    def _start(self) -> None:
        """Begin what may begin. In the loop's thread: Ctrl-C, if it may come there, is no failure of an item."""
        if threading.current_thread() is threading.main_thread():
            self._control.passing = (KeyboardInterrupt,)
        with self._lock:
            self._woken = False
            count = max(0, min(self._degree - self._running, len(self._pending)))
            jobs = [self._pending.popleft() for _ in range(count)]
            self._running += len(jobs)
        for job in jobs:
            task = self._loop.asyncio.create_task(self._work(job))
            self._tasks[task] = job[0]
            task.add_done_callback(self._ended)

    def _cancel(self, batch: Batch | None = None) -> None:
        """Cancel the coroutine of a batch, or all. In the loop's thread."""
        for task, its in tuple(self._tasks.items()):
            if batch is None or its is batch:
                task.cancel()

    async def _work(self, job: Job | None) -> None:
        """Run a batch, and those that have come meanwhile. A task that is cancelled ends with its batch."""
        task: Any = asyncio.current_task()
        while job is not None:
            batch, future = job
            self._tasks[task] = batch
            if future.set_running_or_notify_cancel():
                await self._run(batch, future)
            del job, batch, future  # an idle task keeps nothing alive
            job = await self._next()

    async def _next(self) -> Job | None:
        """The batch that comes next. What has just been given back is booked in the next turn of the loop, and what
        may go for it comes then."""
        if not self._loop.asyncio.is_running():
            return None  # it is closed, with this task in it
        if not self._pending:
            await asyncio.sleep(0)
        with self._lock:
            return self._pending.popleft() if self._pending and self._running <= self._degree else None

    async def _run(self, batch: Batch, future: Future[BatchResult]) -> None:
        try:
            kernel = await self._set_up() if self._needs_setup else self._kernel
            result = await run_coroutines(kernel, batch, self._control, "coroutine")
        except BaseException as error:
            future.set_exception(error)
            if isinstance(error, (asyncio.CancelledError, *self._control.passing)):
                raise
        else:
            future.set_result(result)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task has ended: for want of work, or since it was cancelled. In the loop's thread."""
        del self._tasks[task]
        if not task.cancelled():
            task.exception()  # it was told to whoever waits for the batch
        with self._lock:
            self._running -= 1
            more = bool(self._pending)
            if not self._running:
                self._quiet.notify_all()
        if more:
            self._start()

    async def _set_up(self) -> Kernel:
        """The kernel with what it makes once: the first batch makes it, the others wait."""
        if self._ready is None:
            self._ready = asyncio.create_task(self._make())
        return await asyncio.shield(self._ready)

    async def _make(self) -> Kernel:
        kernel, self._teardowns = await set_up(self._kernel)
        return kernel

    def close(self, *, cancel: bool = False, timeout_s: float = 2.0) -> Leftovers:
        until_s = monotonic() + timeout_s
        with self._lock:
            self._closed = True
            dropped, self._pending = (self._pending, deque()) if cancel else (deque(), self._pending)
            self._control.cancelled = self._control.cancelled or cancel
        for _, future in dropped:
            future.cancel()
        try:
            if cancel:
                self._loop.call(self._cancel)
            with self._lock:
                while (self._running or self._pending) and (left_s := until_s - monotonic()) > 0:
                    self._quiet.wait(left_s)
                held = self._running
            if self._ready is not None and self._loop.asyncio.is_running():
                self._loop.run(self._tear_down(), last=True)
        except RuntimeError:  # the loop is closed, and all that was in it is gone
            held = 0
        return Leftovers((f"{held} coroutines of stage '{self._name}'",) if held else ())

    async def _tear_down(self) -> None:
        if self._ready is not None:
            self._ready.cancel()
            await asyncio.wait([self._ready])
        teardowns, self._teardowns = self._teardowns, []
        await tear_down_awaited(teardowns)

    def __repr__(self) -> str:
        return f"<CoroutineLane '{self._name}' {self._running}/{self._degree} running, {len(self._pending)} pending>"


class CoroutineExecutor(Standalone):
    """Runs coroutine functions, each item by itself. The settings are those of CoroutineSettings.

    with CoroutineExecutor(max_workers=500) as executor:
        for page in executor.execute(fetch, urls):  # `fetch` is a coroutine function
            ...
    """

    coroutines = True
    plain = False

    def __init__(
        self,
        max_workers: int | None = None,
        max_memory_items: int = 10_000,
        *,
        ordered: bool = True,
        max_memory_bytes: int | None = None,
    ) -> None:
        self.settings = CoroutineSettings(max_workers, max_memory_items, ordered, max_memory_bytes)
        self._lock = threading.Lock()
        self._loop: OwnLoop | None = None
        self._lanes: list[CoroutineLane] = []
        self._closed = False

    @property
    def max_workers(self) -> int:
        return self.settings.max_workers or DEFAULT_WORKERS

    def open(self, stage: StageSpec) -> CoroutineLane:
        asked, most = stage.degree or self.max_workers, self.settings.max_workers
        with self._lock:
            if self._closed:
                raise HeadraceError(f"{self!r} is closed; stage '{stage.name}' needs an open one")
            loop: GivenLoop | None = stage.loop
            if loop is None:
                loop = self._loop = self._loop or OwnLoop()
            lane = CoroutineLane(loop, stage, min(asked, most or asked))
            self._lanes.append(lane)
        return lane

    def close(self, *, cancel: bool = False, timeout_s: float = 2.0) -> Leftovers:
        until_s = monotonic() + timeout_s
        with self._lock:
            self._closed = True
            lanes, self._lanes = self._lanes, []
            loop, self._loop = self._loop, None
        left = Leftovers()
        for lane in lanes:
            left += lane.close(cancel=cancel, timeout_s=max(0.0, until_s - monotonic()))
        if loop is not None and not loop.close():
            left += Leftovers(("headrace-loop",))
        return left

    def flow_settings(self) -> FlowSettings:
        settings = self.settings
        return FlowSettings(
            window=settings.max_memory_items, max_bytes=settings.max_memory_bytes, ordered=settings.ordered
        )

    def fresh(self) -> CoroutineExecutor:
        return CoroutineExecutor(**asdict(self.settings))

    def __repr__(self) -> str:
        return f"<CoroutineExecutor {len(self._lanes)} lanes, {self.max_workers} at once>"


@hookimpl
def headrace_settings(name: str) -> type:
    return CoroutineSettings


@hookimpl
def headrace_make_executor(name: str, settings: CoroutineSettings) -> CoroutineExecutor:
    return CoroutineExecutor(**asdict(settings))
