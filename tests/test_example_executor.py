"""An executor of 40 lines in a distribution of its own, installed as a stranger's would be, inherits all promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "examples/plugins/futures"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the distribution in it, put there by pip from a wheel that it built."""
    site = tmp_path_factory.mktemp("site")
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(site), str(PACKAGE)]
    subprocess.run(command, check=True, timeout=120)
    return site


def run(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that sees the distribution where it is installed."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=site, env=environment, capture_output=True, text=True, timeout=120
    )


def test_it_has_at_most_forty_lines() -> None:
    assert len((PACKAGE / "headrace_futures.py").read_text().splitlines()) <= 40


def test_it_is_a_distribution_of_its_own(site: Path) -> None:
    assert {path.name for path in site.iterdir() if path.name != "bin"} >= {
        "headrace_futures.py",
        "headrace_futures-0.1.0.dist-info",
    }
    assert not list(site.glob("headrace"))


def test_it_is_not_there_where_it_is_not_installed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import headrace; list(headrace.map(abs, [1], executor='futures'))"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "no executor plugin 'futures'." in done.stderr


BY_NAME = """
import headrace, itertools
from headrace import Pipeline

def picky(item):
    if item % 100 == 50:
        raise ValueError(item)
    return 2 * item

# order
assert list(headrace.map(abs, range(-5000, 0), executor="futures")) == list(range(5000, 0, -1))

# the bound
pulled = taken = 0
def endless():
    global pulled
    for item in itertools.count():
        pulled += 1
        assert pulled - taken <= 30
        yield item
for item in Pipeline("bound", window=30).source("items", endless).map("abs", abs, executor="futures"):
    taken += 1
    if taken == 1000:
        break

# batching, error policies, retries
pipeline = (Pipeline("policies")
    .source("items", range(10_000))
    .map("picky", picky, executor="futures", parallel_degree=2, on_error="dead_letter", retries=1)
    .filter("odd", lambda item: item % 4, executor="futures"))
result = pipeline.execute()
assert result.outputs == [2 * item for item in range(10_000) if item % 2 and item % 100 != 50]
assert [letter.item for letter in result.dead_letters] == list(range(50, 10_000, 100))
assert {letter.attempts for letter in result.dead_letters} == {2}
assert result.report["odd"].batches < 1_000, result.report
assert result.report["picky"].executor == "futures"
print("all as promised")
"""


def test_selected_by_its_name_it_gets_order_bound_batching_and_policies_for_free(site: Path) -> None:
    done = run(site, "-W", "error", "-c", BY_NAME)
    assert done.stdout == "all as promised\n", done.stderr


def test_it_passes_the_contract_and_its_own_tests(site: Path) -> None:
    tests = (
        PACKAGE / "test_headrace_futures.py"
    )  # imported so that its folder does not come before the installed module
    done = run(site, "-m", "pytest", "--import-mode=importlib", "-p", "no:cacheprovider", "-q", "-rs", str(tests))
    assert done.returncode == 0, done.stdout
    assert " passed in " in done.stdout
    assert "skipped" not in done.stdout
