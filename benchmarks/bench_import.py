"""What `import headrace` costs over a bare interpreter, beside what the peers cost.

Each round starts one interpreter per line, the bare one first, in turn; a figure is the difference to the bare one of
the same round, since the machine's speed drifts. Lines for `typing` and `attrs` show why neither is imported.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

TARGET_MS = 5.0
FEWEST_ROUNDS = 15
PEERS = ("concurrent.futures", "joblib", "streamable", "aiostream", "mpire", "pypeln.thread")
NAMES = ("headrace", "typing", "attrs", *PEERS)
BARE = [sys.executable, "-I", "-c"]


def start_ms(code: str) -> float:
    """From the start of an interpreter that runs `code` to its end."""
    began = time.perf_counter()
    subprocess.run([*BARE, code], stdin=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - began) * 1e3


def importable(name: str) -> bool:
    """Whether it can be imported at all; once it was, its byte code is written."""
    done = subprocess.run([*BARE, f"import {name}"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return done.returncode == 0


def measure(names: list[str], rounds: int) -> dict[str, list[float]]:
    """By name, what its import took in each round, in ms over a bare interpreter."""
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        bare = start_ms("pass")
        for name in names:
            found[name].append(start_ms(f"import {name}") - bare)
    return found


def quartiles(values: list[float]) -> list[float]:
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21, help=f"at least {FEWEST_ROUNDS} (21)")
    parser.add_argument("--quick", action="store_true", help="one round, and us alone: does it run at all?")
    options = parser.parse_args()
    if not options.quick and options.rounds < FEWEST_ROUNDS:
        parser.error(f"--rounds must be at least {FEWEST_ROUNDS}; got {options.rounds}")
    rounds = 1 if options.quick else options.rounds
    names = [name for name in NAMES[: 1 if options.quick else None] if importable(name)]
    print(f"import, ms over a bare interpreter: median (quartiles) of {rounds} rounds, interleaved")
    for name, values in measure(names, rounds).items():
        low, median, high = quartiles(values)
        print(f"  {name:<20}{median:6.1f} ({low:.1f}..{high:.1f})")
        if name == "headrace":
            verdict = "met" if median <= TARGET_MS else "MISSED"
            print(f"  target  headrace: at most {TARGET_MS:g}: {median:.1f}  {verdict}")
    for name in () if options.quick else sorted({*NAMES} - {*names}):
        print(f"  {name:<20}not installed")


if __name__ == "__main__":
    main()
