"""What is peculiar to the dispatcher `inline`: listeners are called in the thread that tells. What it shares with
others is in the conformance suite. And the monitor `null` that goes with it in the profile `serial`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from headrace import plugins
from headrace.errors import HeadraceError
from headrace.events import Event, ItemFailed, ItemRetried, PipelineStarted
from headrace.plan import PluginRef


@pytest.fixture
def dispatcher() -> Any:
    return plugins.make("dispatcher", PluginRef("inline"))


# Who hears what -----------------------------------------------------------------------------------------------------


def test_a_listener_hears_the_types_it_named_before_notify_returns(dispatcher: Any) -> None:
    heard: list[Any] = []
    dispatcher.subscribe(heard.append, ItemFailed, ItemRetried)
    dispatcher.notify(ItemFailed, operator="parse", index=3)
    dispatcher.notify(PipelineStarted, pipeline="p")
    dispatcher.notify(ItemRetried, operator="parse", index=3)
    assert [(type(event), event.operator, event.index) for event in heard] == [
        (ItemFailed, "parse", 3),
        (ItemRetried, "parse", 3),
    ]


# A listener that raises ---------------------------------------------------------------------------------------------


def fails(event: Any) -> None:
    raise ValueError(f"cannot hear {event}")


def test_a_listener_that_raises_is_named_once_and_counted_and_the_others_hear_all(dispatcher: Any) -> None:
    heard: list[int] = []
    bad = dispatcher.subscribe(fails)
    good = dispatcher.subscribe(heard.append)
    with pytest.warns(RuntimeWarning) as warned:
        for number in range(3):
            dispatcher.emit(number)
    line = fails.__code__.co_firstlineno + 1
    assert [str(each.message) for each in warned] == [
        f"listener fails raised ValueError('cannot hear 0') on int, at {__file__}:{line}. "
        "The run goes on; further failures of this listener are only counted"
    ]
    assert heard == [0, 1, 2]
    assert (bad.failed, good.failed) == (3, 0)


def test_each_listener_that_raises_is_named(dispatcher: Any) -> None:
    class Deaf:
        def hear(self, event: Any) -> None:
            raise RuntimeError

    dispatcher.subscribe(fails)
    dispatcher.subscribe(Deaf().hear)
    with pytest.warns(RuntimeWarning) as warned:
        dispatcher.emit(0)
    names = [str(each.message).split(" raised ")[0].rpartition(".")[-1] for each in warned]
    assert names == ["listener fails", "hear"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_is_meant_for_the_program_comes_through_and_the_next_event_is_heard(
    dispatcher: Any, error: type[BaseException]
) -> None:
    heard: list[int] = []

    def listener(event: int) -> None:
        heard.append(event)
        if event == 1:
            dispatcher.emit(100)
            raise error

    dispatcher.subscribe(listener)
    with pytest.raises(error):
        dispatcher.emit(1)
    dispatcher.emit(2)
    assert heard == [1, 2]


# A listener that acts while it is called ----------------------------------------------------------------------------


def test_what_a_listener_emits_is_heard_after_the_event_it_was_called_with(dispatcher: Any) -> None:
    heard: list[tuple[str, int]] = []

    def first(event: int) -> None:
        heard.append(("first", event))
        if event < 3:
            dispatcher.emit(event + 1)
            dispatcher.notify(Event, run="told")
            assert not dispatcher.flush(1.0)

    dispatcher.subscribe(first, int)
    dispatcher.subscribe(lambda event: heard.append(("second", event)), int)
    dispatcher.emit(1)
    assert heard == [("first", 1), ("second", 1), ("first", 2), ("second", 2), ("first", 3), ("second", 3)]
    assert dispatcher.flush(1.0)


def test_a_listener_that_cancels_another_in_its_turn(dispatcher: Any) -> None:
    heard: list[int] = []
    dispatcher.subscribe(lambda event: later.cancel())
    later = dispatcher.subscribe(heard.append)
    dispatcher.emit(1)
    assert heard == []


# Several threads ----------------------------------------------------------------------------------------------------


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


def test_two_threads_are_in_the_listener_at_once_so_no_lock_is_held(dispatcher: Any) -> None:
    both_inside = threading.Barrier(2, timeout=30)
    dispatcher.subscribe(lambda event: both_inside.wait(), str)
    in_threads(2, lambda number: dispatcher.emit("meet"))
    assert not both_inside.broken


def test_each_thread_s_events_are_heard_in_order_and_failures_are_all_counted(dispatcher: Any) -> None:
    heard: list[tuple[int, int]] = []
    dispatcher.subscribe(heard.append)
    bad = dispatcher.subscribe(fails)

    def work(number: int) -> None:
        for step in range(200):
            dispatcher.subscribe(print, ItemRetried).cancel()
            dispatcher.emit((number, step))

    with pytest.warns(RuntimeWarning) as warned:
        in_threads(4, work)
    assert len(warned) == 1
    assert bad.failed == 800
    for number in range(4):
        assert [step for thread, step in heard if thread == number] == list(range(200))
    assert repr(dispatcher) == "<InlineDispatcher 2 listeners>"


# The end, and what is refused ---------------------------------------------------------------------------------------


def test_after_close_nobody_hears_anything_and_nobody_can_subscribe(dispatcher: Any) -> None:
    heard: list[int] = []
    dispatcher.subscribe(lambda event: dispatcher.close(0.0))
    dispatcher.subscribe(heard.append)
    dispatcher.emit(1)
    dispatcher.emit(2)
    dispatcher.close(0.0)
    assert heard == []
    assert repr(dispatcher) == "<InlineDispatcher closed>"
    with pytest.raises(HeadraceError, match="fails cannot subscribe: the dispatcher is closed"):
        dispatcher.subscribe(fails)


def test_a_subscription_shows_its_state(dispatcher: Any) -> None:
    assert repr(dispatcher.subscribe(fails, ItemFailed)) == "<InlineSubscription fails to ItemFailed, failed 0>"
    assert repr(dispatcher.subscribe(fails)) == "<InlineSubscription fails to all events, failed 0>"


# Events, and the monitor that listens to nothing --------------------------------------------------------------------


def test_an_event_with_any_item_is_shown_and_hashed() -> None:
    event = ItemFailed(run="r", operator="parse", index=(3, 1), item=["x" * 500], error=ValueError("no"), attempts=2)
    assert len(repr(event)) < 300
    assert hash(event)


def test_the_null_monitor_asks_for_nothing_per_batch() -> None:
    monitor = plugins.make("monitor", PluginRef("null"))
    session = monitor.session("run")
    assert session.recorder("parse") is None
    assert session.snapshot() == {}
    session.close()
    session.close()
