"""A whole network's flow without threads: random graphs under random schedules, each from a seed.

A failing seed is named by the error; `HEADRACE_SEED=<seed> pytest tests/flow/test_network.py` runs it alone, the same
way.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

import pytest

import reference
from graphs import Graph, Spec, Work, some_graph
from headrace.errors import ExecutorFailed, OperatorFailed
from headrace.flow import kernel as kernel_module
from headrace.flow.nodes import Node
from simulation import Simulation

SEEDS_PER_TEST = 100
BOOKED = ("taken", "done", "filtered", "skipped", "dead", "emitted", "retried", "raised")


# What came of it ----------------------------------------------------------------------------------------------------


def check(run: Simulation) -> None:
    for spec in run.graph.nodes:
        node = run.network.nodes[spec.name]
        check_edges(run, spec, node)
        CHECKS[spec.kind](run, spec, node)
        check_end(run, spec, node)
        check_credit(run, spec, node)
    for name, got in run.got.items():
        reader = run.network.ends[name]
        given = run.given[name]
        assert got == (given if reader.over and not reader.dropped else given[: len(got)])
        assert reader.error is None or any(reader.error is error for error in run.network.errors)
    assert len(set(map(id, run.network.errors))) == len(run.network.errors)


def inputs_of(run: Simulation, spec: Spec, node: Node) -> list[list[Any]]:
    """What the node took of each of its inputs."""
    if not node.inputs:  # pulled on its own credit
        return [run.sources[name].given for name in spec.inputs]
    return [run.given[reader.outlet.name][: reader.taken] for reader in node.inputs]


def check_edges(run: Simulation, spec: Spec, node: Node) -> None:
    """What a node was fed is what those before it gave, from the beginning, in order, without a gap."""
    parts = inputs_of(run, spec, node)
    if spec.kind == "source":
        assert node.stage is not None or run.given[spec.name] == run.sources[spec.name].given
    elif spec.kind == "stage":
        assert interleaves(run.fed[spec.name], parts)
        assert run.ledger.accounts[spec.name].fed == len(run.fed[spec.name])
    else:
        assert run.watched[spec.name].fed == parts


def interleaves(whole: Sequence[Any], parts: list[list[Any]]) -> bool:
    """Whether `whole` is the items of all `parts`, each in its own order."""
    if len(parts) == 1:
        return whole == parts[0]
    at = {(0,) * len(parts)}
    for item in whole:
        at = {
            (*places[:port], places[port] + 1, *places[port + 1 :])
            for places in at
            for port, part in enumerate(parts)
            if places[port] < len(part) and part[places[port]] == item
        }
    return tuple(map(len, parts)) in at


def check_end(run: Simulation, spec: Spec, node: Node) -> None:
    """A node that ended had taken all there was, or had a reason."""
    outlet = node.outlet
    if spec.kind == "source":
        assert run.stuck or run.sources[spec.name].closed
        return
    if not outlet.ended:
        assert run.stuck
    elif spec.name in run.ended_wanted and not is_own(spec, outlet.error):
        errors = [end_of(run, name) for name in spec.inputs]
        assert any(outlet.error is error for error in errors)
        assert outlet.error is not None or not any(errors)
        taken = sum(map(len, inputs_of(run, spec, node)))
        all_there_is = sum(len(all_given(run, name)) for name in spec.inputs)
        # Behind an input that failed a zip is at its end, whatever the others give.
        assert taken == all_there_is or (spec.kind == "zip" and outlet.error is not None), f"{node!r} ended too soon"


def all_given(run: Simulation, name: str) -> list[Any]:
    return run.sources[name].given if name in run.sources else run.given[name]


def end_of(run: Simulation, name: str) -> BaseException | None:
    """What ended a node."""
    if name in run.sources:
        return run.sources[name].ended_with
    return run.network.nodes[name].outlet.error


def is_own(spec: Spec, error: BaseException | None) -> bool:
    """Whether it is the node itself that failed."""
    if isinstance(error, ExecutorFailed):
        return error.stage == spec.name
    own = {spec.name, *(step.name for step in spec.steps)}
    return isinstance(error, OperatorFailed) and error.operator in own


def is_whole(run: Simulation, spec: Spec, node: Node) -> bool:
    return spec.name in run.ended_wanted and not is_own(spec, node.outlet.error)


def check_credit(run: Simulation, spec: Spec, node: Node) -> None:
    """At a clean end all credit is back, to the last byte."""
    window = node.credit
    if window is None or run.stuck or run.network.errors or run.dropped:
        return
    assert (window.used, window.used_bytes) == (0, 0), f"{node!r}: {window!r}"


# Each kind of node --------------------------------------------------------------------------------------------------


def check_stage(run: Simulation, spec: Spec, node: Node) -> None:
    fed, given, error = run.fed[spec.name], run.given[spec.name], node.outlet.error
    expected, outcome = reference.through(spec.fresh_steps(), fed)
    if is_whole(run, spec, node):
        assert expected.error is None
        assert same(given, expected.items, ordered=spec.ordered)
        check_account(run, spec, outcome)
    elif spec.ordered:
        assert given == expected.items[: len(given)]
        if isinstance(error, OperatorFailed) and is_own(spec, error):
            assert len(given) == len(expected.items)
            assert place(error) == place(expected.error)
    else:
        spared, all_there_is = reference.through(spec.fresh_steps(on_error="dead_letter"), fed)
        assert not counted(given) - counted(spared.items)
        if isinstance(error, OperatorFailed) and is_own(spec, error):
            assert place(error) in {(letter.operator, letter.index) for letter in all_there_is.letters}
    assert not isinstance(error, ExecutorFailed) or not is_own(spec, error) or spec.name in run.broken


def same(given: list[Any], expected: list[Any], *, ordered: bool) -> bool:
    return given == expected if ordered else counted(given) == counted(expected)


def counted(items: Iterable[Any]) -> Counter[str]:
    return Counter(map(repr, items))


def place(error: Any) -> tuple[Any, Any] | None:
    return None if error is None else (error.operator, error.index)


def check_account(run: Simulation, spec: Spec, outcome: reference.Outcome) -> None:
    for step, tally in zip(spec.steps, run.ledger.accounts[spec.name].tallies, strict=True):
        count = outcome.counts[step.name]
        assert [getattr(tally, each) for each in BOOKED] == [getattr(count, each) for each in BOOKED], step
    names = {step.name for step in spec.steps}
    letters = [failure for failure in run.failures if failure.name in names and failure.verdict == "dead_letter"]
    assert counted((each.name, each.index, each.item, each.attempts) for each in letters) == counted(
        (each.operator, each.index, each.item, each.attempts) for each in outcome.letters
    )


def check_merge(run: Simulation, spec: Spec, node: Node) -> None:
    assert run.given[spec.name] == run.watched[spec.name].all_fed


def check_batch(run: Simulation, spec: Spec, node: Node) -> None:
    given, fed = run.given[spec.name], run.watched[spec.name].all_fed
    members = [member for _, listed in given for member in listed]
    assert members == [item for _, item in fed][: len(members)]
    at = 0
    for index, listed in given:
        assert index == fed[at][0]
        assert 0 < len(listed) <= spec.size
        at += len(listed)
        if spec.max_wait_s is None:
            assert len(listed) == spec.size or at == len(fed)
    if is_whole(run, spec, node):
        assert len(members) == len(fed)
    else:
        assert node.outlet.ended or len(fed) - len(members) < spec.size


def check_zip(run: Simulation, spec: Spec, node: Node) -> None:
    given, parts = run.given[spec.name], run.watched[spec.name].fed
    count = len(given)
    for at, (index, members) in enumerate(given):
        there = [part[at] if at < len(part) else None for part in parts]
        assert index == next(each[0] for each in there if each is not None)
        assert members == tuple(None if each is None else each[1] for each in there)
    if spec.fills and is_whole(run, spec, node):
        assert count == max(map(len, parts))
    elif not spec.fills:
        assert count == min(map(len, parts))
    if is_whole(run, spec, node) and node.outlet.error is None:
        assert spec.fills or len(set(map(len, parts))) == 1
    if is_own(spec, node.outlet.error):
        assert not spec.fills
        assert place(node.outlet.error)[1] in [part[count][0] for part in parts if len(part) > count]


def check_sink(run: Simulation, spec: Spec, node: Node) -> None:
    expected, outcome = reference.through(spec.fresh_steps(), run.watched[spec.name].all_fed)
    assert run.given[spec.name] == []
    if is_whole(run, spec, node):
        assert expected.error is None
        check_account(run, spec, outcome)
    elif is_own(spec, node.outlet.error):
        assert place(node.outlet.error) == place(expected.error)


CHECKS: dict[str, Callable[[Simulation, Spec, Node], None]] = {
    "source": lambda run, spec, node: None,
    "stage": check_stage,
    "merge": check_merge,
    "batch": check_batch,
    "zip": check_zip,
    "sink": check_sink,
}


# Seeds --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """What kernels take for the time: it goes on whenever somebody looks. To call it begins a seed's time anew."""
    random, now_s = Random(0), 0.0

    def look() -> float:
        nonlocal now_s
        now_s += random.choice([1e-7, 1e-5, 1e-3])
        return now_s

    monkeypatch.setattr(kernel_module, "perf_counter", look)
    monkeypatch.setattr(kernel_module, "thread_time", look)
    return random.seed


