"""Medians, quartiles, ratios paired by round, verdicts, and the plain table of a row."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from rows import AtMost, RatioAtMost, Row, Standing


@dataclass(frozen=True)
class Spread:
    """Median and quartiles; of fewer than four values, least and most."""

    median: float
    low: float
    high: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        values = sorted(values)
        if not values:
            return None
        low, high = values[0], values[-1]
        if len(values) >= 4:
            low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(statistics.median(values), low, high, values[0], values[-1])

    def text(self, digits: int) -> str:
        if self.low == self.high:
            return f"{self.median:,.{digits}f}"
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f}..{self.high:,.{digits}f})"


def paired(of: Mapping[int, float], against: Mapping[int, float]) -> list[float]:
    """`of` over `against`, round by round, where both have a figure."""
    return [value / against[number] for number, value in of.items() if against.get(number)]


def _best_peer(row: Row, standings: Sequence[Standing]) -> Standing | None:
    key = row.figures[0].key
    peers = [s for s in standings if s.contender.kind == "peer" and not s.reason and s.values(key)]
    return min(peers, key=lambda s: statistics.median(s.values(key).values()), default=None)


def judge(row: Row, target: AtMost | RatioAtMost, standings: Sequence[Standing]) -> dict[str, Any]:
    """Hold one target against the figures: `text` says what is asked, `met` is None where nothing can be said."""
    by_name = {standing.contender.name: standing for standing in standings}
    ours = by_name.get(target.of)
    if isinstance(target, AtMost):
        head = next(figure.head for figure in row.figures if figure.key == target.figure)
        asked = f"{target.of}: {head} {'never over' if target.always else 'at most'} {target.bound:,g}"
        spread = Spread.of(ours.values(target.figure).values()) if ours and not ours.reason else None
        reached = spread and (spread.most if target.always else spread.median)
    else:
        other = _best_peer(row, standings) if target.against == "best peer" else by_name.get(target.against)
        named = target.against + (f" ({other.contender.name})" if other and target.against == "best peer" else "")
        asked = f"{target.of}: at most {target.bound:g} x {named}" + (f", aim {target.aim:g}" if target.aim else "")
        usable = ours and other and not ours.reason and not other.reason
        key = row.figures[0].key
        spread = Spread.of(paired(ours.values(key), other.values(key))) if usable and ours and other else None
        reached = spread and spread.median
    digits = next((f.digits for f in row.figures if isinstance(target, AtMost) and f.key == target.figure), 2)
    if spread is None or reached is None:
        return {"text": asked, "met": None, "reached": None}
    return {"text": asked, "met": reached <= target.bound, "reached": spread.text(digits)}


def machine(packages: Sequence[str]) -> dict[str, Any]:
    """The machine and the versions, as written above each table."""
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": cores,
        "load": [round(value, 2) for value in os.getloadavg()],
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cells(row: Row, standing: Standing, limit: Standing | None) -> list[str]:
    if standing.reason or not standing.rounds:
        return [standing.contender.name, standing.reason or "not run"]
    spreads = [(Spread.of(standing.values(figure.key).values()), figure) for figure in row.figures]
    cells = [spread.text(figure.digits) if spread else "-" for spread, figure in spreads]
    if limit is not None:
        for key in (row.figures[0].key, "cpu"):
            ratio = Spread.of(paired(standing.values(key), limit.values(key)))
            cells.append(ratio.text(2) if ratio else "-")
    notes = [standing.note, "slow: every third round" if standing.slow else ""]
    return [standing.contender.name, *cells, "; ".join(note for note in notes if note)]


def table(row: Row, standings: Sequence[Standing]) -> str:
    """The row as plain text: a line per contender, then a line per target."""
    limit = next((s for s in standings if s.contender.kind == "limit" and s.rounds), None)
    ratios = ["x limit", "CPU x limit"] if limit else []
    heads = ["", *(figure.head for figure in row.figures), *ratios, ""]
    lines = [heads, *(_cells(row, standing, limit) for standing in standings)]
    full = [line for line in lines if len(line) == len(heads)]
    widths = [max(len(line[column]) for line in full) for column in range(len(heads))]
    widths[0] = max(len(line[0]) for line in lines)
    text = [f"{row.key}  {row.title}", *([f"    {row.about}"] if row.about else [])]
    text += ["  " + "  ".join(cell.ljust(widths[i]) for i, cell in enumerate(line)).rstrip() for line in lines]
    for target in row.targets:
        verdict = judge(row, target, standings)
        word = {True: "met", False: "MISSED", None: "not measured"}[verdict["met"]]
        reached = f": {verdict['reached']}" if verdict["reached"] else ""
        text.append(f"  target  {verdict['text']}{reached}  {word}")
    return "\n".join(text)


def as_json(row: Row, standings: Sequence[Standing]) -> dict[str, Any]:
    contenders = {
        s.contender.name: {"kind": s.contender.kind, "reason": s.reason, "rounds": s.rounds} for s in standings
    }
    targets = [judge(row, target, standings) for target in row.targets]
    return {"title": row.title, "about": row.about, "contenders": contenders, "targets": targets}
