"""Threads and locks round a network: what runs a plan, and what `executor.execute(fn, items)` is.

    puller --- feed.pull ---> network --.                              .--> ends ---> the consumer
    clock ---- what has come so far     +--> lane.submit --> (worker) --- finished
    hand <---- a sink, a stage in line -'         ^------- settle <----'

    puller     a thread per source: makes, pulls and closes it; waits for credit
    hand       a thread for each node that calls the user's functions and has no workers: a sink, a stage in line
    workers    the executors': the callback of a batch's future books its result and submits what may go next; or, if
               the function waits more than it computes, leaves that to the booker and goes on with the next batch
    booker     one thread, begun when it is needed: books all results that have come at once, then waits a little
    clock      one thread, begun when a pull asks for more than one item or something falls due later: hands on what a
               slow pull has brought, so that no item waits for a later one; cuts batches that are late
    consumer   whoever iterates. Without threads (the runner `serial`) it pulls and does the work of the hands itself,
               while it waits

All state is in `_network` and the underscored fields, touched only while holding `_lock` (reentrant, since the garbage
collector may close an abandoned run in any thread at any point). All conditions are on that lock. Nothing is submitted,
pulled, called back or told while it is held.
"""

from __future__ import annotations

import contextvars
import threading
import warnings
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from functools import partial
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from headrace.batch import Batch
from headrace.contracts import Lane, Leftovers
from headrace.drive.booker import Booker, LoopBooker, waited
from headrace.drive.feeds import ItemFeed, Listen
from headrace.drive.hand import Hand, Work
from headrace.errors import HeadraceError, ItemLate, PipelineFailed, PipelineTimeout, WorkerLost, said
from headrace.flow.gate_node import GateNode, Job
from headrace.flow.network import Network
from headrace.flow.nodes import SourceNode, StageNode

if TYPE_CHECKING:
    from concurrent.futures import Future

    from headrace.batch import BatchResult, Failure
    from headrace.drive.booker import Come
    from headrace.drive.reporter import Reporter
    from headrace.drive.turns import Turns
    from headrace.flow.nodes import Node
    from headrace.flow.outlet import Reader
    from headrace.flow.stage import Sent

NAP_S = 0.001
"""A consumer that was served is woken again after so many seconds, if it waits, and takes all that has come by then: to
be woken for every batch costs as much as the batch does."""
FIRST_S = 0.001
"""Seconds that a puller leaves the interpreter lock to the first item, at most."""

PATIENCE_S = 1.5
"""Seconds that the end waits for what is held inside the user's code: the pool of threads must be gone half a second
later, too."""

HELD_S = 0.01
"""A source that waits longer than this for credit is held back."""

LATE_S = 0.001
"""What falls due less than this before the clock looks anyway does not wake it."""


class Loops(Protocol):
    """The event loops of a run."""

    def cancel(self) -> None: ...

    def close(self) -> tuple[str, ...]: ...


class _Output(threading.Condition):
    """What the consumer waits for; one that does not wait in a thread is woken by `wake`."""

    wake: Callable[[], None] | None = None

    def notify(self, n: int = 1) -> None:
        super().notify(n)
        if self.wake is not None:
            self.wake()


