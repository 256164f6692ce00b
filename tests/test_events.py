"""What a run tells: the same from all runners and executors, and the sums are those of the account."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from collections import Counter
from pathlib import Path
from time import sleep
from typing import Any

import attrs
import pytest

import headrace
from headrace import (
    AsyncEventDispatcher,
    BackpressureEnded,
    BackpressureStarted,
    BatchCompleted,
    BatchSizeChanged,
    BufferedEventNotifier,
    Event,
    HeadraceError,
    ItemFailed,
    ItemRetried,
    LogEvents,
    OperatorFailed,
    OperatorFinished,
    OperatorStarted,
    Pipeline,
    PipelineFinished,
    PipelineStarted,
    PluginRef,
    ProgressMade,
    SettingsError,
    WorkerStarted,
    WriteEvents,
    current,
    events,
)
from headrace.testing import Gate

WAIT_S = 10


@attrs.frozen(kw_only=True)
class Found(Event):
    """An event of a user's own."""

    number: int = 0
    what: Any = None


@attrs.frozen
class Plain:
    """One that is no Event at all."""

    number: int


def heard_by(pipeline: Pipeline, *types: type) -> list[Any]:
    heard: list[Any] = []
    pipeline.on(types or Event, heard.append)
    return heard


def halve(number: int) -> int:
    if number % 10 == 7:
        raise ValueError(number)
    return number // 2


# Every runner, every executor ---------------------------------------------------------------------------------------

WAYS = [
    ("serial", "serial", "auto"),
    ("balanced", "threads", "thread"),
    ("balanced", "threads", "process"),
    ("balanced", "threads", "serial"),
    ("balanced", "serial", "thread"),
    ("balanced", "async", "thread"),
    ("balanced", "async", "process"),
    ("balanced", "threads", "coroutine"),
]


@pytest.mark.parametrize(("profile", "runner", "executor"), WAYS)
def test_a_run_is_told_from_its_begin_to_its_end_and_the_sums_are_those_of_the_account(
    profile: str, runner: str, executor: str
) -> None:
    pipeline = Pipeline("told", profile).source("numbers", range(500))
    pipeline.map("halve", halve, on_error="skip", retries=1, executor=executor)
    pipeline.filter("even", lambda number: number % 2 == 0)
    heard = heard_by(pipeline)
    result = pipeline.execute(runner=runner)

    kinds = Counter(type(event) for event in heard)
    names = ["numbers", "halve", "even"]
    assert isinstance(heard[0], PipelineStarted)
    assert (heard[0].pipeline, heard[0].profile) == ("told", profile)
    assert [event.operator for event in heard[1:4] if isinstance(event, OperatorStarted)] == names
    assert [event.operator for event in heard[-4:-1] if isinstance(event, OperatorFinished)] == names
    assert isinstance(heard[-1], PipelineFinished)
    assert (heard[-1].items, heard[-1].error) == (len(result.outputs), None)
    assert len({event.run for event in heard}) == 1

    assert kinds[ItemFailed] == kinds[ItemRetried] == 50
    failed = {event.index: event for event in heard if isinstance(event, ItemFailed)}
    assert sorted(failed) == list(range(7, 500, 10))
    assert failed[17].item == 17
    assert isinstance(failed[17].error, ValueError)
    assert (failed[17].operator, failed[17].attempts, failed[17].verdict) == ("halve", 2, "skip")

    batches = [event for event in heard if isinstance(event, BatchCompleted)]
    stages = {event.operator for event in batches}
    for stage in stages:
        mine = [event for event in batches if event.operator == stage]
        assert sum(event.batches for event in mine) == result.report[stage].batches
        assert all(event.worker for event in mine)
    of_halve = [event for event in batches if event.operator == "halve"]
    assert sum(event.items for event in of_halve) == 550  # the second attempts, too
    assert sum(event.failed for event in of_halve) == 100
    assert {event.operator for event in heard if isinstance(event, WorkerStarted)} >= {"halve"}

    assert [event.items for event in heard if isinstance(event, ProgressMade)][-1] == len(result.outputs)
    finished = {event.operator: event for event in heard if isinstance(event, OperatorFinished)}
    for name, event in finished.items():
        stats = result.report[name]
        assert (event.taken, event.emitted) == (stats.taken, stats.emitted)
        assert event.failed == stats.skipped + stats.dead + stats.raised


