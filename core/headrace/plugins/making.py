"""What a chosen plugin gives: a class, its settings, the thing that it makes."""

from __future__ import annotations

from typing import Any

import attrs

from headrace.errors import PluginError, SettingsError, shorten
from headrace.plan import PluginRef
from headrace.plugins.kinds import ANSWERS, METHODS, Kind
from headrace.plugins.loading import fitting
from headrace.plugins.watching import with_watchers
from headrace.plugins.wording import reason
from headrace.settings import did_you_mean


def plugin_class(kind: Kind, name: str, attribute: str) -> Any:
    """What the module of a plugin has under `attribute`: its public class."""
    plugin = fitting(kind, name)
    try:
        return getattr(plugin.module, attribute)
    except AttributeError:
        raise PluginError(f"{plugin} has no {attribute}") from None


def settings_class(kind: Kind, name: str) -> type | None:
    """The attrs class of a plugin's settings, or None if it takes none."""
    plugin = fitting(kind, name)
    found: Any = plugin.alone.hook.headrace_settings(name=name)
    if found is None or (isinstance(found, type) and attrs.has(found)):
        return found
    raise PluginError(f"{plugin} gives {shorten(found)} as its settings, which is not an attrs class")


def settings(kind: Kind, ref: PluginRef) -> Any:
    """An instance of the plugin's settings class from the raw settings; None if it takes none.

    PluginError if the plugin cannot be had, SettingsError if the settings do not fit it.
    """
    return _instance(ref, settings_class(kind, ref.name), f"{kind} plugin '{ref.name}'")


def make(kind: Kind, ref: PluginRef, context: Any = None) -> Any:
    """A new executor, runner, monitor or dispatcher.

    PluginError if the plugin cannot be had, SettingsError if the settings do not fit it. What the plugin itself raises
    while it makes the thing comes through as it is.
    """
    plugin = fitting(kind, ref.name)
    answer = getattr(with_watchers(plugin).hook, ANSWERS[kind])
    made = answer(name=ref.name, settings=settings(kind, ref), context=context)
    if made is None:
        raise PluginError(f"{plugin} made nothing: its {ANSWERS[kind]} gave None")
    for method in METHODS[kind]:
        if not callable(getattr(made, method, None)):
            raise PluginError(f"{plugin} made {shorten(made)}, which has no method '{method}'")
    return made


def profile(name: str) -> Any:
    """A profile that comes from a package."""
    plugin = fitting("profile", name)
    found = plugin.alone.hook.headrace_profile(name=name)
    if found is None:
        raise PluginError(f"{plugin} made nothing: its headrace_profile gave None")
    return found


def _instance(ref: PluginRef, expected: Any, who: str) -> Any:
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
        said = error.args[0] if error.args else reason(error)  # those of attrs have more than the words in `args`
        raise SettingsError(f"a setting of {who} does not fit: {said}") from error
