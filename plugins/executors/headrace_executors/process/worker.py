"""A worker process: reads batches, runs kernels over them, sends back what came of it. One thread.

Standard library without `typing`, and no more of that than has to be: a pool waits for its workers to start.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from _thread import allocate_lock
from time import monotonic, perf_counter

from headrace.batch import Batch, BatchResult, Tally
from headrace.errors import HeadraceError, ItemUnpicklable, said
from headrace.flow.kernel import Control, tear_down
from headrace.flow.recovery import failed_at
from headrace_executors.process import wire
from headrace_executors.process.cell import LOADING, RUNNING, UNPACKING, Cell
from headrace_executors.process.lifeline import hang_on
from headrace_executors.process.mail import Sender
from headrace_executors.process.memory import ReadSlot, WriteSlot, fitting, room_for
from headrace_executors.process.packing import LARGE, pack, pack_each, unpack, unpack_each
from headrace_executors.process.results import head_of, without
from headrace_executors.process.wire import Message, Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from headrace.flow.kernel import Kernel

HAND_OVER_S, HAND_OVER_ONCE_S = 0.05, 0.001
"""A batch that runs for longer than this hands over what it has done so far, and again each time after that; the second
where nothing may run again, so that little is lost with a worker."""

at_work = False
"""Whether this process is a worker: a pipeline inside of one runs in line."""


def main(sock_fd: int, cell_fd: int, lifeline_fd: int, stack_fd: int) -> None:
    global at_work
    at_work = True
    hang_on(lifeline_fd)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    sys.breakpointhook = _no_breakpoint
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)  # what a killed worker has printed was printed
    worker = Worker(Wire(socket.socket(fileno=sock_fd)), Cell(cell_fd), stack_fd)
    try:
        worker.run()
    except ConnectionError:  # the parent does not read any more
        os._exit(1)


def _no_breakpoint(*arguments: Any, **options: Any) -> None:
    raise HeadraceError("breakpoint() has no terminal in a worker process; it works with the profile 'serial'")


class _Over(BaseException):
    """Nothing behind what was handed over is wanted."""


class Worker:
    """What the process does. Owns its end of the wire, the kernels that came, and its side of the slots."""

    def __init__(self, wire: Wire, cell: Cell, stack_fd: int) -> None:
        self.wire = wire
        self.cell = cell
        self.name = f"headrace-process-{os.getpid()}"
        self._stack_fd = stack_fd
        self._kernels: dict[int, bytes | Kernel] = {}  # by the number of the lane; as bytes until it is needed
        self._teardowns: dict[int, list[Callable[[], Any]]] = {}
        self._sending = allocate_lock()  # functions may have threads that print
        self.pid = os.getpid()
        self.running: Batch | None = None
        os.register_at_fork(after_in_child=self._forked)
        self._mail: Sender | None = None
        self._inputs: dict[int, ReadSlot] = {}
        self._results: dict[int, WriteSlot] = {}
        self._offered: list[WriteSlot] = []  # those that a result may be put into

    def run(self) -> None:
        self.send(wire.READY, os.getpid(), [])
        while (messages := self.wire.read()) is not None:
            for message in messages:
                if message.kind == wire.QUIT:
                    for lane in tuple(self._kernels):
                        self._forget(lane)
                    return
                self._take(message)

    def _forked(self) -> None:
        """A function has forked: what is left of the batch is not the fork's to do."""
        if self.running is not None:
            self.running.cut()

    def send(self, kind: int, number: int, sections: Sequence[Any]) -> None:
        with self._sending:
            self.wire.send(kind, number, sections)

    def send_events(self) -> None:
        if self._mail is not None:
            self._mail.send_events()

    def _forget(self, lane: int) -> None:
        self._kernels.pop(lane, None)
        tear_down(self._teardowns.pop(lane, []))
        self.send_events()

    def _take(self, message: Message) -> None:
        number, sections = message.number, message.sections
        if message.kind == wire.BATCH:
            self._batch(number, sections)
        elif message.kind == wire.KERNEL:
            self._kernels[number] = bytes(sections[0])
        elif message.kind == wire.FORGET:
            self._forget(number)
        elif message.kind in (wire.INPUT_SLOT, wire.RESULT_SLOT):
            self._know(message.kind, number, int.from_bytes(sections[0], "little"), message.fds)
        elif message.kind == wire.NO_SLOT:
            self._forget_slot(number)
        elif message.kind == wire.START:
            self._start(*unpack(sections[0]))

    def _start(self, argv: list[str], mail: dict[str, Any]) -> None:
        sys.argv[:] = argv
        self._mail = Sender(lambda data: self.send(wire.MAIL, 0, [data]), **mail)
        try:
            import faulthandler

            faulthandler.register(STACK_SIGNAL, file=self._stack_fd, all_threads=False)
        except (AttributeError, OSError, RuntimeError):  # then there is no stack to be shown
            pass

    def _know(self, kind: int, number: int, size: int, fds: Sequence[int]) -> None:
        """Make a slot known; without its descriptor, or without an address for it, it stays unknown."""
        for fd in fds:
            if kind == wire.RESULT_SLOT:
                self._results[number] = WriteSlot(number, size, fd)
                continue
            try:
                self._inputs[number] = ReadSlot(number, size, fd)
            except (OSError, ValueError):
                pass
            finally:
                os.close(fd)

    def _forget_slot(self, number: int) -> None:
        self._inputs.pop(number, None)
        slot = self._results.pop(number, None)
        if slot is not None:
            self._offered = [each for each in self._offered if each is not slot]
            slot.close()

    # a batch

    def _batch(self, ticket: int, sections: Sequence[Any]) -> None:
        self.cell.put(ticket, LOADING, monotonic())
        head = unpack(sections[0])
        slot, offers = head["slot"], head["offers"]
        self._offered += [self._results[number] for number in offers if number in self._results]
        work = _Work(self, ticket, head["lane"], head["solo"])
        try:
            work.run(head, sections)
        finally:
            self.running = None
            del work
        if slot is not None and slot in self._inputs:
            # What the function has kept of its input keeps the memory; nobody else may write to it then.
            kept = self._inputs[slot].in_use
            if kept:
                del self._inputs[slot]
            self.send(wire.RETURNED, slot, [b"kept" if kept else b""])

    def kernel(self, lane: int) -> Kernel:
        kernel = self._kernels[lane]
        if isinstance(kernel, bytes):
            loaded: Kernel = unpack(kernel)
            kernel, self._teardowns[lane] = loaded.set_up()
            self._kernels[lane] = kernel
        if self._mail is not None:
            self._mail.look()
        return kernel

    def put(self, buffers: Sequence[memoryview]) -> tuple[int, Any] | None:
        """Put the buffers into an offered slot, the smallest that will do, which is the parent's from now on; gives its
        number and where they are, or None if there is none."""
        slot = fitting(self._offered, room_for(buffers))
        if slot is None:
            return None
        try:
            spans = slot.fill(buffers)
        except OSError:  # no memory
            return None
        self._offered.remove(slot)
        return slot.number, spans

    def input(self, number: int) -> ReadSlot | None:
        return self._inputs.get(number)


