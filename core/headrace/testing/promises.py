"""What the conformance suites have in common: capabilities, and how a promise is switched off by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import pytest

from headrace.testing.aside import Aside
from headrace.testing.gate import PATIENCE_S, Gate
from headrace.testing.leaks import GONE_S

P = ParamSpec("P")
R = TypeVar("R")


def needs(*capabilities: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A test that holds only for those who claim these capabilities; for all others it is skipped, and says so."""

    def decorate(test: Callable[P, R]) -> Callable[P, R]:
        @wraps(test)
        def guarded(*arguments: P.args, **options: P.kwargs) -> R:
            suite: Any = arguments[0]
            suite.require(*capabilities)
            return test(*arguments, **options)

        return guarded

    return decorate


class Contract:
    """The ground of all suites.

    capabilities  what the plugin is able to do, out of `known`; a promise that rests on another one is not tested, and
                  the result shows which: `TestMine does not claim 'linger'`
    patience_s    seconds after which what has not happened never will
    gone_s        seconds after which all that was made for a run is gone
    """

    known: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()
    patience_s: float = PATIENCE_S
    gone_s: float = GONE_S

    def require(self, *capabilities: str) -> None:
        missing = ", ".join(repr(each) for each in capabilities if each not in self.capabilities)
        if missing:
            pytest.skip(f"{type(self).__name__} does not claim {missing}")

    def gate(self) -> Gate:
        return Gate(self.patience_s)

    def aside(self, work: Callable[..., R], *arguments: Any) -> Aside[R]:
        """`work` in a thread of its own."""
        return Aside(work, *arguments)

    def soon(self, work: Callable[..., R], *arguments: Any) -> R:
        """What `work` gives; the test fails if that takes too long. Longer than `patience_s`, so that whoever waits
        inside of `work` is the first to say what did not happen."""
        return Aside(work, *arguments).result(2 * self.patience_s)

    def test_the_capabilities_are_known(self) -> None:
        unknown = sorted(self.capabilities - self.known)
        assert not unknown, f"no such capabilities: {unknown}; there are {sorted(self.known)}"
