"""Credit in items and bytes."""

from __future__ import annotations

import pytest

from headrace.flow.sizeof import sizeof
from headrace.flow.window import Window


def test_room_is_what_is_not_used() -> None:
    window = Window(10)
    assert window.room == 10
    window.admit(4)
    assert window.room == 6
    window.admit(8)  # an expansion
    assert window.room == 0 and window.over
    window.admit(-12)
    assert window.room == 10 and not window.over


def test_the_first_item_is_measured_before_others_are_admitted() -> None:
    window = Window(10, max_bytes=1_000)
    assert window.room == 1
    window.admit(1, 100)
    assert window.room == 9


def test_bytes_bound_by_the_mean_of_what_is_here() -> None:
    window = Window(1_000, max_bytes=1_000)
    window.admit(3, 300)
    assert window.room == 7
    window.admit(6, 690)
    assert window.room == 1  # 10 bytes are left, and an item has 110
    window.admit(1, 10)
    assert window.room == 0 and not window.over


def test_an_item_larger_than_the_bound_travels_alone() -> None:
    window = Window(1_000, max_bytes=1_000)
    assert window.room == 1
    window.admit(1, 5_000)
    assert window.room == 0 and window.over
    window.admit(-1, -5_000)
    assert window.room == 1


def test_items_without_bytes_are_bounded_by_their_number() -> None:
    window = Window(10, max_bytes=1_000)
    window.admit(2, 0)
    assert window.room == 8


@pytest.mark.parametrize(
    ("item", "at_least"), [(b"x" * 1_000, 1_000), (["x" * 500] * 4, 2_000), ({"a": b"y" * 300}, 300)]
)
def test_sizeof_looks_into_containers(item: object, at_least: int) -> None:
    assert at_least <= sizeof(item) < 2 * at_least + 500


def test_sizeof_believes_an_array() -> None:
    class Array:
        nbytes = 12_345

    assert sizeof(Array()) == 12_345


def test_sizeof_of_what_cannot_be_measured() -> None:
    class Odd:
        def __sizeof__(self) -> int:
            raise ValueError

    assert sizeof(Odd()) > 0


def test_sizeof_ends_in_a_circle() -> None:
    circle: list[object] = []
    circle.append(circle)
    assert sizeof(circle) > 0


def test_what_is_left_in_bytes() -> None:
    window = Window(10, max_bytes=1_000)
    window.admit(2, 700)
    assert window.left_bytes == 300
    assert Window(10).left_bytes is None
