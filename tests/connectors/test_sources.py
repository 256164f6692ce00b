"""Ready sources: what they give, that they close what they open, and what they say of what is wrong."""

from __future__ import annotations

import contextlib
import os
import queue
import sqlite3
import threading
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from headrace import OperatorFailed, Pipeline, SettingsError
from headrace.connectors import CsvRows, Files, Glob, JsonLines, Lines, QueueItems, SqlQuery

PROFILES = pytest.mark.parametrize("profile", ["serial", "balanced"])


def all_of(source: Any, profile: str = "serial") -> list[Any]:
    outputs: list[Any] = (
        Pipeline("read", profile).source("source", source).map("same", lambda each: each).execute().outputs
    )
    return outputs


def open_files() -> set[str]:
    links = [Path("/proc/self/fd", each) for each in os.listdir("/proc/self/fd")]
    return {os.readlink(each) for each in links if each.is_symlink()}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.txt", "a.txt", "c.csv", "below/d.txt", "below/deep/e.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\nsecond of {name}\n")
    return tmp_path


class TestFiles:
    @PROFILES
    def test_in_order(self, tree: Path, profile: str) -> None:
        assert all_of(Files(tree, "*.txt"), profile) == [tree / "a.txt", tree / "b.txt"]
        deep = [tree / "a.txt", tree / "b.txt", tree / "below/d.txt", tree / "below/deep/e.txt"]
        assert all_of(Files(tree, "*.txt", recursive=True), profile) == deep
        assert all_of(Glob(f"{tree}/**/*.txt"), profile) == deep

    def test_no_such_directory(self, tree: Path) -> None:
        with pytest.raises(OperatorFailed, match="FileNotFoundError"):
            all_of(Files(tree / "missing"))
        with pytest.raises(SettingsError, match=r"Files.directory must be the path of a directory; got 3"):
            Files(3)  # type: ignore[arg-type]

    def test_a_run_can_come_again(self, tree: Path) -> None:
        pipeline = Pipeline("read").source("source", Files(tree)).map("name", lambda path: path.name)
        assert pipeline.execute().outputs == pipeline.execute().outputs == ["a.txt", "b.txt", "c.csv"]


class TestLines:
    @PROFILES
    def test_of_several_files(self, tree: Path, profile: str) -> None:
        lines = all_of(Lines([tree / "a.txt", tree / "b.txt"]), profile)
        assert lines == ["a.txt", "second of a.txt", "b.txt", "second of b.txt"]

    @PROFILES
    def test_closed_when_the_run_is_left(self, tmp_path: Path, profile: str) -> None:
        path = tmp_path / "long.txt"
        path.write_text("line\n" * 100_000)
        with Pipeline("read", profile).source("lines", Lines(path)).map("len", len).stream() as stream:
            assert next(stream) == 4
            assert str(path) in open_files()
        assert str(path) not in open_files()

    def test_what_is_wrong_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "bad.txt"
        path.write_bytes(b"good\n\xff\n")
        for source in (Lines(path), CsvRows(path, fields=["text"]), JsonLines(path)):
            with pytest.raises(OperatorFailed, match=r"bad.txt: 'utf-8' codec can't decode byte 0xff"):
                all_of(source)
        assert all_of(Lines(path, encoding="latin-1")) == ["good", "ÿ"]


class TestRecords:
    def test_csv(self, tmp_path: Path) -> None:
        path = tmp_path / "data.csv"
        path.write_text('name,text\none,"two\nlines"\n')
        assert all_of(CsvRows(path)) == [{"name": "one", "text": "two\nlines"}]
        path.write_text("1;2\n3;4\n")
        assert all_of(CsvRows(path, fields=("a", "b"), delimiter=";")) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]

    @pytest.mark.parametrize("row", ["1", "1,2,3"])
    def test_a_row_that_does_not_fit_is_an_error(self, tmp_path: Path, row: str) -> None:
        path = tmp_path / "data.csv"
        path.write_text(f"a,b\n1,2\n{row}\n")
        with pytest.raises(OperatorFailed, match=r"data.csv, line 3: \d values for 2 fields: a, b"):
            all_of(CsvRows(path))

    def test_csv_with_empty_lines_and_without_the_closing_quote(self, tmp_path: Path) -> None:
        path = tmp_path / "data.csv"
        path.write_text("a\n\n1\n\n")
        assert all_of(CsvRows(path)) == [{"a": "1"}]
        path.write_text('a\n1\n"2\n')
        with pytest.raises(OperatorFailed, match=r"data.csv, line 3: unexpected end of data"):
            all_of(CsvRows(path))

    @PROFILES
    def test_json_lines(self, tmp_path: Path, profile: str) -> None:
        path = tmp_path / "data.jsonl"
        path.write_text('{"a": 1}\n\n[2]\n')
        assert all_of(JsonLines(path), profile) == [{"a": 1}, [2]]
        path.write_text('1\n{"a":\n')
        with pytest.raises(OperatorFailed, match=r"data.jsonl, line 2"):
            all_of(JsonLines(path), profile)


class TestSql:
    @PROFILES
    def test_rows(self, tmp_path: Path, profile: str) -> None:
        path = tmp_path / "numbers.db"
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute("CREATE TABLE numbers (n INTEGER)")
            database.executemany("INSERT INTO numbers VALUES (?)", [(n,) for n in range(5_000)])
        source = SqlQuery(partial(sqlite3.connect, path), "SELECT n FROM numbers WHERE n >= ? ORDER BY n", (10,))
        assert all_of(source, profile) == [(n,) for n in range(10, 5_000)]
        with Pipeline("read", profile).source("rows", source).map("same", tuple).stream() as stream:
            assert next(stream) == (10,)
        assert str(path) not in open_files()


class TestQueue:
    @PROFILES
    def test_until_the_end_comes(self, profile: str) -> None:
        items: queue.Queue[Any] = queue.Queue()
        threading.Thread(target=lambda: [items.put(each) for each in (1, 2, 3, None, 4)]).start()
        assert all_of(QueueItems(items), profile) == [1, 2, 3]

    @pytest.mark.parametrize("way", ["stop", "close"])
    def test_one_that_waits_is_woken_by_the_end_of_the_run(self, way: str) -> None:
        items: queue.Queue[Any] = queue.Queue()
        items.put(1)
        pipeline = Pipeline("read").source("source", QueueItems(items)).map("same", int)
        stream = pipeline.stream()
        assert next(stream) == 1
        began_s = monotonic()
        if way == "stop":
            pipeline.stop()
            assert list(stream) == []
        else:
            stream.close()
        assert monotonic() - began_s < 2
        assert not [each.name for each in threading.enumerate() if each.name.startswith("headrace")]
