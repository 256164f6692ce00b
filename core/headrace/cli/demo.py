"""`headrace demo`: a census of a source tree, run with the profile `serial` and with another one, and compared."""

from __future__ import annotations

import os
import sysconfig
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import click

from headrace.cli.census import census
from headrace.cli.runs import Run, Tree, difference, take
from headrace.cli.wording import in_a_line, shown
from headrace.errors import HeadraceError, PluginError, SettingsError

INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Folders of the standard library that hold what was installed beside it."""


class Refused(click.ClickException):
    """Wrong use: one line on stderr, and the exit status that click gives for it too."""

    exit_code = 2


@click.command()
@click.argument("path", required=False)
@click.option("--output", metavar="FILE", help="Keep the records here, one JSON line per file, in order.")
@click.option("--profile", default="balanced", show_default=True, help="Profile to compare with 'serial'.")
def demo(path: str | None, output: str | None, profile: str) -> None:
    """Take a census of the Python files in the folder PATH.

    Every *.py file is read and parsed, tests are dropped, and lines, functions, classes and names are counted. This is
    done twice, with the profile 'serial' and with another one; the results must be the same.

    Without PATH it is the standard library of this Python, without site-packages. Without --output the records are
    thrown away at the end. FILE is written whole or not at all.
    """
    from headrace.cli import display  # rich takes longer to import than --help should take

    tree = Tree(sysconfig.get_path("stdlib"), INSTALLED) if path is None else Tree(path)
    check_profile(profile)
    total = survey(tree)
    with work_folder(output) as folder, failing_in_a_line(), quiet_parser():
        with display.progress("1 of 2: serial", total) as watch:
            serial = take(tree, watch, "serial", os.path.join(folder, "first"))
        with display.progress(f"2 of 2: {profile}", total) as watch:
            other = take(tree, watch, profile, os.path.join(folder, "second"))
        compare(serial, other)
        if output is not None:
            os.replace(other.records.path, os.path.realpath(output))
        display.show(tree, serial, other, output)


def check_profile(profile: str) -> None:
    """Refuse a profile that cannot be had before any work is done."""
    try:
        census(tuple, print, profile).describe()
    except (PluginError, SettingsError) as error:
        raise Refused(in_a_line(error)) from error


def survey(tree: Tree) -> int:
    """How many files there are. Refuses a tree that has none, or that cannot be walked at all."""
    root = shown(tree.root)
    try:
        files = sum(found.refused is None for found in tree())
    except FileNotFoundError:
        raise Refused(f"no such folder: '{root}'") from None
    except NotADirectoryError:
        raise Refused(f"not a folder: '{root}'") from None
    except OSError as error:
        raise Refused(f"cannot read the folder '{root}': {error.strerror}") from None
    if not files:
        raise Refused(f"no Python file (*.py) in the folder '{root}'")
    return files


@contextmanager
def work_folder(output: str | None) -> Iterator[str]:
    """A folder for the two files of records, gone at the end with what is still in it.

    It is beside `output`, so that the finished file has only to change its name: whoever reads `output` sees the old
    file or all of the new one.
    """
    beside = None
    if output is not None:
        target = os.path.realpath(output)
        if os.path.exists(target) and not os.path.isfile(target):
            raise Refused(f"--output must name a file, and '{shown(output)}' is something else")
        beside = os.path.dirname(target)
    try:
        folder = tempfile.TemporaryDirectory(prefix=".headrace-", dir=beside)
    except OSError as error:
        place = shown(beside or tempfile.gettempdir())
        raise Refused(f"cannot write in the folder '{place}': {error.strerror}") from None
    with folder as name:
        yield name


@contextmanager
def quiet_parser() -> Iterator[None]:
    """No warnings about the sources that are read: they are not the user's to mend.

    Set once around the runs and not around every parse, as filters belong to the whole process: workers would undo
    each other's.
    """
    with warnings.catch_warnings():
        for category in (SyntaxWarning, DeprecationWarning):  # up to 3.11 the second stands for some of the first
            warnings.simplefilter("ignore", category)
        yield


@contextmanager
def failing_in_a_line() -> Iterator[None]:
    """What goes wrong on the way, such as a full disk: one line, and exit status 1."""
    try:
        yield
    except (HeadraceError, OSError) as error:
        raise click.ClickException(in_a_line(error)) from error


def compare(serial: Run, other: Run) -> None:
    where = difference(serial, other)
    if where is not None:
        raise click.ClickException(
            f"the profiles '{serial.profile}' and '{other.profile}' gave different results, first in {where}; "
            "unless the files changed meanwhile, this is a bug"
        )
