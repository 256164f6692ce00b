"""Any graph gives what the oracle gives, under every runner, with the account adding up on each edge."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import reference
from headrace import OperatorFailed, Pipeline, PipelineFailed, Result, RunReport, WindowTooSmall
from test_oracle import BOOKED, LONG, PROFILES, QUICK, Step, Work, in_time, letters, steps

LIMIT = 12
"""Most operators of a graph."""


@dataclass(frozen=True)
class Node:
    """An operator of a graph. `exact`: what it gives is the same, in the same order, each time."""

    step: Step
    inputs: tuple[str, ...] = ()
    items: int = 0
    fill: tuple[Any, ...] = ()
    executor: str = "auto"
    exact: bool = True

    @property
    def name(self) -> str:
        return self.step.name


@dataclass(frozen=True)
class Dag:
    nodes: tuple[Node, ...]
    window: int

    def works(self) -> dict[str, Work]:
        plain = ("source", "batch", "merge", "zip")
        return {node.name: Work(node.step) for node in self.nodes if node.step.kind not in plain}

    @property
    def ends(self) -> list[Node]:
        read = {name for node in self.nodes for name in node.inputs}
        return [node for node in self.nodes if node.name not in read]

    def expected(self, works: dict[str, Work]) -> tuple[dict[str, reference.Given], reference.Outcome]:
        return reference.run_graph(
            reference.Node(
                reference.Step(
                    node.name,
                    node.step.kind,
                    works.get(node.name),
                    node.step.on_error,
                    node.step.retries,
                    node.step.size,
                ),
                node.inputs,
                tuple((node.name, number) for number in range(node.items)),
                node.fill,
            )
            for node in self.nodes
        )

    def pipeline(self, profile: str, works: dict[str, Work]) -> Pipeline:
        pipeline = Pipeline("dag", profile.removesuffix(" async"), window=self.window)
        for node in self.nodes:
            step, inputs = node.step, node.inputs
            if step.kind == "source":
                pipeline.source(step.name, [(node.name, number) for number in range(node.items)])
            elif step.kind == "batch":
                pipeline.batch(step.name, step.size, inputs=inputs)
            elif step.kind == "merge":
                pipeline.merge(step.name, inputs=inputs)
            elif step.kind == "zip":
                pipeline.zip(step.name, inputs=inputs, **({"fill": node.fill[0]} if node.fill else {}))
            elif step.kind == "sink":
                pipeline.sink(step.name, works[step.name], inputs=inputs, on_error=step.on_error, retries=step.retries)
            else:
                getattr(pipeline, step.kind)(
                    step.name,
                    awaited(works[step.name]) if node.executor == "coroutine" else works[step.name],
                    inputs=inputs,
                    executor=node.executor if node.executor != "coroutine" else "auto",
                    parallel_degree=step.parallel_degree,
                    ordered=step.ordered,
                    on_error=step.on_error,
                    retries=step.retries,
                )
        return pipeline


def awaited(work: Work) -> Any:
    async def one(item: Any) -> Any:
        await asyncio.sleep(0)
        return work(item)

    return one


@st.composite
def dags(draw: st.DrawFn) -> Dag:
    nodes = [_source(draw, "source 0")]
    for at in range(1, draw(st.integers(2, LIMIT))):
        open_ = [node for node in nodes if node.step.kind != "sink"]
        kinds = ["map", "map", "filter", "flat_map", "batch", "merge", "zip", "sink", "source", "map"]
        kind = draw(st.sampled_from(kinds))
        name = f"{kind} {at}"
        if kind == "source":
            nodes.append(_source(draw, name))
            continue
        most = 3 if kind in ("merge", "zip") else draw(st.sampled_from([1, 1, 1, 2]))
        least = min(2 if kind in ("merge", "zip") else 1, len(open_))
        inputs = draw(st.lists(st.sampled_from(open_), min_size=least, max_size=max(least, most), unique=True))
        exact = all(node.exact for node in inputs) and (len(inputs) == 1 or kind == "zip")
        if (kind == "merge" and len(inputs) < 2) or (kind in ("zip", "batch") and not exact):
            kind, name = "map", f"map {at}"
        if kind == "zip" and len(inputs) < 2:
            kind, name = "map", f"map {at}"
        nodes.append(_node(draw, kind, name, inputs, exact))
    zips = any(node.step.kind == "zip" for node in nodes)
    window = 100_000 if zips else draw(st.sampled_from([10, 50, 1_000, 5, 7]))
    calmed = _ancestors(nodes)
    return Dag(tuple(_calm(node) if node.name in calmed else node for node in nodes), window)


def _source(draw: st.DrawFn, name: str) -> Node:
    return Node(Step(name, "source"), items=draw(st.sampled_from([40, 7, 100, 1, 0, 23])))


def _node(draw: st.DrawFn, kind: str, name: str, inputs: list[Node], exact: bool) -> Node:
    names = tuple(node.name for node in inputs)
    if kind in ("merge", "zip"):
        return Node(Step(name, kind), names, fill=draw(st.sampled_from([(), (None,)])), exact=exact)
    step = draw(steps(kind, name, 5, ordered=draw(st.booleans())))
    step = replace(step, fan=min(step.fan, 2))
    if kind in ("batch", "sink"):
        return Node(step if exact else _soft(step), names, exact=exact)
    executor = draw(st.sampled_from(["auto", "serial", "thread", "auto", "coroutine"]))
    exact = exact and step.ordered
    return Node(step if exact else _soft(step), names, executor=executor, exact=exact)


def _soft(step: Step) -> Step:
    """Where items come in any order, none of them may end the run, and each attempt at an item is like the other."""
    return replace(step, on_error="skip" if step.on_error == "raise" else step.on_error, times=99)


def _calm(node: Node) -> Node:
    return replace(node, step=_soft(node.step))


def _ancestors(nodes: list[Node]) -> set[str]:
    """What a zip reads, directly or not: where that fails, which error is the first is a matter of luck."""
    by_name = {node.name: node for node in nodes}
    todo = [name for node in nodes if node.step.kind == "zip" for name in node.inputs]
    found: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += by_name[name].inputs
    return found


def ran(dag: Dag, profile: str, works: dict[str, Work]) -> tuple[Result, list[OperatorFailed]]:
    try:
        with in_time():
            runner = "async" if profile.endswith(" async") else None
            return dag.pipeline(profile, works).execute(runner=runner), []
    except OperatorFailed as failed:
        return failed.result, [failed]
    except PipelineFailed as failed:
        errors = list(failed.exceptions)
        assert all(isinstance(error, OperatorFailed) for error in errors)
        return failed.result, errors  # type: ignore[return-value]


def places(errors: Any) -> set[Any]:
    """Where each failed. Of several inputs that give more than a zip can pair, any may be the first to be seen."""
    failed = [error for error in errors if error is not None]
    return {(error.operator, None if error.operator.startswith("zip") else error.index) for error in failed}


def check(dag: Dag, profile: str) -> None:
    mine, theirs = dag.works(), dag.works()
    try:
        dag.pipeline(profile, theirs).describe()
    except WindowTooSmall:
        reject()  # lists of lists that never fill: known beforehand
    expected, outcome = dag.expected(mine)
    result, errors = ran(dag, profile, theirs)
    outputs = result.outputs if isinstance(result.outputs, dict) else {dag.ends[0].name: result.outputs}
    check_edges(dag, result.report, whole=not errors)
    found = places(errors)
    # What failed behind a failure of its only reader may or may not have been seen.
    wanted = places(expected[node.name].error for node in dag.ends)
    assert {place for place in wanted if not place[0].startswith("zip")} <= found
    assert bool(wanted) == bool(found)  # a zip that reads one which is unequal ends with that one's error
    assert found <= places(each.error for each in expected.values())
    for node in dag.ends:
        items = [item for _, item in expected[node.name].items]
        if node.exact:
            assert outputs[node.name] == items
        else:
            assert Counter(map(repr, outputs[node.name])) == Counter(map(repr, items))
    if not errors:
        assert letters(result.dead_letters) == letters(outcome.letters)
        for name, count in outcome.counts.items():
            got = {column: getattr(result.report[name], column) for column in BOOKED}
            assert got == {column: getattr(count, column) for column in BOOKED}, name


def check_edges(dag: Dag, report: RunReport, *, whole: bool) -> None:
    for node in dag.nodes:
        stats = report[node.name]
        if node.inputs:
            assert stats.taken == sum(report[name].emitted for name in node.inputs)
        assert stats.taken == stats.done + stats.filtered + stats.skipped + stats.dead + stats.abandoned
        assert stats.abandoned >= 0 and (stats.abandoned == 0 or not whole)


@pytest.mark.parametrize("profile", PROFILES)
@settings(QUICK, max_examples=300)
@given(dag=dags())
def test_any_graph(profile: str, dag: Dag) -> None:
    check(dag, profile)


@settings(QUICK, max_examples=100)
@given(dag=dags())
def test_any_graph_on_the_async_runner(dag: Dag) -> None:
    check(dag, "balanced async")


@pytest.mark.stress
@pytest.mark.parametrize("profile", [*PROFILES, "balanced async"])
@settings(LONG)
@given(dag=dags())
def test_any_graph_at_length(profile: str, dag: Dag) -> None:
    check(dag, profile)