class _Work(Control):
    """One batch, and what its kernel heeds."""

    steps = True

    def __init__(self, worker: Worker, ticket: int, lane: int, solo: bool) -> None:
        super().__init__()
        self._worker = worker
        self._ticket = ticket
        self._lane = lane
        self._solo = solo  # each output in a pickle of its own
        self._step = False
        self._handed_s = perf_counter()

    def run(self, head: dict[str, Any], sections: Sequence[Any]) -> None:
        try:
            self._kernel = self._worker.kernel(self._lane)
        except BaseException as error:
            self._send(wire.BROKEN, [said(error).encode()])
            return
        self._worker.cell.put(self._ticket, UNPACKING, monotonic())
        batch = self._unpacked(head, sections)
        if batch is None:
            return
        if self._worker.cell.dropped == self._lane:
            nothing = BatchResult([], [], 0, [], [Tally() for _ in self._kernel.ops])
            self._batch = batch
            self._give(wire.RESULT, nothing)
            return
        self._batch, self._step = batch, batch.step
        self._worker.running = batch
        if not self._step:
            self._worker.cell.put(self._ticket, RUNNING, monotonic())
        try:
            result = self._kernel.run(batch, self, self._worker.name)
        except _Over as over:
            result = over.args[0]
        if os.getpid() != self._worker.pid:  # a function has forked, and this is where the fork would go on
            os._exit(0)
        if self._step and len(batch) > 1:
            self._worker.cell.put(self._ticket, len(batch), monotonic())
        self._give(wire.RESULT, result)

    def _unpacked(self, head: dict[str, Any], sections: Sequence[Any]) -> Batch | None:
        """The batch; None if none of its items can be made here, which is told."""
        batch = Batch(*head["batch"])
        batch.step = head["step"]
        batch.most_bytes = head["most_bytes"]
        bad: dict[int, str] = {}
        try:
            if head["each"]:
                batch.data, bad = unpack_each(unpack(sections[1]))
            else:
                batch.data = unpack(sections[1], self._buffers(head, sections))
        except _Refused as error:
            self._send(wire.REFUSED, [str(error).encode()])
            return None
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            self._send(wire.REFUSED, [said(error).encode()])
            return None
        if bad:  # those before the first of these; it fails once it is the first, as it would if its function raised
            first = min(bad)
            if first == 0:
                batch.data = batch.data[:1]
                why = ItemUnpicklable(f"it cannot travel to a worker process: {bad[0]}")
                self._batch = batch
                self._give(wire.RESULT, failed_at(self._kernel.ops, batch, 0, 1, why, final=True))
                return None
            batch.data = batch.data[:first]
        return batch

    def _buffers(self, head: dict[str, Any], sections: Sequence[Any]) -> Sequence[Any]:
        if head["slot"] is None:
            return sections[2:]
        slot = self._worker.input(head["slot"])
        if slot is None:
            raise _Refused("slot")
        return slot.views(head["spans"])

    # what the kernel heeds

    def at(self, position: int) -> None:
        cell = self._worker.cell
        if self._step:
            cell.put(self._ticket, position, monotonic())
        self.cancelled = cell.dropped == self._lane

    def hands_over(self, now_s: float) -> bool:
        return now_s - self._handed_s > (HAND_OVER_ONCE_S if self._solo else HAND_OVER_S)

    def hand_over(self, result: BatchResult) -> None:
        self._give(wire.PART, result)
        self._handed_s = perf_counter()
        if any(tally.raised for tally in result.tallies):
            raise _Over(BatchResult([], [], result.done, [], [type(tally)() for tally in result.tallies]))

    # what goes home

    def _give(self, kind: int, result: BatchResult) -> None:
        batch, ops = self._batch, self._kernel.ops
        slot, spans, wanted, solo = None, None, 0, self._solo
        try:
            if solo:
                raise _Refused("each by itself")
            data, buffers = pack(result.data)
        except (Exception, SystemExit, KeyboardInterrupt):
            each, bad = pack_each(result.data)
            if bad:
                result = without(result, bad, batch, ops)
                each, _ = pack_each(result.data)
            data, buffers, solo = pack(each)[0], [], True
        size = room_for(buffers)
        if size >= LARGE:
            place = self._worker.put(buffers)
            if place is None:
                wanted = size
            else:
                (slot, spans), buffers = place, []
        head = pack((head_of(result, batch), slot, spans, wanted, solo))[0]
        self._send(kind, [head, data, *buffers])

    def _send(self, kind: int, sections: Sequence[Any]) -> None:
        self._worker.send_events()
        self._worker.send(kind, self._ticket, sections)

    def __repr__(self) -> str:
        return f"<_Work on batch {self._ticket}>"


class _Refused(Exception):
    """The batch cannot be taken as it came."""


STACK_SIGNAL = getattr(signal, "SIGRTMAX", signal.SIGUSR2 + 1) - 1
"""Asks for the stack of what hangs."""
