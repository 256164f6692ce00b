"""What is listed in `headrace.hooks`: always on, and told of every run."""

from __future__ import annotations

import warnings
from typing import Any

from pluggy import PluginManager

from headrace.errors import PluginError
from headrace.plugins.finding import names
from headrace.plugins.loading import Plugin, fitting
from headrace.plugins.manager import manager
from headrace.plugins.wording import reason


def plan_made(plan: Any) -> None:
    """Tell all watchers of a plan that is about to run. One that raises is warned of and passed over."""
    _tell("headrace_plan_made", plan=plan)


def observe(run: Any, dispatcher: Any) -> None:
    """Let all watchers subscribe to a run that is about to begin. One that raises is warned of and passed over."""
    _tell("headrace_observe", run=run, dispatcher=dispatcher)


def with_watchers(plugin: Plugin) -> PluginManager:
    """The manager that calls a plugin while those that are always on may wrap it."""
    if plugin.watched is None:
        modules = [watcher.module for watcher in _watchers()]
        plugin.watched = manager(plugin.module, *modules) if modules else plugin.alone
    return plugin.watched


_watching: tuple[Plugin, ...] | None = None


def _watchers() -> tuple[Plugin, ...]:
    """All that is listed in `headrace.hooks`, each loaded in isolation: what cannot be loaded is warned of once."""
    global _watching
    if _watching is None:
        _watching = tuple(watcher for name in names("hooks") if (watcher := _load_or_warn(name)))
    return _watching


def _load_or_warn(name: str) -> Plugin | None:
    try:
        return fitting("hooks", name)
    except PluginError as error:
        warnings.warn(f"{error}. It is left out", RuntimeWarning, stacklevel=2)
        return None


def _tell(hook: str, **arguments: Any) -> None:
    # One by one, since within one call pluggy passes over all those that come after one that raises.
    for watcher in _watchers():
        try:
            getattr(watcher.alone.hook, hook)(**arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit too: a watcher that gives up must not end the run
            message = f"{watcher} raised in {hook}: {reason(error)}. It is passed over"
            warnings.warn(message, RuntimeWarning, stacklevel=3)
