"""A run of the census over a tree, and whether two of them gave the same."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from headrace.cli.census import Found, Letter, census, letters, walk
from headrace.cli.records import RecordFile, first_difference
from headrace.cli.wording import shown
from headrace.report import RunReport

Watch = Callable[[Iterable[Found]], Iterable[Found]]
"""What is put round a walk to see how far it has come."""


class Tree(NamedTuple):
    """What to take the census of. Called, it is walked anew."""

    root: str
    without: Collection[str] = ()

    def __call__(self) -> Iterator[Found]:
        return walk(self.root, self.without)


class Run(NamedTuple):
    """What came of the census with one profile."""

    profile: str
    records: RecordFile
    letters: list[Letter]
    report: RunReport


def take(tree: Tree, watch: Watch, profile: str, path: str) -> Run:
    """Run the census once and write its records to a new file at `path`."""
    with RecordFile(path) as records:
        result = census(lambda: watch(tree()), records, profile).execute()
    return Run(profile, records, letters(result), result.report)


def difference(one: Run, other: Run) -> str | None:
    """Where two runs differ first: in the records, with their order, or in the dead letters. None if nowhere."""
    line = first_difference(one.records.path, other.records.path)
    if line is not None:
        return f"record {line}"
    apart = set(one.letters) ^ set(other.letters)
    return f"the dead letter of '{shown(min(apart).path)}'" if apart else None
