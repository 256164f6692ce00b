"""Each example is run as a user would run it, and says what it should."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from itertools import count, islice
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def said_by(name: str) -> str:
    command = [sys.executable, "-W", "error", str(EXAMPLES / name)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout


def test_standard() -> None:
    digests = [sha256(f"document {number}\n".encode() * 100).hexdigest() for number in range(2_000)]
    expected = [digest for digest in digests if digest.startswith("00")]
    *report, said = said_by("standard.py").rpartition("\n\n")
    assert said.splitlines() == [
        f"{len(expected)} of 2000 digests begin with two zeros:",
        *(f"  {digest}" for digest in expected),
    ]
    for operator in ("data", "process", "filter"):
        assert operator in report[0]


def test_threads() -> None:
    digests = (sha256(nonce.to_bytes(8) + b"headrace" * 1_000).hexdigest() for nonce in count())
    found = islice(((nonce, digest) for nonce, digest in enumerate(digests) if digest.startswith("000")), 5)
    short = [sha256(data).hexdigest()[:8] for data in (b"a", b"b", b"c", b"d", b"e")]
    assert said_by("threads.py").splitlines() == [
        *(f"nonce {nonce}: {digest}" for nonce, digest in found),
        str(short[:3]),
        str(short[3:]),
    ]


def test_there_is_a_test_for_each_example() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {
        name.removeprefix("test_") for name in globals() if name.startswith("test_") and "there_is" not in name
    }


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: path.name)
def test_there_is_a_docstring_in_each(path: Path) -> None:
    assert path.read_text().startswith('"""')
