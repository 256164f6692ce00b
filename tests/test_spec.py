"""The code that the specification shows, word for word. It is the public interface."""

from __future__ import annotations

from itertools import islice

from headrace import Pipeline, PipelineThreadExecutor


def process_func(item: int) -> int:
    return item * item


def filter_func(item: int) -> bool:
    return item % 3 == 0


def test_the_standard_pipeline() -> None:
    data_source = range(1_000)
    # fmt: off
    pipeline = (Pipeline("standard")
        .source("data", data_source)
        .map("process", process_func, parallel_degree=4)
        .filter("filter", filter_func, parallel_degree=2))
    result = pipeline.execute()
    # fmt: on
    assert result.outputs == [item * item for item in range(0, 1_000, 3)]


def test_builder_methods_work_as_statements_too() -> None:
    pipeline = Pipeline("standard")
    pipeline.source("data", range(1_000))
    pipeline.map("process", process_func, parallel_degree=4)
    pipeline.filter("filter", filter_func, parallel_degree=2)
    assert pipeline.execute().outputs == [item * item for item in range(0, 1_000, 3)]


def test_a_pipeline_streams() -> None:
    pipeline = Pipeline("standard").source("data", lambda: iter(int, 1)).map("process", process_func)
    assert list(islice(pipeline, 5)) == [0] * 5


def test_the_pipelined_executor() -> None:
    large_dataset = range(50_000)
    handled: list[int] = []
    handle_result = handled.append
    executor = PipelineThreadExecutor(max_workers=4, max_memory_items=10000, pipeline_depth=3, adaptive_batching=True)
    for result in executor.execute(process_func, large_dataset):
        handle_result(result)
    assert handled == [item * item for item in large_dataset]


def test_the_pipelined_executor_as_a_context_manager() -> None:
    with PipelineThreadExecutor(max_workers=4) as executor:
        for large_dataset in (range(10), range(0), range(1_000)):
            expected = [item * item for item in large_dataset]
            assert list(executor.execute(process_func, iter(large_dataset))) == expected
