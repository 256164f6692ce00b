"""The executor `thread`: batches run on a pool of threads.

submit --> lane.pending --(a token per worker that may start)--> pool.tokens --> worker: runs the lane's batches
                                                                                  until none is pending

pool    `_lock` guards the pool's threads, the number of idle ones, and of every lane: what is pending, how many
        workers are at it, how many of them are about to come back for more
worker  a daemon thread; waits for a token without the lock, and never holds it while it runs a batch or calls back
"""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from concurrent.futures import Future
from itertools import count
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING

from attrs import asdict, field, frozen

from headrace.contracts import Leftovers
from headrace.drive import Standalone
from headrace.errors import HeadraceError
from headrace.flow.kernel import Control, tear_down
from headrace.flow.stage import FlowSettings
from headrace.hookspecs import hookimpl
from headrace.settings import cores, flag, or_none, whole_number

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from headrace.batch import Batch, BatchResult
    from headrace.flow.kernel import Kernel
    from headrace.plan import StageSpec

HEADRACE_API = 1

_numbers = count(1)


def default_workers() -> int:
    """As many as `concurrent.futures` takes: threads mostly wait, so a few more than there are cores, 32 at most."""
    return min(32, cores() + 4)


@frozen
class ThreadSettings:
    """The settings of the executor `thread`.

    max_workers        threads of a stage; also the most that an operator's `parallel_degree` may ask for.
                       None: cores + 4, at most 32, and `parallel_degree` may ask for more
    max_memory_items   most items between source and consumer, wherever they are
    pipeline_depth     batches per thread, the running one included
    adaptive_batching  batch sizes follow the time that batches take; False: single items
    ordered            results in input order, or as they complete
    max_memory_bytes   the same bound in measured bytes, or None
    """

    max_workers: int | None = field(default=None, validator=or_none(whole_number(at_least=1, of="threads")))
    max_memory_items: int = field(default=10_000, validator=whole_number(at_least=1, of="items"))
    pipeline_depth: int = field(default=3, validator=whole_number(at_least=1, of="batches"))
    adaptive_batching: bool = field(default=True, validator=flag())
    ordered: bool = field(default=True, validator=flag())
    max_memory_bytes: int | None = field(default=None, validator=or_none(whole_number(at_least=1, of="bytes")))


