"""Each plugin and its state of health. One that is ill is in nobody's way."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import NamedTuple

from headrace import plugins, profiles
from headrace.errors import PluginError, SettingsError
from headrace.plugins.wording import reason

OK = "ok"
NOT_CHECKED = "not checked"
SOUND = (OK, NOT_CHECKED)
"""What the status is of a plugin of which nothing bad is known. Any other says why it cannot be used."""

PARTS: tuple[plugins.Kind, ...] = ("runner", "executor", "monitor", "dispatcher")
"""What a profile chooses."""


class Row(NamedTuple):
    """What is listed of a plugin."""

    kind: str
    name: str
    distribution: str | None
    version: str | None
    target: str
    status: str


def rows(*, check: bool) -> list[Row]:
    """All plugins, with the profiles that ship, kind by kind, by their names. Imports them only to check them."""
    kinds = list(plugins.GROUPS)
    found = sorted([*plugins.installed(), *_shipped()], key=lambda one: (kinds.index(one.kind), one.name, one.place))
    return [
        Row(one.kind, one.name, one.distribution, one.version, one.target, status(one, check=check)) for one in found
    ]


def _shipped() -> Iterator[plugins.Installed]:
    try:
        version = importlib.metadata.version("headrace")
    except importlib.metadata.PackageNotFoundError:
        version = None
    for name in profiles.SHIPPED:
        yield plugins.Installed("profile", name, profiles.__name__, "headrace", version)


def status(one: plugins.Installed, *, check: bool) -> str:
    """What is wrong with a plugin, in the words of the error that whoever chooses it gets, without its name."""
    look = examine if check else glance
    try:
        look(one)
    except (PluginError, SettingsError) as error:
        return str(error).removeprefix(f"{one} ")
    return OK if check else NOT_CHECKED


def glance(one: plugins.Installed) -> None:
    """Raises PluginError for what can be told without importing anything."""
    if one.kind != "profile" or not profiles.ships(one.name):
        plugins.find(one.kind, one.name)


def examine(one: plugins.Installed) -> None:
    """Raises PluginError or SettingsError for what a plugin's module, its settings class or its profile shows.

    What it prints goes to stderr, and what it raises ends nothing.
    """
    glance(one)
    try:
        with redirect_stdout(sys.stderr):
            _ask(one)
    except (PluginError, SettingsError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise PluginError(f"{one} raised while it was asked: {reason(error)}") from error


def _ask(one: plugins.Installed) -> None:
    if one.kind != "profile":
        plugins.settings_class(one.kind, one.name)
        return
    chosen = profiles.profile(one.name)
    for kind in PARTS:
        plugins.settings(kind, getattr(chosen, kind))
