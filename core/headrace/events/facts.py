"""What happened: facts in the past tense, frozen.

A runner tells them with `dispatcher.notify(ItemFailed, operator="parse", ...)`; the event itself is built only if
somebody listens. Every field has a default, so that a later one breaks nobody who builds an event. They have no slots,
so that a dispatcher can fill their `__dict__` at once.
"""

from __future__ import annotations

import time
from typing import Any

from attrs import field, frozen

from headrace.errors import shorten


@frozen(kw_only=True, slots=False)
class Event:
    """What all events have. To subscribe to it is to subscribe to all of them.

    run       the id of the run
    operator  the operator that it is about, or "" where it is about a whole run
    at_s      when it happened, by the monotonic clock: what differences are taken of
    wall_s    the same by the wall clock, in seconds since 1970: what is shown
    source    who told it: a thread, and there all events of one type; unique to the process
    sequence  its number among those of its source, from 0. What is missing in between has been dropped

    A class with `lifecycle = True` has few events, which no dispatcher drops.
    """

    lifecycle = False

    run: str = ""
    operator: str = ""
    at_s: float = field(factory=time.monotonic, repr=False)
    wall_s: float = field(factory=time.time, repr=False)
    source: str = field(default="", repr=False)
    sequence: int = field(default=0, repr=False)


@frozen(kw_only=True, slots=False)
class PipelineStarted(Event):
    """A run began: nothing has been asked of a source yet."""

    lifecycle = True

    pipeline: str = ""
    profile: str = ""


@frozen(kw_only=True, slots=False)
class PipelineFinished(Event):
    """A run ended.

    items   items given out at its ends
    took_s  seconds from its start
    error   what it ended with, or None if it ended well
    """

    lifecycle = True

    pipeline: str = ""
    items: int = 0
    took_s: float = 0.0
    error: BaseException | None = field(default=None, eq=False)


@frozen(kw_only=True, slots=False)
class OperatorStarted(Event):
    """An operator is ready for its first item; told for all of them as a run begins.

    kind      the operator's word: "source", "map", "filter" ...
    executor  what it runs on, or "" where it has no workers: a source, a gate
    """

    lifecycle = True

    kind: str = ""
    executor: str = ""


@frozen(kw_only=True, slots=False)
class OperatorFinished(Event):
    """An operator has dealt with its last item; told for all of them as a run ends.

    taken, emitted  items in and out
    failed          items that raised and were skipped, set aside or raised on
    service_s       seconds inside the operator's function
    """

    lifecycle = True

    taken: int = 0
    emitted: int = 0
    failed: int = 0
    service_s: float = 0.0


@frozen(kw_only=True, slots=False)
class BatchCompleted(Event):
    """A stage has done one or several batches, since the last of these events of that stage: it tells the first at
    once, then at most 50 times a second, and at last what is left. Added up, they are exact.

    operator   the first operator of the stage, if several are fused
    batches    how many there were; items: how many they had
    emitted    items that came out of the stage
    failed     items that raised, those that will be tried again included
    service_s  seconds that workers were at them
    worker     who did the last of them
    """

    batches: int = 1
    items: int = 0
    emitted: int = 0
    failed: int = 0
    service_s: float = 0.0
    worker: str = ""


@frozen(kw_only=True, slots=False)
class BatchSizeChanged(Event):
    """A stage cuts its batches to another number of items, by more than a quarter, as items have become dearer or
    cheaper: told with the `BatchCompleted` of that stage."""

    size: int = 0
    before: int = 0


@frozen(kw_only=True, slots=False)
class ItemFailed(Event):
    """An item raised, and will not be tried again.

    index     the item's path from its source
    item      what the operator was given
    error     what it raised
    attempts  how often it was tried
    verdict   what the operator's policy said: "raise", "skip" or "dead_letter"
    """

    index: int | tuple[int | str, ...] | None = None
    item: Any = field(default=None, eq=False, repr=shorten)
    error: BaseException | None = field(default=None, eq=False)
    attempts: int = 1
    verdict: str = "raise"


@frozen(kw_only=True, slots=False)
class ItemRetried(Event):
    """An item raised, and will be tried again. `attempts` is how often it was tried so far."""

    index: int | tuple[int | str, ...] | None = None
    error: BaseException | None = field(default=None, eq=False)
    attempts: int = 1


@frozen(kw_only=True, slots=False)
class WorkerStarted(Event):
    """A worker has come back with its first batch of a stage. `worker` is its name: of a thread, or of a process."""

    worker: str = ""


@frozen(kw_only=True, slots=False)
class WorkerLost(Event):
    """A worker came to its end in the middle of a batch, or was given up because an item hung; another takes its place.

    worker  its name, or "" if it had not begun
    how     how it ended
    """

    worker: str = ""
    how: str = ""


@frozen(kw_only=True, slots=False)
class BackpressureStarted(Event):
    """An operator is held back by those behind it: a source that waited for 10 ms and was asked for nothing, or a stage
    whose window is full of outputs that nobody takes. `waiting` counts those outputs."""

    waiting: int = 0


@frozen(kw_only=True, slots=False)
class BackpressureEnded(Event):
    """An operator that was held back goes on, or is at its end: a source that was asked again without having to wait,
    or a stage whose window is half empty. `held_s` is how long it took."""

    held_s: float = 0.0


@frozen(kw_only=True, slots=False)
class ProgressMade(Event):
    """How far a run has come: at most ten times a second, and at its end.

    operator  the end that it tells of
    items     items that have come out there, or that the sink there has taken
    took_s    seconds from the start of the run
    """

    items: int = 0
    took_s: float = 0.0
