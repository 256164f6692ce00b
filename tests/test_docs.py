"""What the documentation says is run: each Python block of the README and of `docs/`, and the two commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headrace import profiles
from headrace_executors.thread import ThreadSettings

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text())


@pytest.mark.parametrize("page", [page for page in PAGES if _blocks(page)], ids=lambda page: page.name)
def test_the_blocks_of_a_page_run_in_order(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    for block in _blocks(page):
        exec(compile(block, str(page), "exec"), names)
    if page.name == "README.md":
        assert re.search(r"\d+ lines in \d+ files", capsys.readouterr().out)


def test_the_readme_shows_the_two_commands_first() -> None:
    first = (ROOT / "README.md").read_text().split("```")[1]
    assert [line.split("#")[0].strip() for line in first.strip().splitlines()] == ["make demo", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^demo:.*\n\t.*headrace demo", makefile, re.MULTILINE)
    assert re.search(r"^test:.*\n\t.*pytest", makefile, re.MULTILINE)
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_figures_are_those_that_the_benchmark_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    """That the benchmark runs, and that its figures come from right results, is tested in test_benchmarks.py."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import readme

    documents = readme.documents()
    assert all(
        document["options"] == {"rounds": document["options"]["rounds"], "quick": False} for document in documents
    )
    rows = [set(document["rows"]) for document in documents]
    assert rows == [
        {"A1", "A2", "A3", "A4", "A5", "A7"},
        {"A2c", "A3c", "A4c"},
        {"B1", "B2", "B3", "B4", "B5", "B7", "B8"},
        {"C1", "C2", "C3-2", "C3-4", "C3-8", "C4", "C5", "C6", "C6-rate"},
    ]
    page = readme.README.read_text()
    assert readme.put_into(page, readme.figures(documents)) == page


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_reference_has_the_settings_and_profiles_as_they_are() -> None:
    reference = (ROOT / "docs" / "reference.md").read_text()
    for attribute in ThreadSettings.__attrs_attrs__:
        default = f"{attribute.default:_}" if type(attribute.default) is int else attribute.default
        assert f"`{attribute.name}={default}`" in reference
    for profile in profiles.SHIPPED.values():
        row = f"| `{profile.name}` | `{profile.runner}` | `{profile.executor}` | `{profile.monitor}` |"
        assert row in reference
        assert f"| {profile.window:,} items |" in reference
