"""A census of a Python source tree: what the demo counts, as plain functions, and the pipeline that they form.

The functions take one item and give one, keep no state and pickle by name, so that any executor can run them.
"""

from __future__ import annotations

import ast
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from stat import S_ISREG
from typing import TYPE_CHECKING, NamedTuple

from headrace.cli.wording import reason
from headrace.pipeline import Pipeline
from headrace.report import DeadLetter, Result
from headrace.settings import cores

if TYPE_CHECKING:
    from headrace.batch import Path

TEST_FOLDERS = frozenset({"test", "tests", "idle_test"})

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

WINDOW = 256
"""Most files under way in an operator. It bounds the memory, and keeps the progress, which counts files as they are
pulled, near the files that are done."""


class Found(NamedTuple):
    """A place that the walk came to: a file, or a folder that could not be listed, with what refused it.

    `path` is the way from `root`, with "/" between its parts on every system.
    """

    root: str
    path: str
    refused: OSError | None = None


class Source(NamedTuple):
    path: str
    data: bytes


class Parsed(NamedTuple):
    """What a file defines and which bare names it uses, in no particular order: all of its syntax tree that is counted.

    The tree itself stays behind: the garbage collector would go through its thousands of objects again and again while
    they wait for the next operator, and to send them to another process would take as long as to parse.
    """

    path: str
    lines: int
    functions: list[str]
    classes: list[str]
    names: list[str]


class Record(NamedTuple):
    """What is written of a file. `functions` are all `def`, methods and nested ones included, and no `lambda`.

    `names` says how often each bare name occurs (an attribute is not a bare name), the most used first.
    """

    path: str
    lines: int
    functions: int
    classes: int
    names: dict[str, int]


def walk(root: str, without: Collection[str] = ()) -> Iterator[Found]:
    """Every file `*.py` below `root`, in the order of `sorted(Path(root).rglob("*.py"))`.

    Folders named in `without` are left out. Links to files count; links to folders are not followed, as they may lead
    round in circles. A file or folder that cannot be read is given all the same, for `read` to fail on; only what is
    wrong with `root` itself is raised from here, as an OSError.
    """
    pending = _listed(root, "")
    while pending:
        entry, path = pending.pop()
        if not _is_folder(entry):
            if entry.name.endswith(".py") and _may_be_file(entry):
                yield Found(root, path)
        elif entry.name not in without:
            try:
                pending += _listed(entry.path, path + "/")
            except OSError as error:
                yield Found(root, path, error)


def _listed(folder: str, prefix: str) -> list[tuple[os.DirEntry[str], str]]:
    """What is in `folder` with its path below the root; the last first, as `walk` takes from the end."""
    with os.scandir(folder) as entries:
        return [(entry, prefix + entry.name) for entry in sorted(entries, key=lambda e: e.name, reverse=True)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _may_be_file(entry: os.DirEntry[str]) -> bool:
    """Whether to read it. Not a pipe, which would never end; but what cannot be looked at, so that `read` says why."""
    try:
        return S_ISREG(entry.stat().st_mode)
    except OSError:
        return True


def read(found: Found) -> Source:
    if found.refused is not None:
        raise found.refused
    with open(os.path.join(found.root, found.path), "rb") as file:
        return Source(found.path, file.read())


def parse(source: Source) -> Parsed:
    """Parse the bytes, so that the file's own declaration of its encoding (PEP 263) or its byte order mark holds."""
    parsed = Parsed(source.path, len(source.data.splitlines()), [], [], [])
    for node in ast.walk(ast.parse(source.data, source.path)):
        if isinstance(node, ast.Name):
            parsed.names.append(node.id)
        elif isinstance(node, FUNCTIONS):
            parsed.functions.append(node.name)
        elif isinstance(node, ast.ClassDef):
            parsed.classes.append(node.name)
    return parsed


def is_test(path: str) -> bool:
    """Whether a path below the root is a test's: it is in a folder `test`, `tests` or `idle_test`, or its file is named
    `test_*.py` or `*_test.py`. What the root itself is called does not matter."""
    *folders, name = path.split("/")
    return name.startswith("test_") or name.endswith("_test.py") or not TEST_FOLDERS.isdisjoint(folders)


def is_no_test(parsed: Parsed) -> bool:
    return not is_test(parsed.path)


def count(parsed: Parsed) -> Record:
    path, lines, functions, classes, names = parsed
    return Record(path, lines, len(functions), len(classes), dict(most_used(Counter(names))))


def most_used(names: Counter[str]) -> list[tuple[str, int]]:
    """Names with their counts, the most used first, those used equally often by name."""
    return sorted(names.items(), key=lambda pair: (-pair[1], pair[0]))


def census(places: Callable[[], Iterable[Found]], write: Callable[[Record], object], profile: str) -> Pipeline:
    """The main job as a pipeline. `places` is asked for the walk once per run; `write` gets the records in order."""
    return (
        Pipeline("census", profile=profile, window=WINDOW)
        .source("walk", places)
        .map("read", read, on_error="dead_letter")
        .map("parse", parse, parallel_degree=cores(), on_error="dead_letter")  # it keeps a core busy
        .filter("drop tests", is_no_test)
        .map("count", count)
        .sink("write", write)
    )


class Letter(NamedTuple):
    """A file, or a folder that could not be listed, which an operator failed on; in a form that two runs share."""

    position: Path
    path: str
    operator: str
    reason: str
    attempts: int
    folder: bool


def letters(result: Result) -> list[Letter]:
    """The dead letters of a run of the census, in the order of the walk."""
    return list(map(_letter, result.dead_letters))


def _letter(dead: DeadLetter) -> Letter:
    item = dead.item
    assert isinstance(item, Found | Source)  # only `read` and `parse` set anything aside
    folder = isinstance(item, Found) and item.refused is not None
    return Letter(dead.index, item.path, dead.operator, reason(dead.error), dead.attempts, folder)
