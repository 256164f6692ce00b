"""The tools of `headrace.testing` say what did not happen, and do not hang."""

from __future__ import annotations

import os
import threading

import pytest

from headrace import Pipeline
from headrace.testing import Aside, Gate, Resources, Source, running_on
from headrace.testing.state import changes, global_state


def test_aside_gives_what_came_of_its_work() -> None:
    assert Aside(sum, [1, 2, 3]).result(10) == 6
    assert Aside(threading.get_ident).result(10) != threading.get_ident()


def test_aside_raises_what_its_work_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        Aside(divmod, 1, 0).result(10)


def test_aside_says_that_its_work_hangs() -> None:
    end = threading.Event()
    aside = Aside(end.wait)
    with pytest.raises(AssertionError, match=r"Event\.wait hangs: it is not done after 0\.01 s"):
        aside.result(0.01)
    assert not aside.ended
    end.set()
    assert aside.result(10)


def test_a_gate_holds_and_counts() -> None:
    gate = Gate()
    held = [Aside(gate.hold, name) for name in "abc"]
    assert sorted(map(str, gate.wait_for(3))) == ["a", "b", "c"]
    assert not any(each.ended for each in held)
    gate.open()
    assert [each.result(10) for each in held] == ["a", "b", "c"]
    assert gate.hold("d") == "d"
    assert repr(gate) == "<Gate, open, 4 came>"


def test_a_gate_loses_patience() -> None:
    gate = Gate(patience_s=0.01)
    with pytest.raises(AssertionError, match=r"the gate was not opened within 0\.01 s"):
        gate.hold()
    with pytest.raises(AssertionError, match=r"1 of 2 came within 0\.01 s"):
        gate.wait_for(2)


def test_a_source_tells_what_became_of_it() -> None:
    source = Source(silent_after=2, patience_s=0.01)
    iterator = iter(source)
    assert [next(iterator), next(iterator)] == [0, 1]
    with pytest.raises(AssertionError, match=r"the source was silent for 0\.01 s, and nobody woke it"):
        next(iterator)
    assert source.silent.is_set()
    assert source.closed_where_pulled
    source = Source()
    iterator = iter(source)
    next(iterator)
    assert not source.closed_where_pulled
    Aside(iterator.close).result(10)  # type: ignore[attr-defined]
    assert source.closed.is_set()
    assert not source.closed_where_pulled


def test_running_on_may_be_nested_and_ends_with_its_block() -> None:
    pipeline = Pipeline("mine", window=5).source("items", [1]).map("neg", abs)
    shown = pipeline.describe()
    with running_on("serial") as serial, running_on("balanced"):
        assert pipeline.describe() == shown
        with running_on(serial):
            assert "runner 'serial'" in pipeline.describe()
            assert "profile 'serial'" in pipeline.describe()
    assert pipeline.describe() == shown


def test_resources_wait_for_what_goes() -> None:
    before, end = Resources.now(), threading.Event()
    Aside(end.wait)
    assert before.left(within_s=0) == ["thread 'aside-Event.wait'"]
    end.set()
    assert before.left() == []


def test_a_change_of_the_global_state_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    before = global_state()
    assert changes(before, global_state()) == []
    monkeypatch.setenv("HEADRACE_TEST", "1")
    monkeypatch.chdir("/")
    assert [change.partition(":")[0] for change in changes(before, global_state())] == [
        "the working directory",
        "the environment",
    ]
    assert os.environ["HEADRACE_TEST"] == "1"
