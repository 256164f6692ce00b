"""The account of events under whatever happens: a stateful test against a model, and many emitters at once."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headrace import AsyncEventDispatcher, BatchCompleted, BufferedEventNotifier, ItemFailed, OperatorFinished
from headrace.events import Event

WAIT_S = 20
TYPES = (BatchCompleted, ItemFailed, OperatorFinished)
KINDS = ("async", "buffered")
OVERFLOWS = ("drop_oldest", "drop_newest", "coalesce", "block")


class Known:
    """A listener, and what it is to hear: (type, number) in the order in which it was emitted."""

    def __init__(self, types: tuple[type, ...], raises_at: int | None) -> None:
        self.types = types
        self.raises_at = raises_at
        self.expected: list[tuple[type, int]] = []
        self.heard: list[tuple[type, int]] = []
        self.raised: list[tuple[type, int]] = []
        self.subscription: Any = None

    def __call__(self, event: Any) -> None:
        what = (type(event), int(event.operator))
        if self.raises_at and what[1] % self.raises_at == 0:
            self.raised.append(what)
            raise ValueError(what)
        self.heard.append(what)

    def hears(self, type: type) -> bool:
        return not self.types or issubclass(type, self.types)

    def check(self, *, quiet: bool) -> None:
        rows = {row.type: row for row in self.subscription.account}
        for kind in TYPES:
            expected = [each for each in self.expected if each[0] is kind]
            if kind.__name__ not in rows:
                assert not expected or not quiet
                continue
            row = rows[kind.__name__]
            assert row.emitted == row.delivered + row.dropped + row.failed + row.pending
            if quiet:
                assert row.emitted == len(expected)
                assert row.pending == 0
                assert row.delivered == sum(each[0] is kind for each in self.heard)
                assert row.failed == sum(each[0] is kind for each in self.raised)
                if kind is OperatorFinished:
                    assert row.dropped == 0
        if quiet:
            left = iter(self.expected)
            seen = sorted([*self.heard, *self.raised], key=lambda each: each[1])
            assert all(each in left for each in seen), "it heard what was not emitted"
            assert self.heard == sorted(self.heard, key=lambda each: each[1]), "out of order"


class Events(RuleBasedStateMachine):
    """Subscribe, emit, flush, cancel, close, in any order."""

    dispatcher: AsyncEventDispatcher
    notifier: Any

    @initialize(kind=st.sampled_from(KINDS), overflow=st.sampled_from(OVERFLOWS), most=st.sampled_from([3, 10_000]))
    def make(self, kind: str, overflow: str, most: int) -> None:
        self.dispatcher = AsyncEventDispatcher(most, overflow=overflow, block_s=0.001, max_failures=10**9)
        self.notifier = self.dispatcher if kind == "async" else BufferedEventNotifier(self.dispatcher, max_events=7)
        self.listening: list[Known] = []
        self.number = 0
        self.closed = False

    @precondition(lambda self: not self.closed)
    @rule(types=st.lists(st.sampled_from([*TYPES, Event]), max_size=2), raises_at=st.sampled_from([None, 1, 3]))
    def subscribe(self, types: list[type], raises_at: int | None) -> None:
        known = Known(tuple(types), raises_at)
        known.subscription = self.notifier.subscribe(known, *types)
        self.listening.append(known)

    @rule(kind=st.sampled_from(TYPES), many=st.integers(1, 40), ready=st.booleans(), aside=st.booleans())
    def emit(self, kind: type, many: int, ready: bool, aside: bool) -> None:
        numbers = range(self.number, self.number + many)
        self.number += many

        def tell() -> None:
            for number in numbers:
                if ready:
                    self.notifier.emit(kind(operator=str(number)))
                else:
                    self.notifier.notify(kind, operator=str(number))

        if aside:
            thread = threading.Thread(target=tell)
            thread.start()
            thread.join()
        else:
            tell()
        for known in self.listening:
            if known.hears(kind) and not self.closed:
                known.expected += [(kind, number) for number in numbers]

    @rule()
    def flush(self) -> None:
        assert self.notifier.flush(WAIT_S)
        for known in self.listening:
            known.check(quiet=True)

    @precondition(lambda self: self.listening)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        assert self.notifier.flush(WAIT_S)
        known = data.draw(st.sampled_from(self.listening))
        known.subscription.cancel()
        self.listening.remove(known)
        known.check(quiet=True)

    @precondition(lambda self: not self.closed)
    @rule()
    def close(self) -> None:
        self.notifier.close(timeout_s=WAIT_S)
        self.dispatcher.close(timeout_s=WAIT_S)
        self.closed = True
        for known in self.listening:
            known.check(quiet=True)

    @invariant()
    def it_adds_up(self) -> None:
        for known in getattr(self, "listening", ()):
            known.check(quiet=False)

    def teardown(self) -> None:
        if hasattr(self, "notifier"):
            self.notifier.close(timeout_s=WAIT_S)
            self.dispatcher.close(timeout_s=WAIT_S)


@pytest.fixture(autouse=True)
def _listeners_raise() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


TestEvents = Events.TestCase
TestEvents.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


def in_threads(count: int, work: Callable[[int], None]) -> None:
    start = threading.Barrier(count)

    def run(number: int) -> None:
        start.wait()
        work(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "block", "coalesce", "raise"])
def test_four_emitters_and_listeners_that_raise_or_are_slow(kind: str, overflow: str) -> None:
    """The account of `benchmarks/bench_events.py`, in small."""
    from headrace import EventQueueFull

    each = 1_000
    fast: list[Any] = []

    def picky(event: BatchCompleted) -> None:
        if event.items % 3 == 0:
            raise ValueError

    dispatcher = AsyncEventDispatcher(1_000, overflow=overflow, block_s=0.01, max_failures=10**9)
    notifier: Any = dispatcher if kind == "async" else BufferedEventNotifier(dispatcher)
    listening = {
        "fast": notifier.subscribe(lambda events: fast.extend(events), batch=True),
        "picky": notifier.subscribe(picky, BatchCompleted),
        "slow": notifier.subscribe(lambda event: threading.Event().wait(0.0005), max_pending=50),
    }
    refused = [0] * 4

    def emit(number: int) -> None:
        for step in range(each):
            if step % 200 == 0:
                notifier.notify(OperatorFinished, operator=str(number), taken=step)
            try:
                notifier.notify(BatchCompleted, operator=str(number), items=step)
            except EventQueueFull:
                refused[number] += 1

    in_threads(4, emit)
    assert notifier.flush(WAIT_S)
    for name, subscription in listening.items():
        rows = {row.type: row for row in subscription.account}
        assert rows["BatchCompleted"].emitted == 4 * each, name
        for row in rows.values():
            assert row.emitted == row.delivered + row.dropped + row.failed
            assert row.pending == 0
        if name != "picky":
            assert rows["OperatorFinished"].emitted == rows["OperatorFinished"].delivered
    assert len(fast) == sum(row.delivered for row in listening["fast"].account)
    for number in range(4):
        mine = [event.items for event in fast if isinstance(event, BatchCompleted) and event.operator == str(number)]
        assert mine == sorted(mine)
    assert bool(sum(refused)) == (overflow == "raise")
    notifier.close()
    dispatcher.close()
