"""The worker processes of an executor: who is at what, and who is given what next.

    any thread    submit, shut, close --> books, under `_lock`; sends what goes at once
    pool's thread reads what comes, sends what is left, sees who is at an end or late; calls the futures' callbacks

`_lock` guards the queue, the lanes, the children and the jobs of each. It is reentrant, since the garbage collector may
close an abandoned run in any thread at any point. Nothing is packed, sent, started or called back while it is held.
"""

from __future__ import annotations

import os
import selectors
import threading
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING
from weakref import WeakSet

from headrace.contracts import Leftovers
from headrace.errors import HeadraceError, ItemLate, WorkerLost, said
from headrace.settings import cores
from headrace_executors.process import wire
from headrace_executors.process.child import Child, without_ctrl_c
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
STACK_S = 0.03
"""Seconds that a worker which hangs gets to write down where."""
BEGIN_S = 5.0
"""Seconds beyond its deadline in which a worker with nothing else to do must have begun with an item."""

_names = count(1)


class Pool:
    """Owns the workers, and its thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._queue: deque[Job] = deque()
        self._lanes: list[ProcessLane] = []
        self._children: list[Child] = []
        self._hiring = 0  # workers that are being started
        self._new: list[Child] = []  # those that the pool's thread does not watch yet
        self._unsent: set[Child] = set()  # those for whom there is more to send than went at once
        self._over: list[ProcessLane] = []  # lanes that workers are to be told to forget
        self._stillborn: list[str] = []  # how workers came to their end before they had begun, since one has begun
        self._broken: str | None = None  # why no more workers are started
        self._thread: threading.Thread | None = None
        self._selector = selectors.DefaultSelector()
        self._waking = os.pipe()
        for fd in self._waking:
            os.set_blocking(fd, False)
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

    def submit(self, job: Job) -> None:
        early = job.pack()
        if early is not None:
            job.future.set_result(early)
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
            waits = not (nested or threading.current_thread() is self._thread)
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
        self._wake()
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
            self._mind(child, child.give(job))

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
                    self._wake()
                return child, job
        return None

    def _mind(self, child: Child, sent: bool) -> None:
        if not sent:
            with self._lock:
                self._unsent.add(child)
            self._wake()

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
            self._new.append(child)
            if self._closed:
                child.quits = True
                child.kill()
            if self._thread is None:
                name = f"headrace-processes-{next(_names)}"
                thread = threading.Thread(target=self._guard, name=name, daemon=True)
                thread.start()
                self._thread = thread
        self._wake()
        self._dispatch()

    # the pool's thread

    def _wake(self) -> None:
        with suppress(OSError):  # full: then it is awake; closed: then nobody sleeps
            os.write(self._waking[1], b"\0")

    def _guard(self) -> None:
        """Nobody else would hear of an error in here, and all would wait for ever."""
        try:
            self._run()
        except BaseException as error:
            with self._lock:
                children, self._children = self._children, []
                jobs = [job for child in children for job in child.jobs.values()]
                self._changed.notify_all()
            for child in children:
                child.kill()
                child.gone(QUIT_S)
                child.close()
            for job in jobs:
                job.future.set_exception(HeadraceError(f"the thread of the worker processes raised {said(error)}"))
            self._give_up(f"the thread of the worker processes raised {said(error)}")

    def _run(self) -> None:
        self._selector.register(self._waking[0], selectors.EVENT_READ)
        while True:
            with self._lock:
                new, self._new = self._new, []
                unsent, self._unsent = self._unsent, set()
                over, self._over = self._over, []
                here = list(self._children)
                idle = [child for child in here if child.quits and not child.jobs]
                if self._closed and not here:
                    return
            for child in new:
                self._selector.register(child.wire.sock, selectors.EVENT_READ, child)
                if child.pidfd is not None:
                    self._selector.register(child.pidfd, selectors.EVENT_READ, child)
            sent = [child.forget(lane.number) for lane in over for child in here] if over else []
            sent += [child.quit() for child in idle]
            if not all(sent):
                unsent.update(here)
            for child in unsent:
                self._watch(child, selectors.EVENT_READ | selectors.EVENT_WRITE)
            gone: dict[Child, None] = {}
            for key, events in self._selector.select(self._timeout_s()):
                if key.data is None:
                    with suppress(BlockingIOError):
                        os.read(self._waking[0], 4096)
                elif key.fd == key.data.pidfd or not self._serve(key.data, events):
                    gone[key.data] = None
            for child in gone:
                self._bury(child)
            self._look()

    def _watch(self, child: Child, events: int) -> None:
        with suppress(KeyError, ValueError):  # it is gone
            self._selector.modify(child.wire.sock, events, child)

    def _serve(self, child: Child, events: int) -> bool:
        """Take what has come, send what is left; False if it is at its end."""
        if events & selectors.EVENT_WRITE and child.flush():
            self._watch(child, selectors.EVENT_READ)
        if not events & selectors.EVENT_READ:
            return True
        messages = child.read()
        for message in messages or ():
            self._heard(child, message)
        return messages is not None

    def _heard(self, child: Child, message: Message) -> None:
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
        job.future.set_result(result)

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
            job.future.set_exception(HeadraceError(f"a worker process cannot load the stage's functions: {why}"))
            self._dispatch()
            return
        self._again(job)

    def _again(self, job: Job) -> None:
        early = job.pack()
        if early is not None:
            self._dispatch()
            job.future.set_result(early)
            return
        with self._lock:
            if not job.lane.closed:
                self._queue.appendleft(job)
        self._dispatch()

    def _bury(self, child: Child) -> None:
        """A worker is at its end: what it left behind is taken, another takes its place, and what it was at is told."""
        for key in (child.wire.sock, child.pidfd):
            if key is not None:
                with suppress(KeyError, ValueError):
                    self._selector.unregister(key)
        while messages := child.read():
            for message in messages:
                self._heard(child, message)
        child.kill()  # it may just have closed its files
        child.gone(QUIT_S)
        how = child.how()
        with self._lock:
            self._children.remove(child)
            jobs, child.jobs = list(child.jobs.values()), {}
            self._unsent.discard(child)
            if not (child.ready or child.quits):
                self._stillborn.append(how)
                by_itself = sum("killed by" not in each for each in self._stillborn)
                hopeless = by_itself >= STILLBORN or len(self._stillborn) >= KILLED_EARLY
            else:
                hopeless = False
            count = len(self._stillborn)
            self._changed.notify_all()
        lost = [(job, self._loss(child, job, how)) for job in jobs]
        child.close()
        if hopeless:
            self._give_up(f"{count} worker processes ended before they had begun, the last: {how}")
        elif self._broken:
            self._give_up(self._broken)
        self.hire()
        for job, error in lost:
            job.future.set_exception(error)
        self._dispatch()

    def _give_up(self, why: str) -> None:
        """No more workers are started; with the last of them goes what waits."""
        with self._lock:
            self._broken = why
            waiting = [] if self._children else list(self._queue)
            for job in waiting:
                self._queue.remove(job)
        for job in waiting:
            job.future.set_exception(HeadraceError(why))

    def _loss(self, child: Child, job: Job, how: str) -> HeadraceError:
        if child.late is not None and child.late[1] is job:
            return ItemLate(child.stack())
        started, at = child.at(job)
        if child.loads(job):
            job.lane.unloaded += 1
            if job.lane.unloaded >= KILLED_EARLY:
                return HeadraceError(f"worker processes end while they load the stage's functions: {how}")
        ours = child.killed_for is not None and job.lane is not child.killed_for
        return WorkerLost(how, started and not (ours and job.lane.idempotent), at, job.kept)

    # deadlines

    def _timeout_s(self) -> float | None:
        due = [due_s for child in tuple(self._children) if (due_s := self._due_s(child)) is not None]
        return max(0.0, min(due) - monotonic()) if due else None

    def _due_s(self, child: Child) -> float | None:
        """When to look at what a worker is at."""
        if child.late is not None:
            return child.late[0]
        due = None
        for job, timeout_s in self._timed(child):
            ticket, at, began_s = child.cell.get()
            begun = ticket == job.ticket and at >= 0
            due_s = began_s + timeout_s if begun else max(job.sent_s, monotonic()) + timeout_s
            due = due_s if due is None else min(due, due_s)
        return due

    def _timed(self, child: Child) -> Iterable[tuple[Job, float]]:
        with self._lock:
            jobs = list(child.jobs.values())
        return [(job, job.lane.timeout_s) for job in jobs if job.lane.timeout_s is not None]

    def _look(self) -> None:
        """See who is late."""
        now_s = monotonic()
        for child in tuple(self._children):
            if child.late is not None:
                if child.late[0] <= now_s:
                    child.kill()
                continue
            for job, timeout_s in self._timed(child):
                ticket, at, began_s = child.cell.get()
                if ticket == job.ticket and at >= 0:
                    if began_s + timeout_s <= now_s:
                        child.ask_for_stack()
                        child.late = now_s + STACK_S, job
                elif len(child.jobs) == 1 and child.ready and job.sent_s + timeout_s + BEGIN_S <= now_s:
                    child.kill()  # stopped before it began: the batch goes to another

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
        for child in children:
            if child.jobs:
                child.kill()
        self._wake()
        self._wait_for(children, min(QUIT_S, until_s - monotonic()))
        for child in children:
            child.kill()
        self._wait_for(children, max(0.5, until_s - monotonic()))
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._wake()
            thread.join(max(0.5, until_s - monotonic()))
        return self._let_go(thread)

    def _wait_for(self, children: list[Child], timeout_s: float) -> None:
        until_s = monotonic() + timeout_s
        if threading.current_thread() is self._thread:
            for child in children:
                child.gone(max(0.0, until_s - monotonic()))
            return
        with self._lock:
            while self._children and (left_s := until_s - monotonic()) > 0:
                self._changed.wait(left_s)

    def _let_go(self, thread: threading.Thread | None) -> Leftovers:
        with self._lock:
            if thread is None or not thread.is_alive():
                for fd in self._waking:
                    if fd >= 0:
                        os.close(fd)
                self._waking = -1, -1
                self._selector.close()
            return Leftovers(tuple(f"worker process {child.pid}" for child in self._children))

    def disown(self) -> None:
        """In a fork of the program: all of it is the parent's."""
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._closed, self._thread = True, None
        children, self._children = self._children, []
        for child in children:
            child.disown()
        self._queue.clear()
        self._lanes.clear()
        self._let_go(None)

    def __repr__(self) -> str:
        return f"<Pool {len(self._children)} workers, {len(self._queue)} batches waiting>"


_pools: WeakSet[Pool] = WeakSet()


def _disown() -> None:
    for pool in tuple(_pools):
        pool.disown()


os.register_at_fork(after_in_child=_disown)
