"""How many bytes an item holds, as far as that can be told cheaply."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEPTH = 3
"""Levels of containers that are looked into."""


def sizeof(item: Any, depth: int = DEPTH) -> int:
    """Bytes held by `item`: what `sys.getsizeof` says, the buffers of arrays (`nbytes`), and the members of lists,
    tuples, sets, dicts and plain objects, some levels deep. An estimate: what is shared counts each time."""
    try:
        size = sys.getsizeof(item)
    except Exception:
        size = 64
    nbytes = getattr(item, "nbytes", None)
    if isinstance(nbytes, int):
        return max(size, nbytes)
    if depth:
        size += sum(sizeof(member, depth - 1) for member in _members(item))
    return size


def _members(item: Any) -> list[Any]:
    if isinstance(item, dict):
        return [*item.keys(), *item.values()]
    if isinstance(item, (list, tuple, set, frozenset)):
        return list(item)
    return list(getattr(item, "__dict__", {}).values())
