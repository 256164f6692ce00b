"""Distributions as pip leaves them, in a directory of their own, and sources of plugins to install there."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace import plugins

PRELUDE = """
import json, sys, warnings
from headrace import plugins
from headrace.plan import PluginRef

def said(function, *arguments):
    try:
        return repr(function(*arguments))
    except BaseException as error:
        return f"{type(error).__name__}: {error}"

def make(kind, name, **settings):
    return plugins.make(kind, PluginRef(name, settings))
"""


class Site:
    """A directory with installed distributions, as pip leaves them there, and a way to run a program that sees it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def install(
        self,
        project: str,
        modules: Mapping[str, str],
        entry_points: str,
        *,
        version: str = "1.0",
        metadata: bool = True,
    ) -> None:
        info = f"{project.replace('-', '_')}-{version}.dist-info"
        files = {f"{name}.py": textwrap.dedent(source) for name, source in modules.items()}
        if metadata:
            files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n"
        files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: by-hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        files[f"{info}/entry_points.txt"] = textwrap.dedent(entry_points)
        files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
        for name, content in files.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text(content)

    def run(self, code: str, *options: str, path: tuple[Path, ...] = (), **environment: str) -> Any:
        """What the program leaves in `answer`."""
        program = f"{PRELUDE}\n{textwrap.dedent(code)}\nprint(json.dumps(answer))"
        done = self._start(*options, "-c", program, path=path, check=True, **environment)
        return json.loads(done.stdout.splitlines()[-1])

    def headrace(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The `headrace` command, run to its end."""
        return self._start("-m", "headrace", *arguments, stderr=subprocess.PIPE)

    def _start(
        self,
        *arguments: str,
        path: tuple[Path, ...] = (),
        check: bool = False,
        stderr: int | None = None,
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        inherited = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        places = os.pathsep.join([str(self.folder), *map(str, path), *inherited])
        return subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, "PYTHONPATH": places, **environment},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            check=check,
        )


EXECUTOR = """
    from headrace.hookspecs import hookimpl
    HEADRACE_API = 1
    class Executor:
        def __init__(self, name="", settings=None):
            self.name, self.settings = name, settings
        def open(self, stage): ...
        def close(self, *, cancel=False, timeout_s=2.0): ...
        def __repr__(self):
            return f"<{self.name} of {__name__}, {self.settings}>"
"""
GOOD = f"""{EXECUTOR}
    @hookimpl
    def headrace_make_executor(name, settings, context):
        return Executor(name, settings)
"""

HOOKS = """
    from headrace.hookspecs import hookimpl
    HEADRACE_API = 1
"""


def named(kind: plugins.Kind, *more: str) -> str:
    """What follows "Installed: ": those of ours, asked for without our own code, and `more`."""
    ours = importlib.metadata.entry_points(group=plugins.GROUPS[kind])
    return ", ".join(sorted({*(each.name for each in ours), *more}))


WRONG: dict[str, tuple[str, str]] = {
    # name of the plugin and of its module -> source, what the user sees
    "lacks": (
        "import no_such_module",
        "{who} cannot be imported: ModuleNotFoundError: No module named 'no_such_module'",
    ),
    "exits": ("import sys\nsys.exit(3)", "{who} cannot be imported: SystemExit: 3"),
    "asserts": ("assert False", "{who} cannot be imported: AssertionError"),
    "skips": (
        "class Skipped(BaseException): ...\nraise Skipped('not here')",
        "{who} cannot be imported: Skipped: not here",
    ),
    "unsayable": (
        "class Unsayable(Exception):\n    def __str__(self):\n        raise ValueError\nraise Unsayable",
        "{who} cannot be imported: Unsayable",
    ),
    "garbled": ("def f(:", "{who} cannot be imported: SyntaxError: invalid syntax (garbled.py, line 1)"),
    "unversioned": (
        GOOD.replace("HEADRACE_API = 1", ""),
        "{who} does not say which HEADRACE_API it was made for; this Headrace has 1",
    ),
    "newer": (
        GOOD.replace("HEADRACE_API = 1", "HEADRACE_API = 2"),
        "{who} was made for HEADRACE_API 2; this Headrace has 1: upgrade whichever is older",
    ),
    "stranger": (
        f"""{GOOD}
    @hookimpl
    def headrace_make_exekutor(name):
        return None
""",
        "{who} implements a hook that does not exist, headrace_make_exekutor. Did you mean 'headrace_make_executor'?",
    ),
    "renamed": (
        f"""{GOOD}
    @hookimpl(specname="headrace_quite_different_from_all")
    def anything(name):
        return None
""",
        "{who} implements a hook that does not exist, headrace_quite_different_from_all.",
    ),
    "misnamed_argument": (
        f"""{EXECUTOR}
    @hookimpl
    def headrace_make_executor(name, setings):
        return Executor()
""",
        "{who} implements headrace_make_executor(name, setings), "
        "but that hook gives (name, settings, context), by position",
    ),
    "misnamed_default": (
        f"""{EXECUTOR}
    @hookimpl
    def headrace_make_executor(name, setings: dict[str, int] | None = None):
        return Executor()
""",
        "{who} implements headrace_make_executor(name, setings), "
        "but that hook gives (name, settings, context), by position",
    ),
    "by_keyword": (
        f"""{EXECUTOR}
    @hookimpl
    def headrace_make_executor(name, *, settings):
        return Executor()
""",
        "{who} implements headrace_make_executor(name, *, settings), "
        "but that hook gives (name, settings, context), by position",
    ),
    "all_arguments": (
        f"""{EXECUTOR}
    @hookimpl
    def headrace_make_executor(**arguments):
        return Executor()
""",
        "{who} implements headrace_make_executor(**arguments), "
        "but that hook gives (name, settings, context), by position",
    ),
    "unmarked": (
        f"""{EXECUTOR}
    def headrace_make_executor(name):
        return Executor()
""",
        "{who} has headrace_make_executor, which is not a function marked with @hookimpl",
    ),
    "empty": ("HEADRACE_API = 1", "{who} does not implement headrace_make_executor"),
    "wraps_only": (
        f"""{EXECUTOR}
    @hookimpl(wrapper=True)
    def headrace_make_executor(name):
        return (yield)
""",
        "{who} does not implement headrace_make_executor",
    ),
    "no_generator": (
        f"""{GOOD}
    @hookimpl(wrapper=True, specname="headrace_make_executor")
    def around(name):
        return None
""",
        "{who} does not fit the hooks: Plugin 'no_generator' for hook 'headrace_make_executor' hookimpl definition: "
        "around(name) Declared as wrapper=True or hookwrapper=True but function is not a generator function",
    ),
    "watches": (
        f"""{GOOD}
    @hookimpl
    def headrace_observe(run, dispatcher):
        return None
""",
        "{who} implements headrace_observe, which is called only in modules that are listed in 'headrace.hooks'",
    ),
    "gives_none": (
        f"""{EXECUTOR}
    @hookimpl
    def headrace_make_executor(name):
        return None
""",
        "{who} made nothing: its headrace_make_executor gave None",
    ),
    "gives_other": (
        f"""{EXECUTOR}
    @hookimpl
    def headrace_make_executor(name):
        return 7
""",
        "{who} made 7, which has no method 'open'",
    ),
    "odd_settings": (
        f"""{GOOD}
    @hookimpl
    def headrace_settings():
        return dict
""",
        "{who} gives <class 'dict'> as its settings, which is not an attrs class",
    ),
}

AMONG_THEM = ("names_class", "no_module", "nameless", "twin", "raises", "falsy", "good", "also_good")


def zoo_in(folder: Path) -> Site:
    """Every wrong plugin, each a distribution of its own, among some that are as they should be."""
    site = Site(folder)
    for name, (source, _) in WRONG.items():
        site.install(f"{name.replace('_', '-')}-dist", {name: source}, f"[headrace.executors]\n{name} = {name}\n")
    site.install("names-class-dist", {}, "[headrace.executors]\nnames_class = good:Executor\n")
    site.install("no-module-dist", {}, "[headrace.executors]\nno_module = not a module!\n")
    site.install("nameless-dist", {}, "[headrace.executors]\nnameless = no_such_module\n", metadata=False)
    site.install("first-dist", {"first": GOOD}, "[headrace.executors]\ntwin = first\n", version="1.2")
    site.install("second-dist", {"second": GOOD}, "[headrace.executors]\ntwin = second\n", version="0.9rc1")
    raises = f"""{EXECUTOR}
    @hookimpl
    def headrace_make_executor(name):
        raise RuntimeError("no driver found, says the constructor")
"""
    site.install("raises-dist", {"raises": raises}, "[headrace.executors]\nraises = raises\n")
    falsy = GOOD.replace("class Executor:", "class Executor(list):")
    site.install("falsy-dist", {"falsy": falsy}, "[headrace.executors]\nfalsy = falsy\n")
    site.install("good-dist", {"good": GOOD}, "[headrace.executors]\ngood = good\nalso_good = good\n")
    return site
