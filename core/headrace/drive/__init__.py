"""One stage from a feed to an output: what `executor.execute(fn, items)` is, and what runners chain."""

from headrace.drive.feeds import CLOSE_S, LAST_S, BatchFeed, Feed, ItemFeed, Listen, Output, checked_origin
from headrace.drive.gated import GateOutput, SourceOutput, pulled
from headrace.drive.opening import drive
from headrace.drive.standalone import Standalone
from headrace.drive.stream import Stream, owned, warn_of

__all__ = [
    "CLOSE_S",
    "LAST_S",
    "BatchFeed",
    "Feed",
    "GateOutput",
    "ItemFeed",
    "Listen",
    "Output",
    "SourceOutput",
    "Standalone",
    "Stream",
    "checked_origin",
    "drive",
    "owned",
    "pulled",
    "warn_of",
]
