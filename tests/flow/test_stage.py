"""A stage's flow without threads: random schedules of what workers, source and consumer do, each from a seed.

A failing seed is named by the error; `HEADRACE_SEED=<seed> pytest tests/flow/test_stage.py` runs it alone, the same
way.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import pytest

import reference
from headrace.batch import Batch, Failure
from headrace.errors import AccountError, ExecutorFailed, OperatorFailed
from headrace.flow import kernel as kernel_module
from headrace.flow.kernel import Control, Kernel, Op
from headrace.flow.ledger import Account
from headrace.flow.stage import FlowSettings, Sent, StageFlow

SEEDS_PER_TEST = 100
BOOKED = ("taken", "done", "filtered", "skipped", "dead", "emitted", "retried", "raised")


# Random operators ---------------------------------------------------------------------------------------------------


class Work:
    """A user's function. What it does follows from the item, and from how often the item was tried."""

    def __init__(self, kind: str, salt: int, fan: int, every: int, times: int, *, steady: bool = False) -> None:
        self.kind, self.salt, self.fan, self.every, self.times, self.steady = kind, salt, fan, every, times, steady
        self.tried: Counter[Any] = Counter()
        self.before_each: Callable[[], None] = lambda: None

    def __call__(self, item: tuple[int, ...]) -> Any:
        self.before_each()
        self.tried[item] += 1
        number = hash((self.salt, *item)) // 8
        if self.every and number % self.every == 0 and self.tried[item] <= self.times:
            raise StopIteration if number % 5 == 0 else ValueError(item)
        if self.kind == "map":
            return (*item, -1)
        if self.kind == "filter":
            return number % 3 > 0
        children = number % (self.fan + 1) if number % 7 else 3 * self.fan  # a few are large
        children = self.fan if self.steady else children
        return [(*item, ordinal) for ordinal in range(children)]

    def fresh(self) -> Work:
        return Work(self.kind, self.salt, self.fan, self.every, self.times, steady=self.steady)


def some_steps(random: Random) -> list[reference.Step]:
    kinds = random.choices(["map", "filter", "flat_map"], k=random.choice([1, 1, 1, 2, 3]))
    return [
        reference.Step(
            f"{kind} {at}",
            kind,
            Work(
                kind,
                salt=random.randrange(1_000),
                fan=random.choice([1, 2, 5, 30]),
                every=random.choice([0, 0, 2, 5, 30]),
                times=random.choice([1, 2, 99]),
            ),
            on_error=random.choice(["raise", "skip", "dead_letter", "dead_letter"]),
            retries=random.choice([0, 0, 1, 2]),
        )
        for at, kind in enumerate(kinds)
    ]


def steady_steps(random: Random) -> list[reference.Step]:
    """An operator that gives as many outputs for each item."""
    fan = random.choice([2, 3, 10, 50])
    return [reference.Step("flat_map", "flat_map", Work("flat_map", 0, fan, every=0, times=0, steady=True))]


def largest_expansion(items: Iterable[Any], steps: list[reference.Step]) -> int:
    """The most that one input comes to, anywhere on its way. An item that waits to be tried again is one, whatever will
    come of it."""
    largest = 1
    for item in items:
        at = [item]
        for step in steps:
            if step.kind == "flat_map":
                never_fails = Work("flat_map", step.fn.salt, step.fn.fan, 0, 0, steady=step.fn.steady)
                at = [child for each in at for child in never_fails(each) or [each]]
            elif step.kind == "map":
                at = [(*each, -1) for each in at]
            largest = max(largest, len(at))
    return largest


# A schedule ---------------------------------------------------------------------------------------------------------


