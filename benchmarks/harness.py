"""What all benchmarks share: rows, contenders, rounds, ratios, a table.

A benchmark file declares `Row`s and ends with `raise SystemExit(main("bench_x", ROWS))`. Then:

    parent                          child (one per contender and round: a fresh interpreter)
    ------                          -----------------------------------------------------
    for row: for round:
      limit, ours, peer, peer …  -> python bench_x.py --child ROW CONTENDER FILE
      (A B C … A B C …)             imports what it needs, warms up, measures one trial, checks the results
      figures of the trial       <- JSON in FILE
    medians, quartiles, ratios

* Speed drifts, so a ratio is made within one round, of neighbours in time, and the median of the rounds' ratios is
  shown: never the ratio of two medians.
* A contender that lacks its package, gives wrong results, fails or hangs gets its reason in the table, never a
  number, and is not asked again.
* A peer whose trial takes longer than 0.8 s is asked every third round only, and its line says so.
* Before the first round every contender is run once and its figures are thrown away (not with `--quick`).

`parent.py` has the parent's part, `tables.py` what it prints; children, of which hundreds start, import neither.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rows import AtMost, Clock, Contender, Figure, Figures, RatioAtMost, Row, Trial, Unable, Wrong, expect

__all__ = [
    "AtMost",
    "Clock",
    "Contender",
    "Figure",
    "Figures",
    "RatioAtMost",
    "Row",
    "Trial",
    "Unable",
    "Wrong",
    "expect",
    "main",
]


def _answer(contender: Contender, trial: Trial) -> dict[str, Any]:
    try:
        return {"figures": dict(contender.run(trial))}
    except ModuleNotFoundError as error:
        return {"reason": f"not installed ({error.name})"}
    except Unable as error:
        return {"reason": str(error)}
    except Wrong as error:
        return {"reason": f"WRONG: {error}"}
    except Exception as error:
        return {"reason": f"failed: {type(error).__name__}: {error}"[:200]}


def _be_child(rows: Sequence[Row], row_key: str, name: str, answer: str, *flags: str) -> None:
    row = next(row for row in rows if row.key == row_key)
    contender = next(contender for contender in row.contenders if contender.name == name)
    items = next((int(flag.removeprefix("--items=")) for flag in flags if flag.startswith("--items=")), None)
    figures = _answer(contender, Trial("--quick" in flags, "--warm" in flags, items))
    Path(answer).write_text(json.dumps(figures))
    sys.stderr.flush()
    os._exit(0)  # threads that a peer left behind must not hold up the run


def main(name: str, rows: Sequence[Row], packages: Sequence[str] = ("headrace",)) -> int:
    """Do what the command line asks for; `packages` are those whose versions are told. The exit status says nothing
    about speed."""
    if sys.argv[1:2] == ["--child"]:
        _be_child(rows, *sys.argv[2:])
    from parent import command

    return command(name, rows, packages)
