"""The ways in which a run ends. Each begins a run with `make()`, ends it in its way and lets go of it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from headrace.drive import Stream
from headrace.errors import OperatorFailed

Make = Callable[[], Stream]
TAKEN = 20
"""Items that are taken before a run is ended early."""


class Oops(Exception):
    """What the consumer raises."""


def broken_off(make: Make) -> None:
    for at, _ in enumerate(make()):
        if at == TAKEN:
            break


def dropped(make: Make) -> None:
    iterator = iter(make())
    for _ in range(TAKEN):
        next(iterator)


def collected(make: Make) -> None:
    """Dropped in a garbage cycle, which only the collector finds."""
    stream = make()
    cycle: list[Any] = [stream]
    cycle.append(cycle)
    for _ in range(TAKEN):
        next(stream)
    del stream, cycle
    gc.collect()


def consumer_raised(make: Make) -> None:
    with suppress(Oops):
        for at, _ in enumerate(make()):
            if at == TAKEN:
                raise Oops


def closed(make: Make) -> None:
    with make() as stream:
        for _ in range(TAKEN):
            next(stream)


def exhausted_or_failed(make: Make) -> None:
    """To the end of the source, or to the error of an item or of the source."""
    with suppress(OperatorFailed):
        for _ in make():
            pass


EARLY: Mapping[str, Callable[[Make], None]] = {
    "break": broken_off,
    "dropped": dropped,
    "collected": collected,
    "consumer raises": consumer_raised,
    "close": closed,
}
"""Those that the consumer chooses; the source may be endless."""
