"""How an event comes of what was told of it.

The `__init__` of a frozen class sets each field by itself, which for an event takes longer than all else together. Most
classes of events are plain: each field has a default, and nothing looks at what it is given. Those are built by filling
their `__dict__` at once. What the class refuses, it refuses here as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from headrace.events import Event

Build = Callable[[dict[str, Any], float, float, str, int], Any]


def builder(type: type) -> Build:
    """What makes an event of (attributes, at_s, wall_s, source, sequence); what was given by name counts more. A class
    that is no `Event` gets the attributes alone."""
    if not issubclass(type, Event):
        return lambda given, at_s, wall_s, source, sequence: type(**given)
    defaults = _defaults(type)
    return _careful(type) if defaults is None else _at_once(type, defaults)


def _careful(type: type) -> Build:
    def build(given: dict[str, Any], at_s: float, wall_s: float, source: str, sequence: int) -> Any:
        facts: dict[str, Any] = {"at_s": at_s, "wall_s": wall_s, "source": source, "sequence": sequence}
        return type(**{**facts, **given})

    return build


def _at_once(type: type, defaults: dict[str, Any]) -> Build:
    new, put, many, careful = object.__new__, object.__setattr__, len(defaults), _careful(type)

    def build(given: dict[str, Any], at_s: float, wall_s: float, source: str, sequence: int) -> Any:
        facts = defaults.copy()
        facts["at_s"] = at_s
        facts["wall_s"] = wall_s
        facts["source"] = source
        facts["sequence"] = sequence
        facts.update(given)
        if len(facts) != many:  # a name that it has not
            return careful(given, at_s, wall_s, source, sequence)  # which says so
        event: Any = new(type)
        put(event, "__dict__", facts)
        return event

    return build


_FACTORY: Any = type(attrs.Factory(dict))
_GIVEN = frozenset({"at_s", "wall_s", "source", "sequence"})


def _defaults(kind: Any) -> dict[str, Any] | None:
    """The defaults of a plain class by the names of its fields; None for any other."""
    fields = kind.__dict__.get("__attrs_attrs__")
    if fields is None or any(base.__dict__.get("__slots__") for base in kind.__mro__):
        return None
    made = getattr(getattr(kind.__init__, "__code__", None), "co_filename", "")
    if not made.startswith("<attrs ") or kind.__new__ is not object.__new__:  # its own, which does what it likes
        return None
    if any(hasattr(kind, hook) for hook in ("__attrs_pre_init__", "__attrs_post_init__")):
        return None
    return {each.name: each.default for each in fields} if all(map(_plain, fields)) else None


def _plain(field: Any) -> bool:
    """Whether its value is what was given, or else the same for all."""
    made = isinstance(field.default, _FACTORY) and field.name not in _GIVEN
    checked = field.validator is not None or field.converter is not None
    return not (field.default is attrs.NOTHING or made or checked) and field.init and field.alias == field.name
