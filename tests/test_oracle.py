"""Whatever runs a chain of operators gives what the oracle gives: outputs, order, errors, dead letters, account."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import reference
from headrace import (
    AccountError,
    DeadLetter,
    OperatorFailed,
    Pipeline,
    PipelineThreadExecutor,
    Result,
    RunReport,
    SerialExecutor,
    Stream,
)
from headrace.flow.kernel import Kernel

# Threads take the time that they take. The quick profile tries the same examples each time.
_calm = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile("quick", deadline=None, derandomize=True, max_examples=120, suppress_health_check=_calm)
settings.register_profile("long", deadline=None, max_examples=2_000, suppress_health_check=_calm)
QUICK, LONG = settings.get_profile("quick"), settings.get_profile("long")

PROFILES = ("serial", "balanced")
ALWAYS = 99
WAIT_S = 30
BOOKED = ("taken", "done", "filtered", "skipped", "dead", "emitted", "retried", "raised")


# What users write ---------------------------------------------------------------------------------------------------


class Undecided:
    """Has no truth value."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __bool__(self) -> bool:
        raise self.error("no truth")


@dataclass(frozen=True)
class Step:
    """An operator and what its function does.

    One in `every` items (0: none) raises `fault` in its first `times` attempts. A `late` fault is raised by the truth
    value of a filter's answer, or half-way through an expansion. An item expands to at most `fan`.
    """

    name: str
    kind: str
    every: int = 0
    fault: type[BaseException] = ValueError
    times: int = ALWAYS
    late: bool = False
    fan: int = 0
    on_error: str = "raise"
    retries: int = 0
    size: int = 0
    ordered: bool = True
    parallel_degree: int | None = None


