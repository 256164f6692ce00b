"""What travels to worker processes and back, and what cannot."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import os
import re
import subprocess
import sys
import threading
import warnings
from functools import partial
from typing import Any

import psutil
import pytest
import scripts
import victims

from headrace import (
    HeadraceError,
    ItemUnpicklable,
    OperatorFailed,
    Pipeline,
    PipelineProcessExecutor,
    Recycle,
    SettingsError,
    Setup,
)
from headrace_executors.process import lending, memory


def through(fn: Any, items: Any, **options: Any) -> list[Any]:
    return list(PipelineProcessExecutor(max_workers=2).execute(fn, items, **options))


# Programs -----------------------------------------------------------------------------------------------------------


def test_a_script_without_a_guard() -> None:
    out = scripts.run("""
        from dataclasses import dataclass
        from functools import partial
        from headrace import PipelineProcessExecutor

        factor = 3

        @dataclass
        class Point:
            x: int
            def doubled(self, _):
                return Point(2 * self.x)

        class Odd(Exception):
            pass

        def plus(item, by=0):
            return item + by + factor

        def grown(point):
            if not isinstance(point, Point):
                raise TypeError(type(point))
            return Point(point.x + 1)

        def odd(item):
            raise Odd(item)

        def through(fn, items, **options):
            return list(PipelineProcessExecutor(max_workers=2).execute(fn, items, **options))

        number = 10
        print(through(plus, range(3)))
        print(through(lambda item: item * number, range(3)))
        print(through(partial(plus, by=100), range(3)))
        print(through(Point(4).doubled, range(2)))
        got = through(grown, [Point(1), Point(2)])
        print(got, all(type(each) is Point for each in got))
        stream = PipelineProcessExecutor(max_workers=2).execute(odd, range(2), on_error="dead_letter")
        print(list(stream), [type(letter.error) is Odd for letter in stream.dead_letters])
    """)
    assert out.splitlines() == [
        "[3, 4, 5]",
        "[0, 10, 20]",
        "[103, 104, 105]",
        "[Point(x=8), Point(x=8)]",
        "[Point(x=2), Point(x=3)] True",
        "[] [True, True]",
    ]


def test_a_function_typed_into_the_interpreter() -> None:
    lines = [
        "from headrace import PipelineProcessExecutor",
        "def triple(item):",
        "    return 3 * item",
        "",
        "print('got', list(PipelineProcessExecutor(max_workers=2).execute(triple, range(4))))",
        "",
    ]
    done = subprocess.run(
        [sys.executable, "-i", "-q"], input="\n".join(lines), capture_output=True, text=True, timeout=60
    )
    assert "got [0, 3, 6, 9]" in done.stdout, done.stderr


def test_a_notebook() -> None:
    """A kernel of Jupyter, which runs an event loop and has an output of its own."""
    manager_module = pytest.importorskip("jupyter_client.manager", reason="needs the extra `test`")
    pytest.importorskip("ipykernel", reason="needs the extra `test`")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Jupyter's own
        manager, client = manager_module.start_new_kernel(kernel_name="python3")
        try:
            code = (
                "from headrace import PipelineProcessExecutor\n"
                "def triple(item):\n    print('at', item)\n    return 3 * item\n"
                "print(list(PipelineProcessExecutor(max_workers=2).execute(triple, range(4))))\n"
            )
            said: list[str] = []

            def hook(message: dict[str, Any]) -> None:
                content = message["content"]
                said.append(content.get("text", "") + "\n".join(content.get("traceback", [])))

            reply = client.execute_interactive(code, timeout=60, output_hook=hook)
            text = "".join(said)
            assert reply["content"]["status"] == "ok", text
            assert "[0, 3, 6, 9]" in text
            assert all(f"at {item}\n" in text for item in range(4)), text
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


def test_workers_know_the_arguments_of_the_program_and_where_it_is() -> None:
    out = scripts.run(
        """
        import os, sys
        from headrace import PipelineProcessExecutor
        print(list(PipelineProcessExecutor(max_workers=1).execute(lambda _: (sys.argv[1:], os.getcwd()), range(1))))
        """,
        "one",
        "two",
    )
    assert out.strip() == repr([(["one", "two"], os.getcwd())])


def test_a_pipeline_inside_a_worker_runs_in_line() -> None:
    assert through(_nested, [3, 4]) == [[0, 1, 2], [0, 1, 2, 3]]


def _nested(count: int) -> list[int]:
    before = os.getpid()
    got = list(PipelineProcessExecutor(max_workers=2).execute(victims.pid_of, range(count)))
    assert set(got) == {before}
    return list(range(count))


# What cannot ---------------------------------------------------------------------------------------------------------


class Locked:
    """Cannot be pickled."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class ComesBackBroken(Exception):
    """Can be pickled, and not be made again from its pickle."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("words")


@dataclasses.dataclass
class NeverLoads:
    number: int

    def __reduce__(self) -> Any:
        return _refuse, (self.number,)


@dataclasses.dataclass
class LoadsNotIn:
    """Can be made again in another process than `pid`."""

    pid: int

    def __reduce__(self) -> Any:
        return _only_elsewhere, (self.pid,)


def _refuse(number: int) -> None:
    raise RuntimeError(f"{number} does not load")


def _only_elsewhere(pid: int) -> LoadsNotIn:
    if os.getpid() == pid:
        raise RuntimeError("not here")
    return LoadsNotIn(pid)


def _at_ten(item: int, *, what: Any, raises: bool = False) -> Any:
    if item == 10:
        value = what()
        if raises:
            raise value
        return value
    return item


def _recursive() -> Any:
    return _recursive()


BAD_RESULTS = {
    "lock": Locked,
    "refuses": partial(NeverLoads, 1),
    "generator": lambda: (each for each in [1]),
}
BAD_ERRORS = {
    "broken": (partial(ComesBackBroken, 1, 2), "words"),
    "exit": (partial(SystemExit, 3), "3"),
    "interrupt": (partial(KeyboardInterrupt, "k"), "k"),
    "stop": (partial(StopIteration, "s"), "raised StopIteration"),
    "locked": (lambda: ValueError(threading.Lock()), "lock"),
    "recursion": (_recursive, "recursion"),
}


@pytest.mark.parametrize("kind", BAD_RESULTS)
def test_a_result_that_cannot_travel_is_a_failure_of_its_item(kind: str) -> None:
    executor = PipelineProcessExecutor(max_workers=2)
    stream = executor.execute(partial(_at_ten, what=BAD_RESULTS[kind]), range(100), on_error="dead_letter", retries=2)
    assert list(stream) == [item for item in range(100) if item != 10]
    (letter,) = stream.dead_letters
    assert (letter.index, letter.item, letter.attempts) == (10, 10, 1)
    assert isinstance(letter.error, ItemUnpicklable)


@pytest.mark.parametrize("kind", BAD_RESULTS)
def test_all_before_a_result_that_cannot_travel_comes_first(kind: str) -> None:
    got: list[int] = []
    with pytest.raises(OperatorFailed, match=r"at item 10 .*cannot travel"):
        got.extend(PipelineProcessExecutor(max_workers=2).execute(partial(_at_ten, what=BAD_RESULTS[kind]), range(100)))
    assert got == list(range(10))


@pytest.mark.parametrize("kind", BAD_ERRORS)
def test_an_error_that_cannot_travel_fails_its_item_alone(kind: str) -> None:
    make, words = BAD_ERRORS[kind]
    fn = partial(_at_ten, what=make, raises=True)
    with PipelineProcessExecutor(max_workers=2) as executor:
        pids = set(executor.execute(victims.pid_of, range(50)))
        stream = executor.execute(fn, range(100), on_error="dead_letter")
        assert list(stream) == [item for item in range(100) if item != 10]
        assert set(executor.execute(victims.pid_of, range(50))) <= pids, "a worker was lost"
    (letter,) = stream.dead_letters
    assert re.search(words, str(letter.error))


def test_the_traceback_of_an_error_is_shown() -> None:
    with pytest.raises(OperatorFailed) as failed:
        through(partial(_at_ten, what=partial(ValueError, "ten"), raises=True), range(20))
    error = failed.value.__cause__
    assert isinstance(error, ValueError)
    assert "in _at_ten" in str(error.__cause__)


@pytest.mark.parametrize("bad", [Locked(), NeverLoads(1), LoadsNotIn(0)], ids=["lock", "refuses", "fine"])
def test_an_item_that_cannot_travel_fails_by_itself(bad: Any) -> None:
    items = [*range(10), bad, *range(11, 30)]
    stream = PipelineProcessExecutor(max_workers=2).execute(_kind, items, on_error="dead_letter")
    got = list(stream)
    if isinstance(bad, LoadsNotIn):
        assert got == ["int"] * 10 + ["LoadsNotIn"] + ["int"] * 19
        return
    assert got == ["int"] * 29
    (letter,) = stream.dead_letters
    assert letter.index == 10 and letter.item is bad
    assert "cannot travel to a worker process" in str(letter.error)


def _kind(item: Any) -> str:
    return type(item).__name__


def test_a_function_that_cannot_travel_fails_before_anything_is_pulled() -> None:
    lock, pulled = threading.Lock(), []

    def locked(item: int) -> int:
        with lock:
            return item

    def items() -> Any:
        pulled.append(1)
        yield 1

    with pytest.raises(SettingsError, match="'locked' cannot run in worker processes: variable 'lock' of the function"):
        through(locked, items)
    assert not pulled


# Buffers -------------------------------------------------------------------------------------------------------------


def _negative(array: Any) -> Any:
    return -array


_kept: list[Any] = []


def _keeps(array: Any) -> float:
    _kept.append(array)
    assert all((each == each[0]).all() for each in _kept), "what the function kept was written over"
    return float(array[0])


def test_results_that_the_consumer_keeps_stay_as_they_are() -> None:
    numpy = pytest.importorskip("numpy", reason="needs the extra `test`")
    arrays = [numpy.full(1 << 17, number, dtype=float) for number in range(120)]
    got = through(_negative, arrays)
    assert [float(each[0]) for each in got] == [-float(number) for number in range(120)]
    assert all((each == each[0]).all() for each in got)


def test_inputs_that_the_function_keeps_stay_as_they_are() -> None:
    numpy = pytest.importorskip("numpy", reason="needs the extra `test`")
    arrays = (numpy.full(1 << 17, number, dtype=float) for number in range(60))
    assert through(_keeps, arrays) == [float(number) for number in range(60)]


def test_memory_for_buffers_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    numpy = pytest.importorskip("numpy", reason="needs the extra `test`")
    made: list[int] = []

    def anonymous(size: int, **options: bool) -> int:
        made.append(size)
        return memory.anonymous(size, **options)

    monkeypatch.setattr(lending, "anonymous", anonymous)
    arrays = (numpy.full(1 << 18, number, dtype=float) for number in range(200))
    for number, array in enumerate(PipelineProcessExecutor(max_workers=2).execute(_negative, arrays)):
        assert array[0] == -number
    assert 2 <= len(made) <= 2 * (lending.INPUTS + lending.RESULTS)


def test_buffers_of_all_sizes_and_shapes() -> None:
    numpy = pytest.importorskip("numpy", reason="needs the extra `test`")
    arrays = [
        numpy.zeros(0),
        numpy.arange(10),
        numpy.arange(1 << 20).reshape(1 << 10, -1)[:, ::2],
        numpy.asfortranarray(numpy.arange(1 << 18).reshape(1 << 9, -1)),
        numpy.array(["a", None], dtype=object),
        numpy.arange(1 << 22, dtype="u1"),
    ]
    for one, other in zip(through(victims.same, arrays * 3), arrays * 3, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape and (one == other).all()


def test_large_plain_bytes() -> None:
    items = [bytes([number]) * (3 << 20) for number in range(20)]
    assert through(victims.same, items) == items


BIG = """
    import numpy
    from headrace import PipelineProcessExecutor
    total = 0
    arrays = (numpy.full(1 << 19, number, dtype=float) for number in range(40))
    for number, array in enumerate(PipelineProcessExecutor(max_workers=2).execute(lambda array: array + 1, arrays)):
        assert (array == number + 1).all()
        total += 1
    print(total)
