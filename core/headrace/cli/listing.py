"""The plugins as a table. Its lines are as long as they need to be, so that each has all that is said of a plugin."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from headrace.cli.checkup import NOT_CHECKED, OK, Row
from headrace.cli.wording import forgiving, in_a_line

HEAD = ("kind", "name", "distribution", "target", "status")
STYLES = {OK: "green", NOT_CHECKED: "dim"}
GAP = "  "


def show(rows: list[Row]) -> None:
    """Print the table, and below it what was not done."""
    console = Console(file=forgiving(sys.stdout), highlight=False, soft_wrap=True)
    for line in _table(rows):
        console.print(line)
    if any(row.status == NOT_CHECKED for row in rows):
        console.print("\nNo plugin was imported. 'headrace plugins --check' imports and checks each.")


def _table(rows: list[Row]) -> Iterator[Text]:
    """A Table of rich would fill each line with blanks to the length of the longest status, or cut it."""
    cells = [[in_a_line(cell) for cell in (row.kind, row.name, _origin(row), row.target)] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(HEAD[:-1], *cells, strict=True)]
    yield Text(_line([*HEAD[:-1]], widths) + HEAD[-1], "bold")
    for row, line in zip(rows, cells, strict=True):
        yield Text.assemble(_line(line, widths), (in_a_line(row.status), STYLES.get(row.status, "red")))


def _line(cells: list[str], widths: list[int]) -> str:
    return "".join(set_cell_size(cell, width) + GAP for cell, width in zip(cells, widths, strict=True))


def _origin(row: Row) -> str:
    return " ".join(filter(None, (row.distribution, row.version))) or "unknown"