class Work:
    """A user's function that keeps its own account. All that it does follows from the item, and from how often the item
    was tried; lists are what threads can append to without a lock."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._do: Callable[[int, Any, bool], Any] = getattr(self, f"_{step.kind}")
        self._tried: Counter[str] = Counter()
        self.got: list[Any] = []
        self.failed: list[Any] = []
        self.gave: list[int] = []

    def __call__(self, item: Any) -> Any:
        self.got.append(item)
        name = repr(item)
        self._tried[name] += 1  # nobody else has this item
        number = crc32(f"{self._step.name} {name}".encode())
        faulty = self._step.every and number % self._step.every == 0 and self._tried[name] <= self._step.times
        if faulty:
            self.failed.append(item)
            if not self._step.late:
                raise self._step.fault(name)
        return self._do(number // 64, item, bool(faulty))

    def _map(self, number: int, item: Any, faulty: bool) -> Any:
        self.gave.append(1)
        return item, number % 10

    def _filter(self, number: int, item: Any, faulty: bool) -> Any:
        if faulty:
            return Undecided(self._step.fault)
        self.gave.append(number % 4 > 0)
        return "yes" if number % 4 else []

    def _flat_map(self, number: int, item: Any, faulty: bool) -> Any:
        children = [(item, ordinal) for ordinal in range(number % (self._step.fan + 1))]
        if faulty:
            return self._broken_off(children)
        self.gave.append(len(children))
        return iter(children) if number % 2 else children

    def _broken_off(self, children: list[Any]) -> Iterator[Any]:
        yield from children
        raise ValueError("broken off")

    def _sink(self, number: int, item: Any, faulty: bool) -> None:
        self.gave.append(0)


@dataclass(frozen=True)
class Chain:
    """A pipeline to be built and run, and how many items its source gives before it ends or raises."""

    items: int
    steps: tuple[Step, ...]
    source_fails: bool = False
    window: int = 100
    max_bytes: int | None = None

    def works(self) -> dict[str, Work]:
        return {step.name: Work(step) for step in self.steps if step.kind != "batch"}

    def source(self) -> Iterator[Any]:
        for number in range(self.items):
            yield (number,)
        if self.source_fails:
            raise OSError("no more")

    def expected(self, works: dict[str, Work]) -> reference.Outcome:
        steps = [
            reference.Step(step.name, step.kind, works.get(step.name), step.on_error, step.retries, step.size)
            for step in self.steps
        ]
        return reference.run(self.source(), steps)

    def pipeline(
        self, profile: str, works: dict[str, Work], source: Callable[[], Iterator[Any]] | None = None
    ) -> Pipeline:
        pipeline = Pipeline("chain", profile, window=self.window, max_bytes=self.max_bytes)
        pipeline.source("source", source or self.source)
        for step in self.steps:
            if step.kind == "batch":
                pipeline.batch(step.name, step.size)
                continue
            options: dict[str, Any] = {"on_error": step.on_error, "retries": step.retries}
            if step.kind != "sink":
                options |= {"ordered": step.ordered, "parallel_degree": step.parallel_degree}
            getattr(pipeline, step.kind)(step.name, works[step.name], **options)
        return pipeline


KINDS = st.sampled_from(["map", "map", "filter", "flat_map", "batch"])
FAULTS = st.sampled_from([ValueError, ValueError, StopIteration, SystemExit, KeyError, GeneratorExit])


@st.composite
def steps(draw: st.DrawFn, kind: str, name: str, window: int, ordered: bool) -> Step:
    if kind == "batch":
        return Step(name, kind, size=draw(st.integers(1, window)))
    step = Step(
        name,
        kind,
        every=draw(st.sampled_from([0, 40, 11, 5, 2, 40, 11, 0, 1])),
        fault=draw(FAULTS),
        times=draw(st.sampled_from([1, 2, ALWAYS])),
        late=kind in ("filter", "flat_map") and draw(st.booleans()),
        on_error=draw(st.sampled_from(["dead_letter", "skip", "dead_letter", "raise"])),
        retries=draw(st.integers(0, 2)),
    )
    if kind == "sink":
        return step
    return replace(
        step,
        fan=draw(st.sampled_from([2, 7, 1, 20])) if kind == "flat_map" else 0,
        ordered=ordered or draw(st.booleans()),
        parallel_degree=draw(st.none() | st.integers(1, 3)),
    )


@st.composite
def chains(draw: st.DrawFn, *, ordered: bool = True) -> Chain:
    """Any chain; if not `ordered`, one that gives the same whatever overtakes what."""
    window = draw(st.sampled_from([10, 50, 1_000, 1, 2, 5, 20]))
    kinds = draw(st.lists(KINDS, max_size=5).filter(lambda kinds: kinds.count("flat_map") < 3))
    kinds = [kind for kind in kinds if ordered or kind != "batch"]
    kinds += ["sink"] if draw(st.sampled_from([False, False, False, True])) else []
    chosen: list[Step] = []
    members = 1  # of the source that an output may stand for: with those of a list they must fit the window
    for at, kind in enumerate(kinds):
        chosen.append(draw(steps(kind, f"{kind} {at}", window // members, ordered)))
        members = 1 if kind == "flat_map" else members * max(1, chosen[-1].size)
    return Chain(
        items=draw(st.sampled_from([100, 40, 7, 200, 100, 1, 0])),
        steps=tuple(chosen),
        source_fails=draw(st.sampled_from([False, False, False, False, True])),
        window=window,
        max_bytes=draw(st.sampled_from([None, None, 1, 5_000])),
    )


# What is the same ---------------------------------------------------------------------------------------------------


class Stuck(BaseException):
    """A run did not end."""


@contextmanager
def in_time() -> Iterator[None]:
    """A run that waits for ever fails, and hypothesis can find a smaller one."""

    def stop(number: int, frame: Any) -> None:
        raise Stuck

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(WAIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def ran(chain: Chain, profile: str, works: dict[str, Work]) -> tuple[Result, OperatorFailed | None]:
    try:
        with in_time():
            return chain.pipeline(profile, works).execute(), None
    except OperatorFailed as failed:
        assert failed.result is not None
        return failed.result, failed


def letters(found: Any) -> Counter[Any]:
    """Dead letters of a run, or those of the oracle, to be compared."""
    return Counter(
        (
            letter.operator,
            letter.index,
            repr(letter.item),
            letter.attempts,
            type(letter.error).__name__ if isinstance(letter, DeadLetter) else letter.error,
        )
        for letter in found
    )


def booked(report: RunReport, name: str) -> dict[str, int]:
    return {column: getattr(report[name], column) for column in BOOKED}


def check_account(chain: Chain, report: RunReport, works: dict[str, Work], *, whole: bool) -> None:
    """The report agrees with itself, and with what the functions counted themselves: exactly, if the run went to its
    end; if it did not, they may have done what nobody wanted any more."""
    before = report["source"]
    for step in chain.steps:
        stats = report[step.name]
        assert stats.taken == before.emitted
        assert stats.taken == stats.done + stats.filtered + stats.skipped + stats.dead + stats.abandoned
        assert stats.abandoned >= 0 and (stats.abandoned == 0 or not whole)
        if step.kind != "batch":
            work = works[step.name]
            failed = stats.skipped + stats.dead + stats.retried + stats.raised
            own = (len(work.got), len(work.failed), sum(work.gave))
            theirs = (stats.done + stats.filtered + failed, failed, stats.emitted)
            assert own == theirs if whole else all(mine >= its for mine, its in zip(own, theirs, strict=True))
        before = stats


def check_error(failed: OperatorFailed | None, expected: reference.Failed | None) -> None:
    if failed is None or expected is None:
        assert failed is expected
        return
    assert (failed.operator, failed.index, repr(failed.item)) == (
        expected.operator,
        expected.index,
        repr(expected.item),
    )
    assert type(failed.__cause__) is type(expected.error)
    # `map` swallows a StopIteration with its frames.
    assert failed.__cause__.__traceback__ is not None or type(failed.__cause__) is RuntimeError


def check_ordered(chain: Chain, profile: str) -> None:
    mine, theirs = chain.works(), chain.works()
    expected = chain.expected(mine)
    result, failed = ran(chain, profile, theirs)
    check_error(failed, expected.error)
    assert result.outputs == expected.outputs
    for step in chain.steps:
        if step.kind == "sink":
            assert theirs[step.name].got == mine[step.name].got
    check_account(chain, result.report, theirs, whole=failed is None)
    if failed is None:
        assert letters(result.dead_letters) == letters(expected.letters)
        for name, count in expected.counts.items():
            assert booked(result.report, name) == {column: getattr(count, column) for column in BOOKED}, name
    else:  # operators before the one that failed were ahead of it
        assert not letters(expected.letters) - letters(result.dead_letters)


def check_unordered(chain: Chain, profile: str) -> None:
    """Any of the failures that end a run may be the first; what comes out before it is part of what would come out if
    none of them did."""
    spared = replace(chain, steps=tuple(_spared(step) for step in chain.steps))
    expected, theirs = spared.expected(spared.works()), chain.works()
    ending = {(letter.operator, letter.index, letter.error) for letter in expected.letters if _ends(chain, letter)}
    result, failed = ran(chain, profile, theirs)
    check_account(chain, result.report, theirs, whole=failed is None)
    outputs, wanted = Counter(map(repr, result.outputs)), Counter(map(repr, expected.outputs))
    if failed is None:
        assert not ending and not chain.source_fails
        assert outputs == wanted
        assert letters(result.dead_letters) == letters(expected.letters)
    else:
        found = (failed.operator, failed.index, type(failed.__cause__).__name__)
        assert found in ending or (found == ("source", None, "OSError") and chain.source_fails)
        assert not outputs - wanted


def _spared(step: Step) -> Step:
    return replace(step, on_error="dead_letter") if step.on_error == "raise" else step


def _ends(chain: Chain, letter: reference.Letter) -> bool:
    return any(step.name == letter.operator and step.on_error == "raise" for step in chain.steps)


@pytest.mark.parametrize("profile", PROFILES)
@settings(QUICK)
@given(chain=chains())
def test_a_chain(profile: str, chain: Chain) -> None:
    check_ordered(chain, profile)


@pytest.mark.parametrize("profile", PROFILES)
@settings(QUICK)
@given(chain=chains(ordered=False))
def test_a_chain_out_of_order(profile: str, chain: Chain) -> None:
    check_unordered(chain, profile)


@pytest.mark.stress
@pytest.mark.parametrize("profile", PROFILES)
@settings(LONG)
@given(chain=chains())
def test_many_chains(profile: str, chain: Chain) -> None:
    check_ordered(chain, profile)


@pytest.mark.stress
@pytest.mark.parametrize("profile", PROFILES)
@settings(LONG)
@given(chain=chains(ordered=False))
def test_many_chains_out_of_order(profile: str, chain: Chain) -> None:
    check_unordered(chain, profile)


# An executor on its own ---------------------------------------------------------------------------------------------

EXECUTORS = st.one_of(
    st.builds(
        SerialExecutor,
        max_memory_items=st.sampled_from([1, 3, 100]),
        max_memory_bytes=st.sampled_from([None, 1, 2_000]),
        adaptive_batching=st.booleans(),
    ),
    st.builds(
        PipelineThreadExecutor,
        max_workers=st.integers(1, 4),
        max_memory_items=st.sampled_from([1, 3, 100]),
        max_memory_bytes=st.sampled_from([None, 1, 2_000]),
        pipeline_depth=st.integers(1, 3),
        adaptive_batching=st.booleans(),
    ),
)


def drained(stream: Stream) -> tuple[list[Any], OperatorFailed | None]:
    outputs: list[Any] = []
    try:
        for output in stream:
            outputs.append(output)
    except OperatorFailed as failed:
        return outputs, failed
    return outputs, None


def check_executor(executor: Any, step: Step, items: int, ordered: bool) -> None:
    chain = Chain(items, (step,))
    expected, work = chain.expected(chain.works()), Work(step)
    stream = executor.execute(work, chain.source, ordered=ordered, on_error=step.on_error, retries=step.retries)
    outputs, failed = drained(stream)
    if ordered:
        assert outputs == expected.outputs
        assert failed is None or (failed.index, failed.item) == (expected.error.index, expected.error.item)
    elif expected.error is None:
        assert Counter(outputs) == Counter(expected.outputs)
    assert (failed is None) == (expected.error is None)
    if failed is None:
        its, theirs = expected.counts[step.name], stream.report["Work"]
        assert [getattr(theirs, column) for column in BOOKED] == [getattr(its, column) for column in BOOKED]
        assert (len(work.got), sum(work.gave)) == (its.calls, its.emitted)
        found = Counter((letter.index, letter.item, letter.attempts) for letter in stream.dead_letters)
        assert found == Counter((letter.index, letter.item, letter.attempts) for letter in expected.letters)


@settings(QUICK)
@given(EXECUTORS, steps("map", "work", 1, True), st.sampled_from([0, 1, 7, 100]), st.booleans())
def test_an_executor(executor: Any, step: Step, items: int, ordered: bool) -> None:
    check_executor(executor, step, items, ordered)


@pytest.mark.stress
@settings(LONG)
@given(EXECUTORS, steps("map", "work", 1, True), st.sampled_from([0, 1, 7, 100]), st.booleans())
def test_an_executor_many_times(executor: Any, step: Step, items: int, ordered: bool) -> None:
    check_executor(executor, step, items, ordered)


# A run that is stopped ----------------------------------------------------------------------------------------------

STOPPED_AT = 500


def stopped_run(profile: str, by: str, window: int) -> tuple[list[Any], RunReport, dict[str, Work], Chain]:
    """A run over an endless source that is stopped by one of its functions, its source, its consumer or a stranger."""
    steps = (
        Step("map", "map", parallel_degree=2),
        Step("filter", "filter", on_error="skip", every=7, retries=1),
        Step("flat_map", "flat_map", fan=5, parallel_degree=2),
        Step("batch", "batch", size=min(window, 7)),
        Step("last", "map"),
    )
    chain = Chain(0, steps, window=window)
    works = chain.works()
    wanted, stopped = threading.Event(), threading.Event()

    def stop() -> None:
        if not stopped.is_set():
            pipeline.stop()
            stopped.set()

    def source() -> Iterator[Any]:
        for number in count():
            if number == STOPPED_AT and by == "source":
                stop()
            yield (number,)

    def last(item: Any) -> Any:
        if len(works["last"].got) == 50 and by in ("function", "stranger"):
            wanted.set() if by == "stranger" else stop()
        return works["last"](item)

    pipeline = replace(chain, steps=steps[:-1]).pipeline(profile, works, source).map("last", last)
    stream = pipeline.stream()
    stranger = threading.Thread(target=lambda: wanted.wait(WAIT_S) and stop())
    if by == "stranger":
        stranger.start()
    outputs: list[Any] = []
    try:
        for item in stream:
            outputs.append(item)
            if len(outputs) > 50 and by == "consumer":
                stop()
    finally:
        stream.close()
        if by == "stranger":
            stranger.join()
    return outputs, stream.report, works, chain


@pytest.mark.parametrize("window", [10, 1_000])
@pytest.mark.parametrize("by", ["function", "source", "consumer", "stranger"])
@pytest.mark.parametrize("profile", PROFILES)
def test_a_run_that_is_stopped_gives_all_that_it_took(profile: str, by: str, window: int) -> None:
    with in_time():
        outputs, report, works, chain = stopped_run(profile, by, window)
    taken = replace(chain, items=report["source"].emitted)
    expected = taken.expected(taken.works())
    assert outputs == expected.outputs
    check_account(chain, report, works, whole=True)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_source_that_a_gate_pulls_stops_too(profile: str) -> None:
    def source() -> Iterator[int]:
        for number in count():
            if number == STOPPED_AT:
                pipeline.stop()
            yield number

    pipeline = Pipeline("stopped", profile, window=10).source("source", source).batch("fives", 5)
    with in_time():
        result = pipeline.execute()
    outputs = [item for five in result.outputs for item in five]
    assert outputs == list(range(len(outputs))) and result.report["fives"].done == len(outputs)


# The index of an item -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("parallel_degree", [1, 4])
def test_an_index_is_the_way_from_the_source(profile: str, parallel_degree: int) -> None:
    """Behind filters it still counts all items of the source; each expansion appends an ordinal; a list has its first
    member's. It tells nothing of workers or batches."""

    def refuse(item: Any) -> Any:
        raise LookupError(item)

    pipeline = (
        Pipeline("paths", profile, window=50)
        .source("numbers", range(200))
        .filter("even", lambda number: number % 2 == 0, parallel_degree=parallel_degree)
        .flat_map("twice", lambda number: [number, -number], parallel_degree=parallel_degree)
        .filter("negative", lambda number: number < 0, parallel_degree=parallel_degree)
        .flat_map("once", lambda number: [number], parallel_degree=parallel_degree)
        .batch("pairs", 2)
        .map("refuse", refuse, parallel_degree=parallel_degree, on_error="dead_letter")
    )
    found = [letter.index for letter in pipeline.execute().dead_letters]
    assert found == [(number, 1, 0) for number in range(2, 200, 4)]


