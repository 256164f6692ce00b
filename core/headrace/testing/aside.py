"""Work in a thread of its own, so that a test fails where it would hang."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Aside(Generic[T]):
    """Runs `work` in a daemon thread, from now on. `result` gives what came of it, or fails if nothing did in time.

    A thread that hangs is left to itself: it is the executor's to end, and the test has failed by then.
    """

    def __init__(self, work: Callable[..., T], *arguments: Any) -> None:
        self._work = work
        self._arguments = arguments
        self._value: T
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"aside-{_name(work)}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._work(*self._arguments)
        except BaseException as error:
            self._error = error

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def result(self, within_s: float) -> T:
        """What `work` gave or raised; AssertionError if it is not done within `within_s` seconds."""
        self._thread.join(within_s)
        if self._thread.is_alive():
            raise AssertionError(f"{_name(self._work)} hangs: it is not done after {within_s} s")
        if self._error is not None:
            error, self._error = self._error, None  # or its traceback would keep alive what the work had
            raise error
        return self._value

    def __repr__(self) -> str:
        return f"<Aside {_name(self._work)}, {'ended' if self.ended else 'at work'}>"


def _name(work: Callable[..., Any]) -> str:
    return getattr(work, "__qualname__", repr(work))