class Schedule:
    """One stage and all that is around it: its source, its workers, its consumer, and a clock, driven by a seed."""

    def __init__(self, seed: int, clock: Callable[[], float]) -> None:
        self.random = random = Random(seed)
        self.clock = clock
        self.items = [(number,) for number in range(random.choice([0, 1, 5, 30, 100]))]
        self.steady = random.random() < 0.3
        self.steps = steady_steps(random) if self.steady else some_steps(random)
        self.ordered = random.random() < 0.7
        self.window = random.choice([1, 2, 5, 20, 100])
        self.degree = random.randint(1, 4)
        self.capacity = self.degree * random.randint(1, 3)
        self.settings = FlowSettings(
            window=self.window,
            max_bytes=random.choice([None, None, 1, 300]),
            ordered=self.ordered,
            adaptive=random.random() < 0.9,
            aim_s=random.choice([0.0001, 0.005, 10.0]),
        )
        self.ops = tuple(
            Op(step.name, step.kind, step.fn.fresh(), step.on_error, step.retries + 1) for step in self.steps
        )
        for op in self.ops:
            op.fn.before_each = self._perhaps_cut
        measure = None if self.settings.max_bytes is None else (lambda item: 7 * len(item) + item[0] % 5)
        self.kernels = [Kernel(self.ops, limit_s=limit_s, measure=measure) for limit_s in (None, 0.0)]
        self.measure = measure
        self.account = Account(tuple(op.name for op in self.ops), ("source",))
        self.flow = StageFlow("stage", self.kernels[0], self.settings, self.degree, self.account)
        self.largest = largest_expansion(self.items, self.steps)
        self.eager = False
        self.cut_share = random.choice([0.0, 0.02, 0.3])
        self.break_share = random.choice([0.0, 0.0, 0.0, 0.02])
        self.keeps = random.choice([0, 0, random.randrange(self.window)])  # what a gate would hold for want of more
        self.stop_at = random.choice([None, None, random.randrange(len(self.items) + 1)])
        self.source_error = random.choice([None, None, OSError("no more")])
        self.fed = self.pulling = 0
        self.running: list[Sent] = []
        self.at_work: Batch | None = None
        self.held: deque[Batch] = deque()  # taken off `ready`, and not given back
        self.outputs: list[Any] = []
        self.index: list[Any] = []
        self.failures: list[Failure] = []
        self.error: BaseException | None = None
        self.broken = self.stopped = False
        self.here = 0  # items between source and consumer, as they can be counted from outside

    # what may happen

    def pull(self) -> bool:
        """Begin a pull, or bring in some of what it was to bring."""
        if not self.pulling:
            self.pulling = self.flow.reserve(eager=self.eager)
            self.here += self.pulling
            return self.pulling > 0
        first, some = self.fed, self.random.randint(0, self.pulling)
        data = self.items[first : first + some]
        if data:
            self.fed += len(data)
            self.pulling -= len(data)
            nbytes = sum(map(self.measure, data)) if self.measure else 0
            self.flow.feed(Batch(first, range(first, self.fed), data, 0.0, nbytes=nbytes))
        if self.fed == len(self.items) or self.random.random() < 0.5:
            self.flow.release(self.pulling)
            self.here -= self.pulling
            self.pulling = 0
        if self.fed == len(self.items):
            self.flow.end(self.source_error)
        return True

    def send(self) -> bool:
        sent = self.flow.next_batch(self.capacity, self.clock(), eager=self.eager)
        if sent is not None:
            assert len(sent.batch) > 0
            self.running.append(sent)
        return sent is not None

    def finish(self) -> bool:
        if not self.running:
            return False
        sent = self.running.pop(self.random.randrange(len(self.running)))
        if self.random.random() < self.break_share:
            self.broken = True
            self.flow.broken(sent, RuntimeError("no worker"))
            return True
        self.at_work = sent.batch
        taken = len(sent.batch)
        result = self.random.choice(self.kernels).run(sent.batch, Control(), "worker")
        self.at_work = None
        assert 0 < result.done <= taken
        self.here += len(result.data) + len(result.failures) - result.done
        self.flow.finished(sent, result, self.clock())
        return True

    def take(self) -> bool:
        piece = self.flow.take()
        if piece is None:
            return False
        if isinstance(piece, BaseException):
            self.error = piece
            return True
        assert piece.seq == len(self.outputs)
        assert len(piece) == len(piece.index) > 0
        self.outputs += piece.data
        self.index += piece.index
        self.held.append(piece)
        return True

    def give_back(self) -> bool:
        """All that the consumer does not keep, in parts if need be."""
        given = False
        while (surplus := sum(map(len, self.held)) - self.keeps) > 0:
            whole = part = self.held.popleft()
            if len(whole) > surplus:
                part, rest = whole.split(surplus)
                self.held.appendleft(rest)
            self.here -= len(part)
            self.flow.taken(len(part), part.nbytes)
            given = True
        return given

    def hear(self) -> bool:
        """What failed is told; until then what was set aside is still here."""
        failures = self.flow.new_failures()
        self.flow.told(len(failures))
        self.here -= sum(failure.verdict != "retry" for failure in failures)
        self.failures += failures
        return bool(failures)

    def stop(self) -> bool:
        """The user wants no more."""
        if self.stop_at is None or self.fed < self.stop_at or not self.flow.open:
            return False
        self.stopped = True
        self.flow.end()
        return True

    def _perhaps_cut(self) -> None:
        if self.at_work is not None and self.random.random() < self.cut_share:
            self.at_work.cut()

    # all of it

    def run(self) -> None:
        self._at_random()
        self._to_the_end()

    def _at_random(self) -> None:
        actions = [self.pull, self.send, self.finish, self.take, self.give_back, self.hear, self.stop]
        for _ in range(self.random.choice([0, 1, 5, 10])):
            # For a while some hardly do anything: a consumer that is away, workers that are held.
            weights = [self.random.choice([0, 1, 5, 20]) for _ in actions]
            if any(weights):
                for action in self.random.choices(actions, weights, k=30):
                    self._act(action)

    def _act(self, action: Callable[[], bool]) -> None:
        if self.error is None and (action != self.pull or self.pulling or self.flow.open):
            action()
            self.check_bound()

    def _to_the_end(self) -> None:
        """Everybody does what there is to do, until all is out; there must always be something to do."""
        while self.error is None and not (self.flow.exhausted and not self.flow.ready):
            acts = (self.give_back, self.take, self.hear, self.finish, self.send)
            moved = [act() for act in acts if self.error is None]
            self.check_bound()
            self.eager = not any(moved)
            if self.eager and self.error is None:
                pulled = (self.pulling or self.flow.open) and self.pull()
                assert pulled or self.send(), f"stuck: {self.flow!r}"
        self.hear()
        if self.ordered:
            assert self.flow._untaken == sum(map(len, self.held))

    def check_bound(self) -> None:
        """The window and an expansion, as it is held whole: one, where all are alike, else one for each batch on its
        way. What a gate keeps for want of more can take as much again, as it must get more."""
        if self.error is not None or self.flow._failed:
            return
        assert self.here <= self.flow.window.used, "not all is counted"
        kept = self.window if self.keeps else 0
        expansions = 1 if self.steady else self.capacity
        assert self.here <= self.window + kept + expansions * (self.largest - 1)

    # what came of it

    def check(self) -> None:
        steps = [reference.Step(**{**vars(step), "fn": step.fn.fresh()}) for step in self.steps]
        expected = reference.run(self.items[: self.fed], steps)
        if self.ordered:
            self._check_ordered(expected)
        else:
            self._check_unordered(expected)
        if expected.error is None and not self.broken:
            self._check_whole(expected)

    def _check_ordered(self, expected: reference.Outcome) -> None:
        count = len(self.outputs)
        assert self.outputs == expected.outputs[:count]
        assert self.index == expected.index[:count]
        if isinstance(self.error, ExecutorFailed):
            assert self.broken
        elif expected.error is not None:
            assert isinstance(self.error, OperatorFailed)
            assert (self.error.operator, self.error.index, self.error.item) == (
                expected.error.operator,
                expected.error.index,
                expected.error.item,
            )
            assert count == len(expected.outputs)
        else:
            assert self.error is (None if self.stopped else self.source_error)
            assert count == len(expected.outputs)

    def _check_unordered(self, expected: reference.Outcome) -> None:
        spared = [
            reference.Step(step.name, step.kind, step.fn.fresh(), "dead_letter", step.retries) for step in self.steps
        ]
        all_there_is = reference.run(self.items[: self.fed], spared)
        assert not Counter(self.outputs) - Counter(all_there_is.outputs)
        if isinstance(self.error, OperatorFailed):
            ends = {step.name for step in self.steps if step.on_error == "raise"}
            assert self.error.operator in ends
            assert (self.error.operator, self.error.index) in {
                (letter.operator, letter.index) for letter in all_there_is.letters
            }
        elif isinstance(self.error, ExecutorFailed):
            assert self.broken
        elif expected.error is not None or self.broken:
            assert self.error is self.source_error  # whichever came first
        else:
            assert Counter(zip(self.index, self.outputs, strict=True)) == Counter(
                zip(expected.index, expected.outputs, strict=True)
            )

    def _check_whole(self, expected: reference.Outcome) -> None:
        for step, tally in zip(self.steps, self.account.tallies, strict=True):
            count = expected.counts[step.name]
            assert [getattr(tally, each) for each in BOOKED] == [getattr(count, each) for each in BOOKED], step
        assert self.account.fed == self.fed
        assert not any(self.account.abandoned(position) for position in range(len(self.steps)))
        found = Counter(
            (failure.name, failure.index, failure.item, failure.attempts)
            for failure in self.failures
            if failure.verdict == "dead_letter"
        )
        assert found == Counter(
            (letter.operator, letter.index, letter.item, letter.attempts) for letter in expected.letters
        )
        self.keeps = 0
        self.give_back()
        assert (self.flow.window.used, self.flow.window.used_bytes) == (self.pulling, 0)
        assert self.flow.running == 0 and self.flow.due_s is None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """The time, which goes on by a millisecond or so each time that somebody looks: so a seed always does the same."""
    random, now_s = Random(0), [0.0]

    def look() -> float:
        now_s[0] += random.choice([1e-7, 1e-5, 1e-3])
        return now_s[0]

    def reset() -> float:
        random.seed(0)
        now_s[0] = 0.0
        return 0.0

    monkeypatch.setattr(kernel_module, "perf_counter", look)
    monkeypatch.setattr(kernel_module, "thread_time", look)
    look.reset = reset  # type: ignore[attr-defined]
    return look


