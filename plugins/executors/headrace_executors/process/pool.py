"""The worker processes of an executor: who is at what, and who is given what next.

    any thread   submit, shut, close --> books, under `_lock`; sends what goes at once
    listener     heard, gone, turn: what has come, who is at an end; calls the futures' callbacks

`_lock` guards the queue, the lanes, the children and the jobs of each. It is reentrant, since the garbage collector may
close an abandoned run in any thread at any point. Nothing is packed, sent, started or called back while it is held.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING
from weakref import WeakSet

from headrace.contracts import Leftovers
from headrace.errors import HeadraceError, ItemLate, WorkerLost, said
from headrace.settings import cores
from headrace_executors.process import wire
from headrace_executors.process.child import Child, without_ctrl_c
from headrace_executors.process.listener import Listener
from headrace_executors.process.mail import deliver
from headrace_executors.process.packing import unpack

if TYPE_CHECKING:
    from headrace.batch import Batch
    from headrace_executors.process.job import Job
    from headrace_executors.process.lane import ProcessLane
    from headrace_executors.process.wire import Message

STILLBORN, KILLED_EARLY = 3, 20
"""So many workers in a row that ended before they had begun, by themselves or by somebody else, and no more are
started."""
STOP_S = 0.25
"""Seconds that running batches which nobody wants get to come to the end of a stride."""
QUIT_S = 1.0
"""Seconds that idle workers get to end by themselves."""


class Pool:
    """Owns the workers, and the listener."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._queue: deque[Job] = deque()
        self._lanes: list[ProcessLane] = []
        self._children: list[Child] = []
        self._hiring = 0  # workers that are being started
        self._over: list[ProcessLane] = []  # lanes that workers are to be told to forget
        self._stillborn: list[bool] = []  # of workers that ended before they had begun, since one has begun: by itself?
        self._broken: str | None = None  # why no more workers are started
        self._listener = Listener(self)
        self._numbers = count(1)
        self._closed = False
        _pools.add(self)

    # lanes

    def allowed(self, degree: int | None) -> int:
        return min(degree or self._most, self._most)

    def open(self, lane: ProcessLane) -> None:
        with self._lock:
            if self._closed:
                raise HeadraceError(f"the pool of processes is closed; stage '{lane.name}' needs an open one")
            self._lanes.append(lane)
        self.hire()

    @property
    def lanes(self) -> int:
        """How many are open."""
        with self._lock:
            return len(self._lanes)

    def submit(self, job: Job) -> None:
        early = job.pack()
        if early is not None:
            job.finish(early)
            return
        with self._lock:
            if self._closed or job.lane.closed:
                raise HeadraceError(f"the lane of stage '{job.lane.name}' is closed")
            if self._broken:
                raise HeadraceError(self._broken)
            self._queue.append(job)
        self._dispatch()

    def shut(self, lane: ProcessLane, *, cancel: bool, timeout_s: float) -> Leftovers:
        """Close a lane. What runs too long after a `cancel` is killed."""
        until_s = monotonic() + (min(timeout_s, STOP_S) if cancel else timeout_s)
        # The garbage collector may have come in the middle of something that this thread does with the books.
        nested = self._lock._is_owned()  # type: ignore[attr-defined]
        with self._lock:
            lane.closed = True
            dropped = [job for job in self._queue if job.lane is lane] if cancel else []
            for job in dropped:
                self._queue.remove(job)
            if cancel:
                for child in self._at(lane):
                    child.cell.dropped = lane.number
            waits = not (nested or self._listener.is_current)
            while waits and self._busy(lane, cancel) and (left_s := until_s - monotonic()) > 0:
                self._changed.wait(left_s)
            held = self._at(lane)
            if cancel or not held:
                self._lanes = [each for each in self._lanes if each is not lane]
                self._over.append(lane)
            if cancel:
                for child in held:
                    if child.runs(lane.number):
                        child.killed_for = lane
                        child.kill()
                held = []
        for job in dropped:
            job.future.cancel()
        self._listener.wake()
        return Leftovers(tuple(f"worker process {child.pid} in stage '{lane.name}'" for child in held))

    def abandon(self, batch: Batch) -> None:
        with self._lock:
            for child in self._children:
                if any(job.batch is batch for job in child.jobs.values()):
                    child.kill()

    def _at(self, lane: ProcessLane) -> list[Child]:
        return [child for child in self._children if any(job.lane is lane for job in child.jobs.values())]

    def _busy(self, lane: ProcessLane, cancel: bool) -> bool:
        """Whether a lane that is being closed has anything to wait for."""
        if cancel:
            return any(child.runs(lane.number) for child in self._children)
        return bool(self._at(lane)) or any(job.lane is lane for job in self._queue)

    # who gets what

    def _dispatch(self) -> None:
        """Send as many of the waiting batches as there are workers for."""
        while True:
            with self._lock:
                picked = self._pick()
            if picked is None:
                return
            child, job = picked
            if not child.give(job):
                self._listener.send_later(child)

    def _pick(self) -> tuple[Child, Job] | None:
        """The next batch and the worker that gets it, noted in the books."""
        for job in tuple(self._queue):
            lane = job.lane
            busy = self._at(lane)
            free = [
                child for child in (busy if len(busy) >= lane.degree else self._children) if child.takes(lane.depth)
            ]
            if free and job in self._queue:
                child = min(free, key=lambda each: len(each.jobs))
                self._queue.remove(job)
                if not (job.future.running() or job.future.set_running_or_notify_cancel()):
                    continue
                job.sent_s = monotonic()
                child.jobs[job.ticket] = job
                if lane.timeout_s is not None:
                    self._listener.wake()
                return child, job
        return None

    # workers

    def hire(self) -> None:
        """Start the workers that are missing: as many as the lanes may have at work, all at once."""
        while True:
            with self._lock:
                wanted = min(self._most, sum(lane.degree for lane in self._lanes if not lane.closed))
                there = sum(not child.quits for child in self._children) + self._hiring
                if self._closed or self._broken or there >= wanted:
                    return
                self._hiring += 1
            with without_ctrl_c():
                self._hire_one()

    def _hire_one(self) -> None:
        try:
            child = Child(next(self._numbers), max(1, cores() // self._most))
        except BaseException as error:
            with self._lock:
                self._hiring -= 1
            if not isinstance(error, OSError):
                raise
            with self._lock:
                alone = not self._children
                self._most = max(1, len(self._children))  # those that there are must do
            if alone:
                self._give_up(f"no worker process can be started: {said(error)}")
            return
        with self._lock:
            self._hiring -= 1
            self._children.append(child)
            if self._closed:
                child.quits = True
                child.kill()
        self._listener.watch(child)
        self._dispatch()

    # what the listener hears, in its thread

    def turn(self) -> list[Child] | None:
        """What is to be told before the next thing is heard; gives the workers that there are, or None at the end."""
        with self._lock:
            over, self._over = self._over, []
            here = list(self._children)
            if self._closed and not here:
                return None
        for child in here:
            sent = [child.forget(lane.number) for lane in over]
            if child.quits and not child.jobs:
                sent.append(child.quit())
            if not all(sent):
                self._listener.send_later(child)
        return here

    def jobs_of(self, child: Child) -> list[Job]:
        with self._lock:
            return list(child.jobs.values())

    def failed(self, error: BaseException) -> None:
        """The listener cannot go on: nobody would hear of anything, and all would wait for ever."""
        why = f"the thread that listens to worker processes raised {said(error)}"
        with self._lock:
            children, self._children = self._children, []
            jobs = [job for child in children for job in child.jobs.values()]
            self._changed.notify_all()
        for child in children:
            child.kill()
            child.wait(QUIT_S)
            child.close()
        for job in jobs:
            job.fail(HeadraceError(why))
        self._give_up(why)

    def heard(self, child: Child, message: Message) -> None:
        if message.kind in (wire.RESULT, wire.PART):
            self._came(child, message)
        elif message.kind == wire.MAIL:
            deliver(message.sections[0])
        elif message.kind == wire.RETURNED:
            child.returned(message.number, bool(message.sections[0]))
        elif message.kind == wire.READY:
            child.ready = True
            self._stillborn.clear()
        else:
            self._refused(child, message)

    def _came(self, child: Child, message: Message) -> None:
        head, slot, spans, wanted, solo = unpack(message.sections[0])
        buffers = message.sections[2:] if slot is None else child.taken(slot, spans)
        if wanted:
            child.wants(wanted)
        job = self._booked(child, message.number, last=message.kind == wire.RESULT)
        if job is None:
            return
        job.came(head, message.sections[1], buffers, solo)
        if message.kind == wire.PART:
            return
        del buffers
        result = job.result()
        if result is None:
            self._again(job)
            return
        job.lane.took(result.ended_s - result.began_s)
        job.lane.unloaded = 0
        child.served[job.lane.number] += result.done
        if child.quits or job.lane.worn(child):
            self._retire(child)
        self._dispatch()
        job.finish(result)

    def _retire(self, child: Child) -> None:
        """Have a new worker take the place of `child`, which does what it was given, and no more."""
        child.quits = True
        self.hire()

    def _booked(self, child: Child, ticket: int, *, last: bool) -> Job | None:
        with self._lock:
            if not last:
                return child.jobs.get(ticket)
            job = child.jobs.pop(ticket, None)
            for other in child.jobs.values():
                other.sent_s = monotonic()
            self._changed.notify_all()
            return job

    def _refused(self, child: Child, message: Message) -> None:
        """A worker could not take a batch as it came."""
        job = self._booked(child, message.number, last=True)
        why = bytes(message.sections[0]).decode()
        if job is None:
            return
        if message.kind == wire.REFUSED and why == "slot":
            child.refused()
        elif message.kind == wire.REFUSED and not job.each:
            job.each = True
        else:
            job.fail(HeadraceError(f"a worker process cannot load the stage's functions: {why}"))
            self._dispatch()
            return
        self._again(job)

    def _again(self, job: Job) -> None:
        early = job.pack()
        if early is not None:
            self._dispatch()
            job.finish(early)
            return
        with self._lock:
            closed = self._closed or job.lane.closed
            if not closed:
                self._queue.appendleft(job)
        if closed:
            job.fail(HeadraceError(f"the lane of stage '{job.lane.name}' is closed"))
        self._dispatch()

    def gone(self, child: Child) -> None:
        """A worker is at its end: what it left behind is taken, another takes its place, and what it was at is told."""
        while messages := child.read():
            for message in messages:
                self.heard(child, message)
        child.kill()  # it may just have closed its files
        child.wait(QUIT_S)
        how = child.how()
        with self._lock:
            self._children.remove(child)
            jobs, child.jobs = list(child.jobs.values()), {}
            if not (child.ready or child.quits):
                self._stillborn.append(child.ended_by_itself)
            early = len(self._stillborn)
            hopeless = sum(self._stillborn) >= STILLBORN or early >= KILLED_EARLY
            self._changed.notify_all()
        lost = [(job, self._loss(child, job, how)) for job in jobs]
        child.close()
        if hopeless:
            self._give_up(f"{early} worker processes ended before they had begun, the last: {how}")
        elif self._broken:
            self._give_up(self._broken)
        self.hire()
        for job, error in lost:
            job.fail(error)
        self._dispatch()

    def _give_up(self, why: str) -> None:
        """No more workers are started; with the last of them goes what waits."""
        with self._lock:
            self._broken = why
            waiting = [] if self._children else list(self._queue)
            for job in waiting:
                self._queue.remove(job)
        for job in waiting:
            job.fail(HeadraceError(why))

    def _loss(self, child: Child, job: Job, how: str) -> HeadraceError:
        if child.late is not None and child.late[1] is job:
            return ItemLate(child.stack())
        started, at = child.at(job)
        if child.loads(job):
            job.lane.unloaded += 1
            if job.lane.unloaded >= KILLED_EARLY:
                return HeadraceError(f"worker processes end while they load the stage's functions: {how}")
        ours = child.killed_for is not None and job.lane is not child.killed_for
        worker = f"headrace-process-{child.pid}"
        return WorkerLost(how, started and not (ours and job.lane.idempotent), at, job.kept, worker)

    # the end

    def close(self, timeout_s: float) -> Leftovers:
        until_s = monotonic() + timeout_s
        with self._lock:
            self._closed = True
            dropped, self._queue = list(self._queue), deque()
            children = list(self._children)
            for child in children:
                child.quits = True
        for job in dropped:
            job.future.cancel()
        aside = not self._listener.is_current  # else nobody is there to tell them, nor to hear of their end
        for child in children:
            if child.jobs or not aside:
                child.kill()
        if aside:
            self._listener.wake()
            self._wait_for_all(min(QUIT_S, until_s - monotonic()))
            for child in children:
                child.kill()
            self._wait_for_all(max(0.5, until_s - monotonic()))
            self._listener.close(max(0.5, until_s - monotonic()))
        with self._lock:
            return Leftovers(tuple(f"worker process {child.pid}" for child in self._children if aside))

    def _wait_for_all(self, timeout_s: float) -> None:
        until_s = monotonic() + timeout_s
        with self._lock:
            while self._children and (left_s := until_s - monotonic()) > 0:
                self._changed.wait(left_s)

    def disown(self) -> None:
        """In a fork of the program: all of it is the parent's."""
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._closed = True
        children, self._children = self._children, []
        for child in children:
            child.disown()
        self._queue.clear()
        self._lanes.clear()
        self._listener.disown()

    def __repr__(self) -> str:
        return f"<Pool {len(self._children)} workers, {len(self._queue)} batches waiting>"


_pools: WeakSet[Pool] = WeakSet()


def _disown() -> None:
    for pool in tuple(_pools):
        pool.disown()


os.register_at_fork(after_in_child=_disown)
