"""The house keeps its rules between rooms, and the checker can tell when it does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import rooms

HOUSE = Path(__file__).resolve().parent.parent
ROOTS = [HOUSE / "core", *(HOUSE / "plugins").iterdir()]


@pytest.fixture(scope="module")
def house() -> rooms.Tree:
    return rooms.read(*ROOTS)


def check(name: str, source: str, *, is_package: bool = False) -> list[str]:
    return rooms.faults({name: rooms.Module.parse(name, source, is_package=is_package)})


# The house ----------------------------------------------------------------------------------------------------------


def test_the_house_keeps_the_rules(house: rooms.Tree) -> None:
    found = rooms.faults(house)
    assert not found, "\n" + "\n".join(found)


def test_every_package_and_every_worker_module_is_looked_at(house: rooms.Tree) -> None:
    assert {name.partition(".")[0] for name in house} == set(rooms.OURS)
    assert {"headrace.batch", "headrace.flow.kernel", "headrace.errors"} <= set(rooms.worker_modules(house))


def test_the_oracle_imports_nothing_of_ours() -> None:
    oracle = rooms.Module.parse("reference", (HOUSE / "tests/reference.py").read_text("utf-8"))
    assert not [each for each in oracle.imports if each.package not in sys.stdlib_module_names]


DESCRIBE = """
import json, sys
from headrace import Pipeline

