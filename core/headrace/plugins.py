"""Plugins: stevedore answers which one, pluggy calls it.

    names("executor")                              what is installed, without importing any of it
    make("executor", PluginRef("thread", {...}))   find, import, check, hold the settings against its class, make
    plugin_class("executor", "thread", "PipelineThreadExecutor")
    plan_made(plan); observe(run, dispatcher)      tell those that are always on

State of the process, and nobody's lock: each is computed by whoever comes first and published in one step; of two
threads that come at once, one computes in vain.

    _snapshot   the entry points of our groups, read once; read again only when a name is missing from it
    _loaded     (kind, name) -> plugin, imported and checked
    _watchers   what is listed in `headrace.hooks`

No lock is held while a plugin is imported: its module might wait for another thread that imports it and waits for us.
Each plugin has a pluggy manager of its own, filled once and then only read, with the watchers beside it. So its factory
alone is called while they may wrap it, one module may stand behind two names (pluggy refuses that within a manager), a
plugin that does not fit is in nobody's way, and nothing is registered while another thread calls.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from types import FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, Literal

import attrs
from pluggy import PluginManager, PluginValidationError
from stevedore.driver import DriverManager

from headrace import hookspecs
from headrace.contracts import HEADRACE_API
from headrace.errors import PluginError, SettingsError, shorten
from headrace.plan import PluginRef
from headrace.settings import did_you_mean

if TYPE_CHECKING:
    _DriverManager = DriverManager[ModuleType]
else:
    _DriverManager = DriverManager  # generic only in newer versions of stevedore

Kind = Literal["executor", "runner", "monitor", "dispatcher", "profile", "hooks"]

GROUPS: dict[Kind, str] = {
    "executor": "headrace.executors",
    "runner": "headrace.runners",
    "monitor": "headrace.monitors",
    "dispatcher": "headrace.dispatchers",
    "profile": "headrace.profiles",
    "hooks": "headrace.hooks",
}

_ANSWERS: dict[Kind, str] = {
    "executor": "headrace_make_executor",
    "runner": "headrace_make_runner",
    "monitor": "headrace_make_monitor",
    "dispatcher": "headrace_make_dispatcher",
    "profile": "headrace_profile",
}

_METHODS: dict[Kind, tuple[str, ...]] = {
    "executor": ("open", "close"),
    "runner": ("start",),
    "monitor": ("session",),
    "dispatcher": ("subscribe", "notify", "emit", "flush", "close"),
}

_TOLD = ("headrace_plan_made", "headrace_observe")
"""The hooks that all watchers are told by; every other hook has one answer, from the plugin that was chosen."""

_ALONE = ("headrace_settings", "headrace_profile")
"""The hooks that nobody may wrap."""

_HOOKS = {
    name: tuple(inspect.signature(spec).parameters)
    for name, spec in vars(hookspecs).items()
    if name.startswith("headrace_")
}


def names(kind: Kind) -> list[str]:
    """The names of all installed plugins of a kind, sorted. Imports none of them."""
    return sorted({entry_point.name for entry_point in _snapshot()[GROUPS[kind]]})


def load(kind: Kind, name: str) -> ModuleType:
    """The module of a plugin, found, imported and checked. PluginError if it cannot be had."""
    return _load(kind, name).module


def plugin_class(kind: Kind, name: str, attribute: str) -> Any:
    """What the module of a plugin has under `attribute`: its public class."""
    plugin = _load(kind, name)
    try:
        return getattr(plugin.module, attribute)
    except AttributeError:
        raise PluginError(f"{plugin} has no {attribute}") from None


def settings_class(kind: Kind, name: str) -> type | None:
    """The attrs class of a plugin's settings, or None if it takes none."""
    plugin = _load(kind, name)
    found: Any = plugin.alone.hook.headrace_settings(name=name)
    if found is None or (isinstance(found, type) and attrs.has(found)):
        return found
    raise PluginError(f"{plugin} gives {shorten(found)} as its settings, which is not an attrs class")


