"""The functions of the suite. They stand here, and not in the tests, so that they can travel to another process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

SLOW_S = 0.02
"""What a slow function takes: long enough to travel alone, whatever the number of workers."""


def same(item: Any) -> Any:
    return item


def double(item: int) -> int:
    return 2 * item


def negative(item: int) -> int:
    return -item


def twice(item: int) -> list[int]:
    return [item, item]


def is_even(item: int) -> bool:
    return item % 2 == 0


def slow(item: int, seconds: float = SLOW_S) -> int:
    time.sleep(seconds)  # stands for work that takes its time
    return item


def not_fifty(item: int) -> int:
    if item == 50:
        raise ValueError("fifty")
    return item


def not_a_seventh(item: int) -> int:
    if item % 7 == 0:
        raise ValueError("a multiple of seven")
    return item


def not_an_eleventh(item: int) -> int:
    if item % 11 == 0:
        raise ValueError("a multiple of eleven")
    return item


def stops_at_five(item: int) -> int:
    if item == 5:
        raise StopIteration
    return item


def breaks_at_three(item: int) -> Iterator[int]:
    yield item
    if item == 3:
        raise ValueError("three")
    yield item


class Living:
    """An item that knows how many of its kind are alive."""

    number = 0
    _lock = threading.RLock()  # an item may die while another is made, in the same thread

    def __init__(self, value: int) -> None:
        self.value = value
        with Living._lock:
            Living.number += 1

    def __del__(self) -> None:
        with Living._lock:
            Living.number -= 1


def number_of(item: Living) -> int:
    return item.value
