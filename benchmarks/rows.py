"""What a benchmark file declares: rows, their figures, contenders and targets; and what comes of them."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class Unable(Exception):
    """A contender cannot do this row; the text says why."""


class Wrong(Exception):
    """The results were not what they must be; the text says how."""


@dataclass(frozen=True)
class Trial:
    """What a contender is asked for: tiny sizes (`quick`); a run whose figures nobody sees (`warm`); another number of
    items than the full one (`items`)."""

    quick: bool = False
    warm: bool = False
    items: int | None = None

    def size(self, full: int, quick: int) -> int:
        return quick if self.quick or self.warm else self.items or full


Figures = Mapping[str, Any]  # a number by the key of its `Figure`; "note" is text


@dataclass(frozen=True)
class Contender:
    """`run` measures one trial in its own process. `kind`: limit, ours, peer, or hand (shown, but no peer)."""

    name: str
    run: Callable[[Trial], Figures]
    kind: str = "peer"


@dataclass(frozen=True)
class Figure:
    """One column. The first of a row is what ratios are made of; less is better in all of them."""

    key: str
    head: str
    digits: int = 3


@dataclass(frozen=True)
class AtMost:
    """A target: `figure` of contender `of` at most `bound`; in every round (`always`), or in the median."""

    figure: str
    bound: float
    of: str = "headrace"
    always: bool = False


@dataclass(frozen=True)
class RatioAtMost:
    """A target: contender `of` at most `bound` times `against` (a name, or "best peer"), paired by round."""

    against: str
    bound: float
    aim: float | None = None
    of: str = "headrace"


@dataclass(frozen=True)
class Row:
    """`rounds`: the most that are worth their time; `patience_s`: the least after which a trial is killed."""

    key: str
    title: str
    figures: Sequence[Figure]
    contenders: Sequence[Contender]
    targets: Sequence[AtMost | RatioAtMost] = ()
    about: str = ""
    rounds: int | None = None
    patience_s: float = 0.0

    @property
    def limit(self) -> str | None:
        return next((c.name for c in self.contenders if c.kind == "limit"), None)


class Clock:
    """Wall seconds and CPU seconds (this process and the children it has reaped) from `start` to `stop`."""

    wall_s = cpu_s = 0.0

    def start(self) -> Clock:
        self._cpu_s = cpu_seconds()
        self._wall_s = time.perf_counter()
        return self

    def stop(self) -> None:
        self.wall_s = time.perf_counter() - self._wall_s
        self.cpu_s = cpu_seconds() - self._cpu_s


def cpu_seconds() -> float:
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def expect(got: Iterable[Any], want: Sequence[Any]) -> None:
    """Raise `Wrong` unless `got` gives exactly `want`, in order."""
    got = list(got)
    if len(got) != len(want):
        raise Wrong(f"{len(got):,} results instead of {len(want):,}")
    for position, (one, other) in enumerate(zip(got, want, strict=True)):
        if one != other:
            raise Wrong(f"result {position:,} is {one!r} instead of {other!r}")


@dataclass
class Standing:
    """One contender's figures by round, or the reason why there are none."""

    contender: Contender
    rounds: dict[int, Figures] = field(default_factory=dict)
    reason: str | None = None
    slow: bool = False

    def values(self, key: str) -> dict[int, float]:
        found = {number: figures.get(key) for number, figures in self.rounds.items()}
        return {number: value for number, value in found.items() if value is not None}

    @property
    def note(self) -> str:
        return next((figures["note"] for figures in reversed(self.rounds.values()) if figures.get("note")), "")
