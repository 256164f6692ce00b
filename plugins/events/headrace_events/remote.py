"""A dispatcher that has travelled to a worker process: what is told there is told at home.

What a worker imports to have one is standard library, but for the events themselves.
"""

from __future__ import annotations

import os
import weakref
from itertools import count

from headrace import context
from headrace.errors import HeadraceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_numbers = count(1)
_keys: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()


def reduced(dispatcher: Any) -> tuple[Any, tuple[str]]:
    """What `dispatcher.__reduce__` gives: a key, by which it is found again here, and told from elsewhere."""
    key = getattr(dispatcher, "_key", None)
    if key is None:
        key = dispatcher._key = f"dispatcher-{os.getpid()}-{next(_numbers)}"
        _keys[key] = dispatcher
        context.dispatchers[key] = _Home(key)
        weakref.finalize(dispatcher, context.dispatchers.pop, key, None)
    return dispatcher_of, (key,)


class _Home:
    """Tells the dispatcher of a key, as long as there is one."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, type: type, **attributes: Any) -> None:
        dispatcher = _keys.get(self._key)
        if dispatcher is not None and type is _Emitted:
            dispatcher.emit(attributes["event"])
        elif dispatcher is not None:
            dispatcher.notify(type, **attributes)


class _Emitted:
    """Stands for the type of an event that is there already."""


def dispatcher_of(key: str) -> Any:
    """The dispatcher of a key: itself, where it lives."""
    return _keys.get(key) or RemoteDispatcher(key)


class RemoteDispatcher:
    """Stands for a dispatcher in a worker process: what it is told travels home with the results of the items."""

    def __init__(self, key: str) -> None:
        self._key = key
        if not context.lives_away():
            raise HeadraceError(
                "an event dispatcher has come to a process that is no worker of Headrace: nothing can be told at home "
                "from there. Make another one in that process"
            )

    def notify(self, type: type, /, **attributes: Any) -> None:
        """Tell that an event of `type` happened."""
        context.tell(self._key, type, attributes)

    def emit(self, event: Any) -> None:
        """Tell of an event that is there already."""
        context.tell(self._key, _Emitted, {"event": event})

    def subscribe(self, listener: Any, *types: type, batch: bool = False, max_pending: int | None = None) -> Any:
        """Raises HeadraceError: nobody listens here."""
        raise HeadraceError("listeners subscribe where the dispatcher was made, not in a worker process")

    def flush(self, timeout_s: float) -> bool:
        """False: what was told is on its way, or will be."""
        return False

    def close(self, timeout_s: float = 5.0) -> None:
        """Does nothing: it is closed at home."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return dispatcher_of, (self._key,)

    def __repr__(self) -> str:
        return f"<RemoteDispatcher {self._key}>"
