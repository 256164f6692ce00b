"""The contract is proved by executors that break it: each wrong one fails the test that is meant to find it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headrace.testing import ExecutorContract
from wrong_executors import WRONG

pytest_plugins = ["pytester"]

HERE = Path(__file__).parent

SUITES = """
from headrace.testing import ExecutorContract
from wrong_executors import WRONG, Right

class TestRight(ExecutorContract):
    def make_executor(self):
        return Right()

for name, (make, _) in WRONG.items():
    members = {"make_executor": lambda self, make=make: make(), "patience_s": 0.5, "gone_s": 0.2}
    if name == "Teleporter":
        members["capabilities"] = ExecutorContract.known | {"teleports"}
    globals()[f"Test{name}"] = type(f"Test{name}", (ExecutorContract,), members)
"""


def every_test() -> set[str]:
    return {name for name in dir(ExecutorContract) if name.startswith("test_")}


@pytest.fixture
def suites(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    # hypothesis takes a second to load; what hangs shows its threads
    pytester.makeini("[pytest]\naddopts = -p no:hypothesispytest\nfaulthandler_timeout = 30\n")
    pytester.makepyfile(test_suites=SUITES)
    return pytester


def test_each_test_of_the_contract_is_meant_for_some_fault() -> None:
    meant = {test for _, tests in WRONG.values() for test in tests}
    assert meant == every_test()


def test_a_right_executor_passes(suites: pytest.Pytester) -> None:
    result = suites.runpytest_subprocess("test_suites.py", "-k", "TestRight", "-q")
    outcomes = result.parseoutcomes()
    assert set(outcomes) <= {"passed", "deselected"}, result.stdout.str()
    assert outcomes["passed"] >= len(every_test())


@pytest.mark.stress  # twenty seconds, and executors that are wrong on purpose may also wait for ever
def test_each_wrong_executor_fails_the_tests_that_are_meant_for_it(suites: pytest.Pytester) -> None:
    expected = [(name, test, words) for name, (_, tests) in WRONG.items() for test, words in tests.items()]
    chosen = [f"test_suites.py::Test{name}::{test}" for name, test, _ in expected]
    result = suites.runpytest_subprocess("-rf", "--tb=short", *chosen, timeout=110)
    failures = _failures(result.stdout.str())
    missed = [
        f"{name}: {test} {'passed' if not said else f'does not say {words!r}: {said}'}"
        for name, test, words in expected
        if not re.search(words, said := failures.get(f"Test{name}.{test}", ""), re.DOTALL)
    ]
    assert not missed, "\n".join(missed)


def _failures(output: str) -> dict[str, str]:
    """What each test that failed said; for one with several sets of parameters, all of it."""
    found: dict[str, str] = {}
    parts = re.split(r"^_+ (Test\w+\.test_\w+)(?:\[.*\])? _+$", output.partition("short test summary")[0], flags=re.M)
    for test, said in zip(parts[1::2], parts[2::2], strict=True):
        found[test] = found.get(test, "") + said
    return found