def test_a_run_that_is_awaited_tells_the_same() -> None:
    import asyncio

    pipeline = Pipeline("awaited").source("numbers", range(100)).map("next", lambda number: number + 1)
    heard = heard_by(pipeline)
    asyncio.run(pipeline.execute_async())
    assert isinstance(heard[0], PipelineStarted)
    assert isinstance(heard[-1], PipelineFinished)
    assert sum(event.items for event in heard if isinstance(event, BatchCompleted)) == 100


def test_a_run_that_fails_tells_with_what() -> None:
    pipeline = Pipeline("fails").source("numbers", range(100)).map("halve", halve)
    heard = heard_by(pipeline, ItemFailed, PipelineFinished)
    with pytest.raises(OperatorFailed):
        pipeline.execute()
    failed, finished = heard[0], heard[-1]
    assert (failed.index, failed.verdict) == (7, "raise")
    assert isinstance(finished.error, OperatorFailed)


def test_a_stream_that_is_left_tells_its_end() -> None:
    pipeline = Pipeline("left").source("numbers", range(10_000)).map("next", lambda number: number + 1)
    heard = heard_by(pipeline, PipelineStarted, PipelineFinished)
    with pipeline.stream() as stream:
        next(iter(stream))
    assert [type(event) for event in heard] == [PipelineStarted, PipelineFinished]


def test_each_run_tells_those_who_listen_from_then_on() -> None:
    pipeline = Pipeline("twice").source("numbers", range(10))
    first = heard_by(pipeline, PipelineFinished)
    pipeline.execute()
    second = heard_by(pipeline, PipelineFinished)
    pipeline.execute()
    assert (len(first), len(second)) == (2, 1)
    assert first[0].run != first[1].run


def test_many_short_batches_are_told_of_in_few_events() -> None:
    """An event costs its listener more than a batch costs the run."""
    pipeline = Pipeline("short").source("numbers", range(2_000))
    executor = PluginRef("thread", {"max_workers": 8, "adaptive_batching": False})
    pipeline.map("wait", lambda number: sleep(0.001), executor=executor)
    heard = heard_by(pipeline, BatchCompleted)
    result = pipeline.execute()
    assert sum(event.batches for event in heard) == result.report["wait"].batches == 2_000
    assert len(heard) <= 2 + result.report.wall_s / 0.02


def test_a_batch_size_that_changes_is_told() -> None:
    pipeline = Pipeline("grows").source("numbers", range(200_000)).map("next", lambda number: number + 1)
    heard = heard_by(pipeline, BatchSizeChanged)
    pipeline.execute()
    assert heard[0].before == 1
    assert [event.before for event in heard[1:]] == [event.size for event in heard[:-1]]
    assert heard[-1].size > 100


# Workers ------------------------------------------------------------------------------------------------------------


def die_once(number: int, folder: Path) -> int:
    if number == 50 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_worker_that_is_killed_is_told_once_and_so_is_the_one_in_its_place(tmp_path: Path) -> None:
    pipeline = Pipeline("killed").source("numbers", range(200))
    pipeline.map("die", lambda number: die_once(number, tmp_path), executor="process", parallel_degree=1)
    heard = heard_by(pipeline, WorkerStarted, events.WorkerLost)
    assert len(pipeline.execute().outputs) == 200
    lost = [event for event in heard if isinstance(event, events.WorkerLost)]
    assert len(lost) == 1
    assert "SIGKILL" in lost[0].how
    assert lost[0].worker.startswith("headrace-process-")
    started = [event.worker for event in heard if isinstance(event, WorkerStarted)]
    assert len(started) == len(set(started))
    assert lost[0].operator == "die"


def test_a_worker_that_is_given_up_is_told() -> None:
    never = threading.Event()
    pipeline = Pipeline("hangs").source("numbers", range(5))
    pipeline.map("hang", lambda number: number == 2 and never.wait(WAIT_S), timeout_s=0.1, on_error="skip")
    heard = heard_by(pipeline, events.WorkerLost)
    with pytest.warns(headrace.LeftoversWarning):
        pipeline.execute()
    never.set()
    assert len(heard) == 1
    assert (heard[0].operator, "timeout_s" in heard[0].how) == ("hang", True)