class Engine:
    """Runs a network. See the picture at the top of the module.

    name     what the pipeline is called in errors
    feeds    what each source of the network is pulled from
    lanes    where the batches of each stage go
    inline   the stages whose lane runs a batch in the thread that submits it
    linger_s longest that an item waits for a later one; None: no thread is begun, all is done by the consumer
    deadline_s  when the consumer gets PipelineTimeout (monotonic clock)
    caller   nodes whose work the consumer's thread does, although there are threads
    reporter tells what goes on, if anybody is to hear it
    loops    the event loops of the run, which are closed with it
    turns    who may be at work, where not all may at once
    """

    def __init__(
        self,
        network: Network,
        feeds: Mapping[str, ItemFeed],
        lanes: Mapping[str, Lane],
        *,
        name: str,
        inline: frozenset[str] = frozenset(),
        caller: frozenset[str] = frozenset(),
        linger_s: float | None = None,
        fail_fast: bool = False,
        deadline_s: float | None = None,
        listen: Listen | None = None,
        reporter: Reporter | None = None,
        loops: Loops | None = None,
        turns: Turns | None = None,
    ) -> None:
        self._network = network
        self._name = name
        self._feeds = feeds
        self._lanes = lanes
        self._inline = inline
        self._caller = caller
        self._threaded = linger_s is not None
        self._linger_s = linger_s
        self._fail_fast = fail_fast
        self._deadline_s = deadline_s
        self._listen = listen
        self._reporter = reporter
        self._loops = loops
        self._turns = turns
        self._context = contextvars.copy_context()
        self._lock = threading.RLock()
        self._output = _Output(self._lock)
        self._ticking = threading.Condition(self._lock)
        self._sources = [node for node in network.nodes.values() if isinstance(node, SourceNode)]
        self._stages = [node for node in network.nodes.values() if isinstance(node, StageNode)]
        self._pullers = {node: threading.Condition(self._lock) for node in self._sources}
        self._waiting: set[SourceNode] = set()  # those whose puller waits
        self._hands: dict[str, Hand] = {}
        self._todo: deque[Work] = deque()  # for the consumer's thread
        self._held: set[GateNode] = set()  # those that a thread is in; each is put in and out by that thread
        self._booker = Booker(self._book)
        self._loop_bookers = {
            name: LoopBooker(self._book, lane.call_soon) for name, lane in lanes.items() if hasattr(lane, "call_soon")
        }
        self._turn: deque[tuple[str, Reader]] = deque(network.ends.items())
        self._given: tuple[Reader, int, int] | None = None  # items and bytes that the consumer has
        self._clock = False  # whether it has begun
        self._clock_until_s = inf  # when it looks next; 0: it is at work
        self._gave = False  # whether the first batch of outputs was taken, or has been waited for
        self._nap_until_s = 0.0  # the consumer is not woken before, unless there is plenty
        self._pulls = 0  # pulls of more than one item
        self._cancelled = False
        self._began = self._raised = False
        self._threads: list[threading.Thread] = []
        # what sources raised while they were closed, when nobody took anything any more
        self._unheard: list[tuple[str, BaseException]] = []
        self._leftovers: Leftovers | None = None

    # the consumer

    def __iter__(self) -> Engine:
        return self

    def __next__(self) -> tuple[str, Batch]:
        """The next batch of outputs, and the end that it comes from. StopIteration once all ends are over; before it
        what has ended some of them. Asking for the next gives back the one before."""
        while (piece := self._look_once(self._rest)) is None:
            pass
        return piece

    def poll(self, wake: Callable[[], None]) -> tuple[tuple[str, Batch] | None, float | None]:
        """For a consumer that does not wait in a thread: the next batch of outputs as `next` gives it; or None, and the
        seconds after which to ask again at the latest (None: any number). `wake` is called, once or more often and
        from any thread, when it is worth asking before that."""
        self._output.wake = wake
        patience_s: list[float | None] = []
        while (piece := self._look_once(patience_s.append)) is None and not patience_s:
            pass
        return piece, patience_s[0] if patience_s else None

    def _look_once(self, rest: Callable[[float | None], None]) -> tuple[str, Batch] | None:
        """Take what there is or do what there is to do; if there is nothing, `rest` for some seconds at most."""
        if not self._began:
            self._begin()
        with self._lock:
            self._network.consumer_waits = False
            self._give_back()
            failures = self._network.new_failures()
            piece = None if failures else self._take()
            work = [] if failures else self._wait(rest) if piece is None else self._settle()
        if failures:
            self._tell(failures)
        self._do(work)
        return piece

    def _rest(self, patience_s: float | None) -> None:
        self._output.wait(patience_s)
        self._network.consumer_waits = False

    def _begin(self) -> None:
        self._began = True
        if self._threaded:
            for source in self._sources:
                self._start("pull", source.name, partial(self._pull, source))
        with self._lock:
            for node in self._network.nodes.values():
                self._network.touch(node)
            work = self._settle()
        self._do(work)

    def _give_back(self) -> None:
        if self._given is not None:
            reader, items, nbytes = self._given
            self._given = None
            reader.give_back(items, nbytes)

    def _take(self) -> tuple[str, Batch] | None:
        """What the consumer gets now, if anything; raises what it is to raise."""
        network = self._network
        if self._cancelled or self._raised:
            raise StopIteration
        if self._deadline_s is not None and monotonic() >= self._deadline_s:
            self._raised = True
            raise PipelineTimeout(f"pipeline '{self._name}' was not at its end at its deadline") from self._first_error
        if self._fail_fast and network.errors:
            self._raise()
        for _ in range(len(self._turn)):
            name, reader = self._turn[0]
            if reader.queue:
                batch = reader.take()
                self._given = reader, len(batch), batch.nbytes
                if len(self._turn) > 1:
                    self._turn.rotate(-1)
                self._served()
                return name, batch
            self._turn.rotate(-1)
        if network.over:
            self._raise()
        return None

    def _raise(self) -> None:
        self._raised = True
        errors = self._network.errors if self._fail_fast else self._network.seen
        if not errors:
            raise StopIteration
        for error in errors:
            if not isinstance(error, Exception):  # Ctrl-C inside a source, which is nobody's failure
                raise error
        raise errors[0] if len(errors) == 1 else PipelineFailed.of(errors)

    @property
    def _first_error(self) -> BaseException | None:
        return next(iter(self._network.errors), None)

    def _served(self) -> None:
        self._nap_until_s = monotonic() + NAP_S if self._gave else 0.0
        if not self._gave:
            self._gave = True
            for condition in self._pullers.values():
                condition.notify()

    def _wait(self, rest: Callable[[float | None], None]) -> list[Work]:
        """Wait for something to take, or to tell of; not if there is something to do first, which is given back."""
        network = self._network
        network.consumer_waits = True
        work = self._settle()
        if not work and network.idle:  # some may go on just because the consumer waits
            for node in network.nodes.values():
                network.touch(node)
            work = self._settle()
        if not work and self._todo:
            work = [self._todo.popleft()]
        if not (work or self._threaded):
            work = self._pull_one()
        if not (work or self._something()):
            if network.stuck:
                self._raised = True
                raise network.jam() from self._first_error
            rest(self._patience_s())
            if not self._threaded:
                work = self._look(monotonic())
        else:
            network.consumer_waits = False
        return work

    def _something(self) -> bool:
        network = self._network
        return bool(self._cancelled or network.served or network.failures or (self._fail_fast and network.errors))

    def _patience_s(self) -> float | None:
        now_s = monotonic()
        ends = [self._nap_until_s] if self._nap_until_s > now_s else []
        if self._deadline_s is not None:
            ends.append(self._deadline_s)
        if not self._threaded and (due_s := self._network.due_s) is not None:
            ends.append(max(due_s, now_s + LATE_S))
        return max(0.0, min(ends) - now_s) if ends else None

    def _tell(self, failures: list[tuple[StageNode | GateNode, Failure]]) -> None:
        """Tell of failures and let them go. In the consumer's thread and before what comes behind them: once a run is
        at its end, all of them have been told."""
        told = Counter(node for node, _ in failures)
        if self._listen is not None:
            for _, failure in failures:
                self._listen(failure)
            del failure
        failures.clear()
        with self._lock:
            for node, count in told.items():
                node.told(count)
            work = self._settle()
        self._do(work)

    # what goes on

    def _settle(self) -> list[Work]:
        """Move on all that can be moved, wake whom it concerns, and give what is to be done outside the lock."""
        network = self._network
        if self._cancelled:
            return []
        now_s = monotonic()
        network.settle(now_s)
        work: list[Work] = []
        submits, network.submits = network.submits, []
        jobs, network.jobs = network.jobs, []
        if self._turns is not None:
            submits, jobs = self._turns.admit(submits, jobs, now_s)
        for node, sent in submits:
            submit = partial(self._submit, node, sent)
            if node.name in self._inline:
                self._hand(node, submit)
            else:
                work.append(submit)
        for job in jobs:
            self._hand(job.node, partial(self._step, job))
        if self._reporter is not None:
            work[:0] = self._report(self._reporter, now_s)
        for source in tuple(self._waiting):
            if not source.open or source.wanted():
                self._pullers[source].notify()
        if network.consumer_waits and (self._todo or not self._threaded or self._serves()):
            self._output.notify()
        if self._threaded and (self._clock_until_s > now_s + LATE_S or not self._clock):
            due_s = network.due_s
            if due_s is not None and due_s < self._clock_until_s - LATE_S:
                self._wake_clock()
        return work

    def _report(self, reporter: Reporter, now_s: float) -> list[Work]:
        """Note what has come of it; gives what is to be done to tell it, which comes before all else."""
        if self._network.clogs:
            clogs, self._network.clogs = self._network.clogs, []
            for node, waiting in clogs:
                if waiting:
                    reporter.held(node.operators[-1], now_s, waiting)
                else:
                    reporter.freed(node.operators[-1], now_s)
        reporter.look(now_s)
        return [reporter.tell] if reporter.news else []

    def _serves(self) -> bool:
        """Whether the consumer, who waits, should be woken now."""
        if not self._something():
            return self._network.idle
        return (
            monotonic() >= self._nap_until_s
            or self._network.over
            or any(
                self._network.nodes[name].plenty(reader) for name, reader in self._network.ends.items() if reader.queue
            )
        )

    def _do(self, work: list[Work]) -> None:
        """Do all of it, and what it gives to be done next."""
        todo = deque(work)
        while todo:
            todo.extend(todo.popleft()() or ())

    def _hand(self, node: Node, work: Work) -> None:
        """Have `work` done by the one thread that does the work of `node`."""
        if not self._threaded or node.name in self._caller:
            self._todo.append(work)
            return
        hand = self._hands.get(node.name)
        if hand is None:
            hand = self._hands[node.name] = Hand(self._lock)
            self._start("run", node.name, partial(hand.run, lambda: self._cancelled))
        hand.put(partial(self._guard, work))

    def _guard(self, work: Work) -> None:
        """Do `work` in a thread of which nobody else would hear, so that the consumer would wait for ever."""
        try:
            self._do([work])
        except BaseException as error:
            with self._lock:
                self._network.note(error)
                self._fail_fast = True
                self._output.notify()

    # batches

    def _submit(self, node: StageNode, sent: Sent) -> list[Work]:
        try:
            future = self._lanes[node.name].submit(sent.batch)
        except Exception as error:
            return self._broken(node, sent, error)
        if future.done():
            return self._settled(node, sent, future)
        future.add_done_callback(partial(self._called_back, node, sent))
        return []

    def _called_back(self, node: StageNode, sent: Sent, future: Future[BatchResult]) -> None:
        booker = self._loop_bookers.get(node.name)
        if booker is not None and not future.cancelled() and future.exception() is None:
            booker.put((node, sent, future))
        elif not (self._threaded and waited(future) and self._booker.put((node, sent, future))):
            self._guard(partial(self._settled, node, sent, future))

    def _book(self, come: list[Come]) -> None:
        self._guard(partial(self._book_all, come))

    def _book_all(self, come: list[Come]) -> list[Work]:
        with self._lock:
            for node, sent, future in come:
                self._settled_one(node, sent, future.result())
            come.clear()
            return self._settle()

    def _settled(self, node: StageNode, sent: Sent, future: Future[BatchResult]) -> list[Work]:
        """Book what came of a batch; gives what to do next."""
        try:
            result = future.result()
        except CancelledError:
            return self._given_up(node, sent)
        except (WorkerLost, ItemLate) as error:
            return self._lost(node, sent, error)
        except BaseException as error:
            return self._broken(node, sent, error)
        with self._lock:
            self._settled_one(node, sent, result)
            return self._settle()

    def _settled_one(self, node: StageNode, sent: Sent, result: BatchResult) -> None:
        if not node.flow.expects(sent):  # it has run out of time
            return
        now_s = monotonic()
        if self._reporter is not None:
            self._reporter.completed(node, result, now_s)
        if self._cancelled:
            node.flow.book(sent, result)  # nobody takes it, but it was done
        else:
            node.finished(sent, result, now_s)

    def _given_up(self, node: StageNode, sent: Sent) -> list[Work]:
        """The executor cancelled a batch, and may hold a lock that a submit needs, as ThreadPoolExecutor.shutdown does:
        what may go next is submitted by the consumer, and not from here."""
        with self._lock:
            if not self._cancelled and node.flow.expects(sent):
                node.broken(sent, HeadraceError("it gave the batch up"))
                self._output.notify()
        return []

    def _lost(self, node: StageNode, sent: Sent, error: WorkerLost | ItemLate) -> list[Work]:
        with self._lock:
            if self._cancelled or not node.flow.expects(sent):
                return []
            if self._reporter is not None:
                self._reporter.lost(node, getattr(error, "worker", ""), str(error).partition("\n")[0])
            node.lost(sent, error, monotonic())
            return self._settle()

    def _broken(self, node: StageNode, sent: Sent, error: BaseException) -> list[Work]:
        with self._lock:
            if self._cancelled or not node.flow.expects(sent):
                return []
            node.broken(sent, error)
            return self._settle()

    def _step(self, job: Job) -> None:
        """Let a gate call the user's function."""
        self._held.add(job.node)
        try:
            step = job.do()
        finally:
            self._held.discard(job.node)
            if self._leftovers is not None:  # the run was closed without it
                job.node.gate.abort()
        with self._lock:
            job.node.stepped(step)
            work = self._settle()
        self._do(work)

    # sources

    def _pull(self, node: SourceNode) -> None:
        """What a puller does, to the end."""
        feed, error = self._feeds[node.name], None
        try:
            while (granted := self._credit(node)) and feed.pull(granted, node.left_bytes):
                self._collect(node, over=True)
                self._let_the_first_through(node)
        except BaseException as caught:
            error = caught
        self._pulled(node, error)

    def _pulled(self, node: SourceNode, error: BaseException | None) -> None:
        """A source is at its end. Until it is closed its pull counts as going on."""
        try:
            self._feeds[node.name].close()
        except BaseException as caught:
            if self._cancelled or not node.open:
                self._unheard.append((node.name, caught))
            error = error or caught
        with self._lock:
            node.arrived(self._feeds[node.name].collect() if node.open and node.pulling else None, over=True)
            node.end(error)
            work = self._settle()
        self._do(work)

    def _pull_one(self) -> list[Work]:
        """Without threads: one pull of a source that has credit, if there is one."""
        for node in self._sources:
            if granted := node.reserve():
                self._sources.remove(node)
                self._sources.append(node)
                return [partial(self._pull_here, node, granted)]
        return []

    def _pull_here(self, node: SourceNode, granted: int) -> None:
        error = None
        try:
            more = self._feeds[node.name].pull(granted, node.left_bytes)
        except Exception as caught:
            more, error = False, caught
        if more:
            self._collect(node, over=True)
        else:
            self._pulled(node, error)

    def _let_the_first_through(self, node: SourceNode) -> None:
        """Wait for the first result to be taken, but not long: a source in Python that went on at once would keep the
        interpreter lock from the worker and the consumer, for 5 ms each time."""
        if not self._gave:
            with self._lock:
                if not self._gave:
                    self._pullers[node].wait(FIRST_S)
                self._gave = True

    def _credit(self, node: SourceNode) -> int:
        """Wait for credit, and say how many items to pull; 0 if no more are wanted."""
        held = False  # for so long that it is worth telling
        while True:
            with self._lock:
                until_s = None if held or self._reporter is None else monotonic() + HELD_S
                granted = self._wait_for_credit(node, until_s)
                if self._reporter is not None:
                    self._note_held(self._reporter, node, held, granted)
            if self._reporter is not None and self._reporter.news:
                self._reporter.tell()
            if granted is not None:
                return granted
            held = True

    def _wait_for_credit(self, node: SourceNode, until_s: float | None) -> int | None:
        """The same; None if there is still none at `until_s`."""
        while not self._cancelled and node.open:
            if granted := node.reserve():
                self._watch_pull(granted)
                return granted
            left_s = None if until_s is None else until_s - monotonic()
            if left_s is not None and left_s <= 0:
                return None
            self._waiting.add(node)
            self._pullers[node].wait(left_s)
            self._waiting.discard(node)
        return 0

    def _note_held(self, reporter: Reporter, node: SourceNode, held: bool, granted: int | None) -> None:
        """A source that gets its credit late, time and again, stays held back; one that gets it at once is free."""
        if granted is None:
            reporter.held(node.name, monotonic())
        elif not held:
            reporter.freed(node.name, monotonic())

    def _collect(self, node: SourceNode, *, over: bool) -> None:
        """Hand on what a pull has brought so far; `over` tells that it is done."""
        with self._lock:
            wanted = node.open and node.pulling
            node.arrived(self._feeds[node.name].collect() if wanted else None, over=over)
            work = self._settle()
        self._do(work)

    # the clock

    def _watch_pull(self, granted: int) -> None:
        if granted > 1:
            self._pulls += 1
            if not self._clock or self._clock_until_s == inf:
                self._wake_clock()

    def _wake_clock(self) -> None:
        if not self._clock:
            self._clock = True
            self._clock_until_s = 0.0
            self._start("clock", "", self._tick)
        elif self._clock_until_s:
            self._ticking.notify()

    def _tick(self) -> None:
        seen, network = -1, self._network
        while True:
            with self._lock:
                if self._cancelled or network.over:
                    return
                pulling = any(node.pulling for node in self._sources)
                # While pulls go on, to look every now and then is cheaper than to be woken for each of them.
                timeout_s = self._until_due()
                if (pulling or self._pulls != seen) and self._linger_s is not None:
                    timeout_s = self._linger_s if timeout_s is None else min(self._linger_s, timeout_s)
                seen = self._pulls
                self._clock_until_s = inf if timeout_s is None else monotonic() + timeout_s
                self._ticking.wait(timeout_s)
                self._clock_until_s = 0.0
                if self._cancelled:
                    return
                work = self._look(monotonic())
                slow = [node for node in self._sources if node.pulling]
                work += [] if slow else self._settle()
            self._do(work)
            for node in slow:
                self._collect(node, over=False)

    def _look(self, now_s: float) -> list[Work]:
        """See to what has fallen due: batches that are late, items that have run out of time, retries and gates."""
        work: list[Work] = []
        for stage in self._stages:
            for batch in stage.flow.overdue(now_s):
                batch.cut()
            for sent, result in stage.flow.expired(now_s):
                work.append(partial(self._abandon, stage, sent.batch))
                if self._reporter is not None:
                    self._reporter.lost(stage, "", "it was at an item for longer than timeout_s, and is left to itself")
                stage.finished(sent, result, now_s)
        self._network.tick(now_s)
        return work

    def _abandon(self, stage: StageNode, batch: Batch) -> None:
        abandon = getattr(self._lanes[stage.name], "abandon", None)
        if abandon is not None:
            abandon(batch)

    def _until_due(self) -> float | None:
        due_s = self._network.due_s
        return None if due_s is None else max(LATE_S, due_s - monotonic())

    # the end

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    @property
    def ended(self) -> bool:
        """Whether all that was to come is out, or nothing more will be."""
        return self._cancelled or self._network.over

    def stop(self) -> None:
        """No more from the sources; what is in flight comes out. From any thread."""
        # A signal handler may have interrupted this thread in the middle of a change.
        if self._lock._is_owned():  # type: ignore[attr-defined]
            threading.Thread(target=self.stop, name="headrace-stop", daemon=True).start()
            return
        with self._lock:
            self._network.stop()
            for node in self._sources:
                if node.open:
                    node.arrived(self._feeds[node.name].collect() if node.pulling else None, over=False)
                    node.end()
            work = self._settle()
            self._output.notify()
        self._do(work)
        self._wake_feeds()

    def _wake_feeds(self) -> None:
        for feed in self._feeds.values():
            feed.wake()

    def cancel(self) -> None:
        """End now: the consumer gets StopIteration. From any thread."""
        with self._lock:
            self._cancelled = True
            for stage in self._stages:
                stage.flow.cut_all()
            for node in self._network.nodes.values():
                if isinstance(node, GateNode):
                    node.gate.cancel()
            hands = [hand.changed for hand in self._hands.values()]
            for condition in (self._output, self._ticking, *self._pullers.values(), *hands):
                condition.notify_all()
        self._wake_feeds()
        if self._loops is not None:
            self._loops.cancel()

    def close(self) -> Leftovers:
        """Wake all, then wait for them; what does not end in time is named, and left to end by itself."""
        if self._leftovers is None:
            self.cancel()
            until_s = monotonic() + PATIENCE_S
            left = Leftovers()
            for lane in self._lanes.values():
                left += lane.close(cancel=True, timeout_s=max(0.0, until_s - monotonic()))
            # Without an identity it was not started: Ctrl-C came first. And who closes cannot wait for himself.
            others = [each for each in self._threads if each.ident not in (None, threading.get_ident())]
            for thread in others:
                thread.join(max(0.0, until_s - monotonic()))
            if not self._booker.close(max(0.0, until_s - monotonic())):
                left += Leftovers(("headrace-book",))
            self._leftovers = left + Leftovers(tuple(thread.name for thread in others if thread.is_alive()))
            self._abort()
            if self._loops is not None and self._threads:
                self._leftovers += Leftovers(self._loops.close())
            for name, error in self._unheard:
                self._warn_of_close(name, error)
        if not self._threads:  # also the second time: the first may have come while the consumer was inside a source
            for name, feed in self._feeds.items():
                try:
                    feed.close()
                except Exception as error:
                    self._warn_of_close(name, error)
            if self._loops is not None:
                self._loops.close()
        return self._leftovers

    def commit(self) -> None:
        """All has come out, and well: make it last, where a gate keeps something back until then. Raises what goes
        wrong with it."""
        gates = [node.gate for node in self._network.nodes.values() if isinstance(node, GateNode)]
        for gate in gates:
            gate.finish()
        for gate in gates:
            gate.commit()

    def _abort(self) -> None:
        """Close what was not committed, but for a gate that a thread is still held in, which closes it then. All of
        them are closed, whatever is raised; what is no Exception is raised in the end."""
        ends: list[BaseException] = []
        for node in self._network.nodes.values():
            if isinstance(node, GateNode) and node not in self._held:
                try:
                    node.gate.abort()
                except Exception as error:
                    warnings.warn(f"{said(error)}", RuntimeWarning, stacklevel=3)
                except BaseException as error:
                    ends.append(error)
        if ends:
            raise ends[0]

    def _warn_of_close(self, source: str, error: BaseException) -> None:
        message = f"source '{source}' raised while it was closed: {said(error)}"
        warnings.warn(message, RuntimeWarning, stacklevel=3)

    def _start(self, role: str, name: str, work: Work) -> None:
        thread = threading.Thread(
            target=self._context.copy().run,
            args=(work,),
            name=f"headrace-{role}-{name}" if name else f"headrace-{role}",
            daemon=True,
        )
        self._threads.append(thread)
        thread.start()

    def __repr__(self) -> str:
        return f"<Engine {self._network!r}>"
