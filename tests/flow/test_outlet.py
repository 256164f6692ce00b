"""What a node gives, for readers that each go at their own pace."""

from __future__ import annotations

import pytest

from headrace.batch import Batch
from headrace.flow.outlet import Outlet, Owed, Reader


def batch(first: int, count: int, nbytes: int = 0) -> Batch:
    return Batch(first, range(first, first + count), list(range(first, first + count)), 0.0, nbytes=nbytes)


class Giver:
    """An outlet with some readers, and what it was told."""

    def __init__(self, readers: int) -> None:
        self.taken: list[tuple[int, int]] = []
        self.unwanted = 0
        self.outlet = Outlet("giver", lambda items, nbytes: self.taken.append((items, nbytes)), self._count)
        self.readers = [self.outlet.read() for _ in range(readers)]

    def _count(self) -> None:
        self.unwanted += 1

    @property
    def sums(self) -> tuple[int, int]:
        return sum(items for items, _ in self.taken), sum(nbytes for _, nbytes in self.taken)


def through(reader: Reader, items: int | None = None) -> list[int]:
    """Take a batch and be done with it at once; gives its items."""
    taken = reader.take(items)
    reader.give_back(len(taken), taken.nbytes)
    return list(taken.data)


# Owed ---------------------------------------------------------------------------------------------------------------


def test_what_is_owed_goes_in_order_and_in_parts() -> None:
    owed = Owed()
    owed.put(3, 30)
    owed.put(2, 200)
    assert [owed.take(items) for items in (1, 3, 1)] == [10, 120, 100]
    assert repr(owed) == "<Owed 0 items>"


def test_no_byte_is_lost_to_rounding() -> None:
    owed = Owed()
    owed.put(7, 10)
    owed.put(3, 1)
    assert sum(owed.take(1) for _ in range(10)) == 11


def test_to_take_nothing_of_what_is_owed_is_nothing() -> None:
    assert Owed().take(0) == 0


# Readers ------------------------------------------------------------------------------------------------------------


def test_a_reader_takes_whole_batches_or_their_first_items() -> None:
    giver = Giver(1)
    (reader,) = giver.readers
    giver.outlet.offer(batch(0, 5, nbytes=50))
    giver.outlet.offer(batch(5, 2))
    first = reader.take(2)
    assert (first.data, list(first.index), first.nbytes) == ([0, 1], [0, 1], 20)
    assert reader.take(3).data == [2, 3, 4]
    assert reader.take().data == [5, 6]
    assert (reader.taken, reader.done) == (7, 0)


def test_an_only_reader_gives_back_to_the_giver_at_once() -> None:
    giver = Giver(1)
    (reader,) = giver.readers
    giver.outlet.offer(batch(0, 5, nbytes=50))
    reader.take()
    assert giver.taken == []
    reader.give_back(2, 20)
    reader.give_back(3, 30)
    assert giver.taken == [(2, 20), (3, 30)]


def test_a_reader_is_over_once_the_end_is_there_and_all_is_taken() -> None:
    giver = Giver(1)
    (reader,) = giver.readers
    giver.outlet.offer(batch(0, 1))
    error = OSError()
    giver.outlet.end(error)
    assert not reader.over
    reader.take()
    assert reader.over and reader.error is error


def test_who_has_dropped_is_over_and_hears_of_no_error() -> None:
    giver = Giver(2)
    first, second = giver.readers
    first.drop()
    giver.outlet.end(OSError())
    assert first.over and first.error is None
    assert second.over and isinstance(second.error, OSError)


# Several readers ----------------------------------------------------------------------------------------------------


def test_each_reader_gets_all_of_it_as_its_own() -> None:
    giver = Giver(3)
    giver.outlet.offer(batch(0, 3))
    first, second, third = (reader.take() for reader in giver.readers)
    first.data = ()
    second.seq, second.attempt = 7, 2
    assert (third.data, third.seq, third.attempt) == ([0, 1, 2], 0, 1)
    assert second.data == [0, 1, 2]


def test_the_slowest_reader_counts() -> None:
    giver = Giver(2)
    fast, slow = giver.readers
    giver.outlet.offer(batch(0, 4, nbytes=40))
    through(fast)
    assert giver.taken == []
    through(slow, 1)
    assert giver.taken == [(1, 10)]
    through(slow, 3)
    assert giver.taken == [(1, 10), (3, 30)]
    giver.outlet.offer(batch(4, 2))
    through(slow)
    assert giver.sums == (4, 40)  # now it is the other one


def test_what_a_slow_reader_had_here_is_done_with_when_it_drops() -> None:
    giver = Giver(2)
    fast, slow = giver.readers
    giver.outlet.offer(batch(0, 4, nbytes=40))
    through(fast, 3)
    slow.take(1)  # it does not give this back any more
    slow.drop()
    assert giver.sums == (3, 30) and giver.unwanted == 0
    through(fast)
    assert giver.sums == (4, 40)


def test_what_comes_for_a_reader_that_has_dropped_is_for_the_others_alone() -> None:
    giver = Giver(2)
    gone, there = giver.readers
    gone.drop()
    giver.outlet.offer(batch(0, 2))
    assert not gone.queue and giver.taken == []
    assert through(there) == [0, 1]
    assert giver.sums == (2, 0)


def test_credit_that_comes_back_behind_a_drop_counts_once() -> None:
    giver = Giver(2)
    gone, there = giver.readers
    giver.outlet.offer(batch(0, 4))
    gone.take()
    gone.drop()
    through(there)
    gone.give_back(4, 0)
    assert giver.sums == (4, 0)


@pytest.mark.parametrize("readers", [1, 2, 3])
def test_nobody_wants_it_once_the_last_has_dropped(readers: int) -> None:
    giver = Giver(readers)
    giver.outlet.offer(batch(0, 4, nbytes=4))
    for reader in giver.readers:
        assert giver.unwanted == 0 and giver.outlet.wanted
        reader.drop()
        reader.drop()
    assert giver.unwanted == 1 and not giver.outlet.wanted
    assert giver.sums == (4, 4)
    giver.outlet.offer(batch(4, 3, nbytes=3))  # what was on its way
    assert giver.sums == (7, 7)


def test_what_an_only_reader_took_is_not_here_when_it_drops() -> None:
    giver = Giver(1)
    (reader,) = giver.readers
    giver.outlet.offer(batch(0, 4, nbytes=4))
    reader.take(3)
    reader.drop()
    assert giver.sums == (1, 1)
    reader.give_back(3, 3)
    assert giver.sums == (4, 4)
