"""Sinks that are opened, written to and closed: whatever ends the run, and what is there then."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import OperatorFailed, Pipeline, PipelineFailed, PipelineTimeout, SettingsError
from headrace.connectors import CsvRows, CsvSink, JsonLines, JsonLinesSink, SQLiteSink

PROFILES = pytest.mark.parametrize("profile", ["serial", "balanced"])


class Log:
    """A sink that keeps what was done with it, and raises where it is told to."""

    def __init__(self, bad: str = "") -> None:
        self.did: list[Any] = []
        self.bad = bad

    def _do(self, what: Any) -> None:
        self.did.append(what)
        if self.bad == what or (self.bad == "write" and isinstance(what, list)):
            raise OSError(f"no {self.bad}")

    def open(self) -> None:
        self._do("open")

    def write(self, items: Sequence[Any]) -> None:
        self._do(list(items))

    def close(self) -> None:
        self._do("close")

    def commit(self) -> None:
        self._do("commit")

    def abort(self) -> None:
        self._do("abort")

    @property
    def items(self) -> list[Any]:
        return [item for each in self.did if isinstance(each, list) for item in each]

    @property
    def calls(self) -> list[str]:
        return [each for each in self.did if isinstance(each, str)]


def numbers(profile: str, count: int = 1_000) -> Pipeline:
    return Pipeline("numbers", profile).source("data", lambda: range(count))


class TestTheEnds:
    @PROFILES
    def test_well(self, profile: str) -> None:
        log = Log()
        result = numbers(profile).map("same", int).sink("log", log).execute()
        assert log.items == list(range(1_000)) and log.calls == ["open", "close", "commit"]
        assert result.outputs == [] and result.report["log"].done == 1_000

    @PROFILES
    def test_well_without_an_item(self, profile: str) -> None:
        log = Log()
        numbers(profile, 0).sink("log", log).execute()
        assert log.did == ["open", "close", "commit"]

    def test_awaited(self) -> None:
        log = Log()
        asyncio.run(numbers("balanced").sink("log", log).execute_async())
        assert log.items == list(range(1_000)) and log.calls == ["open", "close", "commit"]

    @PROFILES
    def test_a_failure_before_it(self, profile: str) -> None:
        log = Log()
        with pytest.raises(OperatorFailed, match="'inverse' failed at item 5"):
            numbers(profile, 10).map("inverse", lambda n: 1 // (5 - n)).sink("log", log).execute()
        assert log.calls == ["open", "close", "abort"]

    @PROFILES
    def test_a_failure_elsewhere(self, profile: str) -> None:
        log = Log()
        pipeline = numbers(profile, 10).sink("log", log).map("inverse", lambda n: 1 // (5 - n), inputs="data")
        with pytest.raises(OperatorFailed, match="'inverse' failed at item 5"):
            pipeline.execute()
        assert log.items == list(range(10)) and log.calls == ["open", "close", "abort"]

    @PROFILES
    @pytest.mark.parametrize("bad", ["open", "write", "close", "commit"])
    def test_its_own_error(self, profile: str, bad: str) -> None:
        log = Log(bad)
        with pytest.raises(OperatorFailed, match=f"operator 'log' failed.*`{bad}` of .*OSError: no {bad}"):
            numbers(profile, 10).sink("log", log).execute()
        assert log.calls.count("close") == 1 and log.calls[-1] == "abort"

    @PROFILES
    def test_one_of_two_that_cannot_close_keeps_the_other_from_lasting(self, profile: str) -> None:
        good, bad = Log(), Log("close")
        with pytest.raises(OperatorFailed, match="'bad' failed: `close`"):
            numbers(profile, 10).sink("good", good).sink("bad", bad, inputs="data").execute()
        assert good.calls == ["open", "close", "abort"]

    @PROFILES
    def test_a_stream_that_is_left(self, profile: str) -> None:
        log = Log()
        pipeline = numbers(profile).sink("log", log).map("same", int, inputs="data")
        assert len(pipeline.execute().outputs["same"]) == 1_000
        other = Log()
        stream = numbers(profile).sink("log", other).stream()
        stream.close()
        assert other.calls in ([], ["open", "close", "abort"])

    @PROFILES
    def test_interrupted(self, profile: str) -> None:
        log = Log()

        def interrupted() -> Any:
            yield from range(5)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Pipeline("p", profile).source("data", interrupted).sink("log", log).execute()
        assert log.calls in ([], ["open", "close", "abort"])

    @PROFILES
    def test_at_a_deadline(self, profile: str) -> None:
        log = Log()
        pipeline = Pipeline("p", profile).source("data", itertools.count()).sink("log", log)
        with pytest.raises(PipelineTimeout):
            pipeline.execute(timeout_s=0.1)
        assert log.calls == ["open", "close", "abort"]

    @PROFILES
    def test_one_that_fails_to_close_after_another_error_is_warned_of(self, profile: str) -> None:
        with (
            pytest.warns(RuntimeWarning, match="no close"),
            pytest.raises(OperatorFailed, match="'inverse'"),
        ):
            numbers(profile, 9).map("inverse", lambda n: 1 // (5 - n)).sink("log", Log("close")).execute()


@PROFILES
def test_a_function_of_a_list(profile: str) -> None:
    lists: list[list[int]] = []
    numbers(profile).sink("lists", lists.append, per="batch").execute()
    assert [item for each in lists for item in each] == list(range(1_000))
    assert all(isinstance(each, list) for each in lists)


def test_wrong_targets_are_refused_in_words() -> None:
    async def write(items: list[int]) -> None: ...

    with pytest.raises(SettingsError, match="given lists must be a plain function"):
        numbers("serial").sink("log", write, per="batch")
    log = Log()
    with pytest.raises(SettingsError, match="is the target of another sink"):
        numbers("serial").sink("one", log).sink("two", log, inputs="data")
    with pytest.raises(SettingsError, match=r"not a class; got Log. Did you mean Log"):
        numbers("serial").sink("log", Log)
    with pytest.raises(SettingsError, match="are for a function of an item"):
        numbers("serial").sink("log", Log(), on_error="skip")
    with pytest.raises(SettingsError, match="sink 'log': per must be"):
        numbers("serial").sink("log", print, per="row")
    with pytest.raises(SettingsError, match="sink 'log': target must be"):
        numbers("serial").sink("log", 3, per="batch")
    with pytest.raises(SettingsError, match=r"JsonLinesSink.path must be the path of a file; got 3"):
        JsonLinesSink(3)  # type: ignore[arg-type]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


class TestFiles:
    @given(items=st.lists(values, max_size=8))
    @settings(max_examples=60, deadline=None)
    def test_json_lines_come_back(self, items: list[Any]) -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "out.jsonl")
            Pipeline("w", "serial").source("data", items).sink("file", JsonLinesSink(path)).execute()
            assert Pipeline("r", "serial").source("data", JsonLines(path)).execute().outputs == items

    @given(rows=st.lists(st.fixed_dictionaries({"a": st.text(), "b,": st.text()}), min_size=1, max_size=8))
    @settings(max_examples=60, deadline=None)
    def test_csv_comes_back(self, rows: list[dict[str, str]]) -> None:
        rows = [
            {name: "".join(c for c in t if not 0xD800 <= ord(c) < 0xE000) for name, t in row.items()} for row in rows
        ]
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "out.csv")
            Pipeline("w", "serial").source("data", rows).sink("file", CsvSink(path)).execute()
            assert Pipeline("r", "serial").source("data", CsvRows(path)).execute().outputs == rows

    @PROFILES
    def test_a_run_that_fails_leaves_the_old_file(self, tmp_path: Path, profile: str) -> None:
        path = tmp_path / "out.jsonl"
        path.write_text("old")
        path.chmod(0o640)
        pipeline = numbers(profile, 5_000).map("inverse", lambda n: 1 // (4_000 - n)).sink("file", JsonLinesSink(path))
        with pytest.raises(OperatorFailed):
            pipeline.execute()
        assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
        numbers(profile, 3).sink("file", JsonLinesSink(path)).execute()
        assert path.read_text() == "0\n1\n2\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o640 and list(tmp_path.iterdir()) == [path]

    def test_a_link_stays_one_and_a_new_file_has_the_mode_of_new_files(self, tmp_path: Path) -> None:
        (tmp_path / "below").mkdir()
        link = tmp_path / "link"
        link.symlink_to(tmp_path / "below/real")
        numbers("serial", 1).sink("file", JsonLinesSink(link)).execute()
        assert link.is_symlink() and (tmp_path / "below/real").read_text() == "0\n"
        (tmp_path / "new").touch()
        assert (tmp_path / "below/real").stat().st_mode == (tmp_path / "new").stat().st_mode

    def test_a_row_that_does_not_fit_is_an_error(self, tmp_path: Path) -> None:
        rows = [{"a": 1, "b": 2}, {"a": 1}]
        with pytest.raises(OperatorFailed, match=r"CsvSink.*lacks b"):
            Pipeline("w", "serial").source("data", rows).sink("file", CsvSink(tmp_path / "out.csv")).execute()
        rows = [{"a": 1}, {"a": 1, "b": 2}]
        with pytest.raises(OperatorFailed, match=r"CsvSink.*fields not in"):
            Pipeline("w", "serial").source("data", rows).sink("file", CsvSink(tmp_path / "out.csv")).execute()
        assert not list(tmp_path.iterdir())

    def test_one_sink_does_not_serve_two_runs_at_once(self, tmp_path: Path) -> None:
        sink = JsonLinesSink(tmp_path / "out.jsonl")

        def source() -> Any:
            yield 1
            yield "last"

        def other(item: Any) -> Any:
            if item == "last":
                with pytest.raises(OperatorFailed, match="open for another operator or run"):
                    numbers("serial", 3).sink("file", sink).execute()
            return item

        pipeline = Pipeline("one", "serial", window=1).source("data", source).map("other", other, executor="serial")
        pipeline.sink("file", sink).execute()
        assert (tmp_path / "out.jsonl").read_text() == '1\n"last"\n' and len(list(tmp_path.iterdir())) == 1

    def test_one_sink_serves_two_runs(self, tmp_path: Path) -> None:
        pipeline = numbers("balanced", 3).sink("file", CsvSinkOfNumbers(tmp_path / "out.csv"))
        pipeline.execute()
        pipeline.execute()
        assert (tmp_path / "out.csv").read_text() == "n\n0\n1\n2\n"


class CsvSinkOfNumbers(CsvSink):
    def write(self, items: Sequence[Any]) -> None:
        super().write([{"n": item} for item in items])


class TestSQLite:
    @PROFILES
    def test_a_batch_is_there_whole_or_not_at_all(self, tmp_path: Path, profile: str) -> None:
        path = tmp_path / "numbers.db"
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute("CREATE TABLE numbers (n INTEGER CHECK (n <> 700))")
        pipeline = (
            numbers(profile)
            .map("row", lambda n: (n,))
            .sink("store", SQLiteSink(path, "INSERT INTO numbers VALUES (?)"))
        )
        with pytest.raises(OperatorFailed, match=r"SQLiteSink.*CHECK constraint failed") as caught:
            pipeline.execute()
        result = caught.value.result
        assert result is not None
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            there = [n for (n,) in database.execute("SELECT n FROM numbers ORDER BY n")]
        assert there == list(range(len(there))) and len(there) == result.report["store"].done <= 700

    def test_rows_as_dicts(self, tmp_path: Path) -> None:
        path = tmp_path / "numbers.db"
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute("CREATE TABLE numbers (n INTEGER)")
        sink = SQLiteSink(path, "INSERT INTO numbers VALUES (:n)")
        numbers("balanced").map("row", lambda n: {"n": n}).sink("store", sink).execute()
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            assert database.execute("SELECT count(*), sum(n) FROM numbers").fetchone() == (1_000, 499_500)


PROGRAM = """
import json, resource, signal, sqlite3, sys
from headrace import OperatorFailed, Pipeline
from headrace.connectors import CsvSink, JsonLinesSink, SQLiteSink
kind, path, way = sys.argv[1:]
sink = {
    "json": lambda: JsonLinesSink(path),
    "csv": lambda: CsvSink(path),
    "sqlite": lambda: SQLiteSink(path, "INSERT INTO items VALUES (:n, :text)"),
}[kind]()

