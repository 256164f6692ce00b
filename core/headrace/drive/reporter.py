"""What a run tells while it goes on: of its batches, its workers, of who is held back, how far it has come.

    the engine, under its lock --- completed, lost, held ... ---> news --- tell, outside of it ---> notify

So a listener that is called at once, as by the dispatcher `inline`, may do what it likes. What happens with every batch
is told added up, at most every `EVERY_S` for each stage: an event costs its listeners more than a batch costs the run.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from headrace.events import (
    BackpressureEnded,
    BackpressureStarted,
    BatchCompleted,
    BatchSizeChanged,
    ProgressMade,
    WorkerLost,
    WorkerStarted,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headrace.batch import BatchResult
    from headrace.flow.nodes import StageNode

EVERY_S = 0.02
"""Between two events that tell of the batches of a stage."""
CHANGED = 0.25
"""A batch size that changes by less than this share has not changed."""
PROGRESS_S = 0.1
"""Between two events that tell of progress."""


class Notify(Protocol):
    def __call__(self, type: type, /, **attributes: object) -> None: ...


class Reporter:
    """Keeps what is to be told until it may be. All but `tell` is called under the engine's lock, `tell` by any thread
    without it.

    progress  gives the items that each end has come to
    """

    def __init__(self, notify: Notify, progress: Callable[[], Mapping[str, int]], began_s: float) -> None:
        self.news: deque[tuple[type, dict[str, Any]]] = deque()
        self._notify = notify
        self._progress = progress
        self._began_s = began_s
        self._progress_due_s = began_s + PROGRESS_S
        self._batches: dict[StageNode, _Batches] = {}
        self._workers: set[str] = set()
        self._lost: set[str] = set()
        self._held: dict[str, float] = {}  # since when an operator is held back

    def tell(self) -> None:
        """Tell all that there is to be told. Two threads may be at it, and each tells a part."""
        while True:
            try:
                type, facts = self.news.popleft()
            except IndexError:
                return
            self._notify(type, **facts)

    def _add(self, type: type, **facts: object) -> None:
        self.news.append((type, facts))

    # batches

    def completed(self, stage: StageNode, result: BatchResult, now_s: float) -> None:
        """A batch is booked."""
        batches = self._batches.get(stage)
        if batches is None:
            batches = self._batches[stage] = _Batches()
        if result.worker and result.worker not in self._workers:
            self._workers.add(result.worker)
            self._add(WorkerStarted, operator=stage.operators[0], worker=result.worker)
        batches.add(result)
        if now_s >= batches.due_s:
            batches.due_s = now_s + EVERY_S
            self._tell_batches(stage, batches)

    def _tell_batches(self, stage: StageNode, batches: _Batches) -> None:
        self._add(BatchCompleted, operator=stage.operators[0], **batches.taken())
        size = stage.flow.batch_size
        if abs(size - batches.size) > batches.size * CHANGED:
            self._add(BatchSizeChanged, operator=stage.operators[0], size=size, before=batches.size)
            batches.size = size

    def lost(self, stage: StageNode, worker: str, how: str) -> None:
        """A worker was lost in the middle of a batch of `stage`, or given up. Told once, however many it was to do."""
        if worker in self._lost:
            return
        if worker:
            self._lost.add(worker)
        self._add(WorkerLost, operator=stage.operators[0], worker=worker, how=how)

    # who is held back

    def held(self, operator: str, now_s: float, waiting: int = 0) -> None:
        """An operator is held back; without effect if it is known to be."""
        if operator not in self._held:
            self._held[operator] = now_s
            self._add(BackpressureStarted, operator=operator, waiting=waiting)

    def freed(self, operator: str, now_s: float) -> None:
        """It goes on, if it was held back."""
        since_s = self._held.pop(operator, None)
        if since_s is not None:
            self._add(BackpressureEnded, operator=operator, held_s=now_s - since_s)

    # how far it has come

    def look(self, now_s: float) -> None:
        """Note the progress, if it is time to."""
        if now_s >= self._progress_due_s:
            self._progress_due_s = now_s + PROGRESS_S
            self._note_progress(now_s)

    def _note_progress(self, now_s: float) -> None:
        for name, items in self._progress().items():
            self._add(ProgressMade, operator=name, items=items, took_s=now_s - self._began_s)

    def end(self, now_s: float) -> None:
        """The run is at its end: note what has been kept back."""
        for stage, batches in self._batches.items():
            if batches.batches:
                self._tell_batches(stage, batches)
        for operator in tuple(self._held):
            self.freed(operator, now_s)
        self._note_progress(now_s)

    def __repr__(self) -> str:
        return f"<Reporter with {len(self.news)} to tell>"


class _Batches:
    """The batches of a stage that have not been told of, added up."""

    __slots__ = ("batches", "due_s", "emitted", "failed", "items", "service_s", "size", "worker")

    def __init__(self) -> None:
        self.due_s = 0.0
        self.size = 1
        self._clear()

    def _clear(self) -> None:
        self.batches = self.items = self.emitted = self.failed = 0
        self.service_s = 0.0
        self.worker = ""

    def add(self, result: BatchResult) -> None:
        self.batches += 1
        self.items += result.done
        self.emitted += len(result.data)
        self.failed += len(result.failures)
        self.service_s += result.ended_s - result.began_s
        self.worker = result.worker

    def taken(self) -> dict[str, Any]:
        told = {
            "batches": self.batches,
            "items": self.items,
            "emitted": self.emitted,
            "failed": self.failed,
            "service_s": self.service_s,
            "worker": self.worker,
        }
        self._clear()
        return told