@pytest.mark.parametrize("profile", PROFILES)
def test_the_error_names_the_item_by_its_index(profile: str) -> None:
    def halve(number: int) -> float:
        return 1 / (number - 91)

    pipeline = Pipeline("paths", profile).source("numbers", range(1_000))
    pipeline.filter("odd", lambda number: number % 2 == 1).flat_map("twice", lambda number: [0, number])
    with pytest.raises(OperatorFailed) as caught:
        pipeline.map("halve", halve).execute()
    assert (caught.value.operator, caught.value.index, caught.value.item) == ("halve", (91, 1), 91)
    assert caught.value.result.outputs == [halve(each) for number in range(1, 91, 2) for each in (0, number)] + [
        halve(0)
    ]


# A kernel that is wrong ---------------------------------------------------------------------------------------------

ITEMS = 20_000


def wrong_at(victim: int, spoil: Callable[[Any, int], None]) -> Callable[..., Any]:
    """`Kernel.run`, but `spoil` has its way with the result that the item with this index is in."""
    run = Kernel.run

    def run_wrong(kernel: Kernel, batch: Any, *rest: Any) -> Any:
        result = run(kernel, batch, *rest)
        first = batch.index[0]
        if isinstance(first, int) and kernel.ops[0].name == "work" and first <= victim < first + result.done:
            spoil(result, min(victim - first, len(result.data) - 1))
        return result

    return run_wrong


