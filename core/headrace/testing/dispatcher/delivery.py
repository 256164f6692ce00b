"""Who hears what, and in which order."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from headrace.errors import SettingsError
from headrace.events import BatchCompleted, Event, ItemFailed, ItemRetried, OperatorStarted, PipelineStarted
from headrace.testing.dispatcher.case import DispatcherCase, Unbuildable
from headrace.testing.promises import needs

MANY = 1_000


class DeliveryTests(DispatcherCase):
    def test_a_listener_hears_the_types_that_it_named(self) -> None:
        heard = self.hear(ItemFailed, ItemRetried)
        self.dispatcher.notify(ItemFailed, operator="parse", index=3)
        self.dispatcher.notify(PipelineStarted, pipeline="p")
        self.dispatcher.notify(ItemRetried, operator="parse", index=4)
        self.flush()
        assert [(type(event), event.operator, event.index) for event in heard] == [
            (ItemFailed, "parse", 3),
            (ItemRetried, "parse", 4),
        ]

    def test_without_types_or_with_their_base_it_hears_all(self) -> None:
        everything, events = self.hear(), self.hear(Event)
        self.dispatcher.notify(PipelineStarted)
        self.dispatcher.emit("something else")
        self.flush()
        assert [type(event) for event in everything] == [PipelineStarted, str]
        assert [type(event) for event in events] == [PipelineStarted]

    def test_no_event_is_built_that_nobody_listens_to(self) -> None:
        self.dispatcher.notify(Unbuildable, operator="parse")
        heard = self.hear(ItemFailed)
        self.dispatcher.notify(Unbuildable, operator="parse")
        self.flush()
        assert heard == []

    def test_an_event_that_is_there_is_heard_as_it_is(self) -> None:
        heard = self.hear()
        event = ItemFailed(operator="parse", index=3, item=[1])
        self.dispatcher.emit(event)
        self.flush()
        assert heard == [event]
        assert heard[0] is event

    def test_what_is_emitted_and_what_is_told_of_is_heard_in_one_order(self) -> None:
        heard = self.hear()
        for number in range(100):
            self.dispatcher.notify(ItemFailed, index=3 * number)
            self.dispatcher.emit(ItemRetried(index=3 * number + 1))
            self.dispatcher.notify(ItemRetried, index=3 * number + 2)
        self.flush()
        assert [event.index for event in heard] == list(range(300))

    def test_each_listener_hears_the_events_of_each_thread_in_order_and_all_of_them(self) -> None:
        first, second = self.hear(), self.hear(BatchCompleted)

        def work(number: int) -> None:
            for step in range(MANY):
                self.dispatcher.notify(BatchCompleted, operator=str(number), items=step)

        self.in_threads(4, work)
        self.flush()
        for heard in (first, second):
            for number in range(4):
                mine = [event.items for event in heard if event.operator == str(number)]
                assert mine == list(range(MANY))

    def test_events_know_who_told_them_and_their_number_there(self) -> None:
        heard = self.hear(BatchCompleted)

        def work(number: int) -> None:
            for step in range(MANY):
                self.dispatcher.notify(BatchCompleted, operator=str(number), items=step)

        self.in_threads(2, work)
        self.flush()
        sources = {event.operator: event.source for event in heard}
        assert len(set(sources.values())) == 2
        for operator, source in sources.items():
            mine = [event for event in heard if event.source == source]
            assert {event.operator for event in mine} == {operator}
            assert [event.sequence for event in mine] == list(range(MANY))

    def test_events_know_when_they_happened(self) -> None:
        heard = self.hear()
        for _ in range(100):
            self.dispatcher.notify(BatchCompleted)
        self.flush()
        now = Event()
        times = [event.at_s for event in heard]
        assert times == sorted(times)
        assert all(now.at_s - 60 < event.at_s <= now.at_s for event in heard)
        assert all(now.wall_s - 60 < event.wall_s < now.wall_s + 1 for event in heard)

    def test_events_are_frozen_and_pickle(self) -> None:
        heard = self.hear()
        self.dispatcher.notify(OperatorStarted, run="r1", operator="parse", kind="map")
        self.flush()
        event = heard[0]
        assert pickle.loads(pickle.dumps(event)) == event
        with pytest.raises(AttributeError):
            event.run = "r2"

    def test_a_batch_listener_gets_sequences_with_all_of_them_in_order(self) -> None:
        batches: list[Any] = []
        self.dispatcher.subscribe(batches.append, BatchCompleted, batch=True)
        for step in range(MANY):
            self.dispatcher.notify(BatchCompleted, items=step)
        self.flush()
        assert [event.items for batch in batches for event in batch] == list(range(MANY))
        assert sum(len(batch) for batch in batches) == MANY
        assert batches[0][0].items == 0
        assert batches[-1][-1].items == MANY - 1

    def test_who_subscribes_later_hears_what_comes_later(self) -> None:
        first = self.hear()
        self.dispatcher.emit(1)
        second = self.hear()
        self.dispatcher.emit(2)
        self.flush()
        assert (first, second) == ([1, 2], [2])

    def test_a_listener_that_subscribed_twice_hears_twice_and_cancels_one_by_one(self) -> None:
        heard: list[int] = []
        subscription = self.dispatcher.subscribe(heard.append)
        self.dispatcher.subscribe(heard.append)
        self.dispatcher.emit(1)
        self.flush()
        subscription.cancel()
        subscription.cancel()
        self.dispatcher.emit(2)
        self.flush()
        assert heard == [1, 1, 2]

    def test_a_type_that_somebody_begins_to_hear_is_heard_by_all_threads_from_then_on(self) -> None:
        told = self.gate()

        def work(number: int) -> None:
            self.dispatcher.notify(BatchCompleted, items=0)
            told.hold()
            self.dispatcher.notify(BatchCompleted, items=1)

        asides = [self.aside(work, number) for number in range(3)]
        told.wait_for(3)
        heard = self.hear(BatchCompleted)
        told.open()
        for aside in asides:
            aside.result(2 * self.patience_s)
        self.flush()
        assert [event.items for event in heard] == [1, 1, 1]

    def test_one_thing_that_leads_to_another_in_another_thread_is_heard_first(self) -> None:
        heard = self.hear()
        for number in range(100):
            self.dispatcher.notify(BatchCompleted, items=2 * number)
            self.soon(lambda number=number: self.dispatcher.notify(ItemFailed, index=2 * number + 1))
        self.flush()
        numbers = [event.items if isinstance(event, BatchCompleted) else event.index for event in heard]
        assert numbers == list(range(200))

    @needs("coroutines")
    def test_a_coroutine_function_hears_all_in_order(self) -> None:
        import asyncio

        heard: list[int] = []
        loops: set[Any] = set()

        async def listener(event: Any) -> None:
            await asyncio.sleep(0)
            loops.add(asyncio.get_running_loop())
            heard.append(event.items)

        self.dispatcher.subscribe(listener, BatchCompleted)
        for step in range(100):
            self.dispatcher.notify(BatchCompleted, items=step)
        self.flush()
        assert heard == list(range(100))
        assert len(loops) == 1

    @pytest.mark.parametrize(
        ("arguments", "options", "said"),
        [
            ((3,), {}, "listener must be a function of one event, or something else that can be called; got 3"),
            ((print, "ItemFailed"), {}, "types must be classes of events; got 'ItemFailed'"),
            ((print,), {"max_pending": 0}, "max_pending must be a whole number of events, at least 1, or None; got 0"),
        ],
    )
    def test_a_wrong_subscription_is_refused_in_words(
        self, arguments: tuple[Any, ...], options: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(SettingsError) as refused:
            self.dispatcher.subscribe(*arguments, **options)
        assert str(refused.value) == said