def items():
    for n in range(200_000):
        if way == "kill" and n == 20_000:
            print("ready", flush=True)
            sys.stdin.read()  # until it is killed
        yield {"n": n, "text": "x" * 100}

if way == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
try:
    Pipeline("write", sys.argv[0] and "balanced").source("items", items).sink("store", sink).execute()
except OperatorFailed as error:
    print(json.dumps({"error": str(error), "done": error.result.report["store"].done}))
"""


def stored(path: Path) -> list[int]:
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        return [n for (n,) in database.execute("SELECT n FROM items ORDER BY n")]


@pytest.mark.parametrize("kind", ["json", "csv", "sqlite"])
class TestTheWorst:
    def begin(self, tmp_path: Path, kind: str, way: str) -> tuple[Path, subprocess.Popen[str]]:
        path = tmp_path / "out"
        if kind == "sqlite":
            with contextlib.closing(sqlite3.connect(path)) as database, database:
                database.execute("CREATE TABLE items (n INTEGER, text TEXT)")
        else:
            path.write_text("old")
        program = [sys.executable, "-c", PROGRAM, kind, str(path), way]
        return path, subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def test_killed(self, tmp_path: Path, kind: str) -> None:
        path, process = self.begin(tmp_path, kind, "kill")
        with process:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGKILL)
        if kind == "sqlite":
            there = stored(path)
            assert there == list(range(len(there))) and there
        else:
            assert path.read_text() == "old"

    def test_a_full_disk(self, tmp_path: Path, kind: str) -> None:
        path, process = self.begin(tmp_path, kind, "full")
        told = json.loads(process.communicate(timeout=60)[0])
        name = {"json": "JsonLinesSink", "csv": "CsvSink", "sqlite": "SQLiteSink"}[kind]
        assert "operator 'store' failed" in told["error"] and name in told["error"] and str(path) in told["error"]
        if kind == "sqlite":
            assert stored(path) == list(range(told["done"])) and told["done"] > 0
        else:
            assert path.read_text() == "old" and os.listdir(tmp_path) == ["out"]


def test_several_errors_are_all_told() -> None:
    pipeline = numbers("balanced", 10).sink("one", Log("write")).sink("two", Log("write"), inputs="data")
    with pytest.raises(PipelineFailed) as caught:
        pipeline.execute()
    assert sorted(getattr(error, "operator", "") for error in caught.value.exceptions) == ["one", "two"]


def test_what_can_be_called_is_a_function_also_if_it_can_write(tmp_path: Path) -> None:
    seen: list[int] = []
    call: Callable[[int], None] = seen.append
    numbers("serial", 3).sink("see", call).execute()
    assert seen == [0, 1, 2]
