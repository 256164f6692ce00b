"""What travels between processes: pickle 5, or cloudpickle where pickle cannot, or would mislead.

Plain pickle takes a function or class of `__main__` by its name and fails only in the other process, whose `__main__`
is another. So where that name occurs in a pickle, cloudpickle makes another one, which has the thing itself.
"""

from __future__ import annotations

import pickle
from functools import partial

from headrace.errors import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Packed = tuple[bytes, list[memoryview]]  # a pickle, and the buffers that go beside it

LARGE = 1 << 16
"""Bytes from which on a buffer goes beside the pickle."""


def pack(value: Any, *, beside: bool = True) -> Packed:
    """`value` as a pickle and its large buffers, or all in the pickle. Raises whatever its pickling does."""
    try:
        packed = _packed(pickle.dumps, value, beside)
        if b"__main__" not in packed[0]:
            return packed
    except Exception:
        pass  # cloudpickle takes more, and if it does not, says better why
    import cloudpickle  # costs more than a worker may take to start

    return _packed(cloudpickle.dumps, value, beside)


def unpack(data: Any, buffers: Sequence[Any] = ()) -> Any:
    return pickle.loads(data, buffers=buffers)


def _packed(dumps: Callable[..., bytes], value: Any, beside: bool) -> Packed:
    if not beside:
        return dumps(value, protocol=5), []
    buffers: list[memoryview] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        """Whether a buffer stays in the pickle."""
        raw = buffer.raw()
        if raw.nbytes < LARGE:
            return True
        buffers.append(raw)
        return False

    return dumps(value, protocol=5, buffer_callback=keep), buffers


def pack_each(values: Sequence[Any]) -> tuple[list[bytes], dict[int, str]]:
    """Each value in a pickle of its own, and of those that cannot be pickled why, by their position."""
    packed, bad = [], {}
    for at, value in enumerate(values):
        try:
            packed.append(pack(value, beside=False)[0])
        except (Exception, SystemExit) as error:  # whatever its methods raise
            packed.append(b"")
            bad[at] = said(error)
    return packed, bad


def unpack_each(packed: Sequence[bytes]) -> tuple[list[Any], dict[int, str]]:
    """What `pack_each` packed, and of those that cannot be made again why, by their position."""
    values, bad = [], {}
    for at, data in enumerate(packed):
        try:
            values.append(unpack(data))
        except BaseException as error:  # whatever its methods raise
            values.append(None)
            bad[at] = said(error)
    return values, bad


def why_not(value: Any, name: str) -> str:
    """Which part of a function or object cannot be pickled, and why; empty if all of it can."""
    seen: set[int] = set()
    while True:
        error = _error_of(value)
        if error is None:
            return ""
        seen.add(id(value))
        inner = next(((said, part) for said, part in _parts(value) if id(part) not in seen and _error_of(part)), None)
        if inner is None:
            return f"{name} cannot be pickled: {type(error).__name__}: {error}"
        name, value = f"{inner[0]} of {name}", inner[1]


def _error_of(value: Any) -> Exception | None:
    try:
        pack(value)
    except Exception as error:
        return error
    return None


def _parts(value: Any) -> list[tuple[str, Any]]:
    """What a function or object is made of, with the word for each."""
    if isinstance(value, partial):
        named = [(f"argument '{name}'", part) for name, part in value.keywords.items()]
        return [("the function", value.func), *((f"argument {part!r}", part) for part in value.args), *named]
    if hasattr(value, "__self__") and hasattr(value, "__func__"):
        return [("the object", value.__self__)]
    code = getattr(value, "__code__", None)
    if code is None:
        names = [*getattr(value, "__dict__", {}), *getattr(type(value), "__slots__", ())]
        return [(f"attribute '{name}'", getattr(value, name)) for name in names if hasattr(value, name)]
    cells = zip(code.co_freevars, value.__closure__ or (), strict=False)
    closed = [(f"variable '{name}'", cell.cell_contents) for name, cell in cells if _is_filled(cell)]
    used = [(f"global '{name}'", value.__globals__[name]) for name in code.co_names if name in value.__globals__]
    defaults = [(f"default {part!r}", part) for part in value.__defaults__ or ()]
    return [*closed, *defaults, *(used if value.__module__ == "__main__" else [])]


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty one raises
    except ValueError:
        return False
    return True
