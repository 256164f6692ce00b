"""What happened: facts in the past tense, frozen.

A runner tells them with `dispatcher.notify(ItemFailed, operator="parse", ...)`; the event itself is built only if
somebody listens. Every field has a default, so that a later one breaks nobody who builds an event.
"""

from __future__ import annotations

import time
from typing import Any

from attrs import field, frozen

from headrace.errors import shorten


@frozen(kw_only=True)
class Event:
    """What all events have. To subscribe to it is to subscribe to all of them.

    run     the id of the run
    at_s    when it happened, by the monotonic clock: what differences are taken of
    wall_s  the same by the wall clock, in seconds since 1970: what is shown
    """

    run: str = ""
    at_s: float = field(factory=time.monotonic, repr=False)
    wall_s: float = field(factory=time.time, repr=False)


@frozen(kw_only=True)
class PipelineStarted(Event):
    """A run began: nothing has been asked of a source yet."""

    pipeline: str = ""
    profile: str = ""


@frozen(kw_only=True)
class PipelineFinished(Event):
    """A run ended.

    items   items given out at its ends
    took_s  seconds from its start
    error   what it ended with, or None if it ended well
    """

    pipeline: str = ""
    items: int = 0
    took_s: float = 0.0
    error: BaseException | None = field(default=None, eq=False)


@frozen(kw_only=True)
class OperatorFinished(Event):
    """An operator has dealt with its last item.

    taken, emitted  items in and out
    failed          items that raised and were skipped, set aside or raised on
    service_s       seconds inside the operator's function
    """

    operator: str = ""
    taken: int = 0
    emitted: int = 0
    failed: int = 0
    service_s: float = 0.0


@frozen(kw_only=True)
class ItemFailed(Event):
    """An item raised, and will not be tried again.

    index     the item's path from its source
    item      what the operator was given
    error     what it raised
    attempts  how often it was tried
    verdict   what the operator's policy said: "raise", "skip" or "dead_letter"
    """

    operator: str = ""
    index: int | tuple[int, ...] | None = None
    item: Any = field(default=None, eq=False, repr=shorten)
    error: BaseException | None = field(default=None, eq=False)
    attempts: int = 1
    verdict: str = "raise"


@frozen(kw_only=True)
class ItemRetried(Event):
    """An item raised, and will be tried again. `attempts` is how often it was tried so far."""

    operator: str = ""
    index: int | tuple[int, ...] | None = None
    error: BaseException | None = field(default=None, eq=False)
    attempts: int = 1
