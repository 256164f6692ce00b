"""One plugin of a name: imported, and checked."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from types import ModuleType
from typing import TYPE_CHECKING

from pluggy import PluginManager, PluginValidationError
from stevedore.driver import DriverManager

from headrace.errors import PluginError
from headrace.plugins.checking import misfits
from headrace.plugins.finding import find, snapshot
from headrace.plugins.installed import Installed
from headrace.plugins.kinds import Kind
from headrace.plugins.manager import manager
from headrace.plugins.wording import reason

if TYPE_CHECKING:
    _DriverManager = DriverManager[ModuleType]
else:
    _DriverManager = DriverManager  # generic only in newer versions of stevedore


def load(kind: Kind, name: str) -> ModuleType:
    """The module of a plugin, found, imported and checked. PluginError if it cannot be had."""
    return fitting(kind, name).module


class Plugin:
    """One plugin that was imported and fits, with the manager that calls it alone."""

    __slots__ = ("alone", "entry_point", "kind", "module", "watched")

    def __init__(self, kind: Kind, entry_point: EntryPoint, module: ModuleType) -> None:
        self.kind = kind
        self.entry_point = entry_point
        self.module = module
        self.alone = manager(module)
        self.watched: PluginManager | None = None

    def __str__(self) -> str:
        return str(Installed.of(self.kind, self.entry_point))


_loaded: dict[tuple[Kind, str], Plugin] = {}


def fitting(kind: Kind, name: str) -> Plugin:
    """The plugin of that name, at the first call imported and checked. PluginError if it cannot be had."""
    known = _loaded.get((kind, name))
    if known is not None:
        return known
    entry_point = find(kind, name)
    module = _import(kind, entry_point)
    for misfit in misfits(kind, module):
        raise PluginError(f"{Installed.of(kind, entry_point)} {misfit}")
    try:
        plugin = Plugin(kind, entry_point, module)
    except PluginValidationError as error:
        why = " ".join(str(error).split())
        raise PluginError(f"{Installed.of(kind, entry_point)} does not fit the hooks: {why}") from error
    return _loaded.setdefault((kind, name), plugin)


def _import(kind: Kind, entry_point: EntryPoint) -> ModuleType:
    try:
        driver = _Driver(entry_point.group, entry_point.name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a plugin that gives up must not end the program
        raise PluginError(f"{Installed.of(kind, entry_point)} cannot be imported: {reason(error)}") from error
    # Not `driver.driver`, which looks at whether a thing is true. And nothing was made on load: an error of the
    # plugin's own constructor would pass for one of stevedore's.
    return driver.extensions[0].plugin  # type: ignore[return-value]  # what an entry point loads, here a module


class _Driver(_DriverManager):
    """Imports the one plugin of a name.

    stevedore's own list comes from a cache on disk that can be stale, for it takes note of changes by the 128 seconds,
    and that has lost which distribution an entry point is from.
    """

    def list_entry_points(self) -> list[EntryPoint]:
        return snapshot()[self.namespace]