def run_seed(seed: int, clock: Any) -> None:
    clock.reset()
    schedule = Schedule(seed, clock)
    try:
        schedule.run()
        schedule.check()
    except BaseException as error:
        error.add_note(f"HEADRACE_SEED={seed} runs this schedule alone")
        raise


def blocks(count: int) -> list[range]:
    """The seeds of each test, or the one that was asked for."""
    alone = os.environ.get("HEADRACE_SEED")
    if alone is not None:
        return [range(int(alone), int(alone) + 1)]
    return [range(at * SEEDS_PER_TEST, (at + 1) * SEEDS_PER_TEST) for at in range(count)]


@pytest.mark.parametrize("seeds", blocks(10), ids=lambda seeds: f"from-{seeds.start}")
def test_any_schedule_gives_what_the_oracle_gives(seeds: range, clock: Callable[[], float]) -> None:
    for seed in seeds:
        run_seed(seed, clock)


@pytest.mark.stress
@pytest.mark.parametrize("seeds", blocks(300), ids=lambda seeds: f"from-{seeds.start}")
def test_many_schedules_give_what_the_oracle_gives(seeds: range, clock: Callable[[], float]) -> None:
    for seed in seeds:
        run_seed(seed, clock)


# Single steps -------------------------------------------------------------------------------------------------------