started = []
sys.addaudithook(lambda event, _: started.append(event) if event in {
    "_thread.start_new_thread", "_thread.start_joinable_thread", "subprocess.Popen",
    "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn",
} else None)
pipeline = (
    Pipeline("described")
    .source("numbers", range)
    .map("double", abs, parallel_degree=4)
    .filter("some", bool, executor="thread")
    .flat_map("many", range, executor="serial", retries=2)
    .batch("ten", 10, max_wait_s=0.1)
    .sink("out", print)
)
repr(pipeline), pipeline.describe()
plugins = ("headrace_executors", "headrace_monitors", "headrace_events")
print(json.dumps([started, [name for name in sys.modules if name.startswith(plugins)]]))
"""


def test_to_describe_a_pipeline_starts_nothing_and_imports_no_plugin() -> None:
    answer = subprocess.run([sys.executable, "-c", DESCRIBE], stdout=subprocess.PIPE, text=True, check=True)
    started, imported = json.loads(answer.stdout)
    assert (started, imported) == ([], [])


# The checker --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "source", "fault"),
    [
        ("headrace.batch", "from headrace.flow.kernel import Kernel", "'flow' does not stand above it"),
        ("headrace.batch", "import headrace.graph", "'graph' does not stand above it"),
        ("headrace.batch", "from headrace import graph", "'graph' does not stand above it"),
        ("headrace.batch", "from .graph import Graph", "'graph' does not stand above it"),
        ("headrace.flow.kernel", "from ..report import RunReport", "'report' does not stand above it"),
        ("headrace.graph", "if TYPE_CHECKING:\n    from headrace.plan import Plan", "'plan' does not stand above it"),
        ("headrace.graph", "def late():\n    import headrace.planner", "'planner' does not stand above it"),
        ("headrace.graph", "try:\n    import headrace.cli\nexcept ImportError:\n    pass", "'cli' does not stand"),
        ("headrace.pipeline", "from headrace import Pipeline", "the public names stand below them all"),
        ("headrace.pipeline", "import headrace", "the public names stand below them all"),
        ("headrace.attic", "", "no such room"),
        ("headrace.drive", "import headrace_executors.thread", "reached through their entry points"),
        ("headrace.drive", "import_module('headrace_events.inline')", "reached through their entry points"),
        ("headrace.drive", "importlib.import_module('headrace_events')", "reached through their entry points"),
        ("headrace", "from headrace_executors.thread import X", "reached through their entry points"),
        ("headrace.testing", "import headrace_pytest", "reached through their entry points"),
        ("headrace_executors.thread", "from headrace.plugins import find", "'plugins' does not stand above it"),
        ("headrace_executors.thread", "from headrace.pipeline import Pipeline", "'pipeline' does not stand above it"),
        ("headrace_executors.thread", "from headrace import current", "the public names stand below them all"),
        ("headrace_executors.thread", "import headrace_monitors.null", "reached through their entry points"),
        ("headrace_pytest", "from headrace.testing import ExecutorContract", "until a fixture is used"),
        ("headrace_pytest", "def late():\n    import headrace_events", "reached through their entry points"),
        ("headrace.drive", "import pluggy", "only headrace.hookspecs and headrace.plugins may"),
        ("headrace_executors.thread", "from pluggy import HookimplMarker", "only headrace.hookspecs and"),
        ("headrace.hookspecs", "import stevedore", "only headrace.plugins may"),
        ("headrace.drive", "import psutil", "only headrace_monitors may"),
        ("headrace_executors.thread", "import psutil", "only headrace_monitors may"),
        ("headrace.pipeline", "import click", "only headrace.cli may"),
        ("headrace.report", "import rich.table", "only headrace.cli and headrace.progress may"),
        ("headrace.report", "import numpy", "no room has this package"),
        ("headrace", "import attrs", "imports no third-party package"),
        ("headrace", "def __getattr__(name):\n    import pluggy", "imports no third-party package"),
        ("headrace.batch", "import typing", "standard library without typing"),
        ("headrace.context", "from typing import TYPE_CHECKING", "standard library without typing"),
        ("headrace.flow.gates", "from attrs import frozen", "standard library without typing"),
        ("headrace.flow.gates", "def late():\n    import typing", "standard library without typing"),
        ("headrace.flow.gates", "if TYPE_CHECKING:\n    pass\nelse:\n    import typing", "without typing"),
    ],
)
def test_a_wrong_source_is_found(name: str, source: str, fault: str) -> None:
    found = check(name, source)
    assert len(found) == 1
    assert fault in found[0]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("headrace.graph", "import graphlib, typing, attrs\nfrom headrace.operators import Map"),
        ("headrace.flow.kernel", "from headrace.flow.window import Window\nfrom .sizing import Sizing"),
        ("headrace.flow.kernel", "if TYPE_CHECKING:\n    from typing import Any"),
        ("headrace.plugins", "import pluggy, stevedore\nimport_module(name)"),
        ("headrace.hookspecs", "import pluggy"),
        ("headrace.cli.demo", "import click, rich\nfrom headrace.pipeline import Pipeline"),
        ("headrace.__main__", "from headrace.cli import main"),
        ("headrace.progress", "from rich.live import Live"),
        ("headrace", "def __getattr__(name):\n    from headrace import plugins, pipeline"),
        ("headrace_executors.thread", "import attrs\nfrom headrace.drive import drive\nfrom .pool import Pool"),
        ("headrace_executors.thread", "from headrace.hookspecs import hookimpl\nimport headrace_executors.serial"),
        ("headrace_monitors.sampler", "import psutil"),
        ("headrace_pytest", "import pytest\ndef fixture():\n    from headrace.testing import ExecutorContract"),
        ("headrace_pytest", "if TYPE_CHECKING:\n    from headrace import Pipeline"),
    ],
)
def test_a_right_source_passes(name: str, source: str) -> None:
    assert check(name, source) == []


def test_relative_imports_start_from_where_they_stand() -> None:
    source = "from . import a\nfrom .b import c\nfrom ..d import e"
    inside = rooms.Module.parse("headrace.flow.kernel", source)
    package = rooms.Module.parse("headrace.flow", source, is_package=True)
    expected = ["headrace.flow.a", "headrace.flow.b.c", "headrace.d.e"]
    assert [each.target for each in inside.imports] == [each.target for each in package.imports] == expected


def test_what_a_worker_module_imports_is_held_to_its_rule() -> None:
    sources = {
        "headrace": "def __getattr__(name):\n    import headrace.pipeline",
        "headrace.errors": "import typing",
        "headrace.settings": "import typing",
        "headrace.pipeline": "import typing",
        "headrace.batch": (
            "if TYPE_CHECKING:\n    from headrace.settings import Whole\nfrom headrace.errors import HeadraceError"
        ),
    }
    found = rooms.faults({name: rooms.Module.parse(name, source) for name, source in sources.items()})
    assert [fault.partition(",")[0] for fault in found] == ["headrace.errors:1 imports typing"]
    assert "is imported by headrace.batch" in found[0]


def test_an_eager_import_of_the_package_itself_reaches_workers() -> None:
    sources = {
        "headrace": "from headrace.settings import cores",
        "headrace.settings": "import typing",
        "headrace.batch": "from headrace.errors import HeadraceError",
        "headrace.errors": "",
    }
    found = rooms.faults({name: rooms.Module.parse(name, source) for name, source in sources.items()})
    assert ["headrace.settings:1 imports typing" in fault for fault in found] == [True]
