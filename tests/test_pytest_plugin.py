"""The fixtures of the pytest plugin, each in a run of its own."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

IMPORTS = """
import sys
import headrace_pytest
print(sorted(name for name in sys.modules if name.partition(".")[0] in {"headrace", "attr", "stevedore"}))
"""


@pytest.fixture
def inner(pytester: pytest.Pytester) -> pytest.Pytester:
    """For runs inside of this one. They need no hypothesis, whose plugin takes a second to load."""
    pytester.makeini("[pytest]\naddopts = -p no:hypothesispytest\n")
    return pytester


def test_the_plugin_is_registered_by_its_entry_point() -> None:
    (entry_point,) = importlib.metadata.entry_points(group="pytest11", name="headrace")
    assert entry_point.value == "headrace_pytest"


def test_nothing_of_ours_is_imported_before_a_fixture_is_used() -> None:
    answer = subprocess.run([sys.executable, "-c", IMPORTS], stdout=subprocess.PIPE, text=True, check=True)
    assert answer.stdout == "[]\n"


def test_nothing_of_ours_is_imported_by_a_run_that_uses_no_fixture(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import sys

        def test_nothing():
            assert "headrace_pytest" in sys.modules
            assert not [name for name in sys.modules if name.partition(".")[0] == "headrace"]
        """
    )
    inner.runpytest_subprocess().assert_outcomes(passed=1)


def test_assertions_of_the_suites_are_explained(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        from headrace import SerialExecutor
        from headrace.testing import ExecutorContract

        class TestSerial(ExecutorContract):
            capabilities = frozenset({"in_process", "flies"})

            def make_executor(self):
                return SerialExecutor()
        """
    )
    result = inner.runpytest_inprocess("-k", "capabilities")
    result.stdout.fnmatch_lines(["*no such capabilities: [[]'flies'[]]*", "*assert not [[]'flies'[]]*"])


def test_what_is_switched_off_is_shown_by_name(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        from headrace import SerialExecutor
        from headrace.testing import ExecutorContract

        class TestMine(ExecutorContract):
            capabilities = frozenset({"in_process"})

            def make_executor(self):
                return SerialExecutor()
        """
    )
    result = inner.runpytest_inprocess("-rs", "-k", "linger")
    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines(["SKIPPED * TestMine does not claim 'linger'"])


# headrace_serial ----------------------------------------------------------------------------------------------------

USERS = """
import threading
import headrace
from headrace import Pipeline

def where(item):
    return threading.current_thread().name

made_before = Pipeline("before", window=7).source("items", range(3)).map("where", where, parallel_degree=2)

def one_liner():
    return list(headrace.map(where, range(3)))
"""


def test_serial_runs_all_pipelines_in_the_thread_of_the_test(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        users=USERS,
        test_it="""
        import threading
        from headrace import Pipeline
        from users import made_before, one_liner, where

        HERE = [threading.current_thread().name] * 3

        def test_made_before_the_test(headrace_serial):
            assert made_before.execute().outputs == HERE
            assert list(made_before) == HERE

        def test_made_in_the_test(headrace_serial):
            for profile in "balanced", "serial":
                pipeline = Pipeline("in", profile).source("items", range(3)).map("where", where)
                assert pipeline.execute().outputs == HERE

        def test_the_one_line_start(headrace_serial):
            assert one_liner() == HERE

        def test_its_value(headrace_serial):
            assert headrace_serial.name == "serial"
            assert str(headrace_serial.executor) == "serial"

        def test_the_report_tells(headrace_serial):
            assert made_before.execute().report["where"].executor == "serial"
            assert "profile 'serial'" in made_before.describe()

        def test_windows_stay(headrace_serial):
            assert "window 7" in made_before.describe()

        def test_an_executor_that_is_named_stays(headrace_serial):
            pipeline = Pipeline("named").source("items", range(3)).map("where", where, executor="thread")
            assert not set(pipeline.execute().outputs) & set(HERE)

        def test_wrong_words_are_still_refused(headrace_serial):
            import pytest
            from headrace import PluginError
            with pytest.raises(PluginError, match="no profile 'seriel'. Did you mean 'serial'?"):
                Pipeline("wrong", "seriel")
        """,
    )
    inner.runpytest_inprocess().assert_outcomes(passed=8)


def test_serial_ends_with_the_test(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        users=USERS,
        test_it="""
        import threading
        from headrace import Pipeline
        from users import made_before

        made_meanwhile = []

        def test_with(headrace_serial):
            made_meanwhile.append(Pipeline("meanwhile").source("items", [1]).map("neg", abs))
            assert "'serial'" in made_meanwhile[0].describe()

        def test_without():
            assert threading.current_thread().name not in made_before.execute().outputs
            assert "'balanced'" in made_meanwhile[0].describe()
            assert "'balanced'" in Pipeline("after").source("items", [1]).describe()
        """,
    )
    inner.runpytest_inprocess().assert_outcomes(passed=2)


