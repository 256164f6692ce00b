"""Sources of paths, and of the lines of text files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from glob import iglob
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TextIO

from attrs import field, frozen

from headrace.settings import Rule, flag, text

AnyPath = str | PathLike[str]


def is_path(value: Any) -> bool:
    return isinstance(value, str | PathLike) and bool(fspath(value))


def _paths(value: Any) -> tuple[Any, ...]:
    return (value,) if isinstance(value, str | PathLike) or not isinstance(value, Iterable) else tuple(value)


PATH = Rule("the path of a file", is_path)
PATHS = Rule("the path of a file, or several", lambda value: all(map(is_path, value)))


@frozen
class Files:
    """The files in `directory` whose names match `pattern`, as `pathlib.Path`, sorted within each directory; those of
    all directories below, too, if `recursive`. Directories themselves are left out.

    Raises NotADirectoryError or FileNotFoundError when the run begins, as an empty directory looks just like a wrong
    name.
    """

    directory: AnyPath = field(validator=Rule("the path of a directory", is_path))
    pattern: str = field(default="*", validator=text(of="a pattern of file names"))
    recursive: bool = field(default=False, kw_only=True, validator=flag())

    def __call__(self) -> Iterator[Path]:
        return self._below(Path(self.directory))

    def _below(self, directory: Path) -> Iterator[Path]:
        entries = sorted(directory.iterdir())
        for entry in entries:
            if entry.is_file():
                if entry.match(self.pattern):
                    yield entry
            elif self.recursive and entry.is_dir() and not entry.is_symlink():
                yield from self._below(entry)


@frozen
class Glob:
    """The files that a pattern such as "data/**/*.csv" finds, as `pathlib.Path`, sorted: "**" stands for any number of
    directories. All names are held for sorting."""

    pattern: str = field(validator=text(of="a pattern of paths"))

    def __call__(self) -> Iterator[Path]:
        return (path for path in map(Path, sorted(iglob(self.pattern, recursive=True))) if path.is_file())


@frozen
class Lines:
    """The lines of a text file, or of several one after the other, without their ends. One file is open at a time, and
    one line is held."""

    paths: Any = field(converter=_paths, validator=PATHS)
    encoding: str = field(default="utf-8", kw_only=True, validator=text(of="an encoding"))

    def __call__(self) -> Iterator[str]:
        for path in self.paths:
            with reading(path, self.encoding) as file:
                for line in file:
                    yield line.removesuffix("\n")


@contextmanager
def reading(path: AnyPath, encoding: str, *, newline: str | None = None) -> Iterator[TextIO]:
    """The open file. What cannot be decoded is a ValueError that names it."""
    with open(path, encoding=encoding, newline=newline) as file:
        try:
            yield file
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: {error}") from error
