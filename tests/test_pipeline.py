"""The pipeline as a user meets it: building, refusing, describing, running again, and what a result shows."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace import (
    GraphError,
    OperatorFailed,
    Pipeline,
    PipelineThreadExecutor,
    PluginError,
    PluginRef,
    Profile,
    SerialExecutor,
    SettingsError,
)


def numbers(count: int = 10, **options: Any) -> Pipeline:
    return Pipeline("numbers", **options).source("data", lambda: range(count))


async def agen(number: int) -> Any:
    yield number


def plus_one(number: int) -> int:
    return number + 1


class TestBuilding:
    def test_methods_give_the_pipeline_so_that_statements_work_as_well(self) -> None:
        pipeline = Pipeline("statements")
        assert pipeline.source("data", range(5)) is pipeline
        pipeline.map("more", plus_one)
        pipeline.filter("odd", lambda number: number % 2 == 1)
        assert pipeline.execute().outputs == [1, 3, 5]

    @pytest.mark.parametrize(
        ("build", "words"),
        [
            (lambda: Pipeline("p").map("more", plus_one), "operator 'more' has no source; begin with .source("),
            (lambda: numbers().map("data", plus_one), "operator 'data' is in the pipeline already"),
            (
                lambda: numbers().map("a", plus_one, inputs="dta"),
                "operator 'a' reads 'dta', which is not in the pipeline",
            ),
            (lambda: numbers().map("a", plus_one, inputs="a"), "operator 'a' reads itself"),
            (lambda: numbers().map("a", plus_one, inputs=["data", "data"]), "operator 'a' reads 'data' twice"),
            (lambda: numbers().zip("a", inputs=["data"]), "zip 'a' must read at least 2 operators"),
            (lambda: numbers().map("a", plus_one, inputs=[]), "map 'a' must read an operator"),
            (lambda: numbers().sink("end", print).map("more", plus_one), "reads 'end', which is a sink"),
            (lambda: Pipeline("empty").execute(), "pipeline 'empty' has no source"),
            (
                lambda: numbers(window=5).batch("tens", 10).describe(),
                "lists of 10 items never fill under a window of 5",
            ),
        ],
    )
    def test_a_wrong_graph_names_the_operator(self, build: Any, words: str) -> None:
        with pytest.raises(GraphError) as caught:
            build()
        assert words in str(caught.value)

    @pytest.mark.parametrize(
        ("build", "words"),
        [
            (
                lambda: numbers().map("more", 5),
                "map 'more': fn must be a function of one item, or something else that can be called; got 5",
            ),
            (
                lambda: numbers().map("more", plus_one, parallel_degree=0),
                "map 'more': parallel_degree must be a whole number of batches at once, at least 1, or None; got 0",
            ),
            (
                lambda: numbers().map("more", plus_one, on_error="ignore"),
                "map 'more': on_error must be one of 'raise', 'skip', 'dead_letter'; got 'ignore'",
            ),
            (lambda: numbers().map("more", plus_one, retries=-1), "map 'more': retries must be"),
            (lambda: numbers().map("more", agen), "got the asynchronous generator function"),
            (
                lambda: numbers().map("more", asyncio.sleep, executor=PipelineThreadExecutor()),
                "map 'more': executor cannot run the coroutine function",
            ),
            (lambda: numbers().map("more", plus_one, executor=3), "map 'more': executor must be 'auto', the name of"),
            (lambda: numbers().map("more", plus_one, executor=SerialExecutor), "Did you mean SerialExecutor()?"),
            (
                lambda: PluginRef("thread", 5),
                "PluginRef('thread').settings must be a mapping of settings by name; got 5",
            ),  # type: ignore[arg-type]
            (lambda: Pipeline("p", []), "profile must be a profile's name, or a Profile"),  # type: ignore[arg-type]
            (lambda: numbers().batch("tens", 0), "batch 'tens': size must be"),
            (lambda: Pipeline("p").source("data", 7), "source 'data': items must be an iterable"),
            (lambda: Pipeline("p", window=0), "Pipeline.window must be"),
            (lambda: Pipeline(""), "Pipeline.name must be"),
        ],
    )
    def test_a_wrong_option_is_refused_at_once_in_words(self, build: Any, words: str) -> None:
        with pytest.raises(SettingsError) as caught:
            build()
        assert words in str(caught.value)

    def test_a_wrong_name_gets_a_suggestion(self) -> None:
        with pytest.raises(PluginError, match=r"no profile 'balancd'\. Did you mean 'balanced'\? Installed: "):
            Pipeline("p", "balancd")
        with pytest.raises(PluginError, match=r"no executor plugin 'thred'\. Did you mean 'thread'\? Installed: "):
            numbers().map("more", plus_one, executor="thred").execute()
        with pytest.raises(SettingsError, match=r"has no setting 'max_worker'\. Did you mean 'max_workers'\?"):
            numbers().map("more", plus_one, executor=PluginRef("thread", {"max_worker": 3})).execute()

    def test_nothing_is_pulled_when_the_executor_is_unknown(self) -> None:
        pulled: list[int] = []
        pipeline = Pipeline("p").source("data", map(pulled.append, range(5))).map("more", plus_one, executor="thred")
        with pytest.raises(PluginError):
            pipeline.execute()
        assert not pulled


class TestDescribing:
    def test_describe_shows_the_graph_the_executors_and_the_windows(self) -> None:
        pipeline = numbers(window=100).map("more", plus_one, parallel_degree=4)
        pipeline.filter("odd", bool, executor="serial", ordered=False).batch("tens", 10).sink("end", print)
        assert pipeline.describe().splitlines() == [
            "pipeline 'numbers', profile 'balanced', runner 'threads'",
            "  data  source",
            "  more  map     <- data  thread x4, window 100",
            "  odd   filter  <- more  serial, window 100, as they complete",
            "  tens  batch   <- odd",
            "  end   sink    <- tens",
            "windows in all: 200 items",
        ]
        assert repr(pipeline) == "<Pipeline 'numbers' (balanced): data > more > odd > tens > end>"

    def test_an_executor_s_own_bound_counts(self) -> None:
        for executor in (PipelineThreadExecutor(max_memory_items=7), PluginRef("thread", {"max_memory_items": 7})):
            assert "window 7" in numbers().map("more", plus_one, executor=executor).describe()


class TestRunning:
    def test_a_callable_source_runs_again_and_an_iterator_says_that_it_cannot(self) -> None:
        again = numbers().map("more", plus_one)
        assert again.execute().outputs == again.execute().outputs == list(again) == list(range(1, 11))
        once = Pipeline("once").source("data", iter(range(3))).map("more", plus_one)
        assert once.execute().outputs == [1, 2, 3]
        with pytest.raises(GraphError, match="source 'data' was an iterator, and an earlier run has used it up"):
            once.execute()

    def test_two_runs_at_once(self) -> None:
        pipeline = numbers(1_000).map("more", plus_one)
        assert list(zip(pipeline, pipeline, strict=True)) == [(number, number) for number in range(1, 1_001)]

    @pytest.mark.parametrize("executor", ["serial", "thread", PluginRef("thread", {"max_workers": 2})])
    def test_an_executor_by_name_or_reference(self, executor: Any) -> None:
        assert numbers().map("more", plus_one, executor=executor).execute().outputs == list(range(1, 11))

    def test_an_executor_that_was_entered_serves_several_pipelines_and_stays_open(self) -> None:
        idents: set[int] = set()

        def work(number: int) -> int:
            idents.add(threading.get_ident())
            return number

        with PipelineThreadExecutor(max_workers=1) as executor:
            for _ in range(3):
                numbers().map("work", work, executor=executor).execute()
            assert len(idents) == 1

    def test_one_that_was_not_entered_leaves_no_thread_behind(self) -> None:
        executor = PipelineThreadExecutor(max_workers=2)
        assert numbers().map("more", plus_one, executor=executor).execute().outputs == list(range(1, 11))
        assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("headrace")]

    def test_a_profile_of_one_s_own(self) -> None:
        profile = Profile(name="mine", runner=PluginRef("serial"), executor=PluginRef("thread"), window=10)
        assert "window 10" in numbers(profile=profile).map("more", plus_one).describe()

    def test_inside_a_running_event_loop(self) -> None:
        """As in a notebook."""

        async def cell() -> list[int]:
            return numbers().map("more", plus_one).execute().outputs

        assert asyncio.run(cell()) == list(range(1, 11))

    def test_a_function_that_runs_a_pipeline_itself(self) -> None:
        def inner(number: int) -> int:
            return sum(headrace.map(plus_one, range(number)))

        assert list(headrace.map(inner, range(5))) == [0, 1, 3, 6, 10]

    def test_wanted_or_not_a_batch_waits_no_longer_than_it_may(self) -> None:
        """A list that does not fill goes after `max_wait_s`, though the source is silent."""
        silent = threading.Event()

        def source() -> Any:
            yield from range(3)
            silent.wait(10)

        pipeline = Pipeline("waits").source("data", source).map("more", plus_one).batch("tens", 10, max_wait_s=0.05)
        with pipeline.stream() as stream:
            assert next(stream) == [1, 2, 3]
            silent.set()

    @pytest.mark.parametrize("executor", ["serial", None])
    def test_what_came_is_given_out_though_the_source_is_silent(self, executor: str | None) -> None:
        """Also where no worker pulls the source: straight into a batch, or through a stage in the calling thread."""
        silent = threading.Event()

        def source() -> Any:
            yield from range(7)
            silent.wait(10)

        pipeline = Pipeline("silent").source("data", source)
        if executor:
            pipeline.map("more", plus_one, executor=executor)
        pipeline.batch("tens", 10, max_wait_s=0.05).map("sum", sum)
        with pipeline.stream() as stream:
            assert next(stream) in (21, 28)
            assert not silent.is_set()
            silent.set()

    def test_the_members_of_a_list_count_behind_the_batch_too(self) -> None:
        pulled = given = most = 0

        def source() -> Any:
            nonlocal pulled
            for pulled in range(1, 5_001):  # noqa: UP028 - `pulled` is what is looked at
                yield pulled

        pipeline = (
            Pipeline("members", window=100).source("data", source).batch("tens", 10).map("same", lambda tens: tens)
        )
        assert "window 10" in pipeline.describe().splitlines()[3]
        for tens in pipeline:
            given += len(tens)
            most = max(most, pulled - given)
        assert given == 5_000
        assert most <= 2 * 100 + 10  # the batch's and the stage's, and the list in hand
        with pytest.raises(GraphError, match="lists of 10 lists of 20 never fill under a window of 100"):
            numbers(window=100).batch("twenties", 20).batch("more", 10).describe()

    @pytest.mark.parametrize("profile", ["balanced", "serial"])
    @pytest.mark.parametrize("size", [70, 99, 100])
    def test_lists_that_nearly_fill_the_window_do_not_trickle(self, profile: str, size: int) -> None:
        pipeline = numbers(10_000, profile=profile, window=100).map("next", plus_one).batch("lists", size)
        result = pipeline.execute()
        assert [item for items in result.outputs for item in items] == list(range(1, 10_001))
        assert result.report["next"].batches < 1_000

    def test_an_executor_at_its_defaults_leaves_the_window_to_the_pipeline(self) -> None:
        def window(executor: PipelineThreadExecutor) -> str:
            described = numbers(window=50_000).map("next", plus_one, executor=executor).describe()
            return described.partition("window ")[2].split()[0]

        assert window(PipelineThreadExecutor()) == "50,000"
        assert window(PipelineThreadExecutor(max_memory_items=2_000)) == "2,000"

    @pytest.mark.parametrize("profile", ["balanced", "serial"])
    def test_items_that_grow_suddenly_stay_within_the_bytes(self, profile: str) -> None:
        pulled = given = most = 0

        def source() -> Any:
            nonlocal pulled
            for size in [100] * 2_000 + [50_000] * 200:
                pulled += size
                yield b"x" * size

        for item in Pipeline("grows", profile, max_bytes=200_000).source("data", source).map("same", bytes):
            most = max(most, pulled - given)
            given += len(item)
        assert given == pulled
        assert most <= 200_000 + 2 * 50_000  # the item that fills it, and the one in hand

    def test_items_that_are_skipped_do_not_pile_up(self) -> None:
        class Item:
            alive = most = 0
            lock = threading.RLock()  # items come and go in several threads

            def __init__(self) -> None:
                with Item.lock:
                    Item.alive += 1
                    Item.most = max(Item.most, Item.alive)

            def __del__(self) -> None:
                with Item.lock:
                    Item.alive -= 1

        def fail(item: Item) -> None:
            raise ValueError

        for options in ({"on_error": "skip"}, {"on_error": "skip", "retries": 1}):
            source = (Item() for _ in range(3_000))
            pipeline = Pipeline("skips", window=100).source("data", source).map("fail", fail, **options)  # type: ignore[arg-type]
            assert pipeline.execute().report["fail"].skipped == 3_000
        assert Item.most <= 100

    @pytest.mark.parametrize("name", ["items", "source", "", None])
    def test_the_name_of_a_function_is_no_obstacle(self, name: str | None) -> None:
        class Named:
            def __call__(self, number: int) -> int:
                return number + 1

        fn = Named()
        fn.__name__ = name  # type: ignore[attr-defined]
        assert list(headrace.map(fn, range(3))) == [1, 2, 3]
        assert list(PipelineThreadExecutor(max_workers=2).execute(fn, range(3))) == [1, 2, 3]

    def test_what_was_done_counts_though_nobody_took_it(self) -> None:
        done = []

        def work(number: int) -> int:
            done.append(number)
            return number

        for profile in ("serial", "balanced"):
            done.clear()
            with numbers(5_000, profile=profile).map("work", work, parallel_degree=4).stream() as stream:
                for number in stream:
                    if number == 40:
                        break
            assert stream.report["work"].done == len(done)

    def test_a_stream_that_never_began_uses_nothing_up(self) -> None:
        pipeline = Pipeline("once").source("data", iter(range(3))).map("more", plus_one)
        pipeline.stream().close()
        assert pipeline.execute().outputs == [1, 2, 3]

    def test_without_an_operator_and_without_an_item(self) -> None:
        assert numbers().execute().outputs == list(range(10))
        assert numbers(0).map("more", plus_one).execute().outputs == []


class TestResults:
    def test_the_error_carries_what_came_before_and_the_account(self) -> None:
        with pytest.raises(OperatorFailed) as caught:
            numbers().map("divide", lambda number: 1 / (number - 4)).filter("all", lambda _: True).execute()
        error = caught.value
        assert str(error) == "operator 'divide' failed at item 4 (4): ZeroDivisionError: division by zero"
        assert isinstance(error.__cause__, ZeroDivisionError)
        assert len(error.result.outputs) == 4
        assert error.result.report["divide"].raised == 1
        assert error.result.report["divide"].abandoned >= 1

    def test_a_source_that_fails_gives_what_came_before(self) -> None:
        def source() -> Any:
            yield from range(5)
            raise OSError("the disk is gone")

        with pytest.raises(
            OperatorFailed, match="operator 'data' failed: at item 5: OSError: the disk is gone"
        ) as caught:
            Pipeline("fails").source("data", source).map("more", plus_one).execute()
        assert caught.value.result.outputs == [1, 2, 3, 4, 5]

    def test_a_sink_that_fails_has_had_all_before_it_in_order(self) -> None:
        written: list[int] = []

        def write(number: int) -> None:
            if number == 5:
                raise OSError("full")
            written.append(number)

        with pytest.raises(OperatorFailed, match="operator 'write' failed at item 4"):
            numbers().map("more", plus_one).sink("write", write).execute()
        assert written == [1, 2, 3, 4]

    def test_a_sink_tries_again_before_it_goes_on(self) -> None:
        written: list[int] = []
        failed: set[int] = set()

        def write(number: int) -> None:
            if number % 3 == 0 and number not in failed:
                failed.add(number)
                raise OSError("busy")
            written.append(number)

        result = numbers().sink("write", write, retries=1).execute()
        assert written == list(range(10))
        assert (result.outputs, result.report["write"].retried) == ([], 4)

    def test_the_report_is_a_table_that_fits_a_terminal(self) -> None:
        result = numbers().map("halve", lambda number: 10 / number, on_error="dead_letter").execute()
        lines = str(result.report).splitlines()
        assert lines[0].startswith("pipeline 'numbers', profile 'balanced', ended after ")
        assert " ".join(lines[1].split()) == "operator kind executor taken done dead emitted batches service s"
        assert [line.split()[:2] for line in lines[2:]] == [["data", "source"], ["halve", "map"]]
        assert max(map(len, lines)) <= 80
        with pytest.raises(KeyError, match="no operator 'half'; there are data, halve"):
            result.report["half"]

    def test_a_dead_letter_shows_where_it_was_raised(self) -> None:
        result = numbers().map("divide", lambda number: 1 / number, on_error="dead_letter").execute()
        (letter,) = result.dead_letters
        assert str(letter) == "'divide' at item 0 (0): ZeroDivisionError: division by zero"
        assert f'File "{__file__}", line ' in letter.traceback
        assert letter.traceback.endswith("ZeroDivisionError: division by zero\n")

    def test_dead_letters_while_streaming(self) -> None:
        with numbers().map("divide", lambda number: 1 / number, on_error="dead_letter").stream() as stream:
            assert len(list(stream)) == 9
            assert [letter.item for letter in stream.dead_letters] == [0]
            assert stream.report["divide"].dead == 1


class TestNames:
    def test_every_public_name_resolves_and_nothing_else_does(self) -> None:
        for name in headrace.__all__:
            assert getattr(headrace, name) is not None
            assert name in dir(headrace)
        assert SerialExecutor.__module__ == "headrace_executors.serial"
        with pytest.raises(AttributeError, match="module 'headrace' has no attribute 'Pipelin'"):
            _ = headrace.Pipelin  # type: ignore[attr-defined]

    def test_a_user_s_program_passes_strict_type_checks(self, tmp_path: Path) -> None:
        pytest.importorskip("mypy", reason="mypy is in the extra 'dev', and the tests also run with 'test' alone")
        program = tmp_path / "program.py"
        program.write_text(
            "from headrace import Pipeline, PipelineThreadExecutor, map\n"
            "def double(number: int) -> int:\n    return number * 2\n"
            "result = Pipeline('p').source('data', range(5)).map('double', double, parallel_degree=2).execute()\n"
            "print(result.outputs, result.report['double'].done)\n"
            "for number in PipelineThreadExecutor(max_workers=2).execute(double, range(5)):\n    print(number)\n"
            "print(list(map(double, range(5))))\n"
        )
        checked = subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(program)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert checked.returncode == 0, checked.stdout