class ThreadLane:
    """One stage on the pool: at most `degree` of its batches run at once.

    The underscored fields are the pool's business and guarded by its lock.
    """

    def __init__(self, pool: PipelineThreadExecutor, stage: StageSpec, degree: int, depth: int) -> None:
        self._pool = pool
        self._name = stage.name
        self._kernel = stage.kernel
        self._context = contextvars.copy_context()
        self._control = Control(watched=True)
        self._degree = degree
        self._depth = depth
        self._pending: deque[tuple[Batch, Future[BatchResult]]] = deque()
        self._workers = 0  # threads at work for this lane, or on their way to it
        self._returning = 0  # those of them that are calling back, and look for more work after that
        self._held: dict[str, Batch] = {}  # what the threads inside the user's code are at, by their names
        self._set_up: dict[str, Kernel] = {}  # the kernels of the threads, by their names, where each has its own
        self._teardowns: list[Callable[[], Any]] = []
        self._closed = False
        self._quiet = threading.Condition(pool._lock)

    @property
    def degree(self) -> int:
        """Batches that run at once: what was asked for, as far as `max_workers` allows."""
        return self._degree

    @property
    def capacity(self) -> int:
        return self._degree * self._depth

    def resize(self, degree: int) -> None:
        self._degree = self._pool._allowed(degree)

    def submit(self, batch: Batch) -> Future[BatchResult]:
        future: Future[BatchResult] = Future()
        with self._pool._lock:
            if self._closed:
                raise HeadraceError(f"the lane of stage '{self._name}' is closed")
            self._pending.append((batch, future))
            # A worker that is calling back takes one batch itself: to wake another for it would only cost time.
            needed = self._workers < self._degree and len(self._pending) > self._returning
            self._workers += needed
        if needed:
            self._pool._send(self)
        return future

    def abandon(self, batch: Batch) -> None:
        """Count no more on the thread that runs `batch`. It ends when the user's function returns."""
        with self._pool._lock:
            name = next((name for name, held in self._held.items() if held is batch), None)
            if name is None:
                return
            del self._held[name]
            self._pool._lost[name] = f"{name} in stage '{self._name}', past its timeout"
            self._workers -= 1
            needed = bool(self._pending)
            self._workers += needed
        if needed:
            self._pool._send(self)

    def run(self) -> bool:
        """A worker's turn: run what is pending, one batch after the other. False if the worker was given up on."""
        name = threading.current_thread().name
        came_back = False
        while (job := self._next(name, came_back)) is not None:
            batch, future = job
            came_back = future.set_running_or_notify_cancel()
            if came_back and not self._run(name, batch, future):
                return False
        return True

    def _next(self, name: str, came_back: bool) -> tuple[Batch, Future[BatchResult]] | None:
        with self._pool._lock:
            self._returning -= came_back
            if self._pending:
                job = self._pending.popleft()
                self._held[name] = job[0]
                return job
            self._workers -= 1
            return None

    def _run(self, name: str, batch: Batch, future: Future[BatchResult]) -> bool:
        try:
            kernel = self._kernel if not self._kernel.needs_setup else self._kernel_of(name)
            result = self._context.copy().run(kernel.run, batch, self._control, name)
        except BaseException as error:
            back = self._back(name)
            future.set_exception(error)
        else:
            back = self._back(name)
            future.set_result(result)
        return back

    def _kernel_of(self, name: str) -> Kernel:
        """The kernel of this thread, with what it makes once."""
        if name not in self._set_up:
            self._set_up[name], teardowns = self._context.copy().run(self._kernel.set_up)
            self._teardowns += teardowns
        return self._set_up[name]

    def _back(self, name: str) -> bool:
        """A worker is back from the user's code; False if nobody counts on it any more."""
        with self._pool._lock:
            if self._held.pop(name, None) is None:
                del self._pool._lost[name]
                return False
            self._returning += 1
            if self._closed:
                self._quiet.notify_all()
            return True

    def close(self, *, cancel: bool = False, timeout_s: float = 2.0) -> Leftovers:
        until_s = monotonic() + timeout_s
        me = threading.current_thread().name  # a function that closes its own run is not waited for
        with self._pool._lock:
            self._closed = True
            if cancel:
                self._control.cancelled = True
                dropped, self._pending = self._pending, deque()
            else:
                dropped = deque()
            while (self._held.keys() - {me} or self._pending) and (left_s := until_s - monotonic()) > 0:
                self._quiet.wait(left_s)
            held = Leftovers(tuple(f"{name} in stage '{self._name}'" for name in self._held if name != me))
            if not held:
                self._pool._forget(self)
            teardowns, self._teardowns = ([], self._teardowns) if held else (self._teardowns, [])
        for _, future in dropped:
            future.cancel()
        tear_down(teardowns)
        return held

    def __repr__(self) -> str:
        return f"<ThreadLane '{self._name}' {len(self._held)}/{self._degree} running, {len(self._pending)} pending>"


