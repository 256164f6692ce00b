"""What somebody else's exception says."""

from __future__ import annotations


def reason(error: BaseException) -> str:
    """The class of an exception and what it says, if it can say anything."""
    try:
        said = str(error)
    except Exception:  # it is somebody else's class
        said = ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
