"""What `import headrace` brings along. Modules are counted here; milliseconds are for `benchmarks/bench_import.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import rooms

CORE = Path(__file__).resolve().parent.parent / "core"

MOST_MODULES = 20
"""Beyond a bare interpreter. A module of the standard library takes some 0.2 ms, and 5 ms are what there is."""

PROBE = """
import sys
bare = set(sys.modules)
{statement}
found = sorted(set(sys.modules) - bare)
import json
print(json.dumps(found))
"""


def brought_by(statement: str) -> set[str]:
    """The modules that `statement` adds in a fresh interpreter.

    It starts without `site` (-S), as a `.pth` file may import anything beforehand and so hide it; the path is ours, so
    that the import of a third-party package succeeds and is seen.
    """
    path = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-S", "-c", PROBE.format(statement=statement)]
    environment = {**os.environ, "PYTHONPATH": path}
    answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return set(json.loads(answer.stdout))


def foreign(modules: set[str]) -> set[str]:
    return {name for name in modules if name.partition(".")[0] not in {*sys.stdlib_module_names, "headrace"}}


def test_import_headrace_brings_no_third_party_package_and_no_typing() -> None:
    found = brought_by("import headrace")
    assert "headrace" in found
    assert not foreign(found)
    assert "typing" not in found


def test_import_headrace_brings_few_modules() -> None:
    found = brought_by("import headrace")
    assert len(found) <= MOST_MODULES, sorted(found)


def test_what_workers_import_is_the_standard_library_without_typing() -> None:
    modules = rooms.worker_modules(rooms.read(CORE))
    found = brought_by("import " + ", ".join(sorted(modules)))
    assert found >= {"headrace.batch", "headrace.flow.kernel"}
    assert not foreign(found)
    assert "typing" not in found


def test_the_probe_sees_what_it_must_not_find() -> None:
    assert "typing" in brought_by("import typing")
    assert "attrs" in foreign(brought_by("import attrs"))
