"""The rules between rooms: who may import what. Functions over parsed sources; nothing is imported.

A module's room is the second part of its name: `headrace.flow.kernel` lives in `flow`. Each import counts, wherever in
the file it stands; only the rules for workers tell apart what runs from what is there for type checkers.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOMS = (
    "errors",
    "settings",
    "batch",
    "context",
    "operators",
    "connectors",
    "graph",
    "flow",
    "events",
    "report",
    "plan",
    "contracts",
    "hookspecs",
    "plugins",
    "profiles",
    "planner",
    "drive",
    "progress",
    "pipeline",
    "testing",
    "cli",
)
"""The rooms of core in order: each may import those above it, and what is inside itself."""

PLUGINS = ("headrace_executors", "headrace_monitors", "headrace_events")
PYTEST_PLUGIN = "headrace_pytest"
OURS = ("headrace", PYTEST_PLUGIN, *PLUGINS)

FOR_PLUGINS = (*ROOMS[: ROOMS.index("plugins")], "drive")

WORKER_SIDE = ("headrace.batch", "headrace.context", "headrace.flow", "headrace_executors.process.worker")
"""What a worker process imports: standard library without `typing`, and so is what these import."""

THIRD_PARTY: Mapping[str, tuple[str, ...]] = {
    "attr": ("headrace", *PLUGINS),
    "attrs": ("headrace", *PLUGINS),
    "click": ("headrace.cli",),
    "cloudpickle": ("headrace_executors",),
    "pluggy": ("headrace.hookspecs", "headrace.plugins"),
    "psutil": ("headrace_monitors",),
    "pytest": ("headrace.testing", PYTEST_PLUGIN),
    "rich": ("headrace.cli", "headrace.progress"),
    "stevedore": ("headrace.plugins",),
}
"""Where each package may be imported. One that is not listed has no room at all."""

LATE_IN_WORKERS = ("cloudpickle",)
"""What a worker imports only when something cannot travel without it, and then inside a function."""


@dataclass(frozen=True)
class Import:
    """`target` is as exact as the source: for `from a.b import c` it is `a.b.c`, whether c is a module or not.

    runs  not under `if TYPE_CHECKING:`
    lazy  inside a function
    """

    target: str
    line: int
    runs: bool = True
    lazy: bool = False

    @property
    def package(self) -> str:
        return self.target.partition(".")[0]

    @property
    def third_party(self) -> bool:
        return self.package not in sys.stdlib_module_names and self.package not in OURS


@dataclass(frozen=True)
class Module:
    name: str
    imports: tuple[Import, ...]

    @classmethod
    def parse(cls, name: str, source: str, *, is_package: bool = False) -> Module:
        home = name if is_package else name.rpartition(".")[0]
        return cls(name, tuple(_imports(ast.parse(source), home, runs=True, lazy=False)))


Tree = Mapping[str, Module]


def read(*roots: Path) -> Tree:
    """Every module of the packages that stand in `roots`, by name."""
    found = {}
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            found[name] = Module.parse(name, path.read_text("utf-8"), is_package=is_package)
    return found


def faults(tree: Tree) -> list[str]:
    """What breaks a rule, a line each; an empty list for a tidy house."""
    return [*(fault for module in tree.values() for fault in _faults(module)), *_worker_faults(tree)]


def _imports(node: ast.AST, home: str, *, runs: bool, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        line = getattr(child, "lineno", 0)
        yield from (Import(target, line, runs, lazy) for target in _targets(child, home))
        if isinstance(child, ast.If) and _is_type_checking(child.test):
            yield from _imports(ast.Module(child.body, []), home, runs=False, lazy=lazy)
            yield from _imports(ast.Module(child.orelse, []), home, runs=runs, lazy=lazy)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, home, runs=runs, lazy=lazy or inside)


def _targets(node: ast.AST, home: str) -> Iterator[str]:
    match node:
        case ast.Import(names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module, names, level):
            base = [*home.split(".")[: home.count(".") + 2 - level], *filter(None, [module])] if level else [module]
            yield from (".".join([*base, alias.name]) for alias in names)
        case ast.Call(ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"), [first, *_]):
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def _is_type_checking(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", None), getattr(test, "attr", None))


def _faults(module: Module) -> Iterator[str]:
    if module.name != "headrace" and _room(module.name) is None and module.name.startswith("headrace."):
        yield f"{module.name}: no such room; give it its place in ROOMS of tests/rooms.py, and in the design"
        return
    for each in module.imports:
        why = _third_party(module.name, each) if each.third_party else _between_rooms(module.name, each)
        if why:
            yield f"{module.name}:{each.line} imports {each.target}: {why}"


def _third_party(name: str, each: Import) -> str | None:
    rooms = THIRD_PARTY.get(each.package, ())
    if name == "headrace":
        return "`import headrace` imports no third-party package"
    if not any(_within(name, room) for room in rooms):
        return f"only {' and '.join(rooms)} may" if rooms else "no room has this package"
    return None


def _between_rooms(name: str, each: Import) -> str | None:
    if each.package not in OURS or each.package == name.partition(".")[0] != "headrace":
        return None
    if name == "headrace" and each.package == "headrace":
        return None
    if _within(name, PYTEST_PLUGIN):
        return _from_pytest_plugin(each)
    if each.package != "headrace":
        return "plugins are reached through their entry points"
    allowed = FOR_PLUGINS if name.startswith(PLUGINS) else _above(name)
    room = _room(each.target)
    if room is None:
        return "no room above it; the public names stand below them all"
    return None if room in allowed else f"'{room}' does not stand above it"


def _from_pytest_plugin(each: Import) -> str | None:
    if each.package != "headrace":
        return "plugins are reached through their entry points"
    if each.runs and not each.lazy:
        return "nothing of ours is imported until a fixture is used"
    return None


def _above(name: str) -> tuple[str, ...]:
    """The rooms that a module of core may import: those above its own, and its own."""
    room = _room(name)
    return ROOMS[: ROOMS.index(room) + 1] if room else ()


def _room(target: str) -> str | None:
    room = [*target.split("."), ""][1]
    if room == "__main__":
        return "cli"
    return room if room in ROOMS else None


def _within(name: str, *rooms: str) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def worker_modules(tree: Tree) -> Mapping[str, str]:
    """Each module that a worker gets to import, and whom it has it from."""
    found = {name: "a worker" for name in tree if _within(name, *WORKER_SIDE)}
    queue = list(found)
    while queue:
        name = queue.pop()
        for each in _running(tree[name]):
            for reached in _reached(each.target, tree):
                if reached not in found:
                    found[reached] = name
                    queue.append(reached)
    return found


def _worker_faults(tree: Tree) -> Iterator[str]:
    for name, origin in worker_modules(tree).items():
        for each in _running(tree[name]):
            late = each.lazy and each.package in LATE_IN_WORKERS
            if (each.third_party or each.package == "typing") and not late:
                yield (
                    f"{name}:{each.line} imports {each.target}, and is imported by {origin}: "
                    "what workers import is standard library without typing"
                )


def _running(module: Module) -> list[Import]:
    """What is imported when a worker uses `module`. Of the package itself only what its import imports: its public
    names are looked up when they are asked for, and no worker asks."""
    return [each for each in module.imports if each.runs and not (each.lazy and module.name == "headrace")]


def _reached(target: str, tree: Tree) -> Iterator[str]:
    """The modules that run when `target` is imported: itself, and the packages round it."""
    parts = target.split(".")
    names = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
    return (name for name in names if name in tree)
