"""The pipeline that a user builds, and `map`, the one-line start."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count
from operator import itemgetter
from time import monotonic
from typing import Any, Self

from headrace import plugins
from headrace.batch import Batch
from headrace.contracts import Executor, Leftovers, Run, RunContext
from headrace.drive import CLOSE_S, LAST_S, Stream, checked_origin, owned
from headrace.errors import GraphError, HeadraceError, OperatorFailed
from headrace.graph import Graph
from headrace.operators import checked, name_of
from headrace.plan import Plan, PluginRef, StageNode, label
from headrace.planner import plan
from headrace.profiles import Profile, profile
from headrace.report import Result
from headrace.settings import or_none, text, whole_number

Origin = Iterable[Any] | Callable[[], Iterable[Any]]

_runs = count(1)


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
    """

    def __init__(
        self,
        name: str,
        profile: str | Profile = "balanced",
        *,
        window: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        text(of="a pipeline's name").check("Pipeline.name", name)
        or_none(whole_number(at_least=1, of="items")).check("Pipeline.window", window)
        or_none(whole_number(at_least=1, of="bytes")).check("Pipeline.max_bytes", max_bytes)
        self.name = name
        self._profile = _chosen(profile)
        self._window = window
        self._max_bytes = max_bytes
        self._graph = Graph()
        self._spent: str | None = None  # the source that a run has used up

    # building

    def source(self, name: str, items: Origin) -> Self:
        """Where items come from: an iterable, or a callable that makes one, so that the pipeline can run again.

        One thread makes, pulls and closes it.
        """
        if self._graph.last is not None:
            raise GraphError(f"source '{name}': pipeline '{self.name}' has a source already, and can have one")
        self._graph.add(checked(name, "source", (), origin=checked_origin(f"source '{name}': items", items)))
        return self

    def map(
        self,
        name: str,
        fn: Callable[[Any], Any],
        *,
        parallel_degree: int | None = None,
        executor: Any = "auto",
        ordered: bool = True,
        on_error: str = "raise",
        retries: int = 0,
    ) -> Self:
        """`fn` of each item.

        parallel_degree  batches that may run at once; None: as many as the executor has workers
        executor         "auto" (the profile chooses), a plugin's name, a PluginRef, or an executor
        ordered          outputs in input order, or as they complete
        on_error         an item that raised each time: "raise" gives all before it and ends the run, "skip" drops it
                         with a count, "dead_letter" sets it aside for `result.dead_letters`
        retries          further attempts for an item that raised
        """
        return self._transform("map", name, fn, parallel_degree, executor, ordered, on_error, retries)

    def filter(
        self,
        name: str,
        fn: Callable[[Any], Any],
        *,
        parallel_degree: int | None = None,
        executor: Any = "auto",
        ordered: bool = True,
        on_error: str = "raise",
        retries: int = 0,
    ) -> Self:
        """The items of which `fn` is true. The options are those of `map`."""
        return self._transform("filter", name, fn, parallel_degree, executor, ordered, on_error, retries)

    def flat_map(
        self,
        name: str,
        fn: Callable[[Any], Iterable[Any]],
        *,
        parallel_degree: int | None = None,
        executor: Any = "auto",
        ordered: bool = True,
        on_error: str = "raise",
        retries: int = 0,
    ) -> Self:
        """All that the iterable `fn(item)` gives, for each item. The options are those of `map`.

        An expansion is held whole; it fails whole if it fails in its middle.
        """
        return self._transform("flat_map", name, fn, parallel_degree, executor, ordered, on_error, retries)

    def batch(self, name: str, size: int, *, max_wait_s: float | None = None) -> Self:
        """Lists of `size` items; the last may be shorter, and one whose first item has waited `max_wait_s` goes as it
        is. The members of a list count in the window, so that a `size` above it is refused."""
        self._graph.add(checked(name, "batch", self._reads(name), size=size, max_wait_s=max_wait_s))
        return self

    def sink(self, name: str, fn: Callable[[Any], Any], *, on_error: str = "raise", retries: int = 0) -> Self:
        """Call `fn` with each item, in order, in the thread that runs the pipeline. Nothing is given on."""
        self._graph.add(checked(name, "sink", self._reads(name), fn=fn, on_error=on_error, retries=retries))
        return self

    def _transform(
        self,
        kind: str,
        name: str,
        fn: Callable[[Any], Any],
        parallel_degree: int | None,
        executor: Any,
        ordered: bool,
        on_error: str,
        retries: int,
    ) -> Self:
        operator = checked(
            name,
            kind,
            self._reads(name),
            fn=fn,
            parallel_degree=parallel_degree,
            executor=executor,
            ordered=ordered,
            on_error=on_error,
            retries=retries,
        )
        self._graph.add(operator)
        return self

    def _reads(self, name: str) -> tuple[str, ...]:
        """What a new operator reads: the one before it."""
        if self._graph.last is None:
            raise GraphError(f"operator '{name}' has no source; begin with .source(name, items)")
        return (self._graph.last.name,)

    # running

    def execute(self) -> Result:
        """Run to the end. `outputs` of the result is empty if the pipeline ends in a sink.

        Raises OperatorFailed if an item raises under `on_error="raise"`; its `result` has what came before.
        """
        run, close = self._start()
        outputs: list[Any] = []
        batches = owned(self._batches(run), close)
        try:
            for data in batches:
                outputs.extend(data)
        except HeadraceError as error:
            if isinstance(error, OperatorFailed):
                error.result = _result(outputs, run)
            raise
        finally:
            batches.close()
        return _result(outputs, run)

    def stream(self) -> Stream:
        """The outputs one by one, in bounded memory: a run that begins with the first one asked for and ends, with all
        its threads, when the stream is exhausted, closed or dropped."""
        run, close = self._start()
        batches = owned(self._batches(run), close)
        return Stream(batches, run.cancel, close, f"pipeline '{self.name}'", lambda: run.dead_letters, run.snapshot)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.stream())

    def _batches(self, run: Run) -> Iterator[Batch]:
        """The batches of a run; a one-shot source counts as used up once the first is asked for."""

        def begun() -> Iterator[Iterator[Batch]]:
            self._spend()
            yield builtins.map(itemgetter(1), run)  # no generator, whose variable would keep a batch alive

        return chain.from_iterable(begun())

    def _start(self) -> tuple[Run, Callable[[], Leftovers]]:
        """A run, and what closes it with all that was made for it."""
        planned = self._plan()
        self._check_spent()
        runner = plugins.make("runner", self._profile.runner)
        monitor = plugins.make("monitor", self._profile.monitor)
        dispatcher = plugins.make("dispatcher", self._profile.dispatcher)
        executors, mine = _executors(planned)
        run_id = f"{self.name}-{next(_runs)}"
        context = RunContext(run_id, executors, monitor.session(run_id), dispatcher)
        plugins.plan_made(planned)
        run: Run = runner.start(planned, context)
        plugins.observe(run, dispatcher)

        def close() -> Leftovers:
            until_s = monotonic() + CLOSE_S
            left = run.close()
            for executor in mine:
                left += executor.close(cancel=True, timeout_s=max(LAST_S, until_s - monotonic()))
            context.session.close()
            dispatcher.close(timeout_s=1.0)
            return left

        return run, close

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

    def _plan(self) -> Plan:
        return plan(self.name, self._graph, self._profile, window=self._window, max_bytes=self._max_bytes)

    # looking

    def describe(self) -> str:
        """The graph, a line per operator: what it reads, what it runs on, its window. Starts nothing."""
        planned = self._plan()
        lines = [f"pipeline '{self.name}', profile '{self._profile.name}', runner '{self._profile.runner}'"]
        rows = [_described(node) for node in planned.nodes]
        widths = [max(len(row[at]) for row in rows) for at in range(4)]
        for row in rows:
            lines.append("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        stages = [node.flow.window for node in planned.nodes if isinstance(node, StageNode)]
        lines.append(f"windows in all: {sum(stages):,} items")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Pipeline '{self.name}' ({self._profile.name}): {' > '.join(each.name for each in self._graph)}>"


_chosen = profile  # where a parameter has that name


def _described(node: Any) -> tuple[str, str, str, str]:
    reads = f"<- {', '.join(node.inputs)}" if node.inputs else ""
    if not isinstance(node, StageNode):
        return node.name, node.kind, reads, ""
    degree = f" x{node.spec.degree}" if node.spec.degree else ""
    order = "" if node.flow.ordered else ", as they complete"
    nbytes = f", {node.flow.max_bytes:,} bytes" if node.flow.max_bytes else ""
    kinds = "+".join(op.kind for op in node.spec.kernel.ops)
    return node.name, kinds, reads, f"{label(node.executor)}{degree}, window {node.flow.window:,}{nbytes}{order}"


def _result(outputs: list[Any], run: Run) -> Result:
    letters = sorted(
        run.dead_letters, key=lambda letter: letter.index if isinstance(letter.index, tuple) else (letter.index,)
    )
    return Result(outputs, run.snapshot(), tuple(letters))


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
                executor, is_mine = _make(node.executor)
                by_ref.append((node.executor, executor))
                mine += [executor] if is_mine else []
                known = [executor]
            chosen[node.name] = known[0]
    return chosen, mine


def _make(chosen: Any) -> tuple[Executor, bool]:
    if isinstance(chosen, PluginRef):
        return plugins.make("executor", chosen), True
    if hasattr(chosen, "fresh") and not chosen.entered:
        return chosen.fresh(), True
    return chosen, False


def map(
    fn: Callable[[Any], Any],
    items: Origin,
    *,
    executor: Any = "auto",
    profile: str | Profile = "balanced",
    max_workers: int | None = None,
    ordered: bool = True,
    on_error: str = "raise",
    retries: int = 0,
) -> Stream:
    """`fn` of each of the `items`, in parallel, as an iterator: a pipeline of one operator.

    `max_workers` is the operator's `parallel_degree`; the other options are those of `Pipeline.map`.
    """
    name = name_of(fn)
    pipeline = Pipeline("map", profile).source("items" if name != "items" else "source", items)
    pipeline.map(
        name,
        fn,
        parallel_degree=max_workers,
        executor=executor,
        ordered=ordered,
        on_error=on_error,
        retries=retries,
    )
    return pipeline.stream()
