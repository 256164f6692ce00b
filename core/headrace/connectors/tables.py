"""Sources of records: CSV and JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from typing import Any

from attrs import field, frozen

from headrace.connectors.files import PATH, AnyPath, reading
from headrace.settings import Rule, or_none, text


def is_names(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(each, str) for each in value)


NAMES = or_none(Rule("names of fields", is_names))


@frozen
class CsvRows:
    """The rows of a CSV file as dicts of strings, by the names in its first row, or by `fields` if it has no such row.

    A row that has more or fewer values than there are names is a ValueError that tells the line: nothing is filled in,
    and nothing is dropped but empty lines. `delimiter` and quotes as in the module `csv`.
    """

    path: AnyPath = field(validator=PATH)
    fields: Sequence[str] | None = field(default=None, kw_only=True, validator=NAMES)
    delimiter: str = field(default=",", kw_only=True, validator=text(of="a delimiter"))
    encoding: str = field(default="utf-8", kw_only=True, validator=text(of="an encoding"))

    def __call__(self) -> Iterator[dict[str, str]]:
        with reading(self.path, self.encoding, newline="") as file:
            rows = csv.reader(file, delimiter=self.delimiter, strict=True)
            try:
                yield from self._dicts(rows)
            except csv.Error as error:
                raise ValueError(f"{self.path}, line {rows.line_num}: {error}") from error

    def _dicts(self, rows: Any) -> Iterator[dict[str, str]]:
        names = self.fields if self.fields is not None else next(rows, [])
        if len(set(names)) < len(names):
            raise ValueError(f"{self.path}: two fields have the same name: {', '.join(names)}")
        for row in filter(None, rows):
            if len(row) != len(names):
                where = f"{self.path}, line {rows.line_num}"
                raise ValueError(f"{where}: {len(row)} values for {len(names)} fields: {', '.join(names)}")
            yield dict(zip(names, row, strict=True))


@frozen
class JsonLines:
    """The values in a file of JSON lines, one to a line; empty lines are passed over. What is no JSON is a ValueError
    that tells the line."""

    path: AnyPath = field(validator=PATH)

    def __call__(self) -> Iterator[Any]:
        with reading(self.path, "utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        value = json.loads(line)
                    except ValueError as error:
                        raise ValueError(f"{self.path}, line {number}: {error}") from error
                    yield value