class PipelineThreadExecutor(Standalone):
    """Runs batches on threads: for functions that wait, or that release the interpreter lock.

    Owns its threads, which begin when they are needed and are gone after `close`. The settings are those of
    ThreadSettings.

        with PipelineThreadExecutor(max_workers=8) as executor:
            for page in executor.execute(fetch, urls):
                ...
    """

    def __init__(
        self,
        max_workers: int | None = None,
        max_memory_items: int = 10_000,
        pipeline_depth: int = 3,
        adaptive_batching: bool = True,
        *,
        ordered: bool = True,
        max_memory_bytes: int | None = None,
    ) -> None:
        self.settings = ThreadSettings(
            max_workers, max_memory_items, pipeline_depth, adaptive_batching, ordered, max_memory_bytes
        )
        self._lock = threading.RLock()
        self._tokens: SimpleQueue[ThreadLane | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle = 0  # threads that wait for a token
        self._wanted = 0  # threads that are to be started, for tokens that are there
        self._starters = 0  # threads that start others, or will before they do anything else
        self._lanes: list[ThreadLane] = []
        self._lost: dict[str, str] = {}  # threads that nobody counts on any more, by name, with what they are at
        self._closed = False

    @property
    def max_workers(self) -> int:
        return self.settings.max_workers or default_workers()

    def open(self, stage: StageSpec) -> ThreadLane:
        with self._lock:
            if self._closed:
                raise HeadraceError(f"{self!r} is closed; stage '{stage.name}' needs an open one")
            lane = ThreadLane(self, stage, self._allowed(stage.degree), self.settings.pipeline_depth)
            self._lanes.append(lane)
        return lane

    def _allowed(self, degree: int | None) -> int:
        """The degree of a stage that asks for `degree`: no more than `max_workers`, where that was given."""
        return min(degree or self.max_workers, self.settings.max_workers or degree or self.max_workers)

    def _send(self, lane: ThreadLane) -> None:
        """Send a worker to `lane`: an idle one, or a new one."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            else:
                self._wanted += 1
            alone = bool(self._wanted and not self._starters)
            self._starters += alone
        self._tokens.put(lane)
        if alone:
            self._start_wanted()

    def _start_wanted(self) -> None:
        """Start the threads that are wanted. Each that begins helps with the others: to start one takes so long that
        thirty in a row would come late. Whoever is at it, or about to be, counts in `_starters`."""
        while (thread := self._next_thread()) is not None:
            try:
                thread.start()
            except RuntimeError:  # the system gives no more threads: those that there are must do
                with self._lock:
                    self._threads.remove(thread)
                    self._starters -= 2  # its, and this one
                    if not self._threads:
                        raise
                return

    def _next_thread(self) -> threading.Thread | None:
        with self._lock:
            if self._closed or not self._wanted:
                self._starters -= 1
                return None
            self._wanted -= 1
            self._starters += 1
            name = f"headrace-thread-{next(_numbers)}"
            self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
            return self._threads[-1]

    def _forget(self, lane: ThreadLane) -> None:
        with self._lock:
            if lane in self._lanes:
                self._lanes.remove(lane)

    def _work(self) -> None:
        self._start_wanted()
        while (lane := self._tokens.get()) is not None:
            if not lane.run():
                with self._lock:
                    self._threads.remove(threading.current_thread())
                return
            del lane  # an idle thread keeps nothing alive
            with self._lock:
                if self._wanted:
                    self._wanted -= 1  # this one takes the token that a new thread was to have
                else:
                    self._idle += 1

    def close(self, *, cancel: bool = False, timeout_s: float = 2.0) -> Leftovers:
        until_s = monotonic() + timeout_s
        with self._lock:
            lanes, self._lanes = self._lanes, []
        left = Leftovers()
        for lane in lanes:
            left += lane.close(cancel=cancel, timeout_s=max(0.0, until_s - monotonic()))
        with self._lock:
            self._closed = True
            threads = [thread for thread in self._threads if thread.name not in self._lost]
            left += Leftovers(tuple(self._lost.values()))
        for _ in threads:
            self._tokens.put(None)
        for thread in threads:
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join(max(0.0, until_s - monotonic()))
        return left

    def flow_settings(self) -> FlowSettings:
        settings = self.settings
        return FlowSettings(
            window=settings.max_memory_items,
            max_bytes=settings.max_memory_bytes,
            ordered=settings.ordered,
            adaptive=settings.adaptive_batching,
        )

    def fresh(self) -> PipelineThreadExecutor:
        return PipelineThreadExecutor(**asdict(self.settings))

    def __repr__(self) -> str:
        return f"<PipelineThreadExecutor {len(self._threads)} threads, {self._idle} idle, {len(self._lanes)} lanes>"


@hookimpl
def headrace_settings(name: str) -> type:
    return ThreadSettings


@hookimpl
def headrace_make_executor(name: str, settings: ThreadSettings) -> PipelineThreadExecutor:
    return PipelineThreadExecutor(**asdict(settings))
