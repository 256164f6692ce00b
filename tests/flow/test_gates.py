"""Gates: they remember, and time is what they are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from headrace.batch import Batch
from headrace.flow.gates import BatchGate, MergeGate, SinkGate, Step, ZipGate
from headrace.flow.kernel import Op
from headrace.flow.ledger import Account


def batch(first: int, count: int, born_s: float = 0.0) -> Batch:
    return Batch(first, range(first, first + count), list(range(first, first + count)), born_s)


def lists(step: Step) -> list[tuple[Any, Any, int]]:
    """Path, list and members of each batch that a gate gave."""
    assert all(len(out) == 1 for out, _ in step.out)
    return [(out.index[0], out.data[0], members) for out, (members,) in step.out]


# Batch --------------------------------------------------------------------------------------------------------------


def test_lists_fill_across_batches_and_have_the_path_of_their_first_member() -> None:
    gate = BatchGate(Account(("pairs",)), "pairs", 3)
    assert lists(gate.feed(0, batch(0, 2), 0.0)) == []
    assert lists(gate.feed(0, batch(2, 5), 0.0)) == [(0, [0, 1, 2], 3), (3, [3, 4, 5], 3)]
    assert lists(gate.end(0, 0.0)) == [(6, [6], 1)]


def test_the_end_of_nothing_is_nothing() -> None:
    gate = BatchGate(Account(("pairs",)), "pairs", 3)
    assert lists(gate.end(0, 0.0)) == []
    gate = BatchGate(Account(("pairs",)), "pairs", 3)
    gate.feed(0, batch(0, 3), 0.0)
    assert lists(gate.end(0, 0.0)) == []


def test_a_list_has_the_paths_of_expanded_items() -> None:
    gate = BatchGate(Account(("pairs",)), "pairs", 2)
    step = gate.feed(0, Batch(0, [(4, 0), (4, 1), (6, 0)], ["a", "b", "c"], 0.0), 0.0)
    assert lists(step) == [((4, 0), ["a", "b"], 2)]


def test_a_list_is_born_with_its_first_member() -> None:
    gate = BatchGate(Account(("pairs",)), "pairs", 3)
    gate.feed(0, batch(0, 2, born_s=1.0), 5.0)
    (out, _), *_ = gate.feed(0, batch(2, 2, born_s=2.0), 6.0).out
    assert out.born_s == 1.0


def test_a_list_whose_first_member_has_waited_goes_as_it_is() -> None:
    gate = BatchGate(Account(("pairs",)), "pairs", 3, max_wait_s=1.0)
    assert gate.feed(0, batch(0, 1), 10.0).due_s == 11.0
    assert gate.feed(0, batch(1, 1), 10.9).due_s == 11.0  # the second does not put it off
    early = gate.tick(10.99)
    assert lists(early) == [] and early.due_s == 11.0
    late = gate.tick(11.0)
    assert lists(late) == [(0, [0, 1], 2)] and late.due_s is None


def test_a_new_list_waits_anew() -> None:
    gate = BatchGate(Account(("pairs",)), "pairs", 2, max_wait_s=1.0)
    assert gate.feed(0, batch(0, 2), 10.0).due_s is None
    assert gate.feed(0, batch(2, 3), 20.0).due_s == 21.0


def test_without_a_limit_nothing_is_due() -> None:
    gate = BatchGate(Account(("pairs",)), "pairs", 2)
    assert gate.feed(0, batch(0, 1), 0.0).due_s is None
    assert lists(gate.tick(1e9)) == []


def test_batch_keeps_its_account() -> None:
    account = Account(("pairs",))
    gate = BatchGate(account, "pairs", 3)
    gate.feed(0, batch(0, 7), 0.0)
    tally = account.tallies[0]
    assert (tally.taken, tally.done, tally.emitted) == (7, 6, 2)  # one is still in the gate
    gate.end(0, 0.0)
    assert (tally.taken, tally.done, tally.emitted) == (7, 7, 3)


def test_a_list_of_several_ports_counts_for_each_of_them() -> None:
    gate = BatchGate(Account(("pairs",)), "pairs", 3, ports=2)
    assert gate.feed(0, batch(0, 2), 0.0).out == []
    step = gate.feed(1, batch(10, 3), 0.0)
    assert [(out.data, each) for out, each in step.out] == [([[0, 1, 10]], (2, 1))]
    assert gate.end(0, 0.0).out == []  # the other may still give more
    assert [(out.data, each) for out, each in gate.end(1, 0.0).out] == [([[11, 12]], (0, 2))]


def test_a_batch_says_what_it_lacks() -> None:
    gate = BatchGate(Account(("pairs",)), "pairs", 3)
    assert gate.lacks == (0, "")
    gate.feed(0, batch(0, 1), 0.0)
    assert gate.lacks == (2, "batch 'pairs' has 1 of the 3 items of a list")


# Merge --------------------------------------------------------------------------------------------------------------


def test_a_merge_passes_on_what_comes_and_each_item_stands_for_one_of_its_port() -> None:
    account = Account(("merge",))
    gate = MergeGate(account, 3)
    first, second = batch(0, 3), batch(7, 2)
    assert [gate.feed(port, each, 0.0).out for port, each in ((2, first), (0, second))] == [
        [(first, (0, 0, 1))],
        [(second, (1, 0, 0))],
    ]
    for port in range(3):
        step = gate.end(port, 0.0)
        assert (step.out, step.error, step.due_s) == ((), None, None)
    tally = account.tallies[0]
    assert (tally.taken, tally.done, tally.emitted) == (5, 5, 5)


# Zip ----------------------------------------------------------------------------------------------------------------


def zipped(ports: int = 2, **more: Any) -> tuple[ZipGate, Account]:
    account = Account(("zip",))
    return ZipGate(account, "zip", tuple("abc"[:ports]), **more), account


def tuples(step: Step) -> list[tuple[Any, tuple[Any, ...], tuple[int, ...]]]:
    """Path and members of each tuple that a gate gave, and what it stands for."""
    return [
        (index, members, each) for out, each in step.out for index, members in zip(out.index, out.data, strict=True)
    ]


def test_a_zip_gives_what_is_whole_in_the_order_of_its_ports() -> None:
    gate, account = zipped(3)
    assert tuples(gate.feed(2, batch(20, 3), 0.0)) == []
    assert tuples(gate.feed(0, batch(0, 1), 0.0)) == []
    assert tuples(gate.feed(1, batch(10, 2), 0.0)) == [(0, (0, 10, 20), (1, 1, 1))]
    assert tuples(gate.feed(0, batch(1, 4), 0.0)) == [(1, (1, 11, 21), (1, 1, 1))]
    tally = account.tallies[0]
    assert (tally.taken, tally.done, tally.emitted) == (10, 6, 2)


def test_a_zip_of_equal_lengths_ends_without_an_error() -> None:
    gate, account = zipped()
    gate.feed(0, batch(0, 2), 0.0)
    assert len(tuples(gate.feed(1, batch(10, 2), 0.0))) == 2
    assert [gate.end(port, 0.0).error for port in (1, 0)] == [None, None]
    assert account.tallies[0].done == account.tallies[0].taken == 4


def test_a_port_that_has_ended_still_gives_what_it_has() -> None:
    gate, _ = zipped()
    gate.feed(0, batch(0, 2), 0.0)
    assert gate.end(0, 0.0).error is None
    assert tuples(gate.feed(1, batch(10, 1), 0.0)) == [(0, (0, 10), (1, 1))]
    step = gate.feed(1, batch(11, 1), 0.0)
    assert tuples(step) == [(1, (1, 11), (1, 1))] and step.error is None
    assert gate.end(1, 0.0).error is None


@pytest.mark.parametrize("last", ["end", "feed"])
def test_unequal_lengths_are_an_error_behind_all_whole_tuples(last: str) -> None:
    """Whichever is heard of last: the end of the shorter, or the first item too many of the longer."""
    gate, _ = zipped()
    gate.feed(0, batch(0, 1), 0.0)
    if last == "end":
        assert gate.feed(1, batch(10, 3), 0.0).error is None
        step = gate.end(0, 0.0)
    else:
        gate.end(0, 0.0)
        step = gate.feed(1, batch(10, 3), 0.0)
        assert tuples(step) == [(0, (0, 10), (1, 1))]
    assert (step.error.operator, step.error.index, step.error.item) == ("zip", 11, 11)
    assert "'a' ended before 'b'" in str(step.error)


def test_what_is_missing_is_filled_once_a_port_has_ended() -> None:
    gate, account = zipped(fill="-", fills=True)
    assert tuples(gate.feed(1, batch(10, 3), 0.0)) == []  # the first may still give some
    assert tuples(gate.feed(0, batch(0, 1), 0.0)) == [(0, (0, 10), (1, 1))]
    step = gate.end(0, 0.0)
    assert tuples(step) == [(11, ("-", 11), (0, 1)), (12, ("-", 12), (0, 1))] and step.error is None
    assert tuples(gate.feed(1, batch(13, 1), 0.0)) == [(13, ("-", 13), (0, 1))]
    assert gate.end(1, 0.0).error is None
    tally = account.tallies[0]
    assert (tally.taken, tally.done, tally.emitted) == (5, 5, 4)


def test_a_zip_that_fills_waits_for_each_port_that_has_not_ended() -> None:
    gate, _ = zipped(3, fills=True)
    gate.feed(0, batch(0, 2), 0.0)
    assert tuples(gate.end(1, 0.0)) == []
    assert tuples(gate.feed(2, batch(20, 1), 0.0)) == [(0, (0, None, 20), (1, 0, 1))]
    assert tuples(gate.end(2, 0.0)) == [(1, (1, None, None), (1, 0, 0))]


def test_a_zip_says_whom_it_waits_for() -> None:
    gate, _ = zipped(3)
    gate.feed(1, batch(10, 1), 0.0)
    assert gate.lacks == (1, "zip 'zip' waits for 'a' and 'c'")


# Sink ---------------------------------------------------------------------------------------------------------------


class Shelf:
    """A sink that fails the first `times` attempts of some items, and remembers all attempts."""

    def __init__(self, bad: set[int], times: int = 99, error: type[BaseException] = ValueError) -> None:
        self.bad, self.times, self.error = bad, times, error
        self.got: list[int] = []

    def __call__(self, item: int) -> None:
        self.got.append(item)
        if item in self.bad and self.got.count(item) <= self.times:
            raise self.error(item)


def sink(
    shelf: Callable[[Any], Any], on_error: str = "raise", attempts: int = 1, **more: Any
) -> tuple[SinkGate, Account]:
    account = Account(("sink",))
    return SinkGate(account, Op("sink", "sink", shelf, on_error, attempts), **more), account


def test_a_sink_gets_all_in_order_and_gives_nothing() -> None:
    shelf = Shelf(set())
    gate, account = sink(shelf)
    step = gate.feed(0, batch(0, 300), 0.0)
    assert shelf.got == list(range(300))
    assert (step.out, step.consumed, step.error) == ((), (300,), None)
    assert (account.tallies[0].done, account.tallies[0].emitted) == (300, 0)


def test_nothing_overtakes_an_item_that_is_tried_again() -> None:
    shelf = Shelf({2, 5}, times=2)
    gate, account = sink(shelf, attempts=3)
    step = gate.feed(0, batch(0, 8), 0.0)
    assert shelf.got == [0, 1, 2, 2, 2, 3, 4, 5, 5, 5, 6, 7]
    assert step.error is None and step.consumed == (8,)
    tally = account.tallies[0]
    assert (tally.taken, tally.done, tally.retried) == (8, 8, 4)
    assert [(failure.index, failure.attempts) for failure in step.failures] == [(2, 1), (2, 2), (5, 1), (5, 2)]


@pytest.mark.parametrize("error", [ValueError, StopIteration, SystemExit])
def test_a_sink_that_raises_ends_the_run_at_the_item(error: type[BaseException]) -> None:
    shelf = Shelf({3}, error=error)
    gate, account = sink(shelf, attempts=2)
    step = gate.feed(0, batch(0, 8), 0.0)
    assert shelf.got == [0, 1, 2, 3, 3]
    assert (step.error.operator, step.error.index, step.error.item) == ("sink", 3, 3)
    assert isinstance(step.error.__cause__, RuntimeError if error is StopIteration else error)
    assert (account.tallies[0].done, account.tallies[0].raised, account.tallies[0].taken) == (3, 1, 4)


@pytest.mark.parametrize(("on_error", "column"), [("skip", "skipped"), ("dead_letter", "dead")])
def test_a_sink_sets_aside_what_fails(on_error: str, column: str) -> None:
    shelf = Shelf({0, 3, 7})
    gate, account = sink(shelf, on_error, attempts=2)
    step = gate.feed(0, batch(0, 8), 0.0)
    assert shelf.got == [0, 0, 1, 2, 3, 3, 4, 5, 6, 7, 7]
    assert getattr(account.tallies[0], column) == 3
    assert [failure.index for failure in step.failures if failure.verdict == on_error] == [0, 3, 7]


def test_what_may_pass_passes_a_sink() -> None:
    gate, _ = sink(Shelf({1}, error=KeyboardInterrupt), passing=(KeyboardInterrupt,))
    with pytest.raises(KeyboardInterrupt):
        gate.feed(0, batch(0, 3), 0.0)