def _dropped(result: Any, at: int) -> None:
    del result.data[at]


def _doubled(result: Any, at: int) -> None:
    result.data.insert(at, result.data[at])


def _dropped_with_its_place(result: Any, at: int) -> None:
    result.where = list(range(result.done) if result.where is None else result.where)
    del result.data[at], result.where[at]


def _doubled_with_its_place(result: Any, at: int) -> None:
    result.where = list(range(result.done) if result.where is None else result.where)
    result.data.insert(at, result.data[at])
    result.where.insert(at, result.where[at])


def _never_taken(result: Any, at: int) -> None:
    _dropped_with_its_place(result, at)
    for column in ("taken", "done", "emitted"):
        setattr(result.tallies[0], column, getattr(result.tallies[0], column) - 1)


def _taken_without_outcome(result: Any, at: int) -> None:
    _dropped_with_its_place(result, at)
    result.tallies[0].done -= 1
    result.tallies[0].emitted -= 1


def _counted_twice(result: Any, at: int) -> None:
    result.tallies[0].emitted += 1


SPOILS = [
    _dropped,
    _doubled,
    _dropped_with_its_place,
    _doubled_with_its_place,
    _never_taken,
    _taken_without_outcome,
    _counted_twice,
]


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("kind", ["map", "filter", "flat_map"])
@pytest.mark.parametrize("profile", PROFILES)
def test_an_item_that_a_kernel_loses_or_doubles_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, profile: str, kind: str, spoil: Callable[[Any, int], None]
) -> None:
    monkeypatch.setattr(Kernel, "run", wrong_at(ITEMS // 2, spoil))
    works = {"map": abs, "filter": lambda number: number >= 0, "flat_map": lambda number: [number]}
    pipeline = Pipeline("wrong", profile).source("numbers", range(ITEMS))
    getattr(pipeline, kind)("work", works[kind]).map("behind", abs)
    with pytest.raises(AccountError, match="work"):
        pipeline.execute()


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("executor", [SerialExecutor(), PipelineThreadExecutor(max_workers=2)], ids=PROFILES)
def test_an_item_that_a_kernel_loses_or_doubles_ends_the_stream(
    monkeypatch: pytest.MonkeyPatch, executor: Any, spoil: Callable[[Any, int], None]
) -> None:
    monkeypatch.setattr(Kernel, "run", wrong_at(ITEMS // 2, spoil))

    def work(number: int) -> int:
        return number

    outputs = []
    with pytest.raises(AccountError, match="work"):
        for number in executor.execute(work, range(ITEMS)):
            outputs.append(number)
    assert outputs == list(range(len(outputs)))
