"""Sinks into files that are there whole or not at all."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

from headrace.connectors.files import PATH, AnyPath
from headrace.connectors.tables import NAMES
from headrace.settings import function, or_none, text


class _FileSink:
    """Writes a file under another name in the same directory, which is given its own name when the run has ended well:
    until then, and if it fails, the old file stays as it is. Only if the process is killed does the other name remain,
    `.NAME.….part`. The file keeps the mode of the one that it replaces."""

    def __init__(self, path: AnyPath) -> None:
        PATH.check(f"{type(self).__name__}.path", path)
        self.path = path
        self._target = Path(self.path)  # where a symbolic link leads, which stays one
        self._file: Any = None
        self._part = ""

    def open(self) -> None:
        self._target = Path(os.path.realpath(self.path))
        self._part = str(self._target.with_name(f".{self._target.name}.{token_hex(8)}.part"))
        number = os.open(self._part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        self._file = open(number, "w", encoding="utf-8", newline="")  # noqa: SIM115 - closed by `close`
        with suppress(FileNotFoundError):
            os.chmod(self._part, self._target.stat().st_mode & 0o7777)

    def close(self) -> None:
        """All that was written is on the disk."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.flush()
                os.fsync(file.fileno())
            finally:
                with suppress(OSError):  # what it could not write it has told of
                    file.close()

    def commit(self) -> None:
        """The run has ended well, and all its sinks are closed."""
        part, self._part = self._part, ""
        os.replace(part, self._target)
        directory = os.open(self._target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)  # that the name is the new file's is on the disk, too
        finally:
            os.close(directory)

    def abort(self) -> None:
        """The run has not ended well; `close` was called before."""
        part, self._part = self._part, ""
        if part:
            with suppress(FileNotFoundError):
                os.unlink(part)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"


class JsonLinesSink(_FileSink):
    """Writes each item as a line of JSON. `default` is called for what JSON does not know, as in `json.dumps`.

    The file is there, whole, when the run has ended well; else the old one stays, or none.
    """

    def __init__(self, path: AnyPath, *, default: Callable[[Any], Any] | None = None) -> None:
        super().__init__(path)
        or_none(function(of="a function of one value")).check("JsonLinesSink.default", default)
        self._default = default

    def write(self, items: Sequence[Any]) -> None:
        dumps, default = json.dumps, self._default
        self._file.write("".join([f"{dumps(item, ensure_ascii=False, default=default)}\n" for item in items]))


class CsvSink(_FileSink):
    """Writes each item, a dict, as a row, under a first row of names: `fields`, or the keys of the first item.

    An item that lacks a field, or has another, is an error. The file is there, whole, when the run has ended well; else
    the old one stays, or none. Without an item and without `fields` it is empty.
    """

    def __init__(self, path: AnyPath, *, fields: Sequence[str] | None = None, delimiter: str = ",") -> None:
        super().__init__(path)
        NAMES.check("CsvSink.fields", fields)
        text(of="a delimiter").check("CsvSink.delimiter", delimiter)
        self._fields = None if fields is None else tuple(fields)
        self._delimiter = delimiter
        self._rows: Any = None

    def open(self) -> None:
        super().open()
        self._rows = None
        if self._fields is not None:
            self._begin(self._fields)

    def write(self, items: Sequence[Mapping[str, Any]]) -> None:
        if self._rows is None and items:
            self._begin(tuple(items[0]))
        for item in items:
            lacking = [name for name in self._rows.fieldnames if name not in item]
            if lacking:
                raise ValueError(f"{item!r} lacks {', '.join(lacking)}")
            self._rows.writerow(item)

    def _begin(self, names: tuple[str, ...]) -> None:
        self._rows = csv.DictWriter(self._file, names, delimiter=self._delimiter, lineterminator="\r\n")
        self._rows.writeheader()
