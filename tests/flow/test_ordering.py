"""Pieces come out in the order of their slots, whatever order they come in."""

from __future__ import annotations

from itertools import permutations

import pytest

from headrace.flow.ordering import Ordering


@pytest.mark.parametrize("arrival", list(permutations(range(4))))
def test_pieces_come_out_in_order_as_soon_as_they_can(arrival: tuple[int, ...]) -> None:
    ordering, out, there = Ordering(), [], set()
    slots = [ordering.open() for _ in range(4)]
    for number in arrival:
        out += ordering.put(slots[number], number)
        there.add(number)
        assert out == [each for each in range(4) if there >= set(range(each + 1))]


def test_a_split_goes_right_behind_its_slot() -> None:
    ordering = Ordering()
    first, last = ordering.open(), ordering.open()
    hole = ordering.split(first)
    behind_hole = ordering.split(hole)
    assert ordering.put(last, "last") == []
    assert ordering.put(behind_hole, "behind") == []
    assert ordering.put(first, "first") == ["first"]
    assert ordering.put(hole, "hole") == ["hole", "behind", "last"]


def test_what_is_opened_behind_a_split_of_the_last_slot_is_last() -> None:
    ordering = Ordering()
    first = ordering.open()
    rest = ordering.split(first)
    last = ordering.open()
    assert ordering.put(last, "last") == []
    assert ordering.put(rest, "rest") == []
    assert ordering.put(first, "first") == ["first", "rest", "last"]


def test_an_empty_piece_is_a_piece() -> None:
    ordering = Ordering()
    first, second = ordering.open(), ordering.open()
    assert ordering.put(second, []) == []
    assert ordering.put(first, []) == [[], []]


def test_out_of_order_pieces_come_as_they_are_put() -> None:
    ordering = Ordering(ordered=False)
    slots = [ordering.open() for _ in range(3)]
    assert [ordering.put(slot, at) for at, slot in enumerate(reversed(slots))] == [[0], [1], [2]]


def test_behind_a_cut_nothing_is_wanted() -> None:
    ordering = Ordering()
    first, second, third, fourth = (ordering.open() for _ in range(4))
    assert ordering.put(third, "third") == []
    assert ordering.cut(second) == ["third"]
    assert third.dropped and fourth.dropped and not second.dropped
    assert ordering.put(fourth, "fourth") == []
    assert ordering.split(fourth).dropped
    assert ordering.put(second, "second") == []
    assert ordering.put(first, "first") == ["first", "second"]


def test_a_cut_before_another_takes_the_error_that_stood_there() -> None:
    ordering = Ordering()
    slots = [ordering.open() for _ in range(3)]
    ordering.cut(slots[2])
    assert ordering.put(slots[2], "late error") == []
    assert ordering.cut(slots[1]) == ["late error"]
    assert ordering.put(slots[1], "error") == []
    assert ordering.put(slots[0], "first") == ["first", "error"]


def test_what_is_out_is_let_go() -> None:
    """The chain of slots would otherwise grow for as long as the run does."""
    ordering = Ordering()
    for number in range(1_000):
        assert ordering.put(ordering.open(), number) == [number]
    assert repr(ordering) == "<Ordering 0 slots in order>"