# Backpressure -------------------------------------------------------------------------------------------------------


def test_a_source_that_is_faster_than_what_is_behind_it_is_held_back() -> None:
    gate = Gate()
    told = threading.Event()
    pipeline = Pipeline("held", window=10).source("numbers", range(100))
    pipeline.map("hold", lambda number: gate.hold(number), parallel_degree=1)
    pipeline.on(BackpressureStarted, lambda event: told.set())
    heard = heard_by(pipeline, BackpressureStarted, BackpressureEnded)
    opener = threading.Thread(target=lambda: told.wait(WAIT_S) and gate.open())
    opener.start()
    assert pipeline.execute().outputs == list(range(100))
    opener.join()
    mine = [event for event in heard if event.operator == "numbers"]
    assert isinstance(mine[0], BackpressureStarted)
    assert isinstance(mine[-1], BackpressureEnded)
    assert mine[-1].held_s > 0


def test_an_operator_whose_outputs_nobody_takes_is_held_back() -> None:
    told = threading.Event()
    pipeline = Pipeline("full", window=20).source("numbers", range(200)).map("next", lambda number: number + 1)
    heard = heard_by(pipeline, BackpressureStarted, BackpressureEnded)
    pipeline.on(BackpressureStarted, lambda event: event.operator == "next" and told.set())
    with pipeline.stream() as stream:
        outputs = iter(stream)
        got = [next(outputs)]
        assert told.wait(WAIT_S)  # the consumer takes nothing meanwhile
        got += outputs
    assert got == list(range(1, 201))
    mine = [event for event in heard if event.operator == "next"]
    assert isinstance(mine[0], BackpressureStarted)
    assert 0 < mine[0].waiting <= 20
    assert isinstance(mine[-1], BackpressureEnded)


# Listeners ----------------------------------------------------------------------------------------------------------


def test_a_listener_that_hangs_or_raises_changes_nothing_of_a_run() -> None:
    gate = Gate()

    def fails(event: Event) -> None:
        raise ValueError

    pipeline = Pipeline("isolated").source("numbers", range(1_000)).map("next", lambda number: number + 1)
    pipeline.on(Event, lambda event: gate.hold()).on(Event, fails)
    with pytest.warns(RuntimeWarning) as warned:
        result = pipeline.execute()
    gate.open()
    assert result.outputs == list(range(1, 1_001))
    said = "\n".join(str(each.message) for each in warned)
    assert "fails raised ValueError" in said
    assert "is still in a call" in said


def test_a_coroutine_function_listens() -> None:
    import asyncio

    heard = []

    async def listener(event: ItemFailed) -> None:
        await asyncio.sleep(0)
        heard.append(event.index)

    pipeline = Pipeline("coroutine").source("numbers", range(100)).map("halve", halve, on_error="skip")
    pipeline.on(ItemFailed, listener).execute()
    assert sorted(heard) == list(range(7, 100, 10))


