"""The pipeline that a user builds, and `map`, the one-line start."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from inspect import isgeneratorfunction
from itertools import chain, count
from operator import itemgetter
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, Unpack, cast
from weakref import WeakSet

from headrace import plugins
from headrace.batch import Batch, order_key
from headrace.context import dispatchers
from headrace.contracts import Executor, Leftovers, Run, RunContext, Runner
from headrace.drive import CLOSE_S, LAST_S, Stream, checked_origin, named_once, owned
from headrace.errors import GraphError, HeadraceError, PluginError, SettingsError, shorten
from headrace.events.wanted import Wanted
from headrace.flow.writer import Writer
from headrace.graph import Graph
from headrace.operators import NO_FILL, OperatorOptions, Retry, check_options, checked, is_awaited, name_of
from headrace.plan import Plan, PluginRef, StageNode, label
from headrace.planner import plan
from headrace.profiles import Profile, profile
from headrace.report import Result
from headrace.settings import choice, did_you_mean, flag, function, number, or_none, seconds, text, whole_number

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from headrace.drive.awaited import AsyncStream

Origin = Iterable[Any] | AsyncIterable[Any] | Callable[[], Iterable[Any] | AsyncIterable[Any]]
Inputs = str | Iterable[str] | None
Expansion = Iterable[Any] | AsyncIterable[Any] | Awaitable[Iterable[Any]]

_numbers = count(1)


class Pipeline:
    """Operators from a source to an end; runs with one call.

        pipeline = Pipeline("census").source("paths", paths).map("read", read, parallel_degree=8).filter("keep", keep)
        result = pipeline.execute()          # to the end: result.outputs, result.report, result.dead_letters
        for item in pipeline: ...            # or as a stream, in bounded memory

    Each builder method adds an operator behind the last one and returns the pipeline. Wrong use raises SettingsError
    or GraphError, naming the operator, as the method is called.

    profile    one word for the plugins and the aims: "balanced", "serial", one from a package, or a `Profile`
    window     most items between a stage's input and its output taken; None: the profile's
    max_bytes  the same in measured bytes; None: the profile's
    fail_fast  whether the operator that fails first in time ends all at once, also at an item that a `take` behind it
               would have left out; else other branches run to their end first
    fuse       whether neighbours may become one stage, which saves a handover and changes nothing else
    """

    def __init__(
        self,
        name: str,
        profile: str | Profile = "balanced",
        *,
        window: int | None = None,
        max_bytes: int | None = None,
        fail_fast: bool = False,
        fuse: bool = True,
    ) -> None:
        text(of="a pipeline's name").check("Pipeline.name", name)
        or_none(whole_number(at_least=1, of="items")).check("Pipeline.window", window)
        or_none(whole_number(at_least=1, of="bytes")).check("Pipeline.max_bytes", max_bytes)
        flag().check("Pipeline.fail_fast", fail_fast)
        flag().check("Pipeline.fuse", fuse)
        self.name = name
        self._profile = _chosen(profile)
        self._fail_fast = fail_fast
        self._fuse = fuse
        self._runs: WeakSet[Run] = WeakSet()
        self._runs_lock = RLock()  # reentrant: `stop` may come in a signal handler
        self._window = window
        self._max_bytes = max_bytes
        self._graph = Graph()
        self._spent: str | None = None  # the source that a run has used up
        self._wanted: list[Wanted] = []

    # building

    def source(self, name: str, items: Origin) -> Self:
        """Where items come from: an iterable, plain or asynchronous, or a callable that makes one, so that the pipeline
        can run again.

        One thread makes, pulls and closes it. There may be several; the paths of items from all but the first begin
        with the source's name.
        """
        self._graph.add(checked(name, "source", (), origin=checked_origin(f"source '{name}': items", items)))
        return self

    def map(
        self,
        name: str,
        fn: Callable[[Any], Any] | None = None,
        *,
        inputs: Inputs = None,
        **options: Unpack[OperatorOptions],
    ) -> Self:
        """`fn` of each item.

        inputs           the operators that it reads, by name: one or several (items as they come); None: the one before
        parallel_degree  batches that may run at once; None: as many as the executor has workers
        executor         "auto" (the profile chooses), a plugin's name, a PluginRef, an executor, or any
                         `concurrent.futures.Executor`
        ordered          outputs in input order, or as they complete
        on_error         an item that raised each time: "raise" gives all before it and ends the operator, "skip" drops
                         it with a count, "dead_letter" sets it aside for `result.dead_letters`
        retries          further attempts for an item that raised: their number, or a Retry
        max_failures     most items that may fail in the end, in number or (below 1) as a share; more end the operator
        timeout_s        seconds that an item may run; then it fails with TimeoutError, and its worker is replaced: a
                         thread cannot be ended, so it is left to itself and named in a warning. Items go one by one
        setup            what each worker makes once, before its first item, and has for its function if `fn` is not
                         given: a Setup, or a class or function that is called without arguments
        recycle          a Recycle: when a worker process is replaced by a new one
        idempotent       False: an item whose worker process was lost fails, where it would else run again
        dead_letters     the name of an operator that gets a DeadLetter for each item set aside, in place of the result;
                         one that is added behind this one and names no inputs reads nothing else
        """
        return self._transform("map", name, fn, inputs, options)

    def filter(
        self,
        name: str,
        fn: Callable[[Any], Any] | None = None,
        *,
        inputs: Inputs = None,
        **options: Unpack[OperatorOptions],
    ) -> Self:
        """The items of which `fn` is true. The options are those of `map`."""
        return self._transform("filter", name, fn, inputs, options)

    def flat_map(
        self,
        name: str,
        fn: Callable[[Any], Expansion] | None = None,
        *,
        inputs: Inputs = None,
        **options: Unpack[OperatorOptions],
    ) -> Self:
        """All that the iterable `fn(item)` gives, plain or asynchronous, for each item. The options are those of `map`.

        An expansion is held whole; it fails whole if it fails in its middle.
        """
        return self._transform("flat_map", name, fn, inputs, options)

    def batch(self, name: str, size: int, *, inputs: Inputs = None, max_wait_s: float | None = None) -> Self:
        """Lists of `size` items; the last may be shorter, and one whose first item has waited `max_wait_s` goes as it
        is. The members of a list count in the window, so that a `size` above it is refused."""
        return self._add("batch", name, inputs, size=size, max_wait_s=max_wait_s)

    def window(self, name: str, size: int, step: int = 1, *, inputs: Inputs = None) -> Self:
        """Lists of `size` items, each of which begins `step` items behind the one before: they overlap if `step` is
        below `size`. Only whole ones are given; items that are in none are counted as filtered. The members of a list
        count in the window, as in `batch`."""
        return self._add("window", name, inputs, size=size, step=step)

    def take(self, name: str, count: int, *, inputs: Inputs = None) -> Self:
        """The first `count` items. Then what it reads is ended, if nobody else reads it, up to the source: what was
        under way there is dropped, and a failure behind the last of these items is nobody's."""
        return self._add("take", name, inputs, count=count)

    def reduce(self, name: str, fn: Callable[[Any, Any], Any], *, inputs: Inputs = None, **options: Any) -> Self:
        """One value of all items, in order: `fn(value, item)` of each, from the first item on. Without any item it
        fails; `fold` has a value to begin with. If what it reads fails, no value is given. The options are `on_error`,
        `retries`, `max_failures` and `dead_letters` of `sink`; an item that fails leaves the value as it was."""
        return self._add("reduce", name, inputs, fn=fn, **_few("reduce", name, options))

    def fold(
        self, name: str, fn: Callable[[Any, Any], Any], initial: Any, *, inputs: Inputs = None, **options: Any
    ) -> Self:
        """`reduce` from a deep copy of `initial` on, made for each run: `.fold("sum", operator.add, 0)`."""
        return self._add("fold", name, inputs, fn=fn, initial=initial, **_few("fold", name, options))

    def rate_limit(self, name: str, per_s: float, *, burst: int | None = None, inputs: Inputs = None) -> Self:
        """The items, at most `burst + per_s * t` of them in any `t` seconds (a token bucket). `burst` is what
        comes in 20 ms if not given, two at least, so that the pace is kept though threads are woken late."""
        if burst is None:
            burst = max(2, int(per_s * 0.02)) if number(above=0, at_most=1e9).fits(per_s) else 2
        return self._add("rate_limit", name, inputs, per_s=per_s, burst=burst)

    def merge(self, name: str, *, inputs: Inputs) -> Self:
        """The items of all `inputs`, as they come."""
        return self._add("merge", name, inputs, least=2)

    def zip(self, name: str, *, inputs: Inputs, fill: Any = NO_FILL) -> Self:
        """Tuples of one item from each of the `inputs`, in order.

        When one of them ends before another, OperatorFailed tells which; with a `fill` that stands for what is missing.
        """
        return self._add("zip", name, inputs, least=2, fill=fill)

    def sink(
        self,
        name: str,
        target: Any,
        *,
        per: str = "item",
        inputs: Inputs = None,
        on_error: str = "raise",
        retries: int | Retry = 0,
        max_failures: float | None = None,
        dead_letters: str | None = None,
    ) -> Self:
        """Where items end, in order, in one thread: the caller's, if it is the only end. Gives nothing on.

        target  a function of an item, plain or a coroutine function; with per="batch" a function of a list of items, as
                many as have come; or an object with `open()`, `write(items)`, which gets such lists, and `close()`,
                which is always called once `open` was, whatever ends the run. It may have `commit()`, called when
                the whole run has ended well and all its sinks are closed, and `abort()`, called after `close` in any
                other case. One method at a time is called, not always in the same thread. `headrace.connectors` has
                ready ones.

        The other options are for functions of an item: what fails of a list ends the sink.
        """
        options: dict[str, Any] = {
            "on_error": on_error,
            "retries": retries,
            "max_failures": max_failures,
            "dead_letters": dead_letters,
        }
        choice("item", "batch").check(f"sink '{name}': per", per)
        writes = all(callable(getattr(target, method, None)) for method in ("open", "write", "close"))
        if not writes and per == "item":
            return self._add("sink", name, inputs, fn=target, **options)
        if options != {"on_error": "raise", "retries": 0, "max_failures": None, "dead_letters": None}:
            raise SettingsError(
                f"sink '{name}': on_error, retries, max_failures and dead_letters are for a function of an item; "
                f"got {shorten(target)}, which is given lists"
            )
        if isinstance(target, type):
            raise SettingsError(
                f"sink '{name}': target must be an object with open, write and close, not a class; "
                f"got {target.__name__}. Did you mean {target.__name__}(...)?"
            )
        write = target.write if writes else target
        if is_awaited(write) or isgeneratorfunction(write):
            raise SettingsError(f"sink '{name}': what is given lists must be a plain function; got {shorten(write)}")
        if any(target is each.target for each in self._graph):
            raise SettingsError(f"sink '{name}': {shorten(target)} is the target of another sink; one serves one sink")
        if not writes:
            function(of="a function of a list of items").check(f"sink '{name}': target", target)
            target = Writer(target)
        return self._add("sink", name, inputs, target=target)

    def _transform(self, kind: str, name: str, fn: Any, inputs: Inputs, options: OperatorOptions) -> Self:
        check_options(kind, name, options)
        return self._add(kind, name, inputs, fn=fn, **options)

    def _add(self, kind: str, name: str, inputs: Inputs, *, least: int = 1, **options: Any) -> Self:
        """Put an operator into the graph; without `inputs` it reads the one before it."""
        if self._graph.last is None:
            raise GraphError(f"operator '{name}' has no source; begin with .source(name, items)")
        letters = self._graph.letters(name)
        if inputs is None:
            inputs = () if letters else (self._graph.last.name,)
        named = _named(f"{kind} '{name}'", inputs)
        if len(named) < least and not letters:
            few = f"at least {least} operators" if least > 1 else "an operator"
            raise GraphError(f"{kind} '{name}' must read {few}; got inputs={inputs!r}")
        self._graph.add(checked(name, kind, named, **options))
        return self

    # running

    def execute(self, *, seed: int = 0, timeout_s: float | None = None, runner: Any = None) -> Result:
        """Run to the end. `outputs` of the result is a list, or with several ends a dict of lists by name; what ends in
        a sink gives an empty one.

        seed       of the random numbers that functions get by `headrace.current().rng`
        timeout_s  a deadline for the whole run, in seconds
        runner     another runner than the profile's: a plugin's name, a PluginRef, or a runner

        Raises OperatorFailed if an operator failed, PipelineFailed (an ExceptionGroup of these) if several did, each
        after all other branches have run to their end; PipelineTimeout at the deadline. Their `result` has what came
        before.
        """
        or_none(seconds(above=0)).check("execute.timeout_s", timeout_s)
        run, close = self._start(self._graph, seed=seed, timeout_s=timeout_s, runner=runner)
        outputs: dict[str, list[Any]] = {end: [] for end in self._graph.ends}
        batches = owned(self._into(outputs, run), close)
        try:
            for _ in batches:
                pass
        except HeadraceError as error:
            error.result = _result(outputs, run)
            raise
        finally:
            batches.close()
        return _result(outputs, run)

    async def execute_async(self, *, seed: int = 0, timeout_s: float | None = None, runner: Any = None) -> Result:
        """`execute` for who awaits it: the running loop goes on meanwhile, and coroutine functions run in it.

        If the task that awaits it is cancelled, the run ends, with all that it has begun, before this raises.
        """
        or_none(seconds(above=0)).check("execute_async.timeout_s", timeout_s)
        from headrace.drive.awaited import AwaitedRun

        outputs: dict[str, list[Any]] = {end: [] for end in self._graph.ends}
        start = partial(self._start, self._graph, seed=seed, timeout_s=timeout_s, runner=runner)
        awaited = AwaitedRun(lambda loop: self._begin(start(loop=loop)))
        try:
            async with awaited:
                while (piece := await awaited.take()) is not None:
                    outputs[piece[0]].extend(piece[1].data)
        except HeadraceError as error:
            if awaited.run is not None:
                error.result = _result(outputs, awaited.run)
            raise
        return _result(outputs, cast(Run, awaited.run))

    def _begin(self, started: tuple[Run, Callable[[], Leftovers]]) -> tuple[Run, Callable[[], Leftovers]]:
        """A one-shot source is used up by a run that has been started."""
        try:
            self._spend()
        except BaseException:
            started[1]()
            raise
        return started

    def _into(self, outputs: dict[str, list[Any]], run: Run) -> Iterator[Batch]:
        """Sort the batches of a run into `outputs`; gives what is left to see, which is nothing but that one came."""
        self._spend()
        for end, batch in run:
            outputs[end].extend(batch.data)
            batch.data = ()
            yield batch

    def stream_async(self, end: str | None = None, *, seed: int = 0, runner: Any = None) -> AsyncStream:
        """`stream` for who awaits the outputs: `async for item in pipeline.stream_async()`, in the running loop, where
        coroutine functions run, too."""
        from headrace.drive.awaited import AsyncStream

        start = partial(self._start, self._streamed(end), seed=seed, runner=runner)
        return AsyncStream(lambda loop: self._begin(start(loop=loop)), f"pipeline '{self.name}'")

    def __aiter__(self) -> AsyncIterator[Any]:
        return aiter(self.stream_async())

    def stream(self, end: str | None = None, *, seed: int = 0, runner: Any = None) -> Stream:
        """The outputs one by one, in bounded memory: a run that begins with the first one asked for and ends, with all
        its threads, when the stream is exhausted, closed or dropped.

        `end` names the operator whose outputs are wanted, where there is more than one end; only what it needs runs.
        `runner` as in `execute`.
        """
        run, close = self._start(self._streamed(end), seed=seed, runner=runner)
        batches = owned(self._batches(run), close)
        return Stream(batches, run.cancel, close, f"pipeline '{self.name}'", lambda: run.dead_letters, run.snapshot)

    def _streamed(self, end: str | None) -> Graph:
        """What a stream of the outputs of `end`, or of the only end, needs."""
        graph = self._graph
        if end is not None:
            if end not in graph:
                raise GraphError(f"no operator '{end}' in pipeline '{self.name}'.{did_you_mean(end, graph.names)}")
            graph = graph.part(end)
        if len(graph.ends) > 1:
            names = ", ".join(f"'{name}'" for name in graph.ends)
            raise GraphError(
                f"pipeline '{self.name}' has several ends: {names}. Choose one: .stream('{graph.ends[0]}'), "
                "or .execute() for all of them"
            )
        return graph

    def __iter__(self) -> Iterator[Any]:
        return iter(self.stream())

    def stop(self) -> None:
        """Have all runs of this pipeline end well, from any thread: no more is taken from the sources, what is in
        flight comes out, and the run gives its result."""
        with self._runs_lock:
            runs = tuple(self._runs)
        for run in runs:
            run.stop()

    def _batches(self, run: Run) -> Iterator[Batch]:
        """The batches of a run; a one-shot source counts as used up once the first is asked for."""

        def begun() -> Iterator[Iterator[Batch]]:
            self._spend()
            yield builtins.map(itemgetter(1), run)  # no generator, whose variable would keep a batch alive

        return chain.from_iterable(begun())

    def _start(
        self,
        graph: Graph,
        *,
        seed: int,
        timeout_s: float | None = None,
        runner: Any = None,
        loop: AbstractEventLoop | None = None,
    ) -> tuple[Run, Callable[[], Leftovers]]:
        """A run, and what closes it with all that was made for it; `loop` is what it is awaited in, if it is."""
        whole_number().check("seed", seed)
        chosen = _runner(self._profile.runner if runner is None else runner)
        planned = self._plan(graph, degree=getattr(chosen, "max_workers", None))
        self._check_spent()
        monitor = plugins.make("monitor", self._profile.monitor)
        dispatcher = plugins.make("dispatcher", self._profile.dispatcher)
        executors, mine = _executors(planned)
        run_id = f"{self.name}-{next(_numbers)}"
        deadline_s = None if timeout_s is None else monotonic() + timeout_s
        context = RunContext(run_id, executors, monitor.session(run_id), dispatcher, deadline_s, seed, loop)
        runs: list[Run] = []
        names: list[str] = []

        def end(executor: Executor, until_s: float) -> None:
            names.extend(executor.close(cancel=True, timeout_s=max(LAST_S, until_s - monotonic())).names)

        def close() -> Leftovers:
            names.clear()
            until_s = monotonic() + CLOSE_S
            with self._runs_lock:
                for run in runs:
                    self._runs.discard(run)
            left = Leftovers()
            with ExitStack() as stack:  # all of it is closed, whatever raises
                stack.callback(dispatchers.pop, run_id, None)
                stack.callback(dispatcher.close, timeout_s=1.0)
                stack.callback(context.session.close)
                for executor in mine:
                    stack.callback(end, executor, until_s)
                for run in runs:
                    left += run.close()
            return left + Leftovers(tuple(names))

        try:
            for wanted in self._wanted:
                dispatcher.subscribe(wanted.listener, *wanted.types, batch=wanted.batch, max_pending=wanted.max_pending)
            dispatchers[run_id] = dispatcher.notify
            plugins.plan_made(planned)
            runs.append(chosen.start(planned, context))
            plugins.observe(runs[0], dispatcher)
        except BaseException:  # what was made for it has nobody else to close it
            close()
            raise
        with self._runs_lock:
            self._runs.add(runs[0])
        return runs[0], named_once(close)

    def _check_spent(self) -> None:
        """An iterator gives its items once: a second run would find it empty, in silence."""
        if self._spent is not None:
            raise GraphError(
                f"source '{self._spent}' was an iterator, and an earlier run has used it up; "
                "give a callable that makes a new one, or a list"
            )

    def _spend(self) -> None:
        self._check_spent()
        for operator in self._graph:
            if operator.kind == "source" and not callable(operator.origin) and isinstance(operator.origin, Iterator):
                self._spent = operator.name

    def _plan(self, graph: Graph, *, degree: int | None = None) -> Plan:
        self._graph.check()
        return plan(
            self.name,
            graph,
            self._profile,
            window=self._window,
            max_bytes=self._max_bytes,
            fail_fast=self._fail_fast,
            degree=degree,
            fuse=self._fuse,
        )

    # looking

    def on(
        self,
        types: type | Iterable[type],
        listener: Callable[[Any], Any],
        *,
        batch: bool = False,
        max_pending: int | None = None,
    ) -> Self:
        """Call `listener` with the events of these types (one, or several; `headrace.events.Event` is all of them) of
        each run from the next one on.

            pipeline.on(ItemFailed, lambda event: print(event.operator, event.index, event.error))

        It is called off the run's path, so that a listener that is slow, hangs or raises changes nothing for the run;
        under the profile "serial" in the run's own thread, whose time it takes. A coroutine function will do, but not
        under "serial".

        batch        it gets sequences of events, all that wait
        max_pending  most events that may wait for it; None: 10,000. Further ones push out the oldest, but none that
                     tells of the begin or the end of the run and of its operators
        """
        given = (types,) if isinstance(types, type) or not isinstance(types, Iterable) else tuple(types)
        self._wanted.append(Wanted(listener, given, batch=batch, max_pending=max_pending))
        return self

    def describe(self) -> str:
        """The graph, a line per operator: what it reads, what it runs on, its window. Starts nothing."""
        planned = self._plan(self._graph)
        lines = [f"pipeline '{self.name}', profile '{self._profile.name}', runner '{self._profile.runner}'"]
        rows = [_described(node) for node in planned.nodes]
        widths = [max(len(row[at]) for row in rows) for at in range(4)]
        for row in rows:
            lines.append("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        stages = [node.flow.window for node in planned.nodes if isinstance(node, StageNode)]
        lines.append(f"windows in all: {sum(stages):,} items")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Pipeline '{self.name}' ({self._profile.name}): {self._graph}>"


def _named(where: str, inputs: Any) -> tuple[str, ...]:
    """The names that `inputs=` gives."""
    names = (inputs,) if isinstance(inputs, str) else tuple(inputs) if isinstance(inputs, Iterable) else (inputs,)
    if not all(isinstance(name, str) for name in names):
        raise SettingsError(f"{where}: inputs must be the name of an operator, or several; got {shorten(inputs)}")
    return names


def _few(kind: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options of an operator that calls a function one item after the other; any other is refused."""
    for option in options:
        if option not in ("on_error", "retries", "max_failures", "dead_letters"):
            known = ("on_error", "retries", "max_failures", "dead_letters", "inputs")
            raise TypeError(f"{kind} '{name}' has no option '{option}'.{did_you_mean(option, known)}")
    return options


_chosen = profile  # where a parameter has that name


def _described(node: Any) -> tuple[str, str, str, str]:
    letters = [f"dead letters of {name}" for name in getattr(node, "letters", ())]
    reads = f"<- {', '.join([*node.inputs, *letters])}" if node.inputs or letters else ""
    if not isinstance(node, StageNode):
        return node.name, node.kind, reads, ""
    degree = f" x{node.spec.degree}" if node.spec.degree else ""
    order = "" if node.flow.ordered else ", as they complete"
    nbytes = f", {node.flow.max_bytes:,} bytes" if node.flow.max_bytes else ""
    kinds = "+".join(op.kind for op in node.spec.kernel.ops)
    return (
        " + ".join(node.operators),
        kinds,
        reads,
        f"{label(node.executor)}{degree}, window {node.flow.window:,}{nbytes}{order}",
    )


def _result(outputs: dict[str, list[Any]], run: Run) -> Result:
    letters = sorted(run.dead_letters, key=lambda letter: order_key(letter.index))
    single = next(iter(outputs.values())) if len(outputs) == 1 else outputs
    return Result(single, run.snapshot(), tuple(letters))


def _runner(chosen: Any) -> Runner:
    """A plugin's name, a PluginRef, or a runner that the user made."""
    if isinstance(chosen, str):
        chosen = PluginRef(chosen)
    if isinstance(chosen, PluginRef):
        made: Runner = plugins.make("runner", chosen)
        return made
    if isinstance(chosen, type) or not callable(getattr(chosen, "start", None)):
        what = "the name of a runner plugin, a PluginRef, or a runner with a method `start`"
        raise SettingsError(f"execute.runner must be {what}; got {shorten(chosen)}")
    return cast(Runner, chosen)


def _executors(planned: Plan) -> tuple[dict[str, Executor], list[Executor]]:
    """An executor for each stage: one for all stages that name the same plugin with the same settings. Also those that
    belong to the run, which are all but those that the user entered, or that cannot be made anew."""
    by_ref: list[tuple[Any, Executor]] = []
    mine: list[Executor] = []
    chosen: dict[str, Executor] = {}
    for node in planned.nodes:
        if isinstance(node, StageNode):
            known = [executor for ref, executor in by_ref if ref is node.executor or ref == node.executor]
            if not known:
                executor, is_mine = _make_for(node)
                by_ref.append((node.executor, executor))
                mine += [executor] if is_mine else []
                known = [executor]
            chosen[node.name] = known[0]
    return chosen, mine


def _make_for(node: StageNode) -> tuple[Executor, bool]:
    try:
        return _make(node.executor)
    except (PluginError, SettingsError) as error:
        names = " and ".join(f"'{name}'" for name in node.operators)
        raise type(error)(f"the executor of {names}: {error}") from error


def _make(chosen: Any) -> tuple[Executor, bool]:
    if isinstance(chosen, PluginRef):
        return plugins.make("executor", chosen), True
    if not hasattr(chosen, "open"):  # a concurrent.futures.Executor
        return plugins.make("executor", PluginRef("pool", {"pool": chosen})), True
    if hasattr(chosen, "fresh") and not chosen.entered:
        return chosen.fresh(), True
    return chosen, False


def map(
    fn: Callable[[Any], Any],
    items: Origin,
    *,
    profile: str | Profile = "balanced",
    max_workers: int | None = None,
    **options: Unpack[OperatorOptions],
) -> Stream:
    """`fn` of each of the `items`, in parallel, as an iterator: a pipeline of one operator.

    `max_workers` is the operator's `parallel_degree`; the other options are those of `Pipeline.map`.
    """
    name = name_of(fn)
    pipeline = Pipeline("map", profile).source("items" if name != "items" else "source", items)
    if max_workers is not None:
        options["parallel_degree"] = max_workers
    return pipeline.map(name, fn, **options).stream()