def run_seed(seed: int, begin: Callable[[int], None]) -> Simulation:
    begin(seed)
    random = Random(seed)
    run = Simulation(some_graph(random), random)
    try:
        run.run()
        check(run)
    except BaseException as error:
        error.add_note(f"HEADRACE_SEED={seed} runs this schedule alone")
        raise
    return run


def blocks(count: int) -> list[range]:
    """The seeds of each test, or the one that was asked for."""
    alone = os.environ.get("HEADRACE_SEED")
    if alone is not None:
        return [range(int(alone), int(alone) + 1)]
    return [range(at * SEEDS_PER_TEST, (at + 1) * SEEDS_PER_TEST) for at in range(count)]


@pytest.mark.parametrize("seeds", blocks(20), ids=lambda seeds: f"from-{seeds.start}")
def test_any_network_under_any_schedule(seeds: range, clock: Callable[[int], None]) -> None:
    for seed in seeds:
        run_seed(seed, clock)


@pytest.mark.stress
@pytest.mark.parametrize("seeds", blocks(200), ids=lambda seeds: f"from-{seeds.start}")
def test_many_networks_under_many_schedules(seeds: range, clock: Callable[[int], None]) -> None:
    for seed in seeds:
        run_seed(seed, clock)


# Single steps -------------------------------------------------------------------------------------------------------