def test_a_coroutine_function_is_refused_under_serial_before_anything_is_pulled() -> None:
    async def listener(event: Event) -> None: ...

    pulled = []
    pipeline = Pipeline("serial", "serial").source("numbers", lambda: pulled.append(1) or iter([1]))
    pipeline.on(ItemFailed, listener)
    with pytest.raises(SettingsError, match="listener is a coroutine function, which the dispatcher 'inline' has no"):
        pipeline.execute()
    assert pulled == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((ItemFailed, 3), "listener must be a function of one event, or something else that can be called; got 3"),
        (("ItemFailed", print), "types must be classes of events; got"),
        ((3, print), "types must be classes of events; got 3"),
    ],
)
def test_a_wrong_listener_is_refused_as_it_is_given(arguments: tuple[Any, ...], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Pipeline("wrong").on(*arguments)
    assert said in str(refused.value)


def test_a_dispatcher_that_raises_is_warned_of_once_and_the_run_goes_on() -> None:
    class Broken:
        def subscribe(self, *arguments: Any, **options: Any) -> None: ...

        def notify(self, type: type, /, **attributes: Any) -> None:
            raise RuntimeError("no")

        emit = notify

        def flush(self, timeout_s: float) -> bool:
            return True

        def close(self, timeout_s: float) -> None: ...

        def __repr__(self) -> str:
            return "<Broken>"

    pipeline = Pipeline("broken").source("numbers", range(100)).map("next", lambda number: number + 1)
    with pytest.MonkeyPatch.context() as patch, pytest.warns(RuntimeWarning) as warned:
        make = headrace.pipeline.plugins.make
        patch.setattr(
            headrace.pipeline.plugins, "make", lambda kind, ref: Broken() if kind == "dispatcher" else make(kind, ref)
        )
        result = pipeline.execute()
    assert len(result.outputs) == 100
    assert [str(each.message) for each in warned] == [
        "<Broken> raised RuntimeError: no on PipelineStarted; the run goes on"
    ]


# What functions tell ------------------------------------------------------------------------------------------------


def tell(number: int) -> int:
    current().notify(Found, number=number)
    return number


@pytest.mark.parametrize("executor", ["thread", "process", "serial"])
def test_a_function_tells_events_of_its_own(executor: str) -> None:
    pipeline = Pipeline("own").source("numbers", range(300)).map("tell", tell, executor=executor)
    heard = heard_by(pipeline, Found)
    pipeline.execute()
    assert sorted(event.number for event in heard) == list(range(300))
    assert {event.operator for event in heard} == {"tell"}
    assert len({event.run for event in heard}) == 1
    for source in {event.source for event in heard}:
        mine = [event.sequence for event in heard if event.source == source]
        assert mine == list(range(len(mine)))


def tell_and_die(number: int, folder: Path) -> int:
    current().notify(Found, number=number)
    return die_once(number, folder)


def test_what_a_killed_worker_told_is_told_once(tmp_path: Path) -> None:
    """Its events travel with the results of its items: what runs again tells again, and only that is heard."""
    pipeline = Pipeline("once").source("numbers", range(200))
    pipeline.map("tell", lambda number: tell_and_die(number, tmp_path), executor="process")
    heard = heard_by(pipeline, Found)
    assert len(pipeline.execute().outputs) == 200
    assert sorted(event.number for event in heard) == list(range(200))


def test_what_cannot_travel_arrives_as_it_is_shown() -> None:
    def work(number: int) -> int:
        current().notify(Found, number=number, what=threading.Lock())
        return number

    pipeline = Pipeline("unpicklable").source("numbers", range(3)).map("work", work, executor="process")
    heard = heard_by(pipeline, Found)
    pipeline.execute()
    assert sorted(event.number for event in heard) == [0, 1, 2]
    assert all("lock" in event.what for event in heard)


@pytest.mark.parametrize("buffered", [False, True])
def test_a_dispatcher_of_the_user_s_own_is_told_from_worker_processes(buffered: bool) -> None:
    heard: list[Any] = []
    with AsyncEventDispatcher() as dispatcher:
        notifier: Any = BufferedEventNotifier(dispatcher) if buffered else dispatcher
        dispatcher.subscribe(heard.append)

        def work(number: int) -> int:
            notifier.notify(Found, number=number)
            notifier.emit(Plain(-number))
            return number

        pipeline = Pipeline("remote").source("numbers", range(300)).map("work", work, executor="process")
        assert pipeline.execute().outputs == list(range(300))
        assert notifier.flush(WAIT_S)
        notifier.close()
    assert sorted(event.number for event in heard if isinstance(event, Found)) == list(range(300))
    assert sorted(-event.number for event in heard if isinstance(event, Plain)) == list(range(300))


def test_nobody_subscribes_in_a_worker() -> None:
    with AsyncEventDispatcher() as dispatcher:

        def work(number: int) -> None:
            dispatcher.subscribe(print)

        pipeline = Pipeline("remote").source("numbers", range(1)).map("work", work, executor="process")
        with pytest.raises(OperatorFailed, match="listeners subscribe where the dispatcher was made"):
            pipeline.execute()


def test_a_function_without_a_run_that_is_listened_to_tells_nobody() -> None:
    assert list(headrace.map(tell, range(3))) == [0, 1, 2]


def test_a_dispatcher_that_travels_elsewhere_says_that_it_cannot() -> None:
    import pickle
    import subprocess
    import sys

    with AsyncEventDispatcher() as dispatcher:
        packed = pickle.dumps(dispatcher)
        assert pickle.loads(packed) is dispatcher
    done = subprocess.run(
        [sys.executable, "-c", "import pickle, sys; pickle.load(sys.stdin.buffer)"], input=packed, capture_output=True
    )
    assert b"HeadraceError: an event dispatcher has come to a process that is no worker of Headrace" in done.stderr


# The listeners that are ready ---------------------------------------------------------------------------------------


def test_events_are_logged_with_their_fields(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = Pipeline("logged").source("numbers", range(20)).map("halve", halve, on_error="skip", retries=1)
    pipeline.on((ItemFailed, ItemRetried, PipelineFinished), LogEvents("census"))
    with caplog.at_level(logging.INFO, "census"):
        pipeline.execute()
    by_type = {record.event["type"]: record for record in caplog.records}  # type: ignore[attr-defined]
    assert len(caplog.records) == 5
    assert (by_type["ItemFailed"].levelname, by_type["ItemRetried"].levelname) == ("ERROR", "WARNING")
    assert by_type["PipelineFinished"].levelname == "INFO"
    record = by_type["ItemFailed"]
    assert record.name == "census"
    assert record.event["index"] in (7, 17)  # type: ignore[attr-defined]
    assert record.getMessage().startswith("ItemFailed: run='logged-")
    assert "error=ValueError: " in record.getMessage()


def test_events_are_written_as_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    pipeline = Pipeline("written").source("numbers", range(20)).map("halve", halve, on_error="skip")
    with WriteEvents(path) as write:
        pipeline.on(Event, write).execute()
        assert not path.read_bytes().endswith(b"}")  # each line is there when its event is
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert lines[0]["type"] == "PipelineStarted"
    assert lines[-1]["type"] == "PipelineFinished"
    failed = [line for line in lines if line["type"] == "ItemFailed"]
    assert [line["index"] for line in failed] == [7, 17]
    assert [line["error"] for line in failed] == ["ValueError: 7", "ValueError: 17"]
    assert all(line["at_s"] and line["wall_s"] and line["source"] for line in lines)


def test_events_are_written_to_a_file_that_is_open() -> None:
    import io

    file = io.StringIO()
    write = WriteEvents(file)
    write(ItemFailed(operator="parse", index=(1, 2), item={1, 2}))
    write({"a": 1})
    write(3)
    write.close()
    failed, mapping, number = [json.loads(line) for line in file.getvalue().splitlines()]
    assert (failed["operator"], failed["index"], failed["item"]) == ("parse", [1, 2], "{1, 2}")
    assert mapping == {"type": "dict", "a": 1}
    assert number == {"type": "int", "value": 3}
    with pytest.raises(SettingsError, match="file must be a path or an open text file; got 3"):
        WriteEvents(3)  # type: ignore[arg-type]


# Events -------------------------------------------------------------------------------------------------------------

EVENTS = [each for each in vars(events).values() if isinstance(each, type) and issubclass(each, Event)]


@pytest.mark.parametrize("kind", EVENTS)
def test_every_field_has_a_default_and_stands_in_the_reference(kind: type[Event]) -> None:
    event = kind()
    assert event.at_s > 0
    reference = (Path(__file__).parents[1] / "docs" / "reference.md").read_text("utf-8")
    section = reference.partition("## Events")[2].partition("\n## ")[0]
    assert f"`{kind.__name__}`" in section
    for field in attrs.fields(kind):
        assert f"`{field.name}`" in section, f"{kind.__name__}.{field.name} is not in the reference"


def test_the_public_names_are_those_of_the_events() -> None:
    for kind in EVENTS:
        if kind is not events.WorkerLost:  # under that name there is the error
            assert getattr(headrace, kind.__name__) is kind
    assert issubclass(headrace.WorkerLost, HeadraceError)
