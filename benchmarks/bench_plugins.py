"""What it costs to find a plugin, beside one bare `entry_points()` call.

Each round starts one interpreter per case, in turn; a ratio is taken within a round, since the machine's speed drifts.
The targets are for what we add: to find, check and register a plugin whose module is imported already. What that module
itself costs to import is the plugin's own affair; the line "with its import" shows it (mostly the classes of attrs).
`made` is a look-up, the settings and the making of the thing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

FIRST_TIMES = 1.5
SECOND_MS = 2.0
FEWEST_ROUNDS = 15
PLUGINS = (
    ("monitor", "null", "headrace_monitors.null"),
    ("dispatcher", "inline", "headrace_events.inline"),
    ("executor", "thread", "headrace_executors.thread"),
)

PRELUDE = """
import importlib.metadata, json, time
import headrace.drive, headrace.plugins as plugins
from headrace.plan import PluginRef

def ms(function, *arguments):
    began = time.perf_counter()
    function(*arguments)
    return (time.perf_counter() - began) * 1e3
"""
BARE = "answer = [ms(importlib.metadata.entry_points)]"
LOOK_UP = """
kind, name, module = {plugin}
if {imported}:
    importlib.import_module(module)
answer = [ms(plugins.load, kind, name), ms(plugins.load, kind, name)]
answer += [ms(plugins.make, kind, PluginRef(name)), ms(plugins.make, kind, PluginRef(name))]
"""


def measure(code: str) -> list[float]:
    program = f"{PRELUDE}\n{code}\nprint(json.dumps(answer))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True
    )
    found: list[float] = json.loads(done.stdout)
    return found


def spread(values: list[float], unit: str) -> str:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return f"{median:8.3f} ({low:.3f}..{high:.3f}) {unit}"


def verdict(what: str, value: float, limit: float) -> str:
    return f"  target  {what}: at most {limit:g}: {value:.3f}  {'met' if value <= limit else 'MISSED'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21, help=f"at least {FEWEST_ROUNDS} (21)")
    parser.add_argument("--quick", action="store_true", help="one round: does it run at all?")
    options = parser.parse_args()
    if not options.quick and options.rounds < FEWEST_ROUNDS:
        parser.error(f"--rounds must be at least {FEWEST_ROUNDS}; got {options.rounds}")
    for plugin in PLUGINS:
        measure(look_up(plugin, imported=False))  # so that byte code is written
    bare: list[float] = []
    found: dict[str, list[list[float]]] = {name: [] for _, name, _ in PLUGINS}
    fresh: dict[str, list[float]] = {name: [] for _, name, _ in PLUGINS}
    for _ in range(1 if options.quick else options.rounds):
        bare += measure(BARE)
        for plugin in PLUGINS:
            found[plugin[1]].append(measure(look_up(plugin, imported=True)))
            fresh[plugin[1]].append(measure(look_up(plugin, imported=False))[0])
    print(f"plugins: median (quartiles) of {len(bare)} rounds, interleaved")
    print(f"  {'bare entry_points()':<32}{spread(bare, 'ms')}")
    for kind, name, _ in PLUGINS:
        show(f"{kind} {name}", bare, found[name], fresh[name])


def look_up(plugin: tuple[str, str, str], *, imported: bool) -> str:
    return LOOK_UP.format(plugin=plugin, imported=imported)


def show(plugin: str, bare: list[float], found: list[list[float]], fresh: list[float]) -> None:
    first, second, _, made = (list(column) for column in zip(*found, strict=True))
    ratios = [ours / theirs for ours, theirs in zip(first, bare, strict=True)]
    print(f"  {f'{plugin}: first look-up':<32}{spread(first, 'ms')}")
    print(f"  {'  over the bare call':<32}{spread(ratios, 'times')}")
    print(f"  {'  with its import':<32}{spread(fresh, 'ms')}")
    print(f"  {'  second look-up':<32}{spread(second, 'ms')}")
    print(f"  {'  made, the second time':<32}{spread(made, 'ms')}")
    print(verdict(f"{plugin}: first look-up over the bare call", statistics.median(ratios), FIRST_TIMES))
    print(verdict(f"{plugin}: second look-up in ms", statistics.median(second), SECOND_MS))


if __name__ == "__main__":
    main()
