"""The file of records that a run of the census writes."""

from __future__ import annotations

import json
import os
from collections import Counter
from itertools import count, zip_longest
from types import TracebackType
from typing import Self

from headrace.cli.census import Record


class RecordFile:
    """A new file of JSON lines, one per record, and the sums of what was written.

    Made, called and closed by one thread. The text is ASCII on every system, whatever the locale. `close` returns only
    when the file is on the disk, so that it may then take the name of a good one.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.files = self.lines = self.functions = self.classes = 0
        self.names: Counter[str] = Counter()
        self._file = open(path, "x", encoding="ascii", newline="\n")  # noqa: SIM115 - closed by `close`

    def __call__(self, record: Record) -> None:
        self._file.write(json.dumps(record._asdict()) + "\n")
        self.files += 1
        self.lines += record.lines
        self.functions += record.functions
        self.classes += record.classes
        self.names.update(record.names)

    def close(self) -> None:
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self._file.close()


def first_difference(one: str, other: str) -> int | None:
    """The number, from 1, of the first line in which two files differ; None if they are the same."""
    with open(one, "rb") as left, open(other, "rb") as right:
        for number, (a, b) in zip(count(1), zip_longest(left, right)):
            if a != b:
                return number
    return None