def flow_of(*ops: Op, window: int = 100, degree: int = 1, **more: Any) -> tuple[StageFlow, Kernel]:
    kernel = Kernel(ops)
    settings = FlowSettings(window=window, **more)
    return StageFlow("stage", kernel, settings, degree, Account(tuple(op.name for op in ops), ("source",))), kernel


def feed(flow: StageFlow, first: int, count: int) -> None:
    """As a shell does that was granted so many."""
    flow.window.admit(count)
    flow._reserved += count
    flow.feed(Batch(first, range(first, first + count), list(range(first, first + count)), 0.0))


def one_batch(ops: tuple[Op, ...], count: int, *, ordered: bool = True) -> list[Any]:
    """What comes out if all items travel in one batch: outputs one by one, and what is raised."""
    flow, kernel = flow_of(*ops, window=100 * count, ordered=ordered)
    flow._sizing.size, flow._expansion = count, 10.0 if kernel.expands else 1.0
    feed(flow, 0, count)
    flow.end()
    out: list[Any] = []
    while (sent := flow.next_batch(1, 0.0)) is not None:
        flow.finished(sent, kernel.run(sent.batch, Control()), 0.0)
        flow.told(len(flow.new_failures()))
        while (piece := flow.take()) is not None:
            if isinstance(piece, BaseException):
                out.append(piece)
            else:
                out += piece.data
                flow.taken(len(piece), piece.nbytes)
    assert flow.exhausted and flow.window.used == 0
    return out


