"""Which plugins are installed. Nothing of them is imported."""

from __future__ import annotations

import importlib.metadata
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import EntryPoint

from headrace.errors import PluginError
from headrace.plugins.installed import Installed
from headrace.plugins.kinds import GROUPS, Kind
from headrace.plugins.wording import reason
from headrace.settings import did_you_mean


def names(kind: Kind) -> list[str]:
    """The names of all installed plugins of a kind, sorted. Imports none of them."""
    return sorted({entry_point.name for entry_point in snapshot()[GROUPS[kind]]})


def installed() -> Iterator[Installed]:
    """All plugins, kind by kind, by their names. Imports none of them."""
    for kind, group in GROUPS.items():
        members = [Installed.of(kind, entry_point) for entry_point in snapshot()[group]]
        yield from sorted(members, key=lambda each: (each.name, each.place))


_taken: dict[str, list[EntryPoint]] | None = None


def snapshot(*, anew: bool = False) -> dict[str, list[EntryPoint]]:
    """The entry points of each of our groups; what one distribution says twice counts once."""
    global _taken
    if _taken is None or anew:
        found: dict[str, dict[tuple[str, str, int], EntryPoint]] = {group: {} for group in GROUPS.values()}
        for entry_point in _scan():
            # A distribution is an object of its own; to ask for its name would read all its metadata.
            key = (entry_point.name, entry_point.value, id(entry_point.dist))
            found[entry_point.group].setdefault(key, entry_point)
        _taken = {group: list(members.values()) for group, members in found.items()}
    return _taken


def _scan() -> list[EntryPoint]:
    """The entry points of our groups. In one pass: `select` would make one for each group, a quarter of the cost."""
    groups = GROUPS.values()
    try:
        every = importlib.metadata.entry_points()
    except Exception:  # one malformed file anywhere ends that call for everybody
        return [entry_point for entry_point in _scan_each() if entry_point.group in groups]
    if sys.version_info >= (3, 12):
        return [entry_point for entry_point in every if entry_point.group in groups]
    return [entry_point for group, members in every.items() if group in groups for entry_point in members]


def _scan_each() -> Iterator[EntryPoint]:
    seen = set()  # as for an import, the first on the path hides later ones of the same name
    for each in importlib.metadata.distributions():
        try:
            entry_points = list(each.entry_points)
            if each.name not in seen:
                yield from entry_points
            seen.add(each.name)
        except Exception as error:
            place = getattr(each, "_path", each)
            warnings.warn(f"the entry points of {place} cannot be read: {reason(error)}", RuntimeWarning, stacklevel=2)


def find(kind: Kind, name: str) -> EntryPoint:
    """The one entry point of that name. Imports nothing.

    PluginError if there is none, or more than one, or if it names something else than a module.
    """
    found = _called(kind, name)
    if not found:
        snapshot(anew=True)  # it may have been installed since
        found = _called(kind, name)
    if not found:
        raise PluginError(f"no {kind} plugin {name!r}.{did_you_mean(name, names(kind))} {_what_there_is(kind)}")
    if len(found) > 1:
        twins = ", and ".join(sorted(Installed.of(kind, each).place for each in found))
        raise PluginError(f"{len(found)} {kind} plugins are called {name!r}: {twins}. Uninstall all but one of them")
    if not all(part.isidentifier() for part in found[0].value.split(".")):
        why = "an entry point of Headrace names a module, and nothing in it"
        raise PluginError(f"{Installed.of(kind, found[0])} cannot be imported: {why}")
    return found[0]


def _called(kind: Kind, name: str) -> list[EntryPoint]:
    return [entry_point for entry_point in snapshot()[GROUPS[kind]] if entry_point.name == name]


def _what_there_is(kind: Kind) -> str:
    known = names(kind)
    listed = f"Installed: {', '.join(known)}" if known else "None is installed"
    if any(each.distribution == "headrace" for each in installed()):
        return listed
    return (
        f"{listed}. Headrace's own plugins are missing, for it can be imported but is not installed: run "
        "'pip install headrace', or 'pip install -e .' in its source tree"
    )
