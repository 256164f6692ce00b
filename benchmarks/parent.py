"""The parent of all trials: runs the rounds, kills what hangs, prints the tables."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rows import Contender, Row, Standing
from tables import as_json, machine, table

SLOW_S = 0.8
RESULTS = Path(__file__).resolve().parent / "results"


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a child of ours that still runs, with all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _ask(row: Row, contender: Contender, options: argparse.Namespace, *, warm: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        answer, errors = Path(folder, "answer"), Path(folder, "errors")
        command = [sys.executable, sys.argv[0], "--child", row.key, contender.name, str(answer)]
        command += ["--quick"] * options.quick + ["--warm"] * warm + [f"--items={options.items}"] * bool(options.items)
        patience_s = max(options.patience, row.patience_s if not options.quick else 0.0)
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True
            )
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return {"reason": f"HANGS: killed after {patience_s:g} s"}
        finally:
            _kill_group(process)
        if answer.exists():
            return dict(json.loads(answer.read_text()))
        lines = errors.read_text(errors="replace").strip().splitlines() or ["nothing on stderr"]
        return {"reason": f"died with exit status {process.returncode}: {lines[-1]}"[:200]}


def _turn(row: Row, standing: Standing, number: int, options: argparse.Namespace) -> None:
    if standing.reason or (standing.slow and number % 3 != 1):
        return
    _progress(f"{row.key} round {number}: {standing.contender.name}")
    began_s = time.monotonic()
    answer = _ask(row, standing.contender, options, warm=number == 0)
    if standing.contender.kind == "peer" and number:
        standing.slow = time.monotonic() - began_s > SLOW_S
    if "reason" in answer:
        standing.reason = answer["reason"] + (f" (round {number})" if number > 1 else "")
    elif number:
        standing.rounds[number] = answer["figures"]


def run_row(row: Row, options: argparse.Namespace) -> list[Standing]:
    """All rounds of a row, contenders interleaved. Round 0 warms up and counts for nothing."""
    words = options.only.split(",") if options.only else [""]
    chosen = [c for c in row.contenders if any(word in c.name for word in words)]
    standings = [Standing(contender) for contender in chosen]
    rounds = min(options.rounds, row.rounds or options.rounds)
    for number in range(1 if options.quick else 0, rounds + 1):
        _progress(f"{row.key} round {number} of {rounds}", lasting=True)
        for standing in standings:
            _turn(row, standing, number, options)
    return standings


def _progress(text: str, *, lasting: bool = False) -> None:
    """One line on stderr, over and over; what is `lasting` also where stderr is a file."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif lasting:
        print(text, file=sys.stderr, flush=True)


def _options(name: str, rows: Sequence[Row]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=name, description="Median (quartiles) of the rounds; less is better.")
    parser.add_argument("--rounds", type=int, default=None, help="rounds per row (9; with --quick 1)")
    parser.add_argument("--rows", default="", help=f"some of {','.join(row.key for row in rows)}")
    parser.add_argument("--only", default="", help="contenders whose name contains one of these words: a,b")
    parser.add_argument("--items", type=int, default=None, help="another number of items, in all rows that run")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, no warm-up round: does it run at all?")
    parser.add_argument("--patience", type=float, default=20.0, help="seconds after which a trial is killed (20)")
    parser.add_argument(
        "--json", type=Path, nargs="?", const=RESULTS / f"{name}.json", help=f"write results/{name}.json, or this file"
    )
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 9)
    unknown = set(filter(None, options.rows.split(","))) - {row.key for row in rows}
    if unknown:
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(row.key for row in rows)}")
    return options


def command(name: str, rows: Sequence[Row], packages: Sequence[str]) -> int:
    """Run the rows asked for and print their tables."""
    options = _options(name, rows)
    wanted = [row for row in rows if not options.rows or row.key in options.rows.split(",")]
    began_s = time.monotonic()
    about = machine(packages)
    versions = ", ".join(f"{package} {version}" for package, version in about["versions"].items())
    print(f"{name}: {about['python']}, {about['system']}, {about['processor']}, {about['cores']} cores", end="")
    print(f", load {about['load'][0]}\n{versions}")
    print(f"{options.rounds} rounds at most, a fresh process each, interleaved; median (quartiles); less is better")
    sys.stdout.flush()
    answers = {}
    for row in wanted:
        standings = run_row(row, options)
        answers[row.key] = as_json(row, standings)
        _progress("")
        print(f"\n{table(row, standings)}", flush=True)
    took_s = time.monotonic() - began_s
    print(f"\ntook {took_s:.0f} s, load at the end {os.getloadavg()[0]:.2f}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        chosen = {"rounds": options.rounds, "quick": options.quick}
        chosen |= {"items": options.items} if options.items else {}
        document = {"name": name, "machine": about, "options": chosen}
        options.json.write_text(json.dumps({**document, "took_s": round(took_s, 1), "rows": answers}, indent=1) + "\n")
        print(f"written: {options.json.name}")
    return 0
