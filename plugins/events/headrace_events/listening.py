"""What dispatchers have in common about listeners: what they are called, what is said of errors."""

from __future__ import annotations

import inspect
import logging
import traceback
import warnings
from typing import Any

from headrace.errors import shorten

_log = logging.getLogger("headrace.events")


def awaits(listener: Any) -> bool:
    """Whether it is a coroutine function, or called as one."""
    return inspect.iscoroutinefunction(listener) or inspect.iscoroutinefunction(type(listener).__call__)


def name_of(listener: object) -> str:
    return getattr(listener, "__qualname__", None) or shorten(listener)


def where(error: BaseException) -> str:
    """The line that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "no line that is known"


def warn(message: str, category: type[Warning] = RuntimeWarning) -> None:
    try:
        warnings.warn(message, category, stacklevel=5)
    except Exception:
        _log.error(message)  # where warnings are made errors, or cannot be shown, it must still not reach who emits
