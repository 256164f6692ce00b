"""The wheel named on the command line holds every file of the import packages, and nothing else of the checkout."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

HOUSE = Path(__file__).resolve().parent.parent


def sources() -> set[str]:
    """The files of the five packages, by the name that they have in the wheel; without caches."""
    roots = [HOUSE / "core", *(HOUSE / "plugins").iterdir()]
    found = (path.relative_to(root) for root in roots for path in root.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if not any(part.startswith((".", "__pyc")) for part in path.parts)}


def main(wheel: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    packages = sorted({name.partition("/")[0] for name in packed})
    expected = sources() | {f"{package}/py.typed" for package in packages}
    if packed != expected:
        sys.exit(f"missing from the wheel: {sorted(expected - packed)}; too much in it: {sorted(packed - expected)}")
    print(f"the wheel holds {len(packed)} files of {', '.join(packages)}")


main(sys.argv[1])