"""


@pytest.mark.parametrize("limit", ["ulimit -n 64", "ulimit -n 24", "ulimit -f 8000"])
def test_large_buffers_where_descriptors_or_memory_files_are_short(limit: str) -> None:
    pytest.importorskip("numpy", reason="needs the extra `test`")
    assert scripts.run(BIG, prelude=limit).strip() == "40"


def test_large_buffers_with_a_full_dev_shm() -> None:
    pytest.importorskip("numpy", reason="needs the extra `test`")
    wrapper = ["unshare", "--map-root-user", "--mount"]
    full = "mount -t tmpfs -o size=4k full /dev/shm && head -c 4096 /dev/zero > /dev/shm/full"
    try:
        able = subprocess.run([*wrapper, "sh", "-c", full], capture_output=True).returncode == 0
    except FileNotFoundError:
        able = False
    if not able:
        pytest.skip("a mount of one's own, which can be filled, is not allowed here")
    assert scripts.run(BIG, prelude=full, wrapper=wrapper).strip() == "40"


@pytest.mark.stress
def test_ten_gigabytes_in_flat_memory() -> None:
    numpy = pytest.importorskip("numpy", reason="needs the extra `test`")
    made = [numpy.full(1 << 19, number, dtype=float) for number in range(8)]
    count, pss = 1_300, {}
    arrays = itertools.islice(itertools.cycle(made), count)
    for number, array in enumerate(PipelineProcessExecutor(max_workers=2).execute(_negative, arrays)):
        assert array[0] == array[-1] == -(number % 8)
        if number in (count // 10, count - 1):
            me = psutil.Process()
            tree = [me, *me.children()]
            pss[number] = sum(each.memory_full_info().pss for each in tree) >> 20
    first, last = pss.values()
    print(f"PSS of the tree after 1 GB: {first} MiB, after 10 GB: {last} MiB")
    assert last - first < 100, pss


# What comes home -----------------------------------------------------------------------------------------------------


def _logs(item: int) -> int:
    if item == 3:
        logging.getLogger("mine").warning("three is %s", "odd", extra={"where": "here"})
        logging.getLogger("mine").debug("not wanted")
        warnings.warn("careful", FutureWarning, stacklevel=1)
        print("printed", item)
    return item


def test_log_records_warnings_and_prints_come_home(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    warnings.simplefilter("always")
    with caplog.at_level(logging.INFO):
        pipeline = Pipeline("home").source("items", range(10)).map("work", _logs, executor="process")
        assert pipeline.execute().outputs == list(range(10))
    (record,) = [record for record in caplog.records if record.name == "mine"]
    assert record.getMessage() == "three is odd"
    assert (record.operator, record.where) == ("work", "here")  # type: ignore[attr-defined]
    assert record.process != os.getpid()
    (warning,) = [each for each in recwarn if each.category is FutureWarning]
    assert re.match(r"careful \(operator 'work', worker process \d+\)", str(warning.message))
    assert capsys.readouterr().out == "printed 3\n"


def test_breakpoint_says_what_to_do_instead() -> None:
    with pytest.raises(OperatorFailed, match="works with the profile 'serial'"):
        through(_stops, range(1))


def _stops(item: int) -> None:
    breakpoint()


def test_threads_of_linear_algebra_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    got = through(_threads, range(1))
    assert got == [("1", "7")]


def _threads(item: int) -> tuple[str | None, str | None]:
    return os.environ.get("OMP_NUM_THREADS"), os.environ.get("MKL_NUM_THREADS")


# What a worker makes, and how long it lives --------------------------------------------------------------------------


class Model:
    """Writes down where it was made and ended."""

    def __init__(self, folder: str, factor: int = 1) -> None:
        self.folder, self.factor = folder, factor
        self.note("made")

    def note(self, word: str) -> None:
        with open(os.path.join(self.folder, f"{word} {os.getpid()}"), "a") as file:
            file.write("x")

    def __call__(self, item: int) -> int:
        return item * self.factor

    def close(self) -> None:
        self.note("closed")


@pytest.mark.parametrize("executor", ["process", "thread", "serial"])
def test_a_setup_is_made_once_in_each_worker_and_torn_down(executor: str, tmp_path: Any) -> None:
    setup = Setup(Model, str(tmp_path), factor=3, teardown=Model.close)
    pipeline = Pipeline("setup").source("items", range(500))
    pipeline.map("model", setup=setup, executor=executor, parallel_degree=2)
    assert pipeline.execute().outputs == [3 * item for item in range(500)]
    notes = {path.name: path.read_text() for path in tmp_path.iterdir()}
    made = {name.split()[1]: text for name, text in notes.items() if name.startswith("made")}
    closed = {name.split()[1]: text for name, text in notes.items() if name.startswith("closed")}
    assert made == closed
    if executor == "process":
        assert set(made.values()) == {"x"} and str(os.getpid()) not in made


def test_a_setup_that_raises_ends_the_run() -> None:
    pipeline = Pipeline("setup").source("items", range(5)).map("model", setup=Setup(int, "x"), executor="process")
    with pytest.raises(HeadraceError, match="the setup of operator 'model' raised ValueError"):
        pipeline.execute()


def test_workers_are_replaced_after_so_many_items() -> None:
    pipeline = Pipeline("recycle").source("items", range(400))
    pipeline.map("pid", victims.pid_of, executor="process", parallel_degree=2, recycle=Recycle(items=50))
    pids = pipeline.execute().outputs
    assert len(pids) == 400
    assert len(set(pids)) >= 4


def test_workers_are_replaced_that_hold_much_memory() -> None:
    pipeline = Pipeline("recycle").source("items", range(300))
    pipeline.map("grow", _grows, executor="process", parallel_degree=2, recycle=Recycle(rss_bytes=100 << 20))
    assert len(set(pipeline.execute().outputs)) >= 3


def _grows(item: int) -> int:
    _kept.append(b"x" * (1 << 20))
    return os.getpid()
