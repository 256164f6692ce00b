"""Open a stage on an executor, and make the network of a plan."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from copy import copy
from typing import TYPE_CHECKING

from attrs import evolve

from headrace.contracts import Executor
from headrace.drive.engine import Engine
from headrace.drive.feeds import ItemFeed, Listen
from headrace.drive.turns import Turns
from headrace.errors import SettingsError
from headrace.flow.kernel import Kernel
from headrace.flow.ledger import Ledger
from headrace.flow.network import Network
from headrace.flow.sizeof import sizeof
from headrace.flow.sizing import aim
from headrace.flow.stage import StageFlow
from headrace.plan import GateNode, Plan, SourceNode, StageNode
from headrace.report import DeadLetter

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Coroutine
    from typing import Any

    from headrace.contracts import Lane
    from headrace.drive.loops import RunLoops
    from headrace.drive.reporter import Reporter
    from headrace.flow.ledger import Account

LIMIT = 2
"""A batch that has run for this many times what it aims at gives back what it has not begun, for others to share."""


def engine_of(
    plan: Plan,
    executors: Mapping[str, Executor],
    ledger: Ledger,
    *,
    linger_s: float | None,
    listen: Listen,
    deadline_s: float | None = None,
    most_at_work: int | None = None,
    run: str = "",
    seed: int = 0,
    loop: AbstractEventLoop | None = None,
    reporter: Reporter | None = None,
) -> Engine:
    """What runs `plan`, with an account in `ledger` for each node. Nothing is pulled before it is asked for outputs.

    `most_at_work` bounds the operators that run at once; None: any number. `run` and `seed` are what
    `headrace.current()` tells. `listen` is called with every failure, retries included, in the thread of the consumer.
    With `linger_s=None` no thread is begun; what has no workers is done by the consumer. `loop` is the one that the run
    is awaited in, if it is: then the consumer does nothing that takes long. `reporter` tells what goes on, if it is to
    be told.
    """
    loops = _Loops(loop, threaded=linger_s is not None)
    try:
        return _engine_of(
            plan,
            executors,
            ledger,
            loops,
            loop is None,
            linger_s,
            listen,
            deadline_s,
            most_at_work,
            run,
            seed,
            reporter,
        )
    except BaseException:  # a stage that cannot be opened: the executors have others to close them
        loops.close()
        raise


def _engine_of(
    plan: Plan,
    executors: Mapping[str, Executor],
    ledger: Ledger,
    loops: _Loops,
    iterated: bool,
    linger_s: float | None,
    listen: Listen,
    deadline_s: float | None,
    most_at_work: int | None,
    run: str,
    seed: int,
    reporter: Reporter | None,
) -> Engine:
    network, lanes, inline = Network(DeadLetter.of, plan.window), {}, set()
    readers = Counter([*plan.ends, *(name for node in plan.nodes for name in node.inputs)])
    measured = any(isinstance(node, StageNode) and node.flow.max_bytes for node in plan.nodes)
    feeds: dict[str, ItemFeed] = {}
    for node in plan.nodes:
        if isinstance(node, SourceNode):
            prefix = node.name if feeds else None
            measure = sizeof if measured else None
            feed = ItemFeed(node.name, node.origin, measure, prefix=prefix, loop=lambda: loops.made.waited)
            feeds[node.name], ledger.accounts[node.name] = feed, feed.account
            network.source(node.name, plan.window, plan.max_bytes)
        elif isinstance(node, StageNode):
            account = ledger.open(node.name, node.operators, node.inputs, node.letters)
            executor = executors[node.name]
            flow, lane = _open(executor, node, account, run, seed, loops)
            lanes[node.name] = lane
            inline |= {node.name} if getattr(executor, "inline", False) else set()
            alone = [readers[name] for name in node.inputs] == [1]
            network.stage(flow, node.inputs, _capacity(lane), alone=alone, letters=node.letters)
        else:
            account = ledger.open(node.name, (node.name,), node.inputs, node.letters)
            gate = node.make(account)
            gate.begin(run, seed, loops.run)
            network.gate(node.name, gate, node.inputs, account, node.letters)
    for name in plan.ends:
        network.end(name)
    sinks = frozenset(name for name in plan.ends if isinstance(plan.node(name), GateNode))
    caller = sinks if len(plan.ends) == 1 and iterated else frozenset()
    return Engine(
        network,
        feeds,
        lanes,
        name=plan.name,
        inline=frozenset(inline),
        caller=caller,
        linger_s=linger_s,
        fail_fast=plan.fail_fast,
        deadline_s=deadline_s,
        listen=listen,
        reporter=reporter,
        loops=loops,
        turns=Turns(most_at_work) if most_at_work is not None else None,
    )


class _Loops:
    """The loops of a run, which nothing is imported for unless there is a coroutine."""

    def __init__(self, given: AbstractEventLoop | None, *, threaded: bool) -> None:
        self._given = given
        self._threaded = threaded
        self._made: RunLoops | None = None

    @property
    def made(self) -> RunLoops:
        if self._made is None:
            from headrace.drive.loops import RunLoops

            self._made = RunLoops(self._given, threaded=self._threaded)
        return self._made

    def run(self, coroutine: Coroutine[Any, Any, Any], *, last: bool = False) -> Any:
        """What a coroutine gives, for a thread that waits for it."""
        return self.made.waited.run(coroutine, last=last)

    def cancel(self) -> None:
        if self._made is not None:
            self._made.cancel()

    def close(self) -> tuple[str, ...]:
        return () if self._made is None else self._made.close()


def _open(
    executor: Executor, node: StageNode, account: Account, run: str, seed: int, loops: _Loops
) -> tuple[StageFlow, Lane]:
    stage, settings = node.spec, copy(node.flow)
    if stage.kernel.awaits and not getattr(executor, "coroutines", False):
        raise SettingsError(
            f"operator '{node.name}' has a coroutine function, which {executor!r} cannot run; "
            "executor='auto' or 'coroutine' would do"
        )
    if stage.kernel.awaits or not getattr(executor, "plain", True):
        settings.adaptive = False  # each item by itself: those in a batch would wait for each other
        made = loops.made
        stage = evolve(stage, loop=made.waited if getattr(executor, "inline", False) else made.beside)
    settings.aim_s = max(settings.aim_s, getattr(executor, "aim_s", 0.0))
    workers = getattr(executor, "max_workers", None)
    if stage.degree is None and workers and len(node.operators) > 1:
        stage = evolve(stage, degree=workers * len(node.operators))  # as many as they would have had apart
    wanted = stage.degree or workers or 1
    limit_s, measure = LIMIT * aim(settings.aim_s, wanted), stage.kernel.measure
    kernel = Kernel(stage.kernel.ops, limit_s=limit_s, measure=measure, name=run, seed=seed)
    lane = executor.open(evolve(stage, kernel=kernel))
    if stage.timeout_s is not None and not callable(getattr(lane, "abandon", None)):
        what = f"operator '{node.name}' has timeout_s={stage.timeout_s}, which {executor!r} cannot keep"
        if not getattr(executor, "inline", False):
            raise SettingsError(f"{what}: its lanes have no method `abandon`; the executors 'thread' and 'process' can")
        warnings.warn(f"{what}: it runs in the caller's thread", RuntimeWarning, stacklevel=2)
    degree = getattr(lane, "degree", None) or stage.degree or workers or lane.capacity
    return StageFlow(node.name, stage.kernel, settings, degree, account), lane


def _capacity(lane: Lane) -> Callable[[], int]:
    return lambda: lane.capacity
