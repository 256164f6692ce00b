"""Random chains on worker processes give what plain Python gives, also where workers are lost on the way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import reference
from headrace import OperatorFailed, Pipeline, PipelineProcessExecutor

KINDS = ["map", "filter", "flat_map"]
POLICIES = ["raise", "skip", "dead_letter"]
PARENT = os.getpid()


@dataclass(frozen=True)
class Fn:
    """Fails for every so manyth item, by an error or, `fatal`, by the end of its process."""

    kind: str
    every: int
    fatal: bool

    def __call__(self, item: int) -> Any:
        if self.every and item % self.every == self.every - 1:
            if self.fatal and os.getpid() != PARENT:
                os._exit(7)
            raise ValueError(item)
        if self.kind == "map":
            return item + 1
        return item % 3 != 0 if self.kind == "filter" else [item + number for number in range(item % 4)]


@st.composite
def steps(draw: st.DrawFn, at: int) -> reference.Step:
    kind, fatal = draw(st.sampled_from(KINDS)), draw(st.integers(0, 5)) == 0
    every = draw(st.sampled_from([97, 53] if fatal else [0, 2, 5, 11, 40]))
    retries = 0 if fatal else draw(st.sampled_from([0, 0, 2]))
    return reference.Step(f"{kind} {at}", kind, Fn(kind, every, fatal), draw(st.sampled_from(POLICIES)), retries)


@st.composite
def chains(draw: st.DrawFn) -> list[reference.Step]:
    return [draw(steps(at)) for at in range(draw(st.integers(1, 3)))]


@pytest.fixture(scope="module")
def executor() -> Iterator[PipelineProcessExecutor]:
    with PipelineProcessExecutor(max_workers=2) as executor:
        yield executor


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    chain=chains(),
    items=st.sampled_from([0, 1, 7, 60, 300]),
    window=st.sampled_from([None, 5, 40]),
    degree=st.sampled_from([None, 1, 2]),
)
def test_any_chain(
    executor: PipelineProcessExecutor, chain: list[reference.Step], items: int, window: int | None, degree: int | None
) -> None:
    expected = reference.run(range(items), chain, "items")
    pipeline = Pipeline("oracle", window=window).source("items", range(items))
    for step in chain:
        add = getattr(pipeline, step.kind)
        options = {"on_error": step.on_error, "retries": step.retries, "parallel_degree": degree}
        add(step.name, step.fn, executor=executor, **options)
    try:
        result, failed = pipeline.execute(timeout_s=60), None
    except OperatorFailed as error:
        result, failed = error.result, error
    assert result.outputs == expected.outputs
    if failed is not None or expected.error is not None:
        assert failed is not None and expected.error is not None, (failed, expected.error)
        assert (failed.operator, failed.index) == (expected.error.operator, expected.error.index)
        return
    dead = {(letter.operator, letter.index) for letter in result.dead_letters}
    assert dead == {(letter.operator, letter.index) for letter in expected.letters}
    for name, count in expected.counts.items():
        stats = result.report[name]
        got = (stats.taken, stats.done, stats.filtered, stats.skipped, stats.dead, stats.emitted)
        assert got == (count.taken, count.done, count.filtered, count.skipped, count.dead, count.emitted), name
