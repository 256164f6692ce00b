"""One stage on worker processes."""

from __future__ import annotations

from concurrent.futures import Future
from itertools import count
from typing import TYPE_CHECKING

from headrace.contracts import Leftovers
from headrace.errors import SettingsError
from headrace.flow.kernel import Control, tear_down
from headrace_executors.process.job import Job
from headrace_executors.process.packing import pack, why_not

if TYPE_CHECKING:
    from headrace.batch import Batch, BatchResult
    from headrace.plan import StageSpec
    from headrace_executors.process.child import Child
    from headrace_executors.process.pool import Pool

BRIEF_S = 0.1
"""A worker gets its next batch ahead of time while the batches of a stage take less than this."""

_numbers = count(1)


class ProcessLane:
    """At most `degree` workers are at its batches at the same time. Its state belongs to the pool's lock."""

    def __init__(self, pool: Pool, stage: StageSpec, degree: int, depth: int) -> None:
        self.number = next(_numbers)
        self.name = stage.name
        self.ops = stage.kernel.ops
        self.timeout_s = stage.timeout_s
        self.idempotent = stage.idempotent
        self.recycle = stage.recycle
        self.kernel = b""
        self.brief = False  # not known yet
        self.unloaded = 0  # workers that were lost while they loaded the functions, since one has done its work
        self.closed = False
        self._pool = pool
        self._degree = degree
        self._depth = depth

    @property
    def degree(self) -> int:
        return self._degree

    @property
    def capacity(self) -> int:
        return self._degree * self._depth

    @property
    def depth(self) -> int:
        """Batches that one worker may have."""
        return self._depth if self.brief and self.timeout_s is None else 1

    def resize(self, degree: int) -> None:
        self._degree = self._pool.allowed(degree)
        self._pool.hire()

    def submit(self, batch: Batch) -> Future[BatchResult]:
        future: Future[BatchResult] = Future()
        self._pool.submit(Job(self, batch, future))
        return future

    def took(self, seconds: float) -> None:
        self.brief = seconds < BRIEF_S

    def worn(self, child: Child) -> bool:
        """Whether a worker is to be replaced by a new one."""
        if self.recycle is None or child.quits:
            return False
        items, rss_bytes = self.recycle.items, self.recycle.rss_bytes
        return bool((items and child.served[self.number] >= items) or (rss_bytes and child.rss_bytes > rss_bytes))

    def abandon(self, batch: Batch) -> None:
        """End the worker that is at `batch`. A lane of this kind sees to its deadlines itself."""
        self._pool.abandon(batch)

    def close(self, *, cancel: bool = False, timeout_s: float = 2.0) -> Leftovers:
        return self._pool.shut(self, cancel=cancel, timeout_s=timeout_s)

    def __repr__(self) -> str:
        return f"<ProcessLane '{self.name}', {self._degree} at once>"


class InlineLane:
    """A stage of a pipeline that is made inside a worker: worker processes of worker processes help nobody."""

    degree = capacity = 1

    def __init__(self, stage: StageSpec) -> None:
        self._kernel, self._teardowns = stage.kernel.set_up()
        self._control = Control()

    def submit(self, batch: Batch) -> Future[BatchResult]:
        future: Future[BatchResult] = Future()
        future.set_result(self._kernel.run(batch, self._control, "in a worker process"))
        return future

    def resize(self, degree: int) -> None:
        """There is one worker, and this is it."""

    def abandon(self, batch: Batch) -> None:
        """What hangs here hangs the worker, whose parent ends it, if it was told how long to wait."""

    def close(self, *, cancel: bool = False, timeout_s: float = 2.0) -> Leftovers:
        self._control.cancelled = True
        teardowns, self._teardowns = self._teardowns, []
        tear_down(teardowns)
        return Leftovers()


def packed(stage: StageSpec) -> bytes:
    """The pickle of a stage's kernel. Raises SettingsError if a function cannot travel, and says which part of it."""
    try:
        return pack(stage.kernel, beside=False)[0]
    except Exception:
        ops = stage.kernel.ops
        for op in ops:
            named = {f"the function {getattr(op.fn, '__qualname__', op.fn)!r}": op.fn, "its setup": op.setup}
            for name, part in named.items():
                what = why_not(part, name)
                if what:
                    raise SettingsError(
                        f"operator '{op.name}' cannot run in worker processes: {what}. "
                        "With executor='thread' nothing has to travel"
                    ) from None
        raise
