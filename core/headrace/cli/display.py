"""What the demo shows: its progress while it runs, and its tables at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from headrace.cli.census import Found, Letter, most_used
from headrace.cli.runs import Run, Tree, Watch
from headrace.cli.wording import forgiving, shown

NAMES = 10
"""How many of the most used names are shown."""


@contextmanager
def progress(label: str, total: int) -> Iterator[Watch]:
    """A bar on stderr, if that is a terminal, which moves on as the watched walk is pulled. It is gone at the end."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files"),
        TimeElapsedColumn(),
    )
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, transient=True, disable=not _is_terminal(sys.stderr)) as bar:
        task = bar.add_task(label, total=total)

        def watch(walk: Iterable[Found]) -> Iterator[Found]:
            for found in walk:
                yield found
                bar.advance(task, found.refused is None)

        yield watch


def _is_terminal(stream: TextIO | None) -> bool:
    """Python has no stream where the program was started without one (`2>&-`)."""
    return stream is not None and stream.isatty()


def show(tree: Tree, serial: Run, other: Run, output: str | None) -> None:
    """Print all there is to say about two runs that gave the same."""
    console = Console(file=forgiving(sys.stdout), highlight=False)
    console.print(_headline(f"Census of {shown(tree.root)}{_left_out(tree)}"), soft_wrap=True)
    console.print(_summary(other), "", sep="\n")
    if other.letters:
        console.print(_headline("Dead letters"), _dead(other.letters), "", sep="\n")
    console.print(_headline(f"Account of the run with the profile '{other.profile}'"))
    console.print(Text(str(other.report)), soft_wrap=True)
    console.print("", _headline("Times"), _times(serial, other), "", sep="\n")
    console.print(f"Both runs gave the same: records {other.records.files:,}, dead letters {len(other.letters):,}.")
    if output is not None:
        console.print(Text(f"The records are in {shown(output)}"), soft_wrap=True)


def _headline(text: str) -> Text:
    return Text(text, "bold")


def _left_out(tree: Tree) -> str:
    there = [name for name in sorted(tree.without) if os.path.isdir(os.path.join(tree.root, name))]
    return f" without {', '.join(there)}" if there else ""


def _summary(run: Run) -> Table:
    folders = sum(letter.folder for letter in run.letters)
    table = _grid()
    for name, number in (
        ("files found", run.report["read"].taken - folders),
        ("not read or parsed", len(run.letters) - folders),
        ("tests dropped", run.report["drop tests"].filtered),
        ("files kept", run.report["drop tests"].emitted),
        ("lines", run.records.lines),
        ("functions", run.records.functions),
        ("classes", run.records.classes),
    ):
        table.add_row(name, f"{number:,}")
    table.add_row("most used names", _names(run))
    return table


def _names(run: Run) -> str:
    return ", ".join(f"{name} {uses:,}" for name, uses in most_used(run.records.names)[:NAMES])


def _grid() -> Table:
    """Two columns: what it is, and what there is to say, which may take more than one line but loses nothing."""
    table = Table.grid(padding=(0, 1, 0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _dead(letters: list[Letter]) -> Table:
    """The reason stands below the file, so that neither has to be cut on a narrow terminal."""
    table = _grid()
    for letter in letters:
        table.add_row(letter.operator, Text.assemble(shown(letter.path), "\n", (letter.reason, "dim")))
    return table


def _times(*runs: Run) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("profile")
    table.add_column("seconds", justify="right")
    table.add_column("files per second", justify="right")
    for run in runs:
        wall_s = run.report.wall_s
        table.add_row(Text(run.profile), f"{wall_s:.2f}", f"{run.report['read'].taken / wall_s:,.0f}")
    return table
