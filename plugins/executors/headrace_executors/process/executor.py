"""The executor `process`, as its users see it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from attrs import asdict, field, frozen

from headrace.contracts import Leftovers
from headrace.drive import Standalone
from headrace.errors import HeadraceError
from headrace.flow.stage import FlowSettings
from headrace.hookspecs import hookimpl
from headrace.settings import cores, flag, or_none, whole_number
from headrace_executors.process import worker
from headrace_executors.process.lane import InlineLane, ProcessLane, packed
from headrace_executors.process.pool import Pool

if TYPE_CHECKING:
    from headrace.plan import StageSpec

HEADRACE_API = 1

AIM_S = 0.04
"""Seconds of work that a batch aims at: to bring it to another process and back costs the parent 0.7 ms of a core."""


@frozen
class ProcessSettings:
    """The settings of the executor `process`.

    max_workers        worker processes; None: as many as there are cores
    max_memory_items   most items between source and consumer, wherever they are
    pipeline_depth     batches per worker, the running one included
    adaptive_batching  batch sizes follow the time that batches take; False: single items
    max_memory_bytes   the same bound in measured bytes, or None
    ordered            results in input order, or as they complete
    """

    max_workers: int | None = field(default=None, validator=or_none(whole_number(at_least=1, of="processes")))
    max_memory_items: int = field(default=2_000, validator=whole_number(at_least=1, of="items"))
    pipeline_depth: int = field(default=2, validator=whole_number(at_least=1, of="batches"))
    adaptive_batching: bool = field(default=True, validator=flag())
    max_memory_bytes: int | None = field(default=None, validator=or_none(whole_number(at_least=1, of="bytes")))
    ordered: bool = field(default=True, validator=flag())


class PipelineProcessExecutor(Standalone):
    """Runs batches on worker processes: for functions that compute in Python, and for those that may crash.

    Owns its processes, which begin with the first stage and are gone after `close`. A worker that is killed, crashes or
    hangs is replaced; what it was at runs again, and the item that kills workers is found and fails by itself. The
    settings are those of ProcessSettings.

        with PipelineProcessExecutor(max_workers=4) as executor:
            for image in executor.execute(render, scenes):
                ...
    """

    aim_s = AIM_S

    def __init__(
        self,
        max_workers: int | None = None,
        max_memory_items: int = 2_000,
        pipeline_depth: int = 2,
        adaptive_batching: bool = True,
        max_memory_bytes: int | None = None,
        ordered: bool = True,
    ) -> None:
        self.settings = ProcessSettings(
            max_workers, max_memory_items, pipeline_depth, adaptive_batching, max_memory_bytes, ordered
        )
        self._lock = threading.RLock()
        self._pool: Pool | None = None
        self._closed = False

    @property
    def max_workers(self) -> int:
        return self.settings.max_workers or cores()

    def open(self, stage: StageSpec) -> ProcessLane | InlineLane:
        if worker.at_work:
            return InlineLane(stage)
        pool = self._opened(stage.name)
        lane = ProcessLane(pool, stage, pool.allowed(stage.degree), self.settings.pipeline_depth)
        try:
            pool.open(lane)  # workers take their time to start: what they will need is made meanwhile
            lane.kernel = packed(stage)
        except BaseException:
            lane.close(cancel=True)
            with self._lock:
                idle = self._pool is pool and not pool.lanes
                self._pool = None if idle else self._pool
            if idle:
                pool.close(0.0)
            raise
        return lane

    def _opened(self, stage: str) -> Pool:
        """The pool for one more stage."""
        with self._lock:
            if self._closed:
                raise HeadraceError(f"{self!r} is closed; stage '{stage}' needs an open one")
            if self._pool is None:
                self._pool = Pool(self.max_workers)
            return self._pool

    def close(self, *, cancel: bool = False, timeout_s: float = 2.0) -> Leftovers:
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        return pool.close(timeout_s) if pool is not None else Leftovers()

    def flow_settings(self) -> FlowSettings:
        settings = self.settings
        return FlowSettings(
            window=settings.max_memory_items,
            max_bytes=settings.max_memory_bytes,
            ordered=settings.ordered,
            adaptive=settings.adaptive_batching,
        )

    def fresh(self) -> PipelineProcessExecutor:
        return PipelineProcessExecutor(**asdict(self.settings))

    def __repr__(self) -> str:
        return f"<PipelineProcessExecutor {self._pool or 'without workers'}>"


@hookimpl
def headrace_settings(name: str) -> type:
    return ProcessSettings


@hookimpl
def headrace_make_executor(name: str, settings: ProcessSettings) -> PipelineProcessExecutor:
    return PipelineProcessExecutor(**asdict(settings))
