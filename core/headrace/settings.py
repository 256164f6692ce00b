"""Settings that refuse early, in words: what, where, what it got, what would do. And how many cores there are.

A `Rule` serves as an attrs validator and, with `check`, anywhere else:

    max_workers: int | None = field(default=None, validator=or_none(whole_number(at_least=1, of="threads")))
    whole_number(at_least=1, of="items").check("Pipeline.window", window)
"""

from __future__ import annotations

import math
import operator
import os

from headrace.errors import SettingsError, shorten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any


class Rule:
    """What a value must be: `words` for the reader, `fits` for the value, `hint` for what may have been meant."""

    __slots__ = ("fits", "hint", "words")

    def __init__(self, words: str, fits: Callable[[Any], bool], hint: Callable[[Any], str] = lambda value: "") -> None:
        self.words = words
        self.fits = fits
        self.hint = hint

    def check(self, where: str, value: Any) -> None:
        """Raise a SettingsError that names the setting, as in `ThreadSettings.max_workers`, unless `value` fits."""
        if not self.fits(value):
            raise SettingsError(f"{where} must be {self.words}; got {shorten(value)}{self.hint(value)}")

    def __call__(self, instance: object, attribute: Any, value: Any) -> None:
        self.check(f"{type(instance).__name__}.{attribute.name}", value)

    def __repr__(self) -> str:
        return f"<Rule: {self.words}>"


def or_none(rule: Rule) -> Rule:
    return Rule(f"{rule.words}, or None", lambda value: value is None or rule.fits(value), rule.hint)


def whole_number(*, at_least: int | None = None, at_most: int | None = None, of: str = "") -> Rule:
    """An int, or what says that it is one by `__index__` (as numpy's integers do); a bool is not a number."""
    words = f"a whole number of {of}" if of else "a whole number"
    return Rule(words + _between(at_least, at_most), lambda value: _within(_whole(value), at_least, at_most))


def number(
    *, at_least: float | None = None, above: float | None = None, at_most: float | None = None, of: str = ""
) -> Rule:
    """A real number that is neither infinite nor "not a number"."""
    words = f"a number of {of}" if of else "a number"
    return Rule(
        words + _between(at_least, at_most, above), lambda value: _within(_real(value), at_least, at_most, above)
    )


def seconds(*, at_least: float | None = None, above: float | None = None, at_most: float | None = None) -> Rule:
    """A finite number of seconds, not negative unless `at_least` says so. "For ever" is None: see `or_none`."""
    if at_least is None and above is None:
        at_least = 0
    return number(at_least=at_least, above=above, at_most=at_most, of="seconds")


def choice(*options: str) -> Rule:
    return Rule(
        "one of " + ", ".join(map(repr, options)),
        lambda value: isinstance(value, str) and value in options,
        lambda value: (meant := did_you_mean(value, options)) and f".{meant}",
    )


def flag() -> Rule:
    return Rule("True or False", lambda value: isinstance(value, bool))


def text(*, of: str = "") -> Rule:
    return Rule(
        f"{of + ', a string and' if of else 'a string,'} not empty",
        lambda value: isinstance(value, str) and value != "",
    )


def function(*, of: str = "a function") -> Rule:
    """Anything that can be called. `of` says what for: `function(of="a function of one item")`."""
    return Rule(f"{of}, or something else that can be called", callable)


def did_you_mean(name: object, names: Iterable[str]) -> str:
    """` Did you mean 'thread'?`, with the space before it, or nothing if none of the `names` is close to `name`."""
    import difflib  # here, since most settings are right

    by_lower = {known.lower(): known for known in names}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1) if isinstance(name, str) else []
    return f" Did you mean '{by_lower[close[0]]}'?" if close else ""


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _real(value: Any) -> float | None:
    # Text has no `__float__`, but `float` reads it.
    if isinstance(value, bool) or not (hasattr(value, "__float__") or hasattr(value, "__index__")):
        return None
    try:
        real = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return real if math.isfinite(real) else None


def _within(
    value: float | None, at_least: float | None, at_most: float | None = None, above: float | None = None
) -> bool:
    return (
        value is not None
        and (at_least is None or value >= at_least)
        and (at_most is None or value <= at_most)
        and (above is None or value > above)
    )


def _between(at_least: float | None, at_most: float | None = None, above: float | None = None) -> str:
    bounds = (("at least", at_least), ("above", above), ("at most", at_most))
    return "".join(f", {words} {bound}" for words, bound in bounds if bound is not None)


def cores() -> int:
    """How many cores this process may use at once, at least 1.

    The least of what its affinity allows and, on Linux, of the quotas of its control groups (version 1 and 2), rounded
    up: with a quota of 1.5 cores a second worker still gets half a core. Where neither can be asked, all cores.
    """
    return max(1, min([_cores_of_process(), *map(math.ceil, _quotas())]))


def _cores_of_process() -> int:
    counted: Callable[[], int | None] | None = getattr(os, "process_cpu_count", None)  # Python 3.13 and newer
    if counted is not None:
        return counted() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: str = "/") -> Iterator[float]:
    """The limits, in cores, of the control groups that this process is in, and of all those above them.

    Inside a container the path in `/proc/self/cgroup` may be the host's and lead nowhere; the group that counts is then
    the top of what is mounted, which is among those above.
    """
    for line in _read(os.path.join(root, "proc/self/cgroup")).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            tops, read = ("sys/fs/cgroup", "sys/fs/cgroup/unified"), _quota_v2
        elif "cpu" in controllers.split(","):
            tops, read = ("sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"), _quota_v1
        else:
            continue
        parts = [part for part in path.split("/") if part]
        for depth in range(len(parts) + 1):
            for top in tops:
                yield from read(os.path.join(root, top, *parts[:depth]))


def _quota_v2(group: str) -> Iterator[float]:
    return _ratio(*_read(os.path.join(group, "cpu.max")).split()[:2])


def _quota_v1(group: str) -> Iterator[float]:
    files = (os.path.join(group, name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
    return _ratio(*(_read(file).strip() for file in files))


def _ratio(quota: str = "", period: str = "") -> Iterator[float]:
    """One figure, or none: a group without a limit says "max" or -1, a file that is not there is read as empty."""
    if quota.isdigit() and period.isdigit() and int(period):
        yield int(quota) / int(period)


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except (OSError, ValueError):
        return ""
