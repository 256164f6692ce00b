"""What has come is cut into other sizes, and nothing of it is lost: items, paths, bytes."""

from __future__ import annotations

from random import Random

import pytest

from headrace.batch import Batch
from headrace.flow.backlog import Backlog


def batch(first: int, count: int, nbytes: int = 0, born_s: float = 0.0) -> Batch:
    return Batch(
        first, range(first, first + count), [f"item {at}" for at in range(first, first + count)], born_s, nbytes=nbytes
    )


def test_a_batch_that_fits_goes_as_it_came() -> None:
    backlog, whole = Backlog(), batch(0, 5)
    backlog.put(whole)
    assert backlog.take(5) is whole
    assert backlog.count == 0


def test_parts_are_joined_and_their_index_stays_a_range() -> None:
    backlog = Backlog()
    for first in range(0, 12, 3):
        backlog.put(batch(first, 3, born_s=float(10 - first)))
    joined = backlog.take(12)
    assert joined.index == range(len(joined)) and len(joined) >= 6  # half of what was wanted is worth no further copy
    assert joined.born_s == 10 - (len(joined) - 3)  # the oldest


def test_paths_that_do_not_follow_each_other_are_listed() -> None:
    backlog = Backlog()
    backlog.put(Batch(0, [(0, 1)], ["a"], 0.0))
    backlog.put(Batch(0, range(7, 9), ["b", "c"], 0.0))
    assert backlog.take(3).index == [(0, 1), 7, 8]


def test_empty_batches_are_nothing() -> None:
    backlog = Backlog()
    backlog.put(batch(0, 0))
    assert backlog.count == 0


def test_clear_tells_what_it_dropped() -> None:
    backlog = Backlog()
    backlog.put(batch(0, 10, nbytes=101))
    backlog.put(batch(10, 5, nbytes=50))
    taken = backlog.take(3)
    assert backlog.clear() == (12, 151 - taken.nbytes)
    assert backlog.count == 0


@pytest.mark.parametrize("seed", range(50))
def test_any_cuts_give_the_items_in_order_with_all_their_bytes(seed: int) -> None:
    random, backlog = Random(seed), Backlog()
    fed = taken = came = went = 0
    while taken < 500:
        if fed < 500 and (random.random() < 0.5 or not backlog.count):
            count, nbytes = random.randint(1, 40), random.randrange(1_000)
            backlog.put(batch(fed, count, nbytes))
            fed, came = fed + count, came + nbytes
        else:
            most = random.randint(1, 40)
            out = backlog.take(most)
            assert 0 < len(out) <= most
            assert out.seq == taken
            assert list(out.index) == list(range(taken, taken + len(out)))
            assert out.data == [f"item {at}" for at in out.index]
            taken, went = taken + len(out), went + out.nbytes
        assert backlog.count == fed - taken
    went += sum(backlog.take(1).nbytes for _ in range(backlog.count))
    assert went == came