def raising_at(*bad: int) -> Callable[[int], int]:
    def work(number: int) -> int:
        if number in bad:
            raise ValueError(number)
        return number

    return work


@pytest.mark.parametrize("ordered", [True, False])
def test_of_several_errors_in_a_batch_that_of_the_first_item_counts(ordered: bool) -> None:
    """Whichever operator it is in: the first ones are ahead of those behind them."""
    ops = (Op("first", "map", raising_at(7)), Op("second", "map", raising_at(5)), Op("third", "map", raising_at(6)))
    *outputs, error = one_batch(ops, 10, ordered=ordered)
    assert outputs == [0, 1, 2, 3, 4]
    assert (error.operator, error.index) == ("second", 5)


def test_what_would_be_tried_again_behind_an_error_is_not() -> None:
    tried: list[int] = []

    def work(number: int) -> int:
        tried.append(number)
        return raising_at(2, 8)(number)

    ops = (Op("first", "map", work, attempts=3), Op("second", "map", raising_at(5)))
    *outputs, error = one_batch(ops, 10)
    assert outputs == [0, 1]  # then the third is out of attempts, before the error behind it
    assert (error.operator, error.index) == ("first", 2)
    assert (tried.count(2), tried.count(8)) == (3, 1)


def test_a_retried_item_keeps_its_place() -> None:
    failed: set[int] = set()

    def work(number: int) -> int:
        if number % 3 == 0 and number not in failed:
            failed.add(number)
            raise ValueError
        return number

    assert one_batch((Op("map", "map", work, attempts=2),), 10) == list(range(10))
    failed.clear()
    assert sorted(one_batch((Op("map", "map", work, attempts=2),), 10, ordered=False)) == list(range(10))


def test_retries_behind_an_expansion_keep_their_places() -> None:
    failed: set[tuple[int, int]] = set()

    def flaky(pair: tuple[int, int]) -> tuple[int, int]:
        if sum(pair) % 2 and pair not in failed:
            failed.add(pair)
            raise ValueError
        return pair

    ops = (
        Op("expand", "flat_map", lambda number: [(number, at) for at in range(3)]),
        Op("flaky", "map", flaky, attempts=2),
        Op("again", "flat_map", lambda pair: [pair] * 2),
    )
    assert one_batch(ops, 4) == [(number, at) for number in range(4) for at in range(3) for _ in range(2)]


def test_an_empty_source_is_at_its_end_at_once() -> None:
    flow, _ = flow_of(Op("map", "map", abs))
    assert not flow.exhausted
    flow.end()
    assert flow.exhausted and flow.take() is None


def test_the_error_of_a_source_comes_after_all_that_it_gave() -> None:
    flow, kernel = flow_of(Op("map", "map", abs))
    feed(flow, 0, 3)
    error = OSError()
    flow.end(error)
    outputs: list[int] = []
    while not flow.exhausted:
        assert flow.take() is None
        sent = flow.next_batch(1, 0.0)
        flow.finished(sent, kernel.run(sent.batch, Control()), 0.0)
        while isinstance(piece := flow.take(), Batch):
            outputs += piece.data
    assert outputs == [0, 1, 2]
    assert piece is error


