"""The figures in the README, from the results that the benchmarks wrote with `--json`.

python benchmarks/readme.py          put them into README.md, between its two marks
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NAMES = ("bench_thread", "bench_coroutine", "bench_process", "bench_pipeline")
RESULTS = [ROOT / "benchmarks" / "results" / f"{name}.json" for name in NAMES]
README = ROOT / "README.md"
MARKS = "<!-- figures: made by benchmarks/readme.py -->\n", "<!-- end of figures -->\n"


def figures(documents: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of all rows, and a line on the machine and the versions."""
    head = "| | the work | limit | Headrace | best peer | target | reached |\n|---|---|---|---|---|---|---|\n"
    lines = "".join(_line(name, row) for document in documents for name, row in document["rows"].items())
    versions: dict[str, str] = {}
    for document in documents:
        versions |= document["machine"]["versions"]
    machine, rounds = documents[0]["machine"], {document["options"]["rounds"] for document in documents}
    tail = (
        f"\nMedians of {' or '.join(map(str, sorted(rounds)))} interleaved rounds{_fewer(documents)}, each in a fresh "
        f"process, on "
        f"{machine['cores']} cores ({machine['processor']}), {machine['python']}; targets hold for ratios within "
        f"the same round. The peers, used as their documentation says: "
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}. `make bench` measures yours.\n"
    )
    return head + lines + tail


def _fewer(documents: Sequence[dict[str, Any]]) -> str:
    """The rows that had fewer rounds than the others of their file."""
    found = [
        f"{name} of {len(row['contenders']['headrace']['rounds'])}"
        for document in documents
        for name, row in document["rows"].items()
        if len(row["contenders"]["headrace"]["rounds"]) < document["options"]["rounds"]
    ]
    return f" ({', '.join(found)})" if found else ""


def documents() -> list[dict[str, Any]]:
    """What has been measured so far, in the order of the table."""
    return [json.loads(path.read_text()) for path in RESULTS if path.exists()]


def _line(name: str, row: dict[str, Any]) -> str:
    """A row of the table; one more for each further target."""
    key, unit = _figure(row)
    ours = f"{_number(_median(row['contenders']['headrace'], key))} {unit}"
    first = [name, row["title"], _best(row, key, "limit"), ours, _best(row, key, "peer")]
    lines = []
    for target in row["targets"]:
        asked = target["text"].removeprefix("headrace: ")
        reached = f"{target['reached']}{'' if target['met'] else ' **missed**'}"
        lines.append(f"| {' | '.join([*first, asked, reached])} |\n")
        first = [""] * len(first)
    return "".join(lines)


def _figure(row: dict[str, Any]) -> tuple[str, str]:
    """The key of the row's first figure, and its unit."""
    rounds = row["contenders"]["headrace"]["rounds"]
    key = next(iter(next(iter(rounds.values()))))
    return key, {"us": "µs", "s": "s", "ms": "ms", "mib": "MiB"}.get(key, "items")


def _best(row: dict[str, Any], key: str, kind: str) -> str:
    of_kind = {
        name: _median(contender, key)
        for name, contender in row["contenders"].items()
        if contender["kind"] == kind and not contender["reason"]
    }
    if not of_kind:
        return ""
    name = min(of_kind, key=lambda each: of_kind[each])
    return f"{_number(of_kind[name])} ({name.removeprefix('limit: ')})"


def _median(contender: dict[str, Any], key: str) -> float:
    return statistics.median(figures[key] for figures in contender["rounds"].values())


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def put_into(readme: str, table: str) -> str:
    """The README with `table` between its marks."""
    before, rest = readme.split(MARKS[0])
    return before + MARKS[0] + table + MARKS[1] + rest.split(MARKS[1])[1]


if __name__ == "__main__":
    README.write_text(put_into(README.read_text(), figures(documents())))
    print(f"{README.name} has the figures of {', '.join(path.name for path in RESULTS)}")
