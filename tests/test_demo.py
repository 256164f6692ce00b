"""The census against a loop written anew here, and the command in every right and wrong use."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import sysconfig
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner, Result

from headrace.cli import census, main

GOOD = {
    "a/__init__.py": b"",
    "a/one.py": b"import os\n\ndef f(x):\n    return [x, os.x]\n\nclass C:\n    async def g(self): return self\n",
    "a/latin.py": "# -*- coding: latin-1 -*-\nm\xfc = 'gr\xfc\xdfe'\n".encode("latin-1"),
    "a/marked.py": b"\xef\xbb\xbfx = lambda: 1\n",
    "a/crlf.py": b"x = 1\r\ny = x\r\n",
    "a/escape.py": b"pattern = '\\d'\n",
    "a.py": b"class A: pass\n",
    "folder.py/inner.py": b"z = 1\n",
    "B.py": b"print(1, 2)",
    "contest.py": b"len(len)\n",
}
TESTS = {
    "a/test_one.py": b"def test(): pass\n",
    "a/one_test.py": b"def test(): pass\n",
    "tests/deep/helper.py": b"x = 1\n",
    "test/support.py": b"x = 1\n",
    "idle_test/x.py": b"x = 1\n",
}
BAD = {
    "a/broken.py": b"def f(:\n",
    "a/null.py": b"x = 1\0\n",
    "a/undecodable.py": b"x = '\xff'\n",
    "tests/coding.py": b"# coding: no-such-thing\n",
}
NO_TEXT = os.fsdecode(b"byte\xff.py")
OTHER = {"notes.txt": b"text", "a/stub.pyi": b"x: int\n", "a/py": b"x"}


class Oracle(NamedTuple):
    """What a plain loop finds in a tree."""

    found: int
    kept: int
    lines: int
    records: list[dict[str, Any]]
    dead: list[str]


def oracle(root: Path, without: str = "") -> Oracle:
    found = 0
    dead: list[str] = []
    records: list[dict[str, Any]] = []
    for path in sorted(root.rglob("*.py")):
        below = path.relative_to(root)
        if not path.is_file() or without in below.parts:
            continue
        found += 1
        data = path.read_bytes()
        try:
            with warnings.catch_warnings(action="ignore"):
                nodes = list(ast.walk(ast.parse(data)))
        except (SyntaxError, ValueError):
            dead.append(below.as_posix())
            continue
        if re.search(r"(^|/)(tests?|idle_test)/|(^|/)test_[^/]*$|_test\.py$", below.as_posix()):
            continue
        names = Counter(node.id for node in nodes if isinstance(node, ast.Name))
        records.append(
            {
                "path": below.as_posix(),
                "lines": len(data.splitlines()),
                "functions": sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes),
                "classes": sum(isinstance(node, ast.ClassDef) for node in nodes),
                "names": dict(names),
            }
        )
    return Oracle(found, len(records), sum(r["lines"] for r in records), records, dead)


def plant(root: Path, *groups: dict[str, bytes]) -> Path:
    for group in groups:
        for name, data in group.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder whose own name is a test's, with good, bad and other files, and links and pipes to stumble over."""
    root = plant(tmp_path / "tests", GOOD, TESTS, BAD, OTHER)
    (root / "a" / "round").symlink_to(root)
    (root / "a" / "linked.py").symlink_to(root / "a" / "one.py")
    os.mkfifo(root / "a" / "pipe.py")
    return root


def demo(*args: object, **options: Any) -> Result:
    return CliRunner().invoke(main, ["demo", *map(str, args)], **options)


def number(output: str, row: str) -> int:
    match = re.search(rf"^\s*{row}\s+([\d,]+)\s*$", output, re.MULTILINE)
    assert match, output
    return int(match[1].replace(",", ""))


def written(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("ascii").splitlines()]


def left_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


# The functions on their own


def test_the_walk_has_the_order_of_rglob(tree: Path) -> None:
    expected = [p.relative_to(tree).as_posix() for p in sorted(tree.rglob("*.py")) if p.is_file()]
    assert [found.path for found in census.walk(str(tree))] == expected


def test_the_walk_leaves_folders_out_by_name(tree: Path) -> None:
    assert [f.path for f in census.walk(str(tree), {"a", "folder.py", "test", "tests", "idle_test"})] == [
        "B.py",
        "a.py",
        "contest.py",
    ]


@pytest.mark.parametrize("path", [*GOOD, "tests.py", "a/testing/x.py", "latest.py", "mytests/x.py"])
def test_no_tests(path: str) -> None:
    assert not census.is_test(path)


@pytest.mark.parametrize("path", [*TESTS, "test_.py", "a/tests/b/c.py"])
def test_tests(path: str) -> None:
    assert census.is_test(path)