def make(kind: Kind, ref: PluginRef, context: Any = None) -> Any:
    """A new executor, runner, monitor or dispatcher.

    PluginError if the plugin cannot be had, SettingsError if the settings do not fit it. What the plugin itself raises
    while it makes the thing comes through as it is.
    """
    plugin = _load(kind, ref.name)
    settings = _settings(ref, settings_class(kind, ref.name), f"{kind} plugin '{ref.name}'")
    answer = getattr(_with_watchers(plugin).hook, _ANSWERS[kind])
    made = answer(name=ref.name, settings=settings, context=context)
    if made is None:
        raise PluginError(f"{plugin} made nothing: its {_ANSWERS[kind]} gave None")
    for method in _METHODS[kind]:
        if not callable(getattr(made, method, None)):
            raise PluginError(f"{plugin} made {shorten(made)}, which has no method '{method}'")
    return made


def profile(name: str) -> Any:
    """A profile that comes from a package."""
    plugin = _load("profile", name)
    found = plugin.alone.hook.headrace_profile(name=name)
    if found is None:
        raise PluginError(f"{plugin} made nothing: its headrace_profile gave None")
    return found


def plan_made(plan: Any) -> None:
    """Tell all watchers of a plan that is about to run. One that raises is warned of and passed over."""
    _tell("headrace_plan_made", plan=plan)


def observe(run: Any, dispatcher: Any) -> None:
    """Let all watchers subscribe to a run that is about to begin. One that raises is warned of and passed over."""
    _tell("headrace_observe", run=run, dispatcher=dispatcher)


# --- which one -------------------------------------------------------------------------------------------------------


class _Driver(_DriverManager):
    """Imports the one plugin of a name.

    stevedore's own list comes from a cache on disk that can be stale, for it takes note of changes by the 128 seconds,
    and that has lost which distribution an entry point is from.
    """

    def list_entry_points(self) -> list[EntryPoint]:
        return _snapshot()[self.namespace]


_taken: dict[str, list[EntryPoint]] | None = None


def _snapshot(*, anew: bool = False) -> dict[str, list[EntryPoint]]:
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
    for distribution in importlib.metadata.distributions():
        try:
            entry_points = list(distribution.entry_points)
            if distribution.name not in seen:
                yield from entry_points
            seen.add(distribution.name)
        except Exception as error:
            where = getattr(distribution, "_path", distribution)
            warnings.warn(f"the entry points of {where} cannot be read: {_reason(error)}", RuntimeWarning, stacklevel=2)


def _find(kind: Kind, name: str) -> EntryPoint:
    found = _called(kind, name)
    if not found:
        _snapshot(anew=True)  # it may have been installed since
        found = _called(kind, name)
    if not found:
        raise PluginError(f"no {kind} plugin {name!r}.{did_you_mean(name, names(kind))} {_what_there_is(kind)}")
    if len(found) > 1:
        twins = ", and ".join(sorted(map(_where, found)))
        raise PluginError(f"{len(found)} {kind} plugins are called {name!r}: {twins}. Uninstall all but one of them")
    return found[0]


def _called(kind: Kind, name: str) -> list[EntryPoint]:
    return [entry_point for entry_point in _snapshot()[GROUPS[kind]] if entry_point.name == name]


def _what_there_is(kind: Kind) -> str:
    installed = names(kind)
    listed = f"Installed: {', '.join(installed)}" if installed else "None is installed"
    everything = (entry_point for group in _snapshot().values() for entry_point in group)
    if any(_distribution(entry_point).startswith("headrace ") for entry_point in everything):
        return listed
    return (
        f"{listed}. Headrace's own plugins are missing, for it can be imported but is not installed: run "
        "'pip install headrace', or 'pip install -e .' in its source tree"
    )


def _where(entry_point: EntryPoint) -> str:
    return f"module '{entry_point.value}' of {_distribution(entry_point)}"