@pytest.mark.parametrize("ordered", [True, False])
def test_an_item_that_fails_is_told_of_although_the_input_has_failed(ordered: bool) -> None:
    """In order, the end of the input is behind the item; without, both are raised."""
    flow, kernel = flow_of(Op("map", "map", raising_at(0)), ordered=ordered)
    feed(flow, 0, 1)
    sent = flow.next_batch(1, 0.0)
    error = OSError()
    flow.end(error)
    flow.finished(sent, kernel.run(sent.batch, Control()), 0.0)
    assert isinstance(flow.take(), OperatorFailed)
    assert flow.take() is (None if ordered else error)
    assert flow.exhausted and flow.take() is None


def test_what_fails_when_nobody_wants_it_any_more_does_not_keep_a_stage_from_its_end() -> None:
    flow, kernel = flow_of(
        Op("first", "map", raising_at(0), attempts=2), Op("second", "map", raising_at(1)), ordered=False
    )
    flow._sizing.size = 2
    feed(flow, 0, 2)
    sent = flow.next_batch(1, 0.0)
    assert len(sent.batch) == 2
    flow.unwanted()
    flow.finished(sent, kernel.run(sent.batch, Control()), 0.0)
    assert flow.next_batch(1, 0.0) is None
    assert flow.exhausted and flow.take() is None


def test_a_second_batch_of_tiny_items_waits_for_the_linger_and_no_clock_for_a_worker() -> None:
    flow, _ = flow_of(Op("map", "map", abs))
    flow._sizing.brief = True
    feed(flow, 0, 2)
    assert flow.next_batch(1, 0.0) is not None
    assert flow.next_batch(1, 0.0) is None and flow.due_s is None  # whatever the time, there is no worker for it
    assert flow.next_batch(2, 0.0) is None and flow.due_s == 0.005
    assert flow.next_batch(2, 0.005) is not None and flow.due_s is None


def test_a_retry_that_is_due_and_has_no_worker_is_not_due_again() -> None:
    flow, kernel = flow_of(Op("map", "map", raising_at(0), attempts=2))
    feed(flow, 0, 2)
    first, second = flow.next_batch(2, 0.0), flow.next_batch(2, 0.0)
    assert second is not None
    flow.finished(first, kernel.run(first.batch, Control()), 1.0)
    assert flow.due_s == 1.0
    assert flow.next_batch(1, 1.0) is None and flow.due_s is None
    assert flow.next_batch(2, 1.0).batch.attempt == 2


def test_no_more_is_pulled_than_the_window_holds_until_outputs_are_taken() -> None:
    flow, kernel = flow_of(Op("map", "map", abs), window=10)
    pulled = 0
    for _ in range(50):
        granted = flow.reserve(eager=True)
        flow.feed(Batch(pulled, range(pulled, pulled + granted), list(range(pulled, pulled + granted)), 0.0))
        pulled += granted
        if (sent := flow.next_batch(3, 0.0)) is not None:
            flow.finished(sent, kernel.run(sent.batch, Control()), 0.0)
    assert pulled == 10 and flow.window.used == 10
    piece = flow.take()
    assert flow.reserve(eager=False) == 0
    flow.taken(len(piece), piece.nbytes)
    assert flow.reserve(eager=True) == len(piece)


def without_consumer(fan: Callable[[int], int], *, window: int, degree: int, hold: bool) -> tuple[int, int]:
    """Have an endless source and all workers go on until nothing more is done, while nobody takes anything; on a second
    round too, behind a consumer that took all. Gives the most items that were there, and the largest expansion.

    `hold` has workers come back only when no more can be sent.
    """
    flow, kernel = flow_of(
        Op("expand", "flat_map", lambda number: [number] * fan(number)), window=window, degree=degree
    )
    pulled, running, most = 0, [], 0
    for _ in range(30):
        moved = True
        while moved:
            granted = flow.reserve(eager=False)
            feed(flow, pulled, granted)
            flow.release(granted)
            pulled += granted
            sent = flow.next_batch(3 * degree, 0.0)
            running += [sent] if sent is not None else []
            moved = bool(granted or sent is not None)
            if running and not (hold and moved):
                back = running.pop()
                flow.finished(back, kernel.run(back.batch, Control()), 0.0)
                moved = True
            most = max(most, flow.window.used)
        while (piece := flow.take()) is not None:
            flow.taken(len(piece), piece.nbytes)
    return most, max(map(fan, range(pulled)))


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("degree", [1, 4])
@pytest.mark.parametrize("window", [1, 10, 100, 1_000])
@pytest.mark.parametrize("fan", [2, 3, 10, 150])
def test_steady_expansions_take_the_window_and_one_of_them_at_most(
    fan: int, window: int, degree: int, hold: bool, clock: Any
) -> None:
    most, largest = without_consumer(lambda number: fan, window=window, degree=degree, hold=hold)
    assert most <= window + largest - 1
    assert most > window // 2 or most >= largest


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("window", [1, 10, 100, 1_000])
def test_unsteady_expansions_take_the_window_and_one_for_each_batch_at_most(
    window: int, hold: bool, clock: Any
) -> None:
    def fan(number: int) -> int:
        return 200 if number % 20 == 19 else number % 3

    most, largest = without_consumer(fan, window=window, degree=4, hold=hold)
    assert largest == 200 and most <= window + 12 * (largest - 1)
    most, largest = without_consumer(fan, window=window, degree=1, hold=False)
    assert most <= window + largest - 1  # a batch at a time