@pytest.mark.parametrize("path", BAD)
def test_what_does_not_parse_raises(path: str) -> None:
    with pytest.raises((SyntaxError, ValueError)):
        census.parse(census.Source(path, BAD[path]))


def test_nesting_too_deep_for_the_parser_raises() -> None:
    with pytest.raises((RecursionError, MemoryError, SyntaxError)):
        census.parse(census.Source("deep.py", b"-" * 100_000 + b"1"))


def test_count(tree: Path) -> None:
    record = census.count(census.parse(census.read(census.Found(str(tree), "a/one.py"))))
    assert record == ("a/one.py", 7, 2, 1, {"os": 1, "self": 1, "x": 1})
    assert list(record.names) == ["os", "self", "x"]


def test_the_functions_and_their_items_pickle(tree: Path) -> None:
    for function in (census.read, census.parse, census.is_no_test, census.count):
        assert pickle.loads(pickle.dumps(function)) is function
    found = pickle.loads(pickle.dumps(census.Found(str(tree), "a/one.py")))
    parsed = pickle.loads(pickle.dumps(census.parse(census.read(found))))
    assert census.count(parsed).lines == 7


def test_a_folder_that_cannot_be_listed_is_told_by_read(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deny(monkeypatch, tree / "a")
    found = {found.path: found for found in census.walk(str(tree))}
    assert "a/one.py" not in found and "a.py" in found
    with pytest.raises(PermissionError):
        census.read(found["a"])


def deny(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have `folder` refuse to be listed. Permissions would not: tests may run as root."""
    scandir = os.scandir

    def guarded(path: str) -> Any:
        if os.path.samefile(path, folder):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)


# The command


@pytest.mark.parametrize("options", [(), ("--profile", "serial"), ("--profile", "balanced")])
def test_the_census_of_a_tree_equals_the_loop(tree: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    file = tmp_path / "census.jsonl"
    result = demo(tree, "--output", file, *options)
    assert result.exit_code == 0, result.output
    expected = oracle(tree)
    assert written(file) == expected.records
    assert number(result.stdout, "files found") == expected.found == len(GOOD) + len(TESTS) + len(BAD) + 1
    assert number(result.stdout, "files kept") == expected.kept == len(GOOD) + 1
    assert number(result.stdout, "tests dropped") == len(TESTS)
    assert number(result.stdout, "not read or parsed") == len(expected.dead) == len(BAD)
    assert number(result.stdout, "lines") == expected.lines
    assert number(result.stdout, "functions") == sum(r["functions"] for r in expected.records)
    assert number(result.stdout, "classes") == sum(r["classes"] for r in expected.records)
    for path in expected.dead:
        assert re.search(rf"^\s*parse\s+{path}\s*$", result.stdout, re.MULTILINE), result.stdout
    assert result.stderr == ""
    assert left_in(tmp_path) == {"census.jsonl", "tests"}


def test_the_account_and_both_times_are_shown(tree: Path) -> None:
    output = demo(tree).stdout
    for operator in ("walk", "read", "parse", "drop tests", "count", "write"):
        assert operator in output
    for profile in ("serial", "balanced"):
        assert re.search(rf"^\s*{profile}\s+[\d.]+\s+[\d,]+\s*$", output, re.MULTILINE), output


def test_the_most_used_names_are_shown(tree: Path) -> None:
    names = Counter[str]()
    for record in oracle(tree).records:
        names.update(record["names"])
    assert f"x {names['x']}" in demo(tree).stdout


def test_a_file_that_vanished_is_a_dead_letter(tree: Path, tmp_path: Path) -> None:
    (tree / "gone.py").symlink_to(tree / "nothing")
    result = demo(tree, "--output", tmp_path / "out")
    assert result.exit_code == 0
    assert re.search(r"^\s*read\s+gone.py\s+No such file or directory", result.stdout, re.MULTILINE), result.stdout
    assert written(tmp_path / "out") == oracle(tree).records


def test_a_folder_that_cannot_be_listed_is_a_dead_letter(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = oracle(tree).found
    deny(monkeypatch, tree / "tests")
    result = demo(tree)
    assert result.exit_code == 0
    assert re.search(r"^\s*read\s+tests\s+Permission denied", result.stdout, re.MULTILINE), result.stdout
    assert number(result.stdout, "files found") == everything - 2


def test_names_that_no_terminal_shows_are_escaped(tmp_path: Path) -> None:
    root = plant(tmp_path / "odd", {"two\nlines.py": b"x = (", "[red]markup.py": b"x = )", NO_TEXT: b"x x"})
    result = demo(root, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    for name in (r"two\nlines.py", "[red]markup.py", r"byte\udcff.py"):
        assert name in result.stdout


def test_a_file_with_a_name_that_is_no_text_is_recorded(tmp_path: Path) -> None:
    demo(plant(tmp_path / "odd", {NO_TEXT: b"x = 1"}), "--output", tmp_path / "out")
    assert [os.fsencode(record["path"]) for record in written(tmp_path / "out")] == [b"byte\xff.py"]


def test_the_output_replaces_what_was_there(tree: Path, tmp_path: Path) -> None:
    file = tmp_path / "census.jsonl"
    file.write_text("old")
    (tmp_path / "link").symlink_to(file)
    assert demo(tree, "--output", tmp_path / "link").exit_code == 0
    assert len(written(file)) == oracle(tree).kept
    assert (tmp_path / "link").is_symlink()


# Wrong use


def refused(result: Result, *words: str) -> None:
    """One line on stderr that has the `words`, nothing else, and status 2."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1, result.stderr
    for word in words:
        assert word in result.stderr


def test_no_such_path(tmp_path: Path) -> None:
    refused(demo(tmp_path / "nowhere"), "no such folder", "nowhere")
    refused(demo(""), "no such folder")


def test_a_path_that_is_a_file(tree: Path) -> None:
    refused(demo(tree / "a.py"), "not a folder", "a.py")


def test_a_path_without_python_files(tmp_path: Path) -> None:
    plant(tmp_path, OTHER)
    refused(demo(tmp_path), "no Python file", str(tmp_path))


def test_a_path_that_cannot_be_read(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deny(monkeypatch, tree)
    refused(demo(tree), "cannot read", "Permission denied", str(tree))


def test_an_unknown_profile(tree: Path, tmp_path: Path) -> None:
    refused(demo(tree, "--profile", "balance", "--output", tmp_path / "out"), "'balance'", "balanced")
    assert left_in(tmp_path) == {"tests"}


def test_an_output_that_cannot_be_a_file(tree: Path, tmp_path: Path) -> None:
    refused(demo(tree, "--output", tmp_path), "--output", str(tmp_path))
    refused(demo(tree, "--output", "/dev/null"), "--output", "/dev/null")
    refused(demo(tree, "--output", tmp_path / "nowhere" / "out"), "cannot write", "nowhere")
    assert left_in(tmp_path) == {"tests"}


def test_a_disk_that_is_full(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "out").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    result = demo(tree, "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr and result.stderr.count("\n") == 1
    assert (tmp_path / "out").read_text() == "old"
    assert left_in(tmp_path) == {"out", "tests"}


def test_runs_that_differ_fail_and_leave_no_output(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Counter[str]()

    def forgetful(parsed: census.Parsed) -> census.Record:
        seen[parsed.path] += 1
        return count(parsed)._replace(lines=seen[parsed.path] if parsed.path == "B.py" else 1)

    count = census.count
    monkeypatch.setattr(census, "count", forgetful)
    result = demo(tree, "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert "different results" in result.stderr and "record 1" in result.stderr
    assert left_in(tmp_path) == {"tests"}


def test_ctrl_c(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(parsed: census.Parsed) -> census.Record:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError

    monkeypatch.setattr(census, "count", interrupted)
    result = demo(tree, "--output", tmp_path / "out")
    assert result.exit_code == 130
    assert (result.stdout, result.stderr) == ("", "Interrupted.\n")
    assert left_in(tmp_path) == {"tests"}


# As a program


def program(*args: object, stdout: Any = subprocess.PIPE, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "headrace", *map(str, args)]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=os.environ | environment, check=False)


def test_the_standard_library_by_default(tmp_path: Path) -> None:
    done = program("demo", "--output", tmp_path / "out", COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, b"")
    output = done.stdout.decode()
    expected = oracle(Path(sysconfig.get_path("stdlib")), without="site-packages")
    assert number(output, "files found") == expected.found
    assert number(output, "files kept") == expected.kept
    assert number(output, "lines") == expected.lines
    assert number(output, "not read or parsed") == len(expected.dead)
    assert written(tmp_path / "out") == expected.records


def test_the_output_does_not_depend_on_the_locale(tree: Path, tmp_path: Path) -> None:
    plant(tree, {"\xe4.py": b"\xce\xb2 = 1\n", "\xf6.py": b"x ="})
    first = program("demo", tree, "--output", tmp_path / "1", PYTHONIOENCODING="utf-8")
    second = program("demo", tree, "--output", tmp_path / "2", LC_ALL="C", PYTHONIOENCODING="ascii")
    assert (first.returncode, second.returncode) == (0, 0)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert "\xf6.py" in first.stdout.decode() and rb"\xf6.py" in second.stdout


def test_what_cannot_be_shown_is_one_line_too(tree: Path) -> None:
    with open("/dev/full", "w") as full:
        done = program("demo", tree, stdout=full)
    assert done.returncode == 1
    assert done.stderr == b"Error: [Errno 28] No space left on device\n"


def test_version() -> None:
    done = program("--version")
    assert done.returncode == 0 and re.fullmatch(rb"headrace, version \d+\.\d+\.\d+\S*\n", done.stdout)
