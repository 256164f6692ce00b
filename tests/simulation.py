"""A run without threads and clocks: a network of a random graph, and all that is around it, driven by a seed.

What `drive.engine` does with threads is done here by one action after the other, in any order: sources that bring a
part of what was asked for, workers that come back in any order and with a part of what they had, gates that take their
time, a consumer that keeps what it got, time that jumps. After each action the promises are checked. What each node was
fed and what it gave is recorded, so that afterwards each can be held against the oracle by itself, whatever its
neighbours did.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from math import inf
from random import Random
from typing import Any

from graphs import Graph, Spec
from headrace.batch import Batch, Failure
from headrace.errors import OperatorFailed
from headrace.flow.gate_node import GateNode, Job
from headrace.flow.gates import BatchGate, Gate, MergeGate, SinkGate, Step, ZipGate
from headrace.flow.kernel import Control, Kernel, Op
from headrace.flow.ledger import Account, Ledger
from headrace.flow.network import Network
from headrace.flow.nodes import Node, SourceNode, StageNode
from headrace.flow.outlet import Reader
from headrace.flow.stage import FlowSettings, Sent, StageFlow

MOST_ACTIONS = 50_000


class Watched(Gate):
    """A gate of which all is noted: what it was fed, in order, and what each of its outputs stands for."""

    def __init__(self, gate: Gate, ports: int) -> None:
        self.gate = gate
        self.calls_user = gate.calls_user
        self.fed: list[list[Any]] = [[] for _ in range(ports)]
        self.all_fed: list[Any] = []
        self.fed_s: list[float] = []  # when each of them came
        self.members: list[tuple[int, ...]] = [(0,) * ports]  # of the first outputs together, by port
        self.consumed = [0] * ports

    def feed(self, port: int, batch: Batch, now_s: float) -> Step:
        items = list(zip(batch.index, batch.data, strict=True))
        self.fed[port] += items
        self.all_fed += items
        self.fed_s += [now_s] * len(items)
        return self._noted(self.gate.feed(port, batch, now_s))

    def tick(self, now_s: float) -> Step:
        return self._noted(self.gate.tick(now_s))

    def end(self, port: int, now_s: float) -> Step:
        return self._noted(self.gate.end(port, now_s))

    @property
    def lacks(self) -> tuple[int, str]:
        return self.gate.lacks

    def _noted(self, step: Step) -> Step:
        for batch, each in step.out:
            for _ in range(len(batch)):
                self.members.append(tuple(map(sum, zip(self.members[-1], each, strict=True))))
        return step

    @property
    def waits_since_s(self) -> float:
        """When the first came that has no output yet."""
        given = sum(self.members[-1])
        return self.fed_s[given] if given < len(self.fed_s) else inf

    def done(self, step: Step) -> None:
        """What a step said to be over is over once the network has heard of it."""
        for port, items in enumerate(step.consumed):
            self.consumed[port] += items


class Source:
    """One that gives `left` more items, and may fail then."""

    def __init__(self, spec: Spec, node: SourceNode, account: Account, *, first: bool) -> None:
        self.spec, self.node, self.account, self.first = spec, node, account, first
        self.given: list[Any] = []
        self.closed = False  # as a puller that is gone
        self.error = OperatorFailed(spec.name, None, None, "at its end: OSError: no more") if spec.fails else None
        self.ended_with: BaseException | None = None

    @property
    def left(self) -> int:
        return self.spec.items - len(self.given)

    def end(self, error: BaseException | None = None) -> None:
        if self.node.open:
            self.ended_with = error
        self.node.end(error)

    def bring(self, count: int, measure: Callable[[Any], int] | None) -> Batch | None:
        if not count:
            return None
        start = len(self.given)
        data = [(start + at, self.spec.items) for at in range(count)]
        index: Any = range(start, start + count)
        if not self.first:
            index = [(self.spec.name, at) for at in index]
        self.given += zip(index, data, strict=True)
        self.account.gave(count)
        return Batch(start, index, data, 0.0, nbytes=sum(map(measure, data)) if measure else 0)


class Simulation:
    """The shell round a network."""

    def __init__(self, graph: Graph, random: Random) -> None:
        self.graph, self.random = graph, random
        self.now_s = 0.0
        self.network, self.ledger = Network(), Ledger()
        self.sources: dict[str, Source] = {}
        self.kernels: dict[str, list[Kernel]] = {}
        self.watched: dict[str, Watched] = {}
        self.fed: dict[str, list[Any]] = {spec.name: [] for spec in graph.nodes}  # of stages
        self.given: dict[str, list[Any]] = {spec.name: [] for spec in graph.nodes}
        self.ended_wanted: set[str] = set()  # nodes that ended while somebody read them
        self.made: Counter[str] = Counter()  # outputs and failures, less inputs dealt with, of each stage
        self.running: list[tuple[StageNode, Sent]] = []
        self.jobs: list[tuple[Job, Step | None]] = []
        self.at_work: Batch | None = None
        self.held: deque[tuple[Reader, int, int]] = deque()
        self.telling: list[tuple[StageNode | None, Failure]] = []
        self.failures: list[Failure] = []
        self.got: dict[str, list[Any]] = {name: [] for name in graph.ends}
        self.dropped: set[str] = set()
        self.broken: set[str] = set()
        self.stopped = self.stuck = False
        self.actions = 0
        self.bounds = {spec.name: spec.bound for spec in graph.nodes}
        self.cut_share = random.choice([0.0, 0.02, 0.3])
        self.break_share = random.choice([0.0] * 6 + [0.02, 0.1])
        self.stops = random.random() < 0.2
        self.drops = random.random() < 0.2
        self.patient = random.random() < 0.3  # whether it is looked for what was left lying after each action
        measured = graph.nodes[0].max_bytes is not None
        self.measure = (lambda item: 3 * len(repr(item)) + 1) if measured else None
        for spec in graph.nodes:
            self._open(spec)
        for name in graph.ends:
            self.network.end(name)
        for node in self.network.nodes.values():
            self.network.touch(node)

    # building, as drive.opening does

    def _open(self, spec: Spec) -> None:
        account = self.ledger.open(spec.name, tuple(step.name for step in spec.steps) or (spec.name,), spec.inputs)
        if spec.kind == "source":
            source = self.network.source(spec.name, spec.window, spec.max_bytes)
            self.sources[spec.name] = Source(spec, source, account, first=not self.sources)
            node: Node = source
        elif spec.kind == "stage":
            node = self._stage(spec, account)
        else:
            gate = self.watched[spec.name] = Watched(self._gate(spec, account), len(spec.inputs))
            node = self.network.gate(spec.name, gate, spec.inputs, account)
        self._record(node)

    def _ops(self, spec: Spec) -> tuple[Op, ...]:
        ops = tuple(Op(step.name, step.kind, step.fn.fresh(), step.on_error, step.retries + 1) for step in spec.steps)
        for op in ops:
            op.fn.before_each = self._perhaps_cut
        return ops

    def _stage(self, spec: Spec, account: Account) -> StageNode:
        ops = self._ops(spec)
        self.kernels[spec.name] = [Kernel(ops, limit_s=limit_s, measure=self.measure) for limit_s in (None, 0.0)]
        settings = FlowSettings(
            window=spec.window, max_bytes=spec.max_bytes, ordered=spec.ordered, aim_s=spec.aim_s, linger_s=0.002
        )
        flow = StageFlow(spec.name, self.kernels[spec.name][0], settings, spec.degree, account)
        alone = len(self.graph.readers(spec.inputs[0])) == 1
        node = self.network.stage(flow, spec.inputs, lambda: spec.capacity, alone=alone)
        feed, fed = flow.feed, self.fed[spec.name]

        def recorded(batch: Batch) -> None:
            fed.extend(zip(batch.index, batch.data, strict=True))
            feed(batch)

        flow.feed = recorded  # type: ignore[method-assign]
        return node

    def _gate(self, spec: Spec, account: Account) -> Gate:
        ports = len(spec.inputs)
        if spec.kind == "merge":
            return MergeGate(account, ports)
        if spec.kind == "zip":
            return ZipGate(account, spec.name, spec.inputs, fills=spec.fills)
        if spec.kind == "batch":
            return BatchGate(account, spec.name, spec.size, spec.max_wait_s, ports)
        return SinkGate(account, self._ops(spec)[0], ports=ports)

    def _record(self, node: Node) -> None:
        outlet, given = node.outlet, self.given[node.name]
        offer, end = outlet.offer, outlet.end

        def recorded_offer(batch: Batch) -> None:
            assert not outlet.ended, f"{node!r} gives something behind its end"
            assert len(batch) == len(batch.index) > 0
            given.extend(zip(batch.index, batch.data, strict=True))
            offer(batch)

        def recorded_end(error: BaseException | None = None) -> None:
            assert not outlet.ended, f"{node!r} ends twice"
            if outlet.wanted:
                self.ended_wanted.add(node.name)
            end(error)

        outlet.offer, outlet.end = recorded_offer, recorded_end  # type: ignore[method-assign]

    # what may happen; each says whether it did

    def pull(self) -> bool:
        """Begin a pull, or bring in some of what it was to bring."""
        able = [source for source in self.sources.values() if self._pullable(source)]
        if not able:
            return False
        source = self.random.choice(able)
        node = source.node
        if not node.pulling and node.open:
            assert (node.stage or node).outlet.wanted, "nobody wants what is pulled"
            assert node.reserve() > 0
        else:
            self._arrive(source)
        self.settle()
        return True

    def _pullable(self, source: Source) -> bool:
        """Also a puller that has to hear that it is not wanted any more."""
        node = source.node
        return not source.closed and bool(node.pulling or not node.open or node.wanted())

    def _arrive(self, source: Source) -> None:
        node, random = source.node, self.random
        if not node.open:
            node.arrived(None, over=True)
            source.end(source.error)
            source.closed = True
            return
        some = random.randint(0, min(node.pulling, source.left))
        batch = source.bring(some, self.measure)
        if not source.left and (some < node.pulling or random.random() < 0.5):
            node.arrived(batch, over=True)
            source.end(source.error)
            source.closed = True
        else:
            node.arrived(batch, over=random.random() < 0.5)

    def finish(self) -> bool:
        """A batch comes back, or was broken."""
        if not self.running:
            return False
        node, sent = self.running.pop(self.random.randrange(len(self.running)))
        batch = sent.batch
        if self.random.random() < self.break_share:
            self.broken.add(node.name)
            node.broken(sent, RuntimeError("no worker"))
            if self.random.random() < 0.5:
                self.settle()
            else:  # a batch that was given up: it is the consumer that goes on from here
                self.network.consumer_waits = False
            return True
        self.at_work, had = batch, len(batch)
        result = self.random.choice(self.kernels[node.name]).run(batch, Control())
        self.at_work = None
        assert 0 < result.done <= had
        self.made[node.name] += len(result.data) + len(result.failures) - result.done
        node.finished(sent, result, self.now_s)
        self.settle()
        return True

    def step(self) -> bool:
        """A gate that calls the user's function begins to do it, or has done it."""
        if not self.jobs:
            return False
        at = self.random.randrange(len(self.jobs))
        job, step = self.jobs.pop(at)
        if step is None:
            self.jobs.append((job, job.do()))
        else:
            job.node.stepped(step)
            self.watched[job.node.name].done(step)
            self.settle()
        return True

    def take(self) -> bool:
        ends = [(name, reader) for name, reader in self.network.ends.items() if reader.queue]
        if self.network.consumer_waits or not ends:
            return False
        name, reader = self.random.choice(ends)
        batch = reader.take()
        self.got[name] += zip(batch.index, batch.data, strict=True)
        self.held.append((reader, len(batch), batch.nbytes))
        batch.data = batch.index = ()  # it is ours
        return True

    def give_back(self) -> bool:
        """The first that the consumer holds, or a part of it."""
        if not self.held:
            return False
        reader, items, nbytes = self.held.popleft()
        part = self.random.randint(1, items)
        part_bytes = nbytes * part // items
        if part < items:
            self.held.appendleft((reader, items - part, nbytes - part_bytes))
        reader.give_back(part, part_bytes)
        self.settle()
        return True

    def hear(self) -> bool:
        """The consumer asks what failed."""
        if self.network.consumer_waits or not self.network.failures:
            return False
        self.telling += self.network.new_failures()
        return True

    def tell(self) -> bool:
        """It has been told of, and is let go."""
        if not self.telling:
            return False
        for node, count in Counter(node for node, _ in self.telling if node is not None).items():
            node.told(count)
        for node, failure in self.telling:
            self.failures.append(failure)
            if node is not None and failure.verdict != "retry":
                self.made[node.name] -= 1
        self.telling.clear()
        self.settle()
        return True

    def wait(self) -> bool:
        """The consumer begins to wait, if there is nothing for it."""
        network = self.network
        busy = self.held or self.telling or network.failures or network.served
        if network.consumer_waits or busy:
            return False
        network.consumer_waits = True
        for node in network.nodes.values():
            network.touch(node)
        self.settle()
        return True

    def wake(self) -> bool:
        """It looks again, if there is something for it."""
        network = self.network
        if not (network.consumer_waits and (network.served or network.failures)):
            return False
        network.consumer_waits = False
        return True

    def stop(self) -> bool:
        """The user wants no more."""
        if not self.stops or self.stopped:
            return False
        self.stopped = True
        for source in self.sources.values():
            node = source.node
            if node.open:
                some = self.random.randint(0, min(node.pulling, source.left))
                node.arrived(source.bring(some, self.measure), over=False)
                source.end()
        self.settle()
        return True

    def drop(self) -> bool:
        """The consumer wants nothing any more from one of the ends."""
        if not self.drops or self.network.consumer_waits:
            return False
        name = self.random.choice(list(self.network.ends))
        reader = self.network.ends[name]
        if not reader.over:
            self.dropped.add(name)
            reader.drop()
            self.held = deque(held for held in self.held if held[0] is not reader)
            self.settle()
        self.drops = False
        return True

    def pass_time(self) -> bool:
        self.now_s += self.random.choice([0.0001, 0.002, 0.02])
        self._tick()
        return True

    def _tick(self) -> None:
        for node in self.network.nodes.values():
            if isinstance(node, StageNode):
                node.flow.overdue(self.now_s)
        self.network.tick(self.now_s)
        self.settle()
        due_s = self.network.due_s
        assert due_s is None or due_s > self.now_s, "a clock would look again at once, for ever"
        for spec in self.graph.nodes:
            if spec.max_wait_s is not None:
                assert self.watched[spec.name].waits_since_s + spec.max_wait_s > self.now_s, "a list is overdue"

    def _perhaps_cut(self) -> None:
        if self.at_work is not None and self.random.random() < self.cut_share:
            self.at_work.cut()

    def settle(self) -> None:
        network = self.network
        network.settle(self.now_s)
        self._take_work()
        if self.patient:
            self._look_for_more()
        if network.consumer_waits and network.stuck:
            assert not self._something_goes_on(), "it is said to be stuck"

    def _take_work(self) -> None:
        self.running += self.network.submits
        assert all(len(sent.batch) for _, sent in self.network.submits)
        self.network.submits.clear()
        self.jobs += [(job, None) for job in self.network.jobs]
        self.network.jobs.clear()

    def _look_for_more(self) -> None:
        """What could have been done must have been done, except where more will be heard of anyway."""
        network = self.network
        before = self._state()
        for node in network.nodes.values():
            if not node.busy:
                network.touch(node)
        network.settle(self.now_s)
        assert self._state() == before and not (network.submits or network.jobs), "something was left lying"

    def _state(self) -> Any:
        return [
            (
                account.fed,
                len(self.given[name]),
                node.outlet.ended,
                [(len(reader.queue), reader.taken, reader.done, reader.dropped) for reader in node.inputs],
            )
            for (name, node), account in zip(self.network.nodes.items(), self.ledger.accounts.values(), strict=True)
        ]

    def _something_goes_on(self) -> bool:
        pulls = any(source.node.pulling or source.node.wanted() for source in self.sources.values())
        told = self.telling or self.network.failures
        due = self.network.due_s is not None
        return bool(pulls or self.running or self.jobs or told or self.held or due or self.network.served)

    # all of it

    def run(self) -> None:
        self.settle()
        self._at_random()
        self._to_the_end()
        self.network.consumer_waits = False
        if self.network.over and not (self.network.errors or self.dropped):
            while self.hear() or self.tell():
                pass
            self.ledger.check()
        others = (self.give_back, self.hear, self.tell, self.finish, self.step, self.pull)
        while any(self._act(action) for action in others):
            self.settle()

    def _at_random(self) -> None:
        actions = [
            self.pull, self.finish, self.step, self.take, self.give_back, self.hear, self.tell, self.wait, self.wake,
            self.pass_time,
        ]  # fmt: skip
        rare = [self.stop, self.drop]
        for _ in range(self.random.choice([0, 1, 2, 4])):
            # For a while some hardly do anything: a consumer that is away, workers that are held.
            weights = [self.random.choice([0, 1, 5, 20]) for _ in actions] + [1, 1]
            for action in self.random.choices(actions + rare, weights, k=20):
                self._act(action)

    def _to_the_end(self) -> None:
        """Everybody does what there is to do, until the end is there; or it is stuck, and says so."""
        actions = [self.pull, self.finish, self.step, self.take, self.give_back, self.hear, self.tell, self.wake]
        while not self.network.over:
            if self.random.random() < 0.2:
                self.random.shuffle(actions)
            if any(self._act(action) for action in actions) or self._act(self.wait):
                continue
            if self._jump():
                continue
            assert self.network.consumer_waits and self.network.stuck, f"nothing goes on: {self.network!r}"
            self.stuck = True
            self._check_jam()
            return

    def _jump(self) -> bool:
        due_s = self.network.due_s
        if due_s is None:
            return False
        assert due_s > self.now_s, "what was due has not been done"
        self.now_s = due_s
        self._act(partial(bool, self._tick()))
        return True

    def _act(self, action: Callable[[], bool]) -> bool:
        acted = action()
        self.actions += acted
        assert self.actions < MOST_ACTIONS, "it goes on for ever"
        if acted:
            self.check_windows()
        return acted

    def _check_jam(self) -> None:
        assert not self.graph.fits, "the windows are large enough, and yet nothing goes on"
        jam = self.network.jam()
        assert jam.args[0] in self.network.nodes, "no window is full, and yet nothing goes on"
        window = self.network.nodes[jam.args[0]].credit
        assert window is not None and not window.room and jam.args[2] > window.items == jam.args[1]

    # the promises, at any time

    def check_windows(self) -> None:
        for spec in self.graph.nodes:
            node = self.network.nodes[spec.name]
            if spec.kind == "source" and node.stage is None:
                here = node.pulling + self.out(node)
                assert here == node.window.used or not node.outlet.wanted, f"{here} here, {node.window!r}"
                assert here <= spec.window
            elif spec.kind == "stage" and not node.flow._failed:
                self._check_stage_window(spec, node)

    def _check_stage_window(self, spec: Spec, node: StageNode) -> None:
        flow, window = node.flow, node.flow.window
        pulling = node.source.pulling if node.source is not None else 0
        here = pulling + len(self.fed[spec.name]) + self.made[spec.name] - flow.emitted + self.out(node)
        assert here <= window.used, f"{here} here, {window!r}: not all is counted"
        if not (flow.running or flow._untold):
            assert here == window.used, f"{here} here, {window!r}: what is gone is still counted"
        assert here <= self.bounds[spec.name], f"{here} here, {window!r}"

    def out(self, node: Node) -> int:
        """Items that a node gave, and that some reader is not done with."""
        return max((self._at(reader) for reader in node.outlet.readers if not reader.dropped), default=0)

    def _at(self, reader: Reader) -> int:
        """Items that are at a reader, or with somebody behind it on whose account it keeps them."""
        here = sum(map(len, reader.queue))
        if reader.node is None:
            return here + sum(items for held, items, _ in self.held if held is reader)
        if isinstance(reader.node, GateNode):
            gate, port = self.watched[reader.node.name], reader.node.inputs.index(reader)
            gone = len(gate.members) - 1 - self.out(reader.node)
            here += reader.taken - gate.consumed[port] - gate.members[gone][port]
        return here
