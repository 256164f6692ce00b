"""One worker process, as its parent sees it: started, fed, watched, ended."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from headrace_executors.process import mail, wire
from headrace_executors.process.cell import LOADING, SIZE, Cell
from headrace_executors.process.lending import Lending
from headrace_executors.process.lifeline import Lifeline
from headrace_executors.process.memory import anonymous
from headrace_executors.process.packing import pack
from headrace_executors.process.wire import Message, Wire
from headrace_executors.process.worker import STACK_SIGNAL

if TYPE_CHECKING:
    from headrace_executors.process.job import Job
    from headrace_executors.process.lane import ProcessLane

STACK_BYTES = 1 << 16
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""What tells the libraries of linear algebra how many threads to begin: each worker would begin one per core."""

MALLOC = {"MALLOC_TRIM_THRESHOLD_": str(64 << 20), "MALLOC_MMAP_THRESHOLD_": str(32 << 20)}
"""For glibc: memory of arrays that come and go is kept, and its pages are not made anew each time."""

_MAIN = (
    "import sys; sys.path[:] = {path!r}; "
    "from headrace_executors.process.worker import main; main({sock}, {cell}, {lifeline}, {stack})"
)


class Child:
    """A worker process, to be made `without_ctrl_c`. Its end is seen at `pidfd`, or where there are none, at the end of
    the wire.

    `jobs` has what was sent to it, by ticket, and belongs to the pool's lock; the wire's writing side is guarded by
    `_sending`, and its reading side belongs to the pool's thread.
    """

    def __init__(self, number: int, threads: int) -> None:
        self.number = number
        self.jobs: dict[int, Job] = {}
        self.ready = False  # it has said that it runs
        self.quits = False  # it gets no more batches, and ends when it has none
        self.told = False  # to end
        self.served: Counter[int] = Counter()  # items, by the number of the lane
        self.killed_for: ProcessLane | None = None  # what it was at when that was closed
        self.late: tuple[float, Job] | None = None  # when it will be killed for an item that runs for too long
        self._sending = threading.Lock()
        self._closed = False
        self._known: set[int] = set()  # lanes whose kernel it has
        self._stack, cell = anonymous(STACK_BYTES), anonymous(SIZE, now=True)
        self.cell = Cell(cell)
        ours, theirs = socket.socketpair()
        self._lifeline = Lifeline()
        try:
            self.process = _start(theirs.fileno(), cell, self._lifeline.end, self._stack, threads)
        except BaseException:
            ours.close()
            self._lifeline.close()
            self.cell.close()
            os.close(self._stack)
            raise
        finally:
            theirs.close()
            os.close(cell)
        self._lifeline.given()
        ours.setblocking(False)
        self.wire = Wire(ours)
        self.lending = Lending()
        self.pidfd = _pidfd(self.process.pid)
        self.post(wire.START, 0, [pack((sys.argv, mail.expected()))[0]])

    @property
    def pid(self) -> int:
        return self.process.pid

    def takes(self, depth: int) -> bool:
        """Whether it may get a batch of a stage that gives one worker so many: ahead of time only behind short ones."""
        if self.quits or self.late:
            return False
        return not self.jobs or (len(self.jobs) < depth and all(job.lane.depth > 1 for job in self.jobs.values()))

    # to the worker

    def post(self, kind: int, number: int, sections: Sequence[Any]) -> bool:
        """Send a message, as far as that goes at once; whether all is out."""
        with self._sending:
            if self._closed:
                return True
            self.wire.put(kind, number, sections)
            return self._flush()

    def give(self, job: Job) -> bool:
        """Send a batch, and before it what it needs; whether all is out."""
        head = job.head()
        with self._sending:
            if self._closed:
                return True
            if job.lane.number not in self._known:
                self._known.add(job.lane.number)
                self.wire.put(wire.KERNEL, job.lane.number, [job.lane.kernel])
            head["slot"], head["spans"], buffers = None, None, job.buffers
            lent = self.lending.lend(job.buffers)
            if lent is not None:
                head["slot"], head["spans"] = lent
                buffers = []
            head["offers"] = self.lending.offers()
            for kind, number, size, fds in self.lending.news():
                self.wire.put(kind, number, [size.to_bytes(8, "little")], fds)
            self.wire.put(wire.BATCH, job.ticket, [pack(head)[0], job.data, *buffers])
            return self._flush()

    def flush(self) -> bool:
        with self._sending:
            return self._flush()

    def _flush(self) -> bool:
        try:
            done = self.wire.flush()
        except OSError:  # it is at its end, which is seen elsewhere
            return True
        if done:
            self.lending.sent()
        return done

    def forget(self, lane: int) -> bool:
        """Nothing of a lane will be sent any more."""
        if lane not in self._known:
            return True
        self._known.discard(lane)
        return self.post(wire.FORGET, lane, [])

    # what it is at

    def at(self, job: Job) -> tuple[bool, int | None]:
        """Whether it has begun with the batch of `job`, and the position of the item that it is at, if it is known."""
        ticket, at, _ = self.cell.get()
        if ticket != job.ticket or at == LOADING:
            return False, None
        return True, at if at >= 0 else None

    def began_s(self, job: Job) -> float | None:
        """When it began with the item of `job` that it is at (monotonic clock); None if it has not."""
        ticket, at, began_s = self.cell.get()
        return began_s if ticket == job.ticket and at >= 0 else None

    def runs(self, lane: int) -> bool:
        """Whether it is at a batch of a lane."""
        job = self.jobs.get(self.cell.get()[0])
        return job is not None and job.lane.number == lane

    def loads(self, job: Job) -> bool:
        """Whether it is loading the functions for a batch."""
        ticket, at, _ = self.cell.get()
        return ticket == job.ticket and at == LOADING

    def disown(self) -> None:
        """In a fork of the program: let go of it without a word."""
        self._sending = threading.Lock()
        self.jobs.clear()
        self.close()

    def read(self) -> list[Message] | None:
        return self.wire.read()

    def taken(self, slot: int, spans: Any) -> list[Any]:
        """The buffers that it has put into a slot."""
        with self._sending:
            return self.lending.take(slot, spans)

    def returned(self, slot: int, kept: bool) -> None:
        with self._sending:
            self.lending.returned(slot, kept)

    def wants(self, size: int) -> None:
        with self._sending:
            self.lending.want(size)

    def refused(self) -> None:
        with self._sending:
            self.lending.refused()

    @property
    def rss_bytes(self) -> int:
        """Resident memory, where that can be known; else 0."""
        try:
            with open(f"/proc/{self.pid}/statm", "rb") as file:
                return int(file.read().split()[1]) * resource.getpagesize()
        except (OSError, IndexError):
            return 0

    # its end

    def quit(self) -> bool:
        """Have it end by itself."""
        if self.told:
            return True
        self.told = True
        return self.post(wire.QUIT, 0, [])

    def ask_for_stack(self) -> None:
        with suppress(OSError):
            os.kill(self.pid, STACK_SIGNAL)

    def stack(self) -> str:
        """Where it hung, from the user's function inwards."""
        text = os.pread(self._stack, STACK_BYTES, 0).rstrip(b"\0").decode(errors="replace")
        lines = text.splitlines()[1:]
        ours = next((at for at, line in enumerate(lines) if "headrace" in line and "kernel.py" in line), len(lines))
        return "\n".join(["where it was, in the worker, innermost first:", *lines[:ours]]) if lines[:ours] else ""

    def kill(self) -> None:
        with suppress(OSError):
            self.process.kill()

    def how(self) -> str:
        """What is to be said of its end."""
        code = self.process.poll()
        if code is None:
            return f"worker process {self.pid} does not answer"
        if code < 0:
            with suppress(ValueError):
                return f"worker process {self.pid} was killed by {signal.Signals(-code).name}"
        return f"worker process {self.pid} ended with status {code}"

    def wait(self, timeout_s: float) -> None:
        """Wait for its end, if it comes in time."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout_s)

    @property
    def ended_by_itself(self) -> bool:
        """Whether it was not killed by a signal."""
        return (self.process.poll() or 0) >= 0

    def close(self) -> None:
        """Let go of all that was for it. It must be at its end, or it will find the wire closed."""
        with self._sending:
            self._closed = True
            self.wire.close()
            self.lending.close()
        for fd in (self.pidfd, self._stack):
            if fd is not None and fd >= 0:
                os.close(fd)
        self.pidfd, self._stack = None, -1
        self.cell.close()
        self._lifeline.close()

    def __repr__(self) -> str:
        return f"<Child {self.pid}, {len(self.jobs)} batches>"


def _start(sock: int, cell: int, lifeline: int, stack: int, threads: int) -> subprocess.Popen[bytes]:
    """A new interpreter, which neither imports nor runs the program's main module."""
    if not sys.executable:
        raise OSError("there is no Python interpreter to start worker processes with: sys.executable is empty")
    code = _MAIN.format(path=_path(), sock=sock, cell=cell, lifeline=lifeline, stack=stack)
    command = [sys.executable, *subprocess._args_from_interpreter_flags(), "-c", code]  # type: ignore[attr-defined]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        pass_fds=(sock, cell, lifeline, stack),
        env=_environment(os.environ, threads),
    )


@contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Ctrl-C waits: here until all is noted that there is to note, and in a process that is started in the meantime
    until it ignores it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _path() -> list[str]:
    return [os.path.abspath(each) for each in sys.path]  # '' is where the program was started


def _environment(environment: Mapping[str, str], threads: int) -> dict[str, str]:
    return {**dict.fromkeys(THREADS, str(threads)), **MALLOC, **environment}


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
