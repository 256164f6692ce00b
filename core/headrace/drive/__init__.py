"""One stage from a feed to an output: what `executor.execute(fn, items)` is, and what runners chain."""

from headrace.drive.feeds import BatchFeed, Feed, ItemFeed, Listen, Output
from headrace.drive.opening import drive
from headrace.drive.standalone import Standalone
from headrace.drive.stream import Stream, owned, warn_of

__all__ = ["BatchFeed", "Feed", "ItemFeed", "Listen", "Output", "Standalone", "Stream", "drive", "owned", "warn_of"]
