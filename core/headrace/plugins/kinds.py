"""The kinds of plugins: their groups of entry points, the hooks that answer for them, and what they make."""

from __future__ import annotations

import inspect
from typing import Literal

from headrace import hookspecs

Kind = Literal["executor", "runner", "monitor", "dispatcher", "profile", "hooks"]

GROUPS: dict[Kind, str] = {
    "executor": "headrace.executors",
    "runner": "headrace.runners",
    "monitor": "headrace.monitors",
    "dispatcher": "headrace.dispatchers",
    "profile": "headrace.profiles",
    "hooks": "headrace.hooks",
}

ANSWERS: dict[Kind, str] = {
    "executor": "headrace_make_executor",
    "runner": "headrace_make_runner",
    "monitor": "headrace_make_monitor",
    "dispatcher": "headrace_make_dispatcher",
    "profile": "headrace_profile",
}

METHODS: dict[Kind, tuple[str, ...]] = {
    "executor": ("open", "close"),
    "runner": ("start",),
    "monitor": ("session",),
    "dispatcher": ("subscribe", "notify", "emit", "flush", "close"),
}

TOLD = ("headrace_plan_made", "headrace_observe")
"""The hooks that all watchers are told by; every other hook has one answer, from the plugin that was chosen."""

ALONE = ("headrace_settings", "headrace_profile")
"""The hooks that nobody may wrap."""

HOOKS = {
    name: tuple(inspect.signature(spec).parameters)
    for name, spec in vars(hookspecs).items()
    if name.startswith("headrace_")
}
