"""The dispatchers with threads where it gets tight: full queues, raising and hanging listeners, the end of the program,
forks. What all dispatchers promise is in the conformance suite."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import textwrap
import threading
import warnings
import weakref
from collections import Counter
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import attrs
import pytest

from headrace import (
    AsyncEventDispatcher,
    BatchCompleted,
    BufferedEventNotifier,
    Event,
    EventQueueFull,
    ItemFailed,
    OperatorFinished,
    ProgressMade,
    SettingsError,
)
from headrace.errors import HeadraceError, LeftoversWarning
from headrace.testing import Gate
from headrace_events.inline import InlineDispatcher

WAIT_S = 10


def held(dispatcher: AsyncEventDispatcher, gate: Gate, **options: Any) -> list[Any]:
    """A listener that is inside of a call with the event -1 until the gate opens; what it has heard."""
    heard: list[Any] = []

    def listener(event: Any) -> None:
        gate.hold()
        heard.append(event)

    dispatcher.subscribe(listener, **options)
    dispatcher.notify(BatchCompleted, items=-1)
    gate.wait_for(1)
    return heard


def row(dispatcher: Any, type: type = BatchCompleted) -> Any:
    (found,) = (each for each in dispatcher.account() if each.type == type.__name__)
    return found


# Full queues --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("overflow", "left"), [("drop_oldest", range(90, 100)), ("drop_newest", range(10))])
def test_which_of_them_are_dropped(overflow: str, left: range) -> None:
    gate = Gate()
    with AsyncEventDispatcher(10, overflow=overflow) as dispatcher:
        heard = held(dispatcher, gate)
        for number in range(100):
            dispatcher.notify(BatchCompleted, items=number)
        assert row(dispatcher).dropped == 90
        assert row(dispatcher).pending == 11
        gate.open()
        assert dispatcher.flush(WAIT_S)
        assert [event.items for event in heard] == [-1, *left]
        assert [event.sequence for event in heard] == [0, *(number + 1 for number in left)]


def test_an_emitter_that_blocks_goes_on_when_there_is_room_and_nothing_is_dropped() -> None:
    gate = Gate()
    with AsyncEventDispatcher(10, overflow="block", block_s=WAIT_S) as dispatcher:
        heard = held(dispatcher, gate)

        def emit() -> None:
            for number in range(100):
                dispatcher.notify(BatchCompleted, items=number)

        emitter = threading.Thread(target=emit)
        emitter.start()
        while row(dispatcher).pending < 11:  # full, and the emitter about to wait
            sleep(0.001)
        gate.open()
        emitter.join(WAIT_S)
        assert dispatcher.flush(WAIT_S)
        assert [event.items for event in heard] == list(range(-1, 100))
        assert row(dispatcher).dropped == 0


def test_an_emitter_that_blocks_waits_no_longer_than_it_was_told_and_the_event_is_counted() -> None:
    gate = Gate()
    with AsyncEventDispatcher(1, overflow="block", block_s=0.05) as dispatcher:
        held(dispatcher, gate)
        dispatcher.notify(BatchCompleted, items=0)
        began_s = monotonic()
        dispatcher.notify(BatchCompleted, items=1)
        assert 0.05 <= monotonic() - began_s < 0.05 + 1
        assert row(dispatcher).dropped == 1
        gate.open()


def test_a_listener_that_fills_its_own_queue_does_not_wait_for_itself() -> None:
    done = threading.Event()
    with AsyncEventDispatcher(2, overflow="block", block_s=60) as dispatcher:

        def listener(event: BatchCompleted) -> None:
            if not event.items:
                for number in range(1, 10):
                    dispatcher.notify(BatchCompleted, items=number)
                done.set()

        dispatcher.subscribe(listener)
        dispatcher.notify(BatchCompleted, items=0)
        assert done.wait(WAIT_S)
        assert dispatcher.flush(WAIT_S)
        assert row(dispatcher).dropped == 7


def test_the_latest_of_each_key_stays_and_stands_where_it_was_told() -> None:
    gate = Gate()
    with AsyncEventDispatcher(3, overflow="coalesce") as dispatcher:
        heard = held(dispatcher, gate)
        for number in range(1_000):
            dispatcher.notify(ProgressMade, operator="a", items=number)
            dispatcher.notify(ProgressMade, operator="b", items=number)
        dispatcher.notify(OperatorFinished, operator="a")
        dispatcher.emit(ProgressMade(operator="b", items=1_000))
        gate.open()
        assert dispatcher.flush(WAIT_S)
        told = [(event.operator, event.items) for event in heard if isinstance(event, ProgressMade)]
        assert len(told) == 3
        assert told[-2:] == [("b", 999), ("b", 1_000)]
        assert ("a", 999) in told
        assert isinstance(heard[-2], OperatorFinished)
        progress = row(dispatcher, ProgressMade)
        assert (progress.emitted, progress.delivered, progress.pending) == (2_001, 3, 0)


def test_what_was_pushed_out_is_not_pushed_out_once_more_by_its_successor() -> None:
    gate = Gate()
    with AsyncEventDispatcher(2, overflow="coalesce") as dispatcher:
        heard = held(dispatcher, gate)
        for operator in "abcabcaabb":
            dispatcher.notify(ProgressMade, operator=operator)
        progress = row(dispatcher, ProgressMade)
        assert (progress.emitted, progress.dropped, progress.pending) == (10, 8, 2)
        gate.open()
        assert dispatcher.flush(WAIT_S)
        assert [event.operator for event in heard[1:]] == ["a", "b"]
        progress = row(dispatcher, ProgressMade)
        assert (progress.delivered, progress.dropped, progress.pending) == (2, 8, 0)


def test_a_listener_that_hangs_keeps_nothing_but_the_latest() -> None:
    """What took the place of others must not leave its shell behind for ever."""
    gate = Gate()
    with AsyncEventDispatcher(2, overflow="coalesce") as dispatcher:
        held(dispatcher, gate)
        for number in range(20_000):
            dispatcher.notify(ProgressMade, operator="a", items=number)
        (subscription,) = dispatcher._subscriptions
        assert len(subscription._chunks) < 5_000
        gate.open()


def test_the_emitter_is_told_that_the_queue_is_full_and_others_hear_it_all_the_same() -> None:
    gate = Gate()
    with AsyncEventDispatcher(1, overflow="raise") as dispatcher:
        held(dispatcher, gate)
        heard: list[Any] = []
        dispatcher.subscribe(heard.append, BatchCompleted, max_pending=1_000)
        dispatcher.notify(BatchCompleted, items=0)
        with pytest.raises(EventQueueFull, match=r"1 events wait for the listener held.<locals>.listener, as many as"):
            dispatcher.notify(BatchCompleted, items=1)
        dispatcher.notify(OperatorFinished)
        gate.open()
        assert dispatcher.flush(WAIT_S)
        assert [event.items for event in heard] == [0, 1]


def test_a_notifier_that_raises_does_it_at_once() -> None:
    gate = Gate()
    with AsyncEventDispatcher(1, overflow="raise") as dispatcher, BufferedEventNotifier(dispatcher) as notifier:
        held(dispatcher, gate)
        notifier.notify(BatchCompleted, items=0)
        with pytest.raises(EventQueueFull):
            notifier.notify(BatchCompleted, items=1)
        gate.open()


def test_a_thread_that_tells_more_than_its_ring_holds_loses_the_oldest_and_they_are_counted() -> None:
    with AsyncEventDispatcher(100_000) as dispatcher:
        notifier = BufferedEventNotifier(dispatcher, max_events=10**9, flush_s=3600, max_queue=100)
        heard: list[Any] = []
        dispatcher.subscribe(heard.append)
        for number in range(1_000):
            notifier.notify(BatchCompleted, items=number)
            notifier.notify(OperatorFinished, taken=number)
        assert notifier.flush(WAIT_S)
        batches = [event for event in heard if isinstance(event, BatchCompleted)]
        assert [event.items for event in batches] == list(range(900, 1_000))
        assert [event.sequence for event in batches] == list(range(900, 1_000))
        assert [event.taken for event in heard if isinstance(event, OperatorFinished)] == list(range(1_000))
        assert (row(dispatcher).emitted, row(dispatcher).dropped) == (1_000, 900)
        assert notifier.dropped == Counter({BatchCompleted: 900})
        notifier.close()


# Buffers ------------------------------------------------------------------------------------------------------------


def test_so_many_events_are_handed_on_at_once_without_waiting_for_the_time() -> None:
    heard: list[Any] = []
    all_here = threading.Event()

    def listener(event: BatchCompleted) -> None:
        heard.append(event)
        if len(heard) == 256:
            all_here.set()

    with AsyncEventDispatcher() as dispatcher, BufferedEventNotifier(dispatcher, flush_s=3600) as notifier:
        dispatcher.subscribe(listener)
        for number in range(257):
            notifier.notify(BatchCompleted, items=number)
        assert all_here.wait(WAIT_S)


def test_a_few_events_are_handed_on_after_a_while() -> None:
    here = threading.Event()
    with AsyncEventDispatcher() as dispatcher, BufferedEventNotifier(dispatcher, flush_s=0.01) as notifier:
        dispatcher.subscribe(lambda event: here.set())
        notifier.notify(BatchCompleted)
        assert here.wait(WAIT_S)


def test_what_a_thread_told_that_is_gone_is_delivered_and_nothing_of_it_is_kept() -> None:
    with AsyncEventDispatcher() as dispatcher, BufferedEventNotifier(dispatcher, flush_s=3600) as notifier:
        heard: list[Any] = []
        dispatcher.subscribe(heard.append)
        for number in range(50):
            thread = threading.Thread(target=lambda number=number: notifier.notify(BatchCompleted, items=number))
            thread.start()
            thread.join()
        assert notifier.flush(WAIT_S)
        assert [event.items for event in heard] == list(range(50))
        gc.collect()
        notifier.drain()
        assert len(notifier._rings) <= 1


def test_what_nobody_hears_costs_no_memory_and_no_thread() -> None:
    before = threading.active_count()
    with AsyncEventDispatcher() as dispatcher, BufferedEventNotifier(dispatcher) as notifier:
        for number in range(1_000):
            notifier.notify(BatchCompleted, items=number)
        assert not notifier._rings
        assert threading.active_count() == before


def test_a_notifier_that_is_forgotten_hands_on_what_it_has_and_leaves_no_thread() -> None:
    with AsyncEventDispatcher() as dispatcher:
        notifier = BufferedEventNotifier(dispatcher, max_events=1, flush_s=0.01)
        heard: list[Any] = []
        dispatcher.subscribe(heard.append)
        notifier.notify(BatchCompleted)
        thread = notifier._thread
        gone = weakref.ref(notifier)
        del notifier
        gc.collect()
        assert thread is not None
        thread.join(WAIT_S)
        assert gone() is None
        assert not thread.is_alive()
        assert dispatcher.flush(WAIT_S)
        assert len(heard) == 1


def test_a_dispatcher_that_is_forgotten_leaves_no_thread() -> None:
    dispatcher = AsyncEventDispatcher()
    heard: list[Any] = []
    dispatcher.subscribe(heard.append)
    dispatcher.emit(1)
    assert dispatcher.flush(WAIT_S)
    threads = set(dispatcher._pool._threads)
    assert threads
    del dispatcher
    gc.collect()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()


def test_before_a_dispatcher_that_calls_at_once_a_listener_that_hangs_holds_up_neither_emitters_nor_the_close() -> None:
    gate = Gate()
    notifier = BufferedEventNotifier(InlineDispatcher(), max_events=1)
    notifier.subscribe(lambda event: gate.hold())
    notifier.notify(BatchCompleted)
    gate.wait_for(1)
    notifier.notify(ItemFailed)  # the first of its type in this thread
    assert not notifier.flush(0.1)
    began_s = monotonic()
    notifier.close(timeout_s=0.2)
    assert monotonic() - began_s < 0.25
    gate.open()


# Listeners that misbehave -------------------------------------------------------------------------------------------


def test_a_listener_that_raises_time_and_again_is_switched_off_and_named() -> None:
    def fails(event: Any) -> None:
        raise ValueError(event.items)

    heard: list[Any] = []
    with warnings.catch_warnings(record=True) as warned, AsyncEventDispatcher(max_failures=5) as dispatcher:
        warnings.simplefilter("always")
        bad = dispatcher.subscribe(fails)
        dispatcher.subscribe(heard.append, batch=True)
        for number in range(100):
            dispatcher.notify(BatchCompleted, items=number)
        assert dispatcher.flush(WAIT_S)
        dispatcher.notify(BatchCompleted, items=100)
        assert dispatcher.flush(WAIT_S)
        assert not bad.active
        assert repr(bad).endswith("to all events, 0 pending, failed 5, ended>")
        (account,) = bad.account
        assert (account.emitted, account.failed, account.dropped, account.pending) == (101, 5, 96, 0)
        assert sum(map(len, heard)) == 101
    said = [str(each.message) for each in warned]
    assert len(said) == 2
    assert "fails raised ValueError: 0 on BatchCompleted, at " in said[0]
    assert said[1].endswith("It has failed 5 times in a row and hears nothing any more")


def test_a_listener_that_raises_now_and_then_is_not_switched_off() -> None:
    def picky(event: BatchCompleted) -> None:
        if event.items % 5:
            raise ValueError

    with pytest.warns(RuntimeWarning), AsyncEventDispatcher(max_failures=5) as dispatcher:
        subscription = dispatcher.subscribe(picky)
        for number in range(100):
            dispatcher.notify(BatchCompleted, items=number)
        assert dispatcher.flush(WAIT_S)
        assert subscription.active
        assert subscription.failed == 80


def test_a_coroutine_function_that_raises_is_counted_for_its_event_alone() -> None:
    async def picky(event: BatchCompleted) -> None:
        if event.items == 3:
            raise ValueError

    with pytest.warns(RuntimeWarning, match="picky raised ValueError"), AsyncEventDispatcher() as dispatcher:
        dispatcher.subscribe(picky)
        for number in range(10):
            dispatcher.notify(BatchCompleted, items=number)
        assert dispatcher.flush(WAIT_S)
        assert (row(dispatcher).delivered, row(dispatcher).failed) == (9, 1)


def test_an_event_that_cannot_be_built_is_a_failure_and_the_emitter_does_not_notice() -> None:
    heard: list[Any] = []
    with pytest.warns(RuntimeWarning, match="unexpected keyword"), AsyncEventDispatcher() as dispatcher:
        dispatcher.subscribe(heard.append)
        dispatcher.notify(BatchCompleted, itmes=3)
        dispatcher.notify(BatchCompleted, items=3)
        assert dispatcher.flush(WAIT_S)
        assert (row(dispatcher).delivered, row(dispatcher).failed) == (1, 1)


def test_a_listener_that_is_held_is_left_at_the_close_and_the_rest_is_named_and_counted() -> None:
    gate = Gate()
    dispatcher = AsyncEventDispatcher()
    heard = held(dispatcher, gate)
    others: list[Any] = []
    dispatcher.subscribe(others.append)
    (subscription, _) = dispatcher._subscriptions
    for number in range(5):
        dispatcher.notify(BatchCompleted, items=number)
    began_s = monotonic()
    with pytest.warns(LeftoversWarning) as warned:
        dispatcher.close(timeout_s=0.2)
    assert monotonic() - began_s < 0.25
    assert str(warned[0].message) == (
        "the event dispatcher was closed after 0.2 s: listener held.<locals>.listener is still in a call, "
        "5 events that waited for it were dropped"
    )
    assert len(others) == 5
    (account,) = subscription.account
    assert (account.emitted, account.dropped, account.pending) == (6, 5, 1)
    gate.open()
    while account.pending:  # until it is back from its call
        (account,) = subscription.account
    assert (account.delivered, account.dropped) == (1, 5)
    assert len(heard) == 1


def test_listeners_leave_the_interpreter_to_others_half_of_the_time() -> None:
    """A listener that computes is served in slices, with a rest behind each."""
    slices: list[float] = []
    done = threading.Event()

    def computes(event: Any) -> None:
        began_s = monotonic()
        while monotonic() - began_s < 0.0005:
            pass
        slices.append(began_s)
        if len(slices) == 100:
            done.set()

    with AsyncEventDispatcher() as dispatcher:
        dispatcher.subscribe(computes)
        for number in range(100):
            dispatcher.emit(number)
        assert done.wait(WAIT_S)
    assert slices[-1] - slices[0] > 1.5 * 0.05


# The end of the program, and forks ----------------------------------------------------------------------------------


def run(script: str, tmp_path: Path, *, python: str = sys.executable) -> list[str]:
    """The lines that a program of its own has written to the file `heard`."""
    heard = tmp_path / "heard"
    program = f"HEARD = {str(heard)!r}\n" + PREAMBLE + textwrap.dedent(script)
    done = subprocess.run([python, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return heard.read_text().splitlines()


PREAMBLE = """
import os, sys, time, threading
from headrace import *

