"""How errors name a plugin, and what somebody else's exception says."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

from headrace.plugins.kinds import Kind


def who(kind: Kind, entry_point: EntryPoint) -> str:
    """A plugin as every error names it: its kind, name, module, distribution and version."""
    return f"{kind} plugin '{entry_point.name}' ({where(entry_point)})"


def where(entry_point: EntryPoint) -> str:
    return f"module '{entry_point.value}' of {distribution(entry_point)}"


def distribution(entry_point: EntryPoint) -> str:
    origin: Any = entry_point.dist
    try:
        name, version = origin.metadata["Name"], origin.metadata["Version"]
    except Exception:  # without a file of metadata, it depends on the version of Python what is None and what raises
        name = None
    return f"{name} {version}" if name else "an unknown distribution"


def reason(error: BaseException) -> str:
    """The class of an exception and what it says, if it can say anything."""
    try:
        said = str(error)
    except Exception:  # it is somebody else's class
        said = ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
