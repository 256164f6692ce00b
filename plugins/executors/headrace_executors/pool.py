"""The executor `pool`: batches run on a `concurrent.futures.Executor` of the user's, who shuts it down, too."""

from __future__ import annotations

from concurrent.futures import Executor, Future, wait
from typing import TYPE_CHECKING

from attrs import field, frozen
from attrs.validators import instance_of

from headrace.contracts import Leftovers
from headrace.errors import SettingsError
from headrace.flow.kernel import Control
from headrace.hookspecs import hookimpl

if TYPE_CHECKING:
    from headrace.batch import Batch, BatchResult
    from headrace.flow.kernel import Kernel
    from headrace.plan import StageSpec

HEADRACE_API = 1

WORKERS = 4
"""How many workers a pool is taken to have that does not say so."""


@frozen
class PoolSettings:
    """The settings of the executor `pool`: the `pool` itself."""

    pool: Executor = field(validator=instance_of(Executor))


def _run(kernel: Kernel, batch: Batch) -> BatchResult:
    return kernel.run(batch, Control())  # in whatever thread or process the pool has


class PoolLane:
    """One stage on the pool."""

    def __init__(self, pool: Executor, stage: StageSpec, degree: int) -> None:
        self._pool = pool
        self._stage = stage
        self._degree = degree
        self._sent: set[Future[BatchResult]] = set()

    @property
    def degree(self) -> int:
        return self._degree

    @property
    def capacity(self) -> int:
        return self._degree

    def resize(self, degree: int) -> None:
        self._degree = degree

    def submit(self, batch: Batch) -> Future[BatchResult]:
        future = self._pool.submit(_run, self._stage.kernel, batch)
        self._sent.add(future)
        future.add_done_callback(self._sent.discard)
        return future

    def close(self, *, cancel: bool = False, timeout_s: float = 2.0) -> Leftovers:
        running = [future for future in tuple(self._sent) if not (cancel and future.cancel())]
        held = wait(running, timeout_s).not_done
        return Leftovers((f"{len(held)} batches of stage '{self._stage.name}' in {self._pool!r}",) if held else ())

    def __repr__(self) -> str:
        return f"<PoolLane '{self._stage.name}' {len(self._sent)} sent>"


class PoolExecutor:
    """Owns nothing: the pool is the user's."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool

    @property
    def max_workers(self) -> int:
        return getattr(self._pool, "_max_workers", None) or WORKERS

    def open(self, stage: StageSpec) -> PoolLane:
        if stage.kernel.needs_setup:
            raise SettingsError(
                f"stage '{stage.name}' has a setup, and the workers of {self._pool!r} are not known one by one; "
                "the executors 'process', 'thread' and 'serial' can have one"
            )
        return PoolLane(self._pool, stage, stage.degree or self.max_workers)

    def close(self, *, cancel: bool = False, timeout_s: float = 2.0) -> Leftovers:
        return Leftovers()

    def __repr__(self) -> str:
        return f"<PoolExecutor on {self._pool!r}>"


@hookimpl
def headrace_settings(name: str) -> type:
    return PoolSettings


@hookimpl
def headrace_make_executor(name: str, settings: PoolSettings) -> PoolExecutor:
    return PoolExecutor(settings.pool)