def write(event):
    with open(HEARD, "a") as file:
        file.write(f"{event.items}\\n")
"""


@pytest.mark.parametrize("wrap", ["", "notifier = BufferedEventNotifier(dispatcher, flush_s=3600)"])
def test_at_the_end_of_the_program_all_is_delivered(wrap: str, tmp_path: Path) -> None:
    script = """
        dispatcher = notifier = AsyncEventDispatcher()
        WRAP
        dispatcher.subscribe(write)
        for number in range(5_000):
            notifier.notify(BatchCompleted, items=number)
    """
    assert run(script.replace("WRAP", wrap), tmp_path) == [str(number) for number in range(5_000)]


def test_a_slow_listener_is_waited_for_at_the_end_of_the_program(tmp_path: Path) -> None:
    script = """
        dispatcher = AsyncEventDispatcher()
        dispatcher.subscribe(lambda event: (time.sleep(0.03), write(event)))
        for number in range(100):
            dispatcher.notify(BatchCompleted, items=number)
    """
    assert run(script, tmp_path) == [str(number) for number in range(100)]


def test_events_of_the_last_moment_are_delivered(tmp_path: Path) -> None:
    """What is emitted while the program ends already, when it may start no more threads."""
    script = """
        import atexit

        def last():
            notifier.notify(BatchCompleted, items=1)

        dispatcher = AsyncEventDispatcher()
        notifier = BufferedEventNotifier(dispatcher, flush_s=3600)
        dispatcher.subscribe(write)
        atexit.register(last)
        notifier.notify(BatchCompleted, items=0)
    """
    assert run(script, tmp_path) == ["0", "1"]


def test_a_fork_begins_empty_and_each_delivers_its_own(tmp_path: Path) -> None:
    script = """
        dispatcher = AsyncEventDispatcher()
        notifier = BufferedEventNotifier(dispatcher, flush_s=3600)
        dispatcher.subscribe(write)
        for number in range(100):
            notifier.notify(BatchCompleted, items=number)
        child = os.fork()
        if not child:
            assert all(not row.emitted for row in dispatcher.account())
            for number in range(1_000, 1_100):
                notifier.notify(BatchCompleted, items=number)
            sys.exit()
        os.waitpid(child, 0)
        for number in range(100, 200):
            notifier.notify(BatchCompleted, items=number)
    """
    lines = [int(line) for line in run(script, tmp_path)]
    assert sorted(lines) == [*range(200), *range(1_000, 1_100)]
    assert [line for line in lines if line < 1_000] == list(range(200))


def test_a_fork_while_others_emit_and_listen_hangs_nowhere(tmp_path: Path) -> None:
    script = """
        dispatcher = AsyncEventDispatcher()
        notifier = BufferedEventNotifier(dispatcher, flush_s=0.001, max_events=16)
        dispatcher.subscribe(lambda event: None)
        stop = threading.Event()

        def emit():
            while not stop.is_set():
                notifier.notify(BatchCompleted, items=-1)
                dispatcher.notify(ItemFailed)

        threads = [threading.Thread(target=emit) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(20):
            child = os.fork()
            if not child:
                dispatcher.subscribe(write, PipelineFinished)
                notifier.notify(PipelineFinished, items=number)
                notifier.flush(10)
                os._exit(0)
            os.waitpid(child, 0)
        stop.set()
    """
    assert [int(line) for line in run(script, tmp_path)] == list(range(20))


# Events that are built at once ---------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Slotted(Event):
    number: int = 0


@attrs.frozen(kw_only=True, slots=False)
class Checked(Event):
    number: int = attrs.field(default=0, converter=int)
    names: list[str] = attrs.field(factory=list)


class Derived(BatchCompleted):
    def __init__(self, **facts: Any) -> None:
        super().__init__(**{**facts, "items": 7})


@attrs.frozen(kw_only=True, slots=False)
class Grown(BatchCompleted):
    number: int = 0


@pytest.mark.parametrize("kind", [BatchCompleted, ItemFailed, Slotted, Checked, Derived, Grown, Event])
def test_an_event_is_what_its_class_makes_of_the_same_facts(kind: type[Event]) -> None:
    heard: list[Any] = []
    given = {"run": "r", "operator": "parse"} | ({"number": 3} if "number" in kind.__annotations__ else {})
    with AsyncEventDispatcher() as dispatcher, BufferedEventNotifier(dispatcher) as notifier:
        dispatcher.subscribe(heard.append)
        notifier.notify(kind, **given)
        assert notifier.flush(WAIT_S)
    (event,) = heard
    own = {name: getattr(event, name) for name in ("at_s", "wall_s", "source", "sequence")}
    made = kind(**given, **own)
    assert type(event) is kind
    assert event == made
    assert repr(event) == repr(made)
    assert pickle.loads(pickle.dumps(event)) == made
    if kind is not Checked:
        assert hash(event) == hash(made)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.run = "s"


def test_facts_that_are_given_count_more_than_those_that_are_filled_in() -> None:
    heard: list[Any] = []
    with AsyncEventDispatcher() as dispatcher:
        dispatcher.subscribe(heard.append)
        dispatcher.notify(BatchCompleted, source="elsewhere", sequence=5, at_s=1.0, wall_s=2.0)
        assert dispatcher.flush(WAIT_S)
    assert heard == [BatchCompleted(source="elsewhere", sequence=5, at_s=1.0, wall_s=2.0)]


# What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: AsyncEventDispatcher(0), "max_queue must be a whole number of events, at least 1; got 0"),
        (lambda: AsyncEventDispatcher(workers=0), "workers must be a whole number of threads, at least 1; got 0"),
        (lambda: AsyncEventDispatcher(overflow="drop_old"), "got 'drop_old'. Did you mean 'drop_oldest'?"),
        (lambda: AsyncEventDispatcher(block_s=-1), "block_s must be a number of seconds, at least 0; got -1"),
        (lambda: BufferedEventNotifier(3), "dispatcher must be a dispatcher, with the methods subscribe, notify"),
        (lambda: BufferedEventNotifier(AsyncEventDispatcher(), 0), "max_events must be a whole number of events"),
        (lambda: BufferedEventNotifier(AsyncEventDispatcher(), 1, 0), "flush_s must be a number of seconds, above 0"),
        (lambda: AsyncEventDispatcher().flush(-1), "timeout_s must be a number of seconds, at least 0; got -1"),
    ],
)
def test_wrong_settings_are_refused_in_words(make: Any, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        make()
    assert said in str(refused.value)


def test_a_closed_notifier_takes_no_listener() -> None:
    with AsyncEventDispatcher() as dispatcher:
        notifier = BufferedEventNotifier(dispatcher)
        notifier.close()
        with pytest.raises(HeadraceError, match="print cannot subscribe: the dispatcher is closed"):
            notifier.subscribe(print)


def test_they_show_their_state() -> None:
    gate = Gate()
    dispatcher = AsyncEventDispatcher()
    held(dispatcher, gate)
    dispatcher.notify(ItemFailed)
    notifier = BufferedEventNotifier(dispatcher, flush_s=3600)
    assert repr(dispatcher) == "<AsyncEventDispatcher 1 listeners, 2 pending>"
    notifier.notify(ItemFailed)
    assert repr(notifier) == f"<BufferedEventNotifier 1 buffered, to {dispatcher!r}>"
    gate.open()
    notifier.close()
    dispatcher.close()
    assert repr(notifier) == "<BufferedEventNotifier closed, to <AsyncEventDispatcher closed>>"
