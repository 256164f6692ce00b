"""Which plugins are installed. Nothing of them is imported."""

from __future__ import annotations

import importlib.metadata
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import EntryPoint

from headrace.errors import PluginError
from headrace.plugins.kinds import GROUPS, Kind
from headrace.plugins.wording import distribution, reason, where
from headrace.settings import did_you_mean


def names(kind: Kind) -> list[str]:
    """The names of all installed plugins of a kind, sorted. Imports none of them."""
    return sorted({entry_point.name for entry_point in snapshot()[GROUPS[kind]]})


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
    """The one entry point of that name. PluginError if there is none, or more than one."""
    found = _called(kind, name)
    if not found:
        snapshot(anew=True)  # it may have been installed since
        found = _called(kind, name)
    if not found:
        raise PluginError(f"no {kind} plugin {name!r}.{did_you_mean(name, names(kind))} {_what_there_is(kind)}")
    if len(found) > 1:
        twins = ", and ".join(sorted(map(where, found)))
        raise PluginError(f"{len(found)} {kind} plugins are called {name!r}: {twins}. Uninstall all but one of them")
    return found[0]


def _called(kind: Kind, name: str) -> list[EntryPoint]:
    return [entry_point for entry_point in snapshot()[GROUPS[kind]] if entry_point.name == name]


def _what_there_is(kind: Kind) -> str:
    installed = names(kind)
    listed = f"Installed: {', '.join(installed)}" if installed else "None is installed"
    everything = (entry_point for group in snapshot().values() for entry_point in group)
    if any(distribution(entry_point).startswith("headrace ") for entry_point in everything):
        return listed
    return (
        f"{listed}. Headrace's own plugins are missing, for it can be imported but is not installed: run "
        "'pip install headrace', or 'pip install -e .' in its source tree"
    )
