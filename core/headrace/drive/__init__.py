"""What runs: an engine of threads round a network, the run of a plan, and an executor on its own."""

from headrace.drive.feeds import CLOSE_S, LAST_S, checked_origin
from headrace.drive.run import PlanRun
from headrace.drive.standalone import Standalone
from headrace.drive.stream import Stream, named_once, owned, warn_of

__all__ = [
    "CLOSE_S",
    "LAST_S",
    "PlanRun",
    "Standalone",
    "Stream",
    "checked_origin",
    "named_once",
    "owned",
    "warn_of",
]
