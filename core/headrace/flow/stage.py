"""One stage's flow control, whole: what may be pulled, what to submit next, what to give out and in which order.

This is the machine that every runner and `drive` put threads or tasks around. It does nothing by itself: the shell
calls it when something happened, under the shell's lock, and does what it says.

    reserve, feed -> backlog -> next_batch -> (a worker) -> finished -> ordering -> ready -> taken
    `- window: counts from reserve to taken ------------------------------------------------'
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

from headrace.batch import Batch, BatchResult, Failure, Tally, paths
from headrace.errors import AccountError, ExecutorFailed, HeadraceError, ItemLate, OperatorFailed, WorkerLost, said
from headrace.flow.backlog import Backlog
from headrace.flow.ledger import over_cap
from headrace.flow.ordering import Ordering
from headrace.flow.recovery import CONVICTED, LOST_IN_A_ROW, Recovery, Suspects, delay_s, failed_at
from headrace.flow.sizing import Sizing, aim
from headrace.flow.window import Window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from headrace.batch import Where
    from headrace.flow.kernel import Kernel
    from headrace.flow.ledger import Account
    from headrace.flow.nodes import Eager
    from headrace.flow.ordering import Slot


SMALL_PULL = 64
"""Items that are pulled at once even if a batch wants fewer: pulling is cheap, being told to pull is not."""

LATE = 4
"""A batch that has run for this many times what it aimed at is told to give back what it has not come to."""
FORGET = 0.98
"""What a batch was seen to expand to, or to weigh, counts this much less with every batch that expands to less."""


class FlowSettings:
    """How a stage's flow is controlled.

    window     most items between the stage's input and its output taken
    max_bytes  the same in measured bytes, or None
    ordered    outputs in input order, or as they complete
    adaptive   batch sizes follow the time that batches took; False: single items
    aim_s      seconds of work that a batch aims at
    linger_s   longest that an item waits for a later one
    timeout_s  longest that an item may run, or None; with it a batch has one item
    idempotent whether items may run again whose worker was lost
    """

    __slots__ = ("adaptive", "aim_s", "idempotent", "linger_s", "max_bytes", "ordered", "timeout_s", "window")

    def __init__(
        self,
        *,
        window: int,
        max_bytes: int | None = None,
        ordered: bool = True,
        adaptive: bool = True,
        aim_s: float = 0.005,
        linger_s: float = 0.005,
        timeout_s: float | None = None,
        idempotent: bool = True,
    ) -> None:
        self.window = window
        self.max_bytes = max_bytes
        self.ordered = ordered
        self.adaptive = adaptive
        self.aim_s = aim_s
        self.linger_s = linger_s
        self.timeout_s = timeout_s
        self.idempotent = idempotent

    def __repr__(self) -> str:
        return f"FlowSettings({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


class Sent:
    """A batch on its way: its slot in the order, and the credit it holds in items and bytes."""

    __slots__ = ("batch", "charge", "cut", "nbytes", "slot")

    def __init__(self, slot: Slot, batch: Batch, charge: int, nbytes: int) -> None:
        self.slot = slot
        self.batch = batch
        self.charge = charge
        self.nbytes = nbytes
        self.cut = len(batch) == 1  # there is nothing that it could give back, or it has been told to


class StageFlow:
    """The state of one stage in one run. Not thread-safe: whoever holds the stage's lock may call it.

    `ready` has what the consumer may take: batches of outputs, at last perhaps an error to raise.
    """

    def __init__(self, name: str, kernel: Kernel, settings: FlowSettings, degree: int, account: Account) -> None:
        self.name = name
        self.degree = degree
        self.ready: deque[Batch | BaseException] = deque()
        self.window = Window(settings.window, settings.max_bytes)
        self._running: dict[Sent, float] = {}  # when each was sent, the oldest first
        self._lingers = False  # whether a batch would have gone if the oldest had been out for longer
        self._linger_s = settings.linger_s
        self._late_s = LATE * aim(settings.aim_s, degree)
        self._failures: list[Failure] = []
        self._untold = 0  # failures that hold their items: not told yet, or just being told
        self._ops = kernel.ops
        self._capped = any(op.max_failures is not None for op in kernel.ops)
        self._account = account
        self._backlog = Backlog()
        self._recovery = Recovery()
        self._ordering = Ordering(settings.ordered)
        self._timeout_s = settings.timeout_s
        self._looked_s = 0.0  # when `expired` was asked last
        self._idempotent = settings.idempotent
        self._step = settings.timeout_s is not None or not settings.idempotent
        self._suspects = Suspects()
        self._lost = 0  # workers that had begun with a batch, since an item was finished
        adaptive = settings.adaptive and settings.timeout_s is None
        self._sizing = Sizing(aim_s=settings.aim_s, window=settings.window, degree=degree, adaptive=adaptive)
        self._expansion: float | None = None if kernel.expands else 1.0  # outputs per input; None: not known yet
        self._weight = 0.0  # bytes of outputs per input, where they are measured
        self._ended = False  # no more input
        self._closing: list[BaseException] = []  # what to raise once all that was before it is out
        self._failed = False  # nothing behind some item is wanted any more
        self._unwanted = False  # nor is anything else
        self._reserved = 0  # credit given to the shell for a pull that is not over
        self._untaken = 0  # outputs that the consumer has not taken, wherever they are
        self.emitted = 0  # items put into `ready`

    # the input side

    @property
    def operators(self) -> tuple[str, ...]:
        """The names of the operators that are fused here, in order."""
        return self._account.operators

    @property
    def batch_size(self) -> int:
        """Items that a batch should have, as things are."""
        return self._sizing.size

    @property
    def clogged(self) -> int:
        """Outputs that nobody takes, if they are all that there is room for; else 0."""
        return 0 if self._running or self.window.room else self._untaken

    @property
    def open(self) -> bool:
        """Whether more input is wanted."""
        return not self._ended

    def reserve(self, *, eager: bool | Eager) -> int:
        """Credit for the items that the shell should pull next; 0 if it should wait. `eager` tells that the consumer
        waits: what it has and did not give back, it keeps for want of more."""
        granted = self.pullable(eager=eager)
        self.window.admit(granted)
        self._reserved += granted
        return granted

    def pullable(self, *, eager: bool | Eager) -> int:
        """Items that `reserve` would grant. A pull that is small for want of credit or of need waits until it is worth
        its while, unless `eager`; then an empty stage gets an item in any case, as nothing else could go on."""
        if not self.open:
            return 0
        ahead = self._sizing.ahead - self._backlog.count - self._reserved
        free = self.window.room
        if self._expansion != 1.0:
            fitting = int(free / (self._expansion or self.window.items))
            free = max(fitting - self._backlog.count - self._reserved, 0 if self.window.used else 1)
        granted = min(max(self._sizing.size, SMALL_PULL), free, ahead)
        if granted <= 0:
            alone = self._idle and not (self._reserved or self.ready or self._untold)
            return 1 if alone and self.window.used < self.window.items and eager else 0
        small = granted < min(self._sizing.size, self._sizing.ahead // 2)
        return 0 if small and self.running >= self._useful and not eager else granted

    def release(self, items: int) -> None:
        """Credit that was reserved and not used."""
        self._reserved -= items
        self.window.admit(-items)

    def feed(self, batch: Batch) -> None:
        """Items that were pulled, with credit reserved before."""
        self._account.fed += len(batch)
        if self._failed:
            self.release(len(batch))
        else:
            self._reserved -= len(batch)
            self.window.admit(0, batch.nbytes)
            self._backlog.put(batch)

    def end(self, error: BaseException | None = None) -> None:
        """No more input; `error` is what ended it, to be raised after all that came before."""
        if not self._ended:
            self._ended = True
            if error is not None:
                self._closing.append(error)
            self._check_closing()

    def unwanted(self) -> None:
        """Nobody wants any of it any more: nothing else is begun, and what runs ends behind the items that it is at."""
        self._ended = self._failed = self._unwanted = self._account.cut = True
        self._closing.clear()
        items, nbytes = self._backlog.clear()
        self.window.admit(-items, -nbytes)
        self.cut_all()

    # the worker side

    def next_batch(self, capacity: int, now_s: float, *, eager: bool | Eager = False) -> Sent | None:
        """What to submit now, if anything. Counts as running until `finished` or `broken`. `eager` as in `reserve`."""
        if self._unwanted:
            self._recovery.clear()
            return None
        if self._recovery:
            self._recovery.ripen(now_s)
        self._lingers = False
        running = len(self._running)
        # A batch may go beyond its credit by one expansion, so that none waits at a worker while as many run as can.
        # Nor does an item whose time is measured.
        queues = self._expansion == 1.0 and self._timeout_s is None
        if running >= (capacity if queues else min(capacity, self.degree)):
            return None
        sent = self._again(now_s, eager) if self._recovery else None
        if sent is None and self._backlog.count:
            self._lingers = self._sizing.brief and running >= 1 and self._oldest_s + self._linger_s > now_s
            sent = None if self._lingers else self._fresh(eager)
        if sent is not None:
            self._running[sent] = now_s
            self.window.admit(sent.charge - len(sent.batch), sent.nbytes - sent.batch.nbytes)
        return sent

    def _again(self, now_s: float, eager: bool | Eager) -> Sent | None:
        # What was cut when items were cheaper is cut anew: now others can share it.
        affordable = self._affordable(self._sizing.size, eager)
        back = self._recovery.next(now_s) if affordable else None
        if back is None:
            return None
        slot, batch = back
        items = min(affordable, self._suspects.together(batch))
        if len(batch) > items:
            batch, rest = batch.split(items)
            self._recovery.put(self._ordering.split(slot), rest)
        batch.step = batch.step or self._step
        return self._sent(slot, batch)

    def _fresh(self, eager: bool | Eager) -> Sent | None:
        there = self._backlog.count
        size = self._sizing.size
        if self._ended and there < size * self.degree:
            size = self._sizing.share(there)
        elif there < size and self.running >= self._useful and (self.window.room or self._reserved):
            return None  # nobody is idle, and more can come: a fuller batch costs less
        affordable = self._affordable(min(size, there), eager)
        if not affordable:
            return None
        batch = self._backlog.take(affordable)
        batch.step = self._step
        return self._sent(self._ordering.open(), batch)

    def _sent(self, slot: Slot, batch: Batch) -> Sent:
        """`batch` with the credit that it will need, as far as that is known, when its outputs are here."""
        charge, nbytes = len(batch), batch.nbytes
        if self._expansion != 1.0:
            charge = batch.bound = max(charge, int(charge * (self._expansion or 1)))
        if self.window.max_bytes is not None:
            batch.most_bytes = max(1, int(len(batch) * self._weight))
            nbytes += int(len(batch) * self._weight)
        return Sent(slot, batch, charge, nbytes)

    def _affordable(self, items: int, eager: bool | Eager) -> int:
        """As many of `items` as the window can hold when they have expanded; one at least, if it is alone."""
        if self._expansion == 1.0 and self.window.max_bytes is None:
            return items
        alone = self._alone(eager)
        fitting = min(items, self._fitting(alone))
        if self.window.max_bytes is not None:
            fitting = min(fitting, self._fitting_bytes(self.window.max_bytes - self.window.used_bytes))
        return max(fitting, 1 if alone else 0)

    def _alone(self, eager: bool | Eager) -> bool:
        """Whether an item may go whatever becomes of it: nothing runs beside it, so that one expansion at most goes
        beyond the window, and what is out there leaves room, or will not be taken before there is more."""
        if self.running:
            return False
        return not self.window.over or not self._untaken or (not self.ready and bool(eager))

    def _fitting(self, alone: bool) -> int:
        """Items whose expansions fit the window."""
        if self._expansion is None:
            return 1 if alone else 0
        if self._expansion == 1.0:
            return self.window.items
        return int((self.window.items - self.window.used) / (self._expansion - 1))

    def _fitting_bytes(self, left: int) -> int:
        """Items whose outputs fit the bytes that are left; one, where that cannot be known but by trying."""
        if left <= 0:
            return 0
        return max(1, int(left / self._weight)) if self._weight else 1

    def finished(self, sent: Sent, result: BatchResult, now_s: float) -> None:
        """What came of a batch."""
        batch = sent.batch
        del self._running[sent]
        try:
            self._account.record(batch, result)
        except AccountError as error:
            self._fail(sent, error)
            return
        if result.done:
            self._lost = 0
            self._suspects.clear(batch, result.done)
        if batch.attempt == 1 and batch.step == self._step:
            self._sizing.observe(result.done, result.ended_s - result.began_s, result.cpu_s, result.most)
            self._learn(result)
        capped = self._over_cap(result) if self._capped and result.failures else None
        behind = self._ordering.split(sent.slot) if capped else None
        if not result.failures and result.done == len(batch):
            self._out(sent.slot, self._outputs(batch, result, 0, len(result.data)), sent.charge, sent.nbytes)
        else:
            self._settle(sent, result, now_s)
        if capped and behind:
            self._raise(behind, capped)
        # A worker's frames may hold the batch and the result a little longer; the items must not live by that.
        batch.data = result.data = result.failures = ()
        self._check_closing()

    def _over_cap(self, result: BatchResult | None) -> OperatorFailed | None:
        """What ends the stage if one of its operators failed on more items than it may; no result: at the end."""
        for op, tally in zip(self._ops, self._account.tallies, strict=True):
            why = over_cap(op, tally, ended=result is None)
            if why is not None:
                last = [failure for failure in (result.failures if result else ()) if failure.name == op.name][-1:]
                error = OperatorFailed(op.name, last[0].index if last else None, last[0].item if last else None, why)
                error.__cause__ = last[0].error if last else None
                return error
        return None

    def book(self, sent: Sent, result: BatchResult) -> None:
        """Account for a batch of which nothing else is wanted any more."""
        if self._running.pop(sent, None) is not None:
            self._account.record(sent.batch, result)

    def broken(self, sent: Sent, error: BaseException) -> None:
        """The executor could not run the batch."""
        del self._running[sent]
        failed = ExecutorFailed(self.name, sent.batch.index[0], said(error))
        failed.__cause__ = error
        self._fail(sent, failed)

    def lost(self, sent: Sent, error: WorkerLost | ItemLate, now_s: float) -> None:
        """The worker came to its end that was to run the batch."""
        batch = sent.batch
        if isinstance(error, ItemLate):
            self.finished(sent, self._timed_out(batch, self._timeout_s or 0.0, error.stack), now_s)
            return
        result: BatchResult = error.kept or BatchResult([], [], 0, [], [Tally() for _ in self._ops])
        lost = error.started + (0 if result.done else self._lost)
        if lost > LOST_IN_A_ROW:
            self.broken(sent, HeadraceError(f"{lost} workers in a row came to nothing, the last: {error}"))
            return
        guilty = 0  # items behind what was kept
        if error.started and not self._idempotent:
            guilty = 0 if error.at is None else min(error.at + 1, len(batch)) - result.done
            why = WorkerLost(f"{error.how}, and with it what came of this item, which may not run again")
        elif error.started and self._suspects.blame(batch, error.at):
            guilty = 1
            why = WorkerLost(f"{error.how}, the {CONVICTED}rd worker that was lost at this item")
        if guilty:
            result = result.and_then(failed_at(self._ops, batch, result.done, guilty, why, final=True))
        batch.step = batch.step or error.started
        self.finished(sent, result, now_s)
        self._lost = lost  # whoever is found guilty has finished nothing

    # the output side

    def take(self) -> Batch | BaseException | None:
        """The next piece for those who read the outputs: a batch, or what is to be raised; None if there is none."""
        return self.ready.popleft() if self.ready else None

    def taken(self, items: int, nbytes: int) -> None:
        """Those who read the outputs are done with so much."""
        self._untaken -= items
        self.window.admit(-items, -nbytes)

    def new_failures(self) -> list[Failure]:
        """What failed since the last call, in no order."""
        failures, self._failures = self._failures, []
        return failures

    def told(self, failures: int) -> None:
        """So many of them have been told and let go: until then they hold their items, and count like them."""
        self._untold -= failures
        self.window.admit(-failures)

    @property
    def untold(self) -> int:
        """Failures that `new_failures` would give."""
        return len(self._failures)

    @property
    def running(self) -> int:
        """Batches on their way."""
        return len(self._running)

    def overdue(self, now_s: float) -> list[Batch]:
        """The batches that have run for so much longer than they were to that they should give back what they have not
        come to, each once."""
        late = [sent for sent, since_s in self._running.items() if not sent.cut and since_s + self._late_s <= now_s]
        for sent in late:
            sent.cut = sent.batch.at_work is not None
            self._running[sent] = now_s  # if no worker is at it yet, it is looked at again
        return [sent.batch for sent in late if sent.cut]

    def expired(self, now_s: float) -> list[tuple[Sent, BatchResult]]:
        """The batches whose item has run for longer than it may, each with what is to be booked for it: a failure. What
        comes for it later is not expected any more."""
        if self._timeout_s is None:
            return []
        self._looked_s = now_s
        begun = [sent for sent in self._running if sent.batch.began_s]
        late = [sent for sent in begun if sent.batch.began_s + self._timeout_s <= now_s]
        return [(sent, self._timed_out(sent.batch, self._timeout_s)) for sent in late]

    def _timed_out(self, batch: Batch, timeout_s: float, stack: str = "") -> BatchResult:
        error = TimeoutError(f"still running after {timeout_s} s")
        if stack:
            error.add_note(stack)
        return failed_at(self._ops, batch, 0, 1, error)

    def expects(self, sent: Sent) -> bool:
        """Whether the batch has not been booked yet."""
        return sent in self._running

    def cut_all(self) -> None:
        """Have all that runs end behind the items that it is at."""
        for sent in self._running:
            sent.batch.cut()

    @property
    def due_s(self) -> float | None:
        """When something falls due that no call will tell of."""
        dues = [] if self._recovery.due_s is None else [self._recovery.due_s]
        if self._running and self._lingers:
            dues.append(self._oldest_s + self._linger_s)
        dues += [since_s + self._late_s for sent, since_s in self._running.items() if not sent.cut][:1]
        if self._timeout_s is not None and self._running:
            sent, since_s = next(iter(self._running.items()))
            dues.append((sent.batch.began_s or max(since_s, self._looked_s)) + self._timeout_s)
        return min(dues, default=None)

    @property
    def exhausted(self) -> bool:
        """Whether all that was to come has been put into `ready`."""
        return self._ended and not self._closing and self._idle

    @property
    def _idle(self) -> bool:
        return not (self.running or self._backlog.count or self._recovery.waiting)

    def __repr__(self) -> str:
        return f"<StageFlow '{self.name}' {self.window}, {self.running} running, {len(self.ready)} ready>"

    # inside

    @property
    def _useful(self) -> int:
        """Batches that are worth running at once. While they compute for so short a time that to wake a second worker
        costs more than to wait for the first, that is one; if it takes longer than that after all, `due_s` tells."""
        return 1 if self._sizing.brief else self.degree

    @property
    def _oldest_s(self) -> float:
        return next(iter(self._running.values()), 0.0)

    def _outputs(self, batch: Batch, result: BatchResult, start: int, stop: int) -> Batch:
        index = paths(batch.index, result.where, result.done)
        data: Sequence[Any] = result.data
        nbytes = result.nbytes
        if stop - start != len(data):
            nbytes = nbytes * (stop - start) // len(data)
            index, data = index[start:stop], data[start:stop]
        return Batch(0, index, data, batch.born_s, nbytes=nbytes)

    def _out(self, slot: Slot, outputs: Batch, charge: int, nbytes: int) -> None:
        """Put `outputs` into their slot; they take over the credit of `charge` items and `nbytes`."""
        if slot.dropped:
            self.window.admit(-charge, -nbytes)
            return
        self._untaken += len(outputs)
        self.window.admit(len(outputs) - charge, outputs.nbytes - nbytes)
        self._release(self._ordering.put(slot, outputs))

    def _release(self, pieces: list[Any]) -> None:
        for piece in pieces:
            if isinstance(piece, BaseException):
                self.ready.append(piece)
            elif len(piece):
                piece.seq, self.emitted = self.emitted, self.emitted + len(piece)
                self.ready.append(piece)

    def _settle(self, sent: Sent, result: BatchResult, now_s: float) -> None:
        """A batch of which something failed or was given back: its slot is split at each of these places."""
        batch, slot, start, pieces = sent.batch, sent.slot, 0, []
        places = [_deep(where) for where in result.where] if result.where is not None else []
        self._failures.extend(result.failures)
        self._untold += len(result.failures)
        self.window.admit(len(result.failures))
        final = _first_raised(result.failures)
        for failure in _retries_before(result.failures, final):
            stop = bisect_left(places, _deep(failure.where))
            pieces.append((slot, self._outputs(batch, result, start, stop)))
            hole = self._ordering.split(slot)
            self._recovery.retry(hole, batch, failure, now_s + delay_s(self._ops[failure.operator], failure))
            slot, start = self._ordering.split(hole), stop
            self.window.admit(1)
        pieces.append((slot, self._outputs(batch, result, start, len(result.data))))
        if final is not None:
            self._raise(self._ordering.split(slot), final.as_error())
        elif result.done < len(batch):
            rest = batch.behind(result.done)
            self._recovery.put(self._ordering.split(slot), rest)
            self.window.admit(len(rest), rest.nbytes)
        for at, (place, outputs) in enumerate(pieces):
            self._out(place, outputs, 0 if at else sent.charge, 0 if at else sent.nbytes)

    def _fail(self, sent: Sent, error: BaseException) -> None:
        """The batch as a whole came to nothing: `error` stands in its place."""
        self.window.admit(-sent.charge, -sent.nbytes)
        self._raise(sent.slot, error)
        self._check_closing()

    def _raise(self, slot: Slot, error: BaseException) -> None:
        """Nothing behind `slot` is wanted; `error` is raised once all that was before it is out."""
        if slot.dropped or self._unwanted:
            return
        first, self._ended, self._failed = not self._failed, True, True
        items, nbytes = self._backlog.clear()
        self.window.admit(-items, -nbytes)
        if self._ordering.ordered:
            self._closing.clear()
            for piece in self._ordering.cut(slot):
                if isinstance(piece, Batch):
                    self.taken(len(piece), piece.nbytes)
            self._release(self._ordering.put(slot, error))
        elif first:  # ahead of what ended the input, which may be here already
            self._closing.insert(0, error)

    def _check_closing(self) -> None:
        """What ended the input is raised when all that was taken in is out."""
        if not (self._ended and self._idle):
            return
        if not self._closing and self._capped and not self._failed:
            over = self._over_cap(None)
            if over is not None:
                self._closing.append(over)
            self._capped = False
        self.ready.extend(self._closing)
        self._closing.clear()

    def _learn(self, result: BatchResult) -> None:
        if not result.done:
            return
        self._weight = max(result.nbytes / result.done, self._weight * FORGET)
        if self._expansion != 1.0:
            seen = (len(result.data) + len(result.failures)) / result.done
            self._expansion = max(seen, 1.000001, (self._expansion or 0) * FORGET)


def _deep(where: Where) -> tuple[int, ...]:
    return where if isinstance(where, tuple) else (where,)


def _first_raised(failures: Sequence[Failure]) -> Failure | None:
    raised = [failure for failure in failures if failure.verdict == "raise"]
    return min(raised, key=lambda failure: _deep(failure.where), default=None)


def _retries_before(failures: Sequence[Failure], final: Failure | None) -> list[Failure]:
    """The failures to be tried again, in order; those behind the one that ends the run are not."""
    retries = [failure for failure in failures if failure.verdict == "retry"]
    if final is not None:
        retries = [failure for failure in retries if _deep(failure.where) < _deep(final.where)]
    return sorted(retries, key=lambda failure: _deep(failure.where))
