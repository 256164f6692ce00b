"""Events, the account of their delivery, and listeners that are ready to be used.

facts      what happened in a run
account    what became of the events that a listener was to hear
listeners  LogEvents, WriteEvents
"""

from headrace.events.account import EventAccount, EventQueueFull
from headrace.events.facts import (
    BackpressureEnded,
    BackpressureStarted,
    BatchCompleted,
    BatchSizeChanged,
    Event,
    ItemFailed,
    ItemRetried,
    OperatorFinished,
    OperatorStarted,
    PipelineFinished,
    PipelineStarted,
    ProgressMade,
    WorkerLost,
    WorkerStarted,
)
from headrace.events.listeners import LogEvents, WriteEvents

__all__ = [
    "BackpressureEnded",
    "BackpressureStarted",
    "BatchCompleted",
    "BatchSizeChanged",
    "Event",
    "EventAccount",
    "EventQueueFull",
    "ItemFailed",
    "ItemRetried",
    "LogEvents",
    "OperatorFinished",
    "OperatorStarted",
    "PipelineFinished",
    "PipelineStarted",
    "ProgressMade",
    "WorkerLost",
    "WorkerStarted",
    "WriteEvents",
]