def _distribution(entry_point: EntryPoint) -> str:
    origin: Any = entry_point.dist
    try:
        name, version = origin.metadata["Name"], origin.metadata["Version"]
    except Exception:  # without a file of metadata, it depends on the version of Python what is None and what raises
        name = None
    return f"{name} {version}" if name else "an unknown distribution"


# --- import and check ------------------------------------------------------------------------------------------------


class _Plugin:
    """One plugin that was imported and fits, with the manager that calls it alone."""

    __slots__ = ("alone", "entry_point", "kind", "module", "watched")

    def __init__(self, kind: Kind, entry_point: EntryPoint, module: ModuleType) -> None:
        self.kind = kind
        self.entry_point = entry_point
        self.module = module
        self.alone = _manager(module)
        self.watched: PluginManager | None = None

    def __str__(self) -> str:
        return _who(self.kind, self.entry_point)


_loaded: dict[tuple[Kind, str], _Plugin] = {}


def _load(kind: Kind, name: str) -> _Plugin:
    known = _loaded.get((kind, name))
    if known is not None:
        return known
    entry_point = _find(kind, name)
    module = _import(kind, entry_point)
    for reason in _misfits(kind, module):
        raise PluginError(f"{_who(kind, entry_point)} {reason}")
    try:
        plugin = _Plugin(kind, entry_point, module)
    except PluginValidationError as error:
        reason = " ".join(str(error).split())
        raise PluginError(f"{_who(kind, entry_point)} does not fit the hooks: {reason}") from error
    return _loaded.setdefault((kind, name), plugin)


