"""Programs of their own, whose processes are found again by a mark in their environment."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Sequence

import psutil

GONE_S = 2.0
"""Seconds after which all processes of a program are gone, whatever ended it."""
MARK = "HEADRACE_TEST_PROGRAM"
INTERRUPTIBLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
"""A program that is started in the background of a shell ignores Ctrl-C, and so does all that it starts."""


class Program:
    """A script in a process group of its own, as a shell starts it."""

    def __init__(self, code: str, *arguments: str, prelude: str = "", wrapper: Sequence[str] = ()) -> None:
        self.mark = uuid.uuid4().hex
        environment = {**os.environ, MARK: self.mark, "PYTHONUNBUFFERED": "1"}
        script = INTERRUPTIBLE + textwrap.dedent(code)
        command = [sys.executable, "-c", script, *arguments]
        if prelude:
            command = [*wrapper, "sh", "-c", f'{prelude} && exec "$@"', "sh", *command]
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ended(self, within_s: float = 60.0) -> tuple[str, str]:
        """What it printed, once it has come to its end."""
        try:
            return self.process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, 9)
            out, err = self.process.communicate()
            raise AssertionError(f"it is not done after {within_s} s; it said {out!r} and {err!r}") from None

    def left(self, within_s: float = GONE_S) -> Sequence[str]:
        """Its processes that are still there after so many seconds."""
        until_s = time.monotonic() + within_s
        while (left := self._there()) and time.monotonic() < until_s:
            time.sleep(0.01)
        return left

    def workers(self, least: int = 2) -> list[psutil.Process]:
        until_s = time.monotonic() + 10
        while len(found := self._of_mark(but=self.process.pid)) < least and time.monotonic() < until_s:
            time.sleep(0.005)
        return found

    def _there(self) -> list[str]:
        return [f"{each.pid}: {' '.join(each.cmdline())[:60]}" for each in self._of_mark()]

    def _of_mark(self, but: int = 0) -> list[psutil.Process]:
        found = []
        for each in psutil.process_iter():
            try:
                mine = each.environ().get(MARK) == self.mark and each.status() != psutil.STATUS_ZOMBIE
            except psutil.Error:
                continue
            if mine and each.pid != but:
                found.append(each)
        return found


def run(code: str, *arguments: str, prelude: str = "", wrapper: Sequence[str] = ()) -> str:
    """What a script prints. It must end well, say nothing on stderr and leave nothing behind."""
    program = Program(code, *arguments, prelude=prelude, wrapper=wrapper)
    out, err = program.ended()
    assert program.process.returncode == 0, err
    assert not err, err
    assert not program.left()
    return out
