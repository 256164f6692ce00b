"""What is to be run again: the oldest in the input first, and nothing that nobody wants."""

from __future__ import annotations

from headrace.batch import Batch, Failure
from headrace.flow.ordering import Slot
from headrace.flow.recovery import Recovery


def batch(seq: int, count: int = 3) -> Batch:
    return Batch(seq, range(seq, seq + count), [f"item {at}" for at in range(seq, seq + count)], 0.0)


def failure(where: int | tuple[int, ...], operator: int = 0, attempts: int = 1) -> Failure:
    return Failure(operator, "operator", where, (7, where), "item", ValueError(), attempts, "retry")


def test_what_stands_first_in_the_input_goes_first() -> None:
    recovery, slot = Recovery(), Slot()
    for seq in (20, 0, 10):
        recovery.put(slot, batch(seq))
    recovery.retry(slot, batch(5), failure(1), due_s=0.0)
    order = []
    while (back := recovery.next(now_s=1.0)) is not None:
        order.append(back[1].seq)
    assert order == [0, 6, 10, 20]


def test_a_retry_waits_until_it_is_due() -> None:
    recovery, slot = Recovery(), Slot()
    recovery.retry(slot, batch(0), failure(0), due_s=5.0)
    assert recovery.next(now_s=4.9) is None
    assert recovery.waiting and recovery.due_s == 5.0
    assert recovery.next(now_s=5.0) is not None
    assert not recovery.waiting and recovery.due_s is None


def test_a_retry_begins_with_the_operator_that_failed() -> None:
    recovery, slot = Recovery(), Slot()
    recovery.retry(slot, batch(10), failure((2, 4), operator=1, attempts=3), due_s=0.0)
    _, again = recovery.next(now_s=0.0)
    assert (again.seq, again.index, again.data, again.enter, again.attempt) == (12, [(7, (2, 4))], ["item"], 1, 4)


def test_retries_of_one_input_keep_their_order() -> None:
    recovery, slots = Recovery(), [Slot() for _ in range(3)]
    for at, slot in enumerate(slots):
        recovery.retry(slot, batch(0), failure((1, at)), due_s=0.0)
    assert [recovery.next(now_s=0.0)[0] for _ in slots] == slots


def test_a_dropped_slot_is_passed_over() -> None:
    recovery, dropped, wanted = Recovery(), Slot(), Slot()
    recovery.put(dropped, batch(0))
    recovery.put(wanted, batch(3))
    dropped.dropped = True
    assert recovery.waiting
    slot, again = recovery.next(now_s=0.0)
    assert slot is wanted and again.seq == 3
    assert not recovery.waiting


def test_only_dropped_slots_are_nothing_to_wait_for() -> None:
    recovery, slot = Recovery(), Slot()
    recovery.put(slot, batch(0))
    recovery.retry(slot, batch(3), failure(0), due_s=9.0)
    slot.dropped = True
    assert not recovery.waiting
