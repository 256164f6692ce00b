"""Settings refuse early, in words; and the cores are counted as the machine grants them."""

from __future__ import annotations

import os
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import pytest

from headrace import settings
from headrace.errors import HeadraceError, SettingsError
from headrace.settings import (
    Rule,
    choice,
    cores,
    did_you_mean,
    flag,
    function,
    number,
    or_none,
    seconds,
    text,
    whole_number,
)


class Index:
    """An integer that is no `int`, as numpy's are."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class Unshowable:
    def __repr__(self) -> str:
        raise ValueError("no")


THREADS = whole_number(at_least=1, of="threads")
POLICY = choice("raise", "skip", "dead_letter")


@pytest.mark.parametrize(
    ("rule", "value", "words"),
    [
        (THREADS, "4", "a whole number of threads, at least 1; got '4'"),
        (THREADS, 0, "a whole number of threads, at least 1; got 0"),
        (THREADS, True, "a whole number of threads, at least 1; got True"),
        (THREADS, 4.0, "a whole number of threads, at least 1; got 4.0"),
        (THREADS, None, "a whole number of threads, at least 1; got None"),
        (THREADS, Index(0), "a whole number of threads, at least 1; got <test_settings.Index object at 0x*"),
        (THREADS, Unshowable(), "a whole number of threads, at least 1; got <Unshowable instance at 0x*"),
        (or_none(THREADS), "4", "a whole number of threads, at least 1, or None; got '4'"),
        (whole_number(), 1.5, "a whole number; got 1.5"),
        (whole_number(at_least=1, at_most=9), 10, "a whole number, at least 1, at most 9; got 10"),
        (seconds(), -1, "a number of seconds, at least 0; got -1"),
        (seconds(above=0), 0.0, "a number of seconds, above 0; got 0.0"),
        (seconds(), float("inf"), "a number of seconds, at least 0; got inf"),
        (seconds(), float("nan"), "a number of seconds, at least 0; got nan"),
        (seconds(), 10**400, "a number of seconds, at least 0; got 100000*"),
        (seconds(), "2", "a number of seconds, at least 0; got '2'"),
        (seconds(), True, "a number of seconds, at least 0; got True"),
        (number(at_least=0, at_most=1), 1.1, "a number, at least 0, at most 1; got 1.1"),
        (POLICY, "skipp", "one of 'raise', 'skip', 'dead_letter'; got 'skipp'. Did you mean 'skip'?"),
        (POLICY, "stop", "one of 'raise', 'skip', 'dead_letter'; got 'stop'"),
        (POLICY, ["skip"], "one of 'raise', 'skip', 'dead_letter'; got ['skip']"),
        (flag(), 1, "True or False; got 1"),
        (text(), "", "a string, not empty; got ''"),
        (text(of="the name of an operator"), 3, "the name of an operator, a string and not empty; got 3"),
        (function(), 3, "a function, or something else that can be called; got 3"),
        (
            function(of="a function of one item"),
            "f",
            "a function of one item, or something else that can be called; got 'f'",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_words(rule: Rule, value: Any, words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        rule.check("ThreadSettings.max_workers", value)
    expected = f"ThreadSettings.max_workers must be {words}"
    if words.endswith("*"):  # an address, or a long number
        assert str(refused.value).startswith(expected[:-1])
    else:
        assert str(refused.value) == expected


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        (THREADS, 1),
        (THREADS, 10**30),
        (THREADS, Index(3)),
        (or_none(THREADS), None),
        (or_none(THREADS), 2),
        (whole_number(), -5),
        (whole_number(at_most=3), 3),
        (seconds(), 0),
        (seconds(), 2.5),
        (seconds(), Index(2)),
        (seconds(), Fraction(1, 3)),
        (seconds(), Decimal("0.1")),
        (seconds(above=0), 1e-9),
        (seconds(at_least=-1), -1),
        (number(), -1e300),
        (POLICY, "dead_letter"),
        (flag(), False),
        (text(), "x"),
        (function(), len),
        (function(), int),
    ],
)
def test_what_fits_passes(rule: Rule, value: Any) -> None:
    rule.check("here", value)


def test_a_rule_is_a_validator_of_attrs_and_names_the_setting() -> None:
    @attrs.frozen
    class ThreadSettings:
        max_workers: int = attrs.field(default=1, validator=THREADS)

    assert ThreadSettings(max_workers=2).max_workers == 2
    with pytest.raises(SettingsError) as refused:
        ThreadSettings(max_workers="4")
    assert str(refused.value) == "ThreadSettings.max_workers must be a whole number of threads, at least 1; got '4'"
    assert isinstance(refused.value, ValueError)
    assert isinstance(refused.value, HeadraceError)


def test_a_rule_shows_its_words() -> None:
    assert repr(THREADS) == "<Rule: a whole number of threads, at least 1>"


@pytest.mark.parametrize(
    ("name", "names", "said"),
    [
        ("thread1", ["process", "serial", "thread"], " Did you mean 'thread'?"),
        ("THREAD", ["process", "serial", "thread"], " Did you mean 'thread'?"),
        ("process", ["Process"], " Did you mean 'Process'?"),
        ("max_wrokers", {"max_workers": 1, "window": 2}, " Did you mean 'max_workers'?"),
        ("zzz", ["process", "serial", "thread"], ""),
        ("thread", [], ""),
        (7, ["thread"], ""),
    ],
)
def test_did_you_mean(name: object, names: Any, said: str) -> None:
    assert did_you_mean(name, names) == said


# Cores --------------------------------------------------------------------------------------------------------------


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    for name, content in {"proc/self/cgroup": groups, **files}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


V1 = "9:name=systemd:/\n4:cpu,cpuacct:/docker/abc\n3:cpuset:/docker/abc\n0::/\n"


@pytest.mark.parametrize(
    ("groups", "files", "quotas"),
    [
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "150000 100000\n"}, [1.5]),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, []),
        ("0::/\n", {}, []),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "rubbish\n"}, []),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "100000 0\n"}, []),
        ("0::/a/b\n", {"sys/fs/cgroup/a/cpu.max": "200000 100000", "sys/fs/cgroup/a/b/cpu.max": "max 1"}, [2]),
        ("0::/a/b\n", {"sys/fs/cgroup/a/cpu.max": "200000 100000", "sys/fs/cgroup/a/b/cpu.max": "50 100"}, [2, 0.5]),
        ("0::/not/seen\n", {"sys/fs/cgroup/cpu.max": "400000 100000"}, [4]),
        ("1:cpu:/\n0::/x\n", {"sys/fs/cgroup/unified/x/cpu.max": "300000 100000"}, [3]),
        (
            V1,
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "250000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
            [2.5],
        ),
        (
            V1,
            {
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "100000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
            },
            [1],
        ),
        (V1, {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, []),
        ("", {}, []),
        ("rubbish", {}, []),
    ],
)
def test_quotas_of_control_groups(tmp_path: Path, groups: str, files: dict[str, str], quotas: list[float]) -> None:
    assert list(settings._quotas(str(machine(tmp_path, groups, files)))) == quotas


@pytest.mark.parametrize(
    ("granted", "quotas", "expected"),
    [(8, [], 8), (8, [1.5], 2), (8, [0.1], 1), (8, [16.0], 8), (2, [16.0, 4.0], 2), (8, [4.0, 3.0], 3)],
)
def test_cores_are_the_least_that_is_granted(
    monkeypatch: pytest.MonkeyPatch, granted: int, quotas: list[float], expected: int
) -> None:
    monkeypatch.setattr(settings, "_cores_of_process", lambda: granted)
    monkeypatch.setattr(settings, "_quotas", lambda: iter(quotas))
    assert cores() == expected


def test_cores_follow_the_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    monkeypatch.setattr(settings, "_quotas", lambda: iter(()))
    assert cores() == 3


@pytest.mark.parametrize(("counted", "expected"), [(6, 6), (None, 1)])
def test_cores_where_affinity_cannot_be_asked(
    monkeypatch: pytest.MonkeyPatch, counted: int | None, expected: int
) -> None:
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: counted)
    monkeypatch.setattr(settings, "_quotas", lambda: iter(()))
    assert cores() == expected


def test_cores_of_this_machine() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