def test_who_keeps_a_whole_window_and_asks_for_more_gets_nothing() -> None:
    """A gate that holds what it cannot pair, say: to give it more would only put off that the window is too small."""
    flow, kernel = flow_of(Op("map", "map", abs), window=2)
    feed(flow, 0, 2)
    while (sent := flow.next_batch(1, 0.0)) is not None:
        flow.finished(sent, kernel.run(sent.batch, Control()), 0.0)
    assert flow.reserve(eager=True) == 0  # there is something for it to take
    while flow.take() is not None:
        pass
    assert flow.reserve(eager=False) == 0
    assert flow.reserve(eager=True) == 0


def test_an_executor_that_fails_is_an_error_in_place_of_the_batch() -> None:
    flow, kernel = flow_of(Op("map", "map", abs), degree=3, adaptive=False)
    feed(flow, 0, 3)
    first, second, third = (flow.next_batch(3, 0.0) for _ in range(3))
    flow.finished(third, kernel.run(third.batch, Control()), 0.0)
    flow.broken(second, OSError("no worker"))
    assert flow.take() is None and not flow.open
    flow.finished(first, kernel.run(first.batch, Control()), 0.0)
    assert flow.take().data == [0]
    error = flow.take()
    assert isinstance(error, ExecutorFailed) and (error.stage, error.index) == ("stage", 1)
    assert isinstance(error.__cause__, OSError)
    assert flow.exhausted and flow.window.used == 1  # the first, which was not given back yet


def test_items_that_arrive_after_a_stop_are_still_worth_their_while() -> None:
    flow, kernel = flow_of(Op("map", "map", abs))
    granted = flow.reserve(eager=True)
    flow.end()
    flow.feed(Batch(0, range(1), [7], 0.0))
    flow.release(granted - 1)
    assert not flow.exhausted
    sent = flow.next_batch(1, 0.0)
    flow.finished(sent, kernel.run(sent.batch, Control()), 0.0)
    assert flow.take().data == [7] and flow.exhausted


def test_items_that_arrive_after_an_error_are_dropped() -> None:
    flow, kernel = flow_of(Op("map", "map", raising_at(0)))
    feed(flow, 0, 1)
    granted = flow.reserve(eager=True)
    sent = flow.next_batch(1, 0.0)
    flow.finished(sent, kernel.run(sent.batch, Control()), 0.0)
    flow.feed(Batch(1, range(1, 2), [1], 0.0))
    flow.release(granted - 1)
    assert isinstance(flow.take(), OperatorFailed) and len(flow.new_failures()) == 1
    flow.told(1)
    assert flow.exhausted and flow.window.used == 0


def test_a_result_that_does_not_add_up_stands_in_place_of_its_batch() -> None:
    flow, kernel = flow_of(Op("map", "map", abs))
    feed(flow, 0, 1)
    sent = flow.next_batch(1, 0.0)
    result = kernel.run(sent.batch, Control())
    result.data.append(1)
    flow.finished(sent, result, 0.0)
    assert isinstance(flow.take(), AccountError)
    assert not flow.open