def run_of(*specs: Spec) -> Simulation:
    """A run that does nothing by itself."""
    run = Simulation(Graph(specs), Random(0))
    run.patient, run.cut_share, run.break_share = False, 0.0, 0.0
    run.settle()
    return run


def source(name: str, items: int, *, fails: bool = False) -> Spec:
    return Spec(name, "source", window=10, items=items, fails=fails)


def step(name: str, kind: str, *, fan: int = 1, fails: bool = False) -> reference.Step:
    return reference.Step(name, kind, Work(kind, 0, fan, every=int(fails), times=99, steady=True))


def bring(run: Simulation, name: str, items: int) -> None:
    """A pull brings some items, and goes on."""
    if not run.sources[name].node.pulling:
        assert run.sources[name].node.reserve() > 0
    run.sources[name].node.arrived(run.sources[name].bring(items, None), over=False)
    run.settle()


def test_who_waits_is_served_although_no_more_comes_from_the_source() -> None:
    """A gate that has taken what a stage gave waits for more. The stage, which would have waited for more credit, goes
    on then, and not only when something else happens to it."""
    run = run_of(
        source("source", 3),
        Spec("expand", "stage", ("source",), (step("expand", "flat_map"),), window=2),
        Spec("pairs", "batch", ("expand",), size=2),
        Spec("sink", "sink", ("source",), (step("sink", "sink"),)),
    )
    assert run.wait()
    bring(run, "source", 2)
    while run.finish() or run.step():
        pass
    assert len(run.given["pairs"]) == 1


def test_who_has_just_been_served_does_not_count_as_waiting() -> None:
    """An expansion that went beyond the window is not followed by another before it is taken."""
    run = run_of(
        source("source", 2), Spec("expand", "stage", ("source",), (step("expand", "flat_map", fan=4),), window=3)
    )
    run.network.nodes["expand"].flow._expansion = 1.01  # as it may have looked so far
    assert run.wait()
    bring(run, "source", 2)
    assert run.finish() and not run.running
    assert run.wake() and run.take() and not run.running
    while run.give_back():
        pass
    assert run.running


def test_a_sink_that_fails_behind_a_branch_that_has_failed_is_told_of_too() -> None:
    run = run_of(
        source("bad", 0, fails=True),
        source("good", 1),
        Spec("sink", "sink", ("bad", "good"), (step("sink", "sink", fails=True),)),
    )
    run.sources["bad"].end(run.sources["bad"].error)
    run.settle()
    bring(run, "good", 1)
    while run.step():
        pass
    assert [place(error) for error in run.network.errors] == [("bad", None), ("sink", ("good", 0))]


def test_a_zip_behind_a_branch_that_has_failed_does_not_complain_of_its_length() -> None:
    run = run_of(
        source("bad", 1, fails=True),
        source("good", 2),
        Spec("zip", "zip", ("bad", "good")),
    )
    bring(run, "good", 2)
    bring(run, "bad", 1)
    run.sources["bad"].end(run.sources["bad"].error)
    run.settle()
    assert [place(error) for error in run.network.errors] == [("bad", None)]
    assert len(run.given["zip"]) == 1
