"""The benchmarks run, and their harness tells the truth. No speed is asserted."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
SCRIPT = f"""
import os, sys, time
sys.path.insert(0, {str(BENCHMARKS)!r})
from harness import AtMost, Contender, Figure, RatioAtMost, Row, Unable, Wrong, expect, main

def fine(trial):
    return {{"s": 2.0, "cpu": 1.0}}

def wrong(trial):
    expect([1, 3], [1, 2])

def missing(trial):
    import headrace_no_such_package

def unable(trial):
    raise Unable("reads everything")

def hangs(trial):
    time.sleep(60)

def dies(trial):
    os._exit(3)

def limit(trial):
    return {{"s": 1.0, "cpu": 1.0}}

contenders = [Contender("limit", limit, "limit"), Contender("headrace", fine, "ours")]
contenders += [Contender(f.__name__, f) for f in (wrong, missing, unable, hangs, dies)]
targets = [RatioAtMost("limit", 1.5), RatioAtMost("best peer", 1.0), AtMost("s", 2.0)]
raise SystemExit(main("bench_x", [Row("X1", "a row", [Figure("s", "s")], contenders, targets)]))
"""


def run(script: Path, folder: Path, *options: str) -> tuple[dict[str, Any], str]:
    answer = folder / "answer.json"
    done = subprocess.run(
        [sys.executable, str(script), "--quick", "--json", str(answer), *options],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(answer.read_text())["rows"], done.stdout


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("tables")


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("rows")


@pytest.mark.parametrize(
    ("script", "only", "keys"),
    [
        ("bench_thread.py", "limit,headrace,bare,mp ThreadPool", ["A1", "A2", "A3", "A4", "A5", "A7"]),
        ("bench_coroutine.py", "limit,headrace,bare", ["A2c", "A3c", "A4c"]),
        (
            "bench_pipeline.py",
            "limit,headrace,bare,by hand,map and filter,without calls,mp ThreadPool,futures",
            ["C1", "C2", "C3-2", "C3-4", "C3-8", "C4", "C5", "C6", "C6-rate"],
        ),
        (
            "bench_events.py",
            "limit,headrace,the append,direct call,SimpleQueue,executor submit,logging",
            ["E1", "E2", "E2-busy", "E3", "E4", "E5"],
        ),
    ],
)
def test_every_row_runs_with_right_results(tmp_path: Path, script: str, only: str, keys: list[str]) -> None:
    """With the contenders that need no further package."""
    rows, printed = run(BENCHMARKS / script, tmp_path, "--only", only)
    assert list(rows) == keys
    if importlib.util.find_spec("aiohttp") is None:
        rows = {key: row for key, row in rows.items() if not key.startswith("C6")}
    for key, row in rows.items():
        assert {name: c["reason"] for name, c in row["contenders"].items() if c["reason"]} == {}, key
        assert all(c["rounds"] for c in row["contenders"].values()), key
        assert "headrace" in row["contenders"], key
        assert f"\n{key}  " in printed


def test_a_contender_that_fails_shows_its_reason_and_no_number(tmp_path: Path) -> None:
    script = tmp_path / "bench_x.py"
    script.write_text(SCRIPT)
    rows, printed = run(script, tmp_path, "--patience", "1")
    reasons = {name: contender["reason"] for name, contender in rows["X1"]["contenders"].items()}
    assert reasons == {
        "limit": None,
        "headrace": None,
        "wrong": "WRONG: result 1 is 3 instead of 2",
        "missing": "not installed (headrace_no_such_package)",
        "unable": "reads everything",
        "hangs": "HANGS: killed after 1 s",
        "dies": "died with exit status 3: nothing on stderr",
    }
    assert [target["met"] for target in rows["X1"]["targets"]] == [False, None, True]
    for reason in filter(None, reasons.values()):
        assert f"  {reason}\n" in printed
    assert "target  headrace: at most 1.5 x limit: 2.00  MISSED" in printed


def test_a_row_has_no_more_rounds_than_are_worth_their_time(tmp_path: Path) -> None:
    script = tmp_path / "bench_x.py"
    script.write_text(SCRIPT.replace("contenders, targets)]", "contenders, targets, rounds=2)]"))
    rows, _ = run(script, tmp_path, "--rounds", "3", "--only", "limit,headrace")
    assert {len(contender["rounds"]) for contender in rows["X1"]["contenders"].values()} == {2}


def test_a_trial_has_the_number_of_items_that_was_asked_for(rows: Any) -> None:
    assert [rows.Trial(**options).size(700, 7) for options in ({}, {"items": 50}, {"items": 50, "warm": True})] == [
        700,
        50,
        7,
    ]


def _get(url: str, number: int) -> int:
    with urllib.request.urlopen(f"{url}/{number}") as answer:
        return int(answer.read())


def test_the_server_of_the_benchmarks_counts_what_is_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp", reason="needs the extra `test`")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    http = importlib.import_module("pipeline_http")
    with http.server(0.05) as serving:
        with ThreadPoolExecutor(5) as pool:
            assert list(pool.map(partial(_get, serving.url), range(20))) == list(range(20))
        assert serving.counts() == {"most": 5, "total": 20, "per_s": 20}
        assert serving.counts() == {"most": 0, "total": 0, "per_s": 0}


def test_ratios_are_made_within_a_round(tables: Any) -> None:
    drifting_ours, drifting_limit = {1: 2.0, 2: 20.0, 4: 8.0}, {1: 1.0, 2: 10.0, 3: 5.0, 4: 2.0}
    assert tables.paired(drifting_ours, drifting_limit) == [2.0, 2.0, 4.0]


def test_spread_is_median_and_quartiles(tables: Any) -> None:
    assert tables.Spread.of([5, 1, 2, 4, 3]).text(1) == "3.0 (2.0..4.0)"
    assert tables.Spread.of([7, 7]).text(0) == "7"
    assert tables.Spread.of([]) is None


@pytest.mark.parametrize(("got", "said"), [([1], "1 results instead of 2"), ([2, 1], "result 0 is 2 instead of 1")])
def test_wrong_results_are_named(rows: Any, got: list[int], said: str) -> None:
    with pytest.raises(rows.Wrong, match=said):
        rows.expect(got, [1, 2])
