"""Ready sources and sinks: files, lines, CSV, JSON lines, SQL, SQLite, queues.

A source is an object to call, so that a pipeline can run again; nothing is opened before the first item is asked for,
and what was opened is closed however the run ends. A sink is an object with `open`, `write` and `close`, for
`Pipeline.sink`.
"""

from headrace.connectors.files import Files, Glob, Lines
from headrace.connectors.queues import QueueItems
from headrace.connectors.sinks import CsvSink, JsonLinesSink
from headrace.connectors.sql import SQLiteSink, SqlQuery
from headrace.connectors.tables import CsvRows, JsonLines

__all__ = [
    "CsvRows",
    "CsvSink",
    "Files",
    "Glob",
    "JsonLines",
    "JsonLinesSink",
    "Lines",
    "QueueItems",
    "SQLiteSink",
    "SqlQuery",
]
