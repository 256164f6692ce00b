"""What is known of a plugin by its entry point, without importing it."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any, NamedTuple

from headrace.plugins.kinds import Kind


class Installed(NamedTuple):
    """A plugin as its distribution lists it. `str` is how every error names it.

    target        the module, as the entry point has it
    distribution  and its version: None where they cannot be told, as there is no metadata
    """

    kind: Kind
    name: str
    target: str
    distribution: str | None
    version: str | None

    @classmethod
    def of(cls, kind: Kind, entry_point: EntryPoint) -> Installed:
        return cls(kind, entry_point.name, entry_point.value, *_origin(entry_point))

    @property
    def place(self) -> str:
        origin = " ".join(filter(None, (self.distribution, self.version))) or "an unknown distribution"
        return f"module '{self.target}' of {origin}"

    def __str__(self) -> str:
        return f"{self.kind} plugin '{self.name}' ({self.place})"


def _origin(entry_point: EntryPoint) -> tuple[str | None, str | None]:
    origin: Any = entry_point.dist
    try:
        return origin.metadata["Name"] or None, origin.metadata["Version"] or None
    except Exception:  # without a file of metadata, it depends on the version of Python what is None and what raises
        return None, None
