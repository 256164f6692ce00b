"""Run by the Python of an environment that has the wheel and what it requires, no more: every entry point loads."""

from __future__ import annotations

import sys
from importlib.metadata import distribution

import headrace

KINDS = ("executor", "runner", "monitor", "dispatcher")

entry_points = distribution("headrace").entry_points
for each in entry_points:
    if each.group != "pytest11":  # pytest is an extra
        each.load()
    print(f"{each.group}: {each.name}")
groups = {each.group for each in entry_points}
missing = {"console_scripts", "pytest11", *map("headrace.{}s".format, KINDS)} - groups
if missing:
    sys.exit(f"entry points missing: {sorted(missing)}")
if not str(headrace.__file__).startswith(sys.prefix):
    sys.exit(f"headrace came from {headrace.__file__}, which is not this environment")
