"""Promise: every shape of graph gives what plain Python gives, in order, and the account adds up on each edge."""

from __future__ import annotations

import operator
import threading
from itertools import count

import pytest

from headrace.context import current
from headrace.errors import WindowTooSmall
from headrace.testing.promises import needs
from headrace.testing.runner.case import RunnerCase


class GraphTests(RunnerCase):
    def test_a_chain_in_order(self) -> None:
        pipeline = (
            self.pipeline(range(3_000))
            .map("more", lambda n: n + 1, parallel_degree=3)
            .filter("even", lambda n: n % 2 == 0)
            .flat_map("twice", lambda n: [n, -n])
        )
        expected = [each for n in range(1, 3_001) if n % 2 == 0 for each in (n, -n)]
        result = self.run(pipeline)
        assert result.outputs == expected
        stats = result.report["even"]
        assert (stats.taken, stats.done, stats.filtered, stats.emitted) == (3_000, 1_500, 1_500, 1_500)
        assert self.run_awaited(pipeline).outputs == expected

    def test_fusion_changes_nothing(self) -> None:
        for fuse in (True, False):
            pipeline = self.pipeline(range(500), fuse=fuse)
            for at in range(4):
                pipeline.map(f"more {at}", lambda n: (n[0] + 1, current().index) if isinstance(n, tuple) else (n, 0))
            assert self.run(pipeline).outputs == [(n + 3, n) for n in range(500)]

    def test_each_branch_sees_every_item(self) -> None:
        pipeline = self.pipeline(range(1_000)).map("same", int)
        pipeline.map("double", lambda n: 2 * n, inputs="same").filter("few", lambda n: n < 10, inputs="same")
        seen: list[int] = []
        pipeline.sink("see", seen.append, inputs="same")
        result = self.run(pipeline)
        assert result.outputs == {"double": [2 * n for n in range(1_000)], "few": list(range(10)), "see": []}
        assert seen == list(range(1_000))

    def test_zip_and_merge(self) -> None:
        pipeline = self.pipeline(range(300)).map("left", int).map("right", lambda n: -n, inputs="items")
        pipeline.zip("pairs", inputs=["left", "right"]).source("others", range(1_000, 1_100))
        pipeline.merge("all", inputs=["pairs", "others"])
        outputs = self.run(pipeline).outputs
        assert sorted(map(str, outputs)) == sorted(map(str, [*((n, -n) for n in range(300)), *range(1_000, 1_100)]))
        assert [each for each in outputs if isinstance(each, tuple)] == [(n, -n) for n in range(300)]

    def test_the_stateful_operators(self) -> None:
        pipeline = self.pipeline(lambda: count()).map("same", int).take("some", 100)
        pipeline.batch("tens", 10).window("pairs", 2).fold("sum", lambda total, pair: total + sum(map(sum, pair)), 0)
        pairs = [[*range(n, n + 10), *range(n + 10, n + 20)] for n in range(0, 90, 10)]
        assert self.run(pipeline).outputs == [sum(map(sum, pairs))]
        assert self.run(self.pipeline(range(50)).reduce("sum", operator.add)).outputs == [1_225]

    def test_a_graph_that_cannot_go_on_says_so(self) -> None:
        pipeline = self.pipeline(range(2_000), window=10).map("one", int).batch("tens", 10, inputs="one")
        pipeline.zip("pairs", inputs=["one", "tens"], fill=None)
        with pytest.raises(WindowTooSmall):
            self.run(pipeline)

    def test_the_window_is_never_exceeded(self) -> None:
        given = 0

        def source() -> object:
            nonlocal given
            for given in count(1):  # noqa: UP028 - the test looks at `given`
                yield given

        pipeline = self.pipeline(source, window=50).map("same", int).map("again", int, parallel_degree=2)
        with pipeline.stream(runner=self.runner) as stream:
            for taken in range(1, 500):
                assert next(stream) == taken
                assert given <= taken + 2 * 50 + 1

    @needs("overlap")
    def test_operators_are_at_work_at_the_same_time(self) -> None:
        together = threading.Barrier(3, timeout=self.patience_s)

        def meet(item: int) -> int:
            together.wait()
            return item

        pipeline = self.pipeline([1]).map("one", meet, parallel_degree=1, executor="thread")
        pipeline.map("two", meet, inputs="items", parallel_degree=1, executor="thread").sink(
            "three", meet, inputs="items"
        )
        assert self.run(pipeline).outputs == {"one": [1], "two": [1], "three": []}