def _import(kind: Kind, entry_point: EntryPoint) -> ModuleType:
    if not all(part.isidentifier() for part in entry_point.value.split(".")):
        reason = "an entry point of Headrace names a module, and nothing in it"
        raise PluginError(f"{_who(kind, entry_point)} cannot be imported: {reason}")
    try:
        driver = _Driver(entry_point.group, entry_point.name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a plugin that gives up must not end the program
        raise PluginError(f"{_who(kind, entry_point)} cannot be imported: {_reason(error)}") from error
    # Not `driver.driver`, which looks at whether a thing is true. And nothing was made on load: an error of the
    # plugin's own constructor would pass for one of stevedore's.
    return driver.extensions[0].plugin  # type: ignore[return-value]  # what an entry point loads, here a module


def _misfits(kind: Kind, module: ModuleType) -> Iterator[str]:
    """What is wrong with a module as a plugin of its kind, the gravest first.

    pluggy looks at marked functions only, and of their arguments only at those without a default.
    """
    api = getattr(module, "HEADRACE_API", None)
    if api is None:
        yield f"does not say which HEADRACE_API it was made for; this Headrace has {HEADRACE_API}"
    elif api != HEADRACE_API:
        yield f"was made for HEADRACE_API {shorten(api)}; this Headrace has {HEADRACE_API}: upgrade whichever is older"
    answers = False
    reader = _Manager("headrace")
    for attribute in dir(module):
        options = reader.parse_hookimpl_opts(module, attribute)
        if options is not None:
            name = options["specname"] or attribute
            wrapper = options["wrapper"] or options["hookwrapper"]
            answers |= name == _ANSWERS.get(kind) and not wrapper
            yield from _misfit(kind, name, getattr(module, attribute), wrapper, optional=options["optionalhook"])
        elif attribute in _HOOKS:
            yield f"has {attribute}, which is not a function marked with @hookimpl"
    if kind in _ANSWERS and not answers:
        yield f"does not implement {_ANSWERS[kind]}"


def _misfit(kind: Kind, name: str, function: Any, wrapper: bool, *, optional: bool) -> Iterator[str]:
    if name not in _HOOKS:
        if not optional:
            yield f"implements a hook that does not exist, {name}.{did_you_mean(name, _HOOKS)}"
        return
    if kind == "hooks" and name in _ALONE:
        yield f"implements {name}, which is asked only of the plugin that was chosen"
    elif kind == "hooks" and name not in _TOLD and not wrapper:
        yield f"implements {name}, which a plugin that is always on can only wrap: @hookimpl(wrapper=True)"
    if kind != "hooks" and name in _TOLD:
        yield f"implements {name}, which is called only in modules that are listed in '{GROUPS['hooks']}'"
    given = _HOOKS[name]
    takes = inspect.signature(function).parameters.values()
    if any(one.name not in given or one.kind is one.KEYWORD_ONLY for one in takes):
        bare = inspect.Signature([one.replace(default=one.empty, annotation=one.empty) for one in takes])
        yield f"implements {name}{bare}, but that hook gives ({', '.join(given)}), by position"


def _who(kind: Kind, entry_point: EntryPoint) -> str:
    return f"{kind} plugin '{entry_point.name}' ({_where(entry_point)})"


def _reason(error: BaseException) -> str:
    try:
        said = str(error)
    except Exception:  # it is somebody else's class
        said = ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


# --- call ------------------------------------------------------------------------------------------------------------


class _Manager(PluginManager):
    """Looks only where a hook can be.

    Most of what a module has is no function of Python. pluggy looks at each thing as carefully as at an attribute of an
    instance, which costs more than all the rest of a look-up.
    """

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        likely = type(vars(plugin).get(name)) in (FunctionType, MethodType)
        return super().parse_hookimpl_opts(plugin, name) if likely else None

    def parse_hookspec_opts(self, module_or_class: Any, name: str) -> Any:
        return super().parse_hookspec_opts(module_or_class, name) if name in _HOOKS else None


def _manager(*modules: ModuleType) -> PluginManager:
    """A manager with these modules, in that order; what was registered last wraps the others."""
    manager = _Manager("headrace")
    manager.add_hookspecs(hookspecs)
    for module in modules:
        manager.register(module)
    manager.check_pending()
    return manager


def _with_watchers(plugin: _Plugin) -> PluginManager:
    if plugin.watched is None:
        modules = [watcher.module for watcher in _watchers()]
        plugin.watched = _manager(plugin.module, *modules) if modules else plugin.alone
    return plugin.watched


_watching: tuple[_Plugin, ...] | None = None


def _watchers() -> tuple[_Plugin, ...]:
    """All that is listed in `headrace.hooks`, each loaded in isolation: what cannot be loaded is warned of once."""
    global _watching
    if _watching is None:
        _watching = tuple(watcher for name in names("hooks") if (watcher := _load_or_warn(name)))
    return _watching


def _load_or_warn(name: str) -> _Plugin | None:
    try:
        return _load("hooks", name)
    except PluginError as error:
        warnings.warn(f"{error}. It is left out", RuntimeWarning, stacklevel=2)
        return None


def _tell(hook: str, **arguments: Any) -> None:
    # One by one, since within one call pluggy passes over all those that come after one that raises.
    for watcher in _watchers():
        try:
            getattr(watcher.alone.hook, hook)(**arguments)
        except Exception as error:
            message = f"{watcher} raised in {hook}: {_reason(error)}. It is passed over"
            warnings.warn(message, RuntimeWarning, stacklevel=3)


def _settings(ref: PluginRef, expected: Any, who: str) -> Any:
    """An instance of the attrs class `expected` from the raw settings; None if there is no such class."""
    fields = {} if expected is None else {field.alias: field for field in attrs.fields(expected) if field.init}
    for key in ref.settings:
        if key not in fields:
            known = f"Settings: {', '.join(sorted(fields))}" if fields else "It takes none"
            raise SettingsError(f"{who} has no setting {key!r}.{did_you_mean(key, fields)} {known}")
    for alias, field in fields.items():
        if field.default is attrs.NOTHING and alias not in ref.settings:
            raise SettingsError(f"{who} needs the setting '{alias}'")
    try:
        return None if expected is None else expected(**ref.settings)
    except SettingsError:
        raise
    except (TypeError, ValueError) as error:
        said = error.args[0] if error.args else _reason(error)  # those of attrs have more than the words in `args`
        raise SettingsError(f"a setting of {who} does not fit: {said}") from error