def test_serial_ends_also_when_the_test_fails(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        from headrace import Pipeline

        def test_with(headrace_serial):
            assert False

        def test_without():
            assert "'balanced'" in Pipeline("after").source("items", [1]).describe()
        """
    )
    inner.runpytest_inprocess().assert_outcomes(passed=1, failed=1)


def test_serial_raises_a_failure_in_the_thread_of_the_test(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import threading
        import headrace
        import pytest

        def broken(item):
            raise ValueError(threading.current_thread().name)

        def test_it(headrace_serial):
            with pytest.raises(headrace.OperatorFailed) as caught:
                list(headrace.map(broken, [1]))
            assert str(caught.value.__cause__) == threading.current_thread().name
        """
    )
    inner.runpytest_inprocess().assert_outcomes(passed=1)


# headrace_leaks -----------------------------------------------------------------------------------------------------


LEAKS = {
    # what a test does -> what is left of it
    "threading.Thread(target=threading.Event().wait, args=(9,), name='forgotten', daemon=True).start()": (
        "thread 'forgotten'"
    ),
    "kept.append(subprocess.Popen(['sleep', '9']))": "child process * (sleep 9)",
    "kept.append(subprocess.Popen(['true']))": "child process * (true, ended but not waited for)",
    "kept.append(open(__file__))": "descriptor * (*test_leaks.py)",
    "kept.append(socket.socketpair())": "descriptor * (socket:*), descriptor * (socket:*)",
    "memory = SharedMemory(NAME, create=True, size=10); memory.close()": "*shared memory 'headrace-test-*'",
    "kept.append(headrace.map(abs, itertools.count())); next(kept[-1])": "thread 'headrace-*'",
}

LEAKY = """
import itertools, os, socket, subprocess, threading
from multiprocessing.shared_memory import SharedMemory
import headrace

NAME = f"headrace-test-{os.getpid()}"
kept = []
"""


def test_leaks_fails_a_test_that_leaves_something_and_names_it(inner: pytest.Pytester) -> None:
    inner.makeconftest("from headrace.testing import leaks\n\nleaks.GONE_S = 0.2  # 2 s for each would be long\n")
    tests = [f"def test_{number}(headrace_leaks):\n    {leak}\n" for number, leak in enumerate(LEAKS)]
    clean = "def test_clean(headrace_leaks):\n    SharedMemory(NAME).unlink()\n    kept[0].kill()\n"
    inner.makepyfile(test_leaks="\n\n".join([LEAKY, *tests, clean]))
    result = inner.runpytest_subprocess()
    result.assert_outcomes(passed=len(LEAKS) + 1, errors=len(LEAKS))
    result.stdout.fnmatch_lines([f"left behind by the test: {named}" for named in LEAKS.values()])


def test_leaks_lets_pass_what_goes_in_time(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import itertools, subprocess, threading, weakref
        import headrace

        def test_nothing(headrace_leaks):
            pass

        def test_a_thread_that_ends_by_itself(headrace_leaks):
            end = threading.Event()
            threading.Thread(target=end.wait, args=(10,)).start()
            threading.Timer(0.2, end.set).start()

        def test_a_whole_run(headrace_leaks):
            assert list(headrace.map(abs, range(1000))) == list(range(1000))

        def test_a_run_that_is_broken_off(headrace_leaks):
            for item in headrace.map(abs, itertools.count()):
                break

        def test_what_only_the_collector_knows(headrace_leaks):
            cycle = [open(__file__), headrace.map(abs, itertools.count())]
            next(cycle[1])
            cycle.append(cycle)

        def test_what_was_there_before(headrace_leaks):
            subprocess.run(["true"], check=True)

        def test_its_value_can_be_asked(headrace_leaks):
            with open(__file__) as file:
                (left,) = headrace_leaks.left(within_s=0)
                assert f"descriptor {file.fileno()} " in left
            assert headrace_leaks.left() == []
        """
    )
    inner.runpytest_inprocess("-W", "ignore::ResourceWarning").assert_outcomes(passed=7)


def test_leaks_counts_fixtures_by_their_order(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import pytest

        @pytest.fixture
        def file():
            with open(__file__) as file:
                yield file

        def test_before(file, headrace_leaks):
            pass

        def test_after(headrace_leaks, file):
            pass
        """
    )
    inner.runpytest_inprocess().assert_outcomes(passed=2)


def test_leaks_does_not_mind_the_resource_tracker(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        from multiprocessing import shared_memory

        def test_it(headrace_leaks):
            memory = shared_memory.SharedMemory(create=True, size=10)
            memory.close()
            memory.unlink()
        """
    )
    inner.runpytest_inprocess().assert_outcomes(passed=1)


def test_the_fixtures_are_documented(inner: pytest.Pytester) -> None:
    shown = inner.runpytest_inprocess("--fixtures").stdout.str()
    assert "headrace_serial" in shown
    assert "headrace_leaks" in shown
