"""The next batch size follows what batches cost."""

from __future__ import annotations

from itertools import pairwise

import pytest

from headrace.flow.sizing import AHEAD_S, GROWTH, RECENT, WORTH_S, Sizing

AIM_S = 0.005


def settled(sizing: Sizing, cost_s: float, *, cpu: float = 1.0, batches: int = 20) -> Sizing:
    """`sizing` after some batches at `cost_s` an item."""
    for _ in range(batches):
        sizing.observe(sizing.size, sizing.size * cost_s, sizing.size * cost_s * cpu)
    return sizing


def test_the_first_batch_has_one_item() -> None:
    assert Sizing(aim_s=AIM_S, window=10_000, degree=4).size == 1


def test_it_grows_by_a_limited_factor() -> None:
    sizing, sizes = Sizing(aim_s=AIM_S, window=100_000, degree=1), [1]
    for _ in range(6):
        sizing.observe(sizing.size, sizing.size * 1e-7, 0.0)
        sizes.append(sizing.size)
    assert all(size == before * GROWTH for before, size in pairwise(sizes))


@pytest.mark.parametrize(("cost_s", "size"), [(0.00005, 100), (0.001, 5), (0.004, 1), (1.0, 1)])
def test_a_batch_takes_about_what_it_aims_at(cost_s: float, size: int) -> None:
    assert settled(Sizing(aim_s=AIM_S, window=10_000, degree=4), cost_s).size == size


def test_each_worker_has_a_share_of_half_the_window() -> None:
    assert settled(Sizing(aim_s=AIM_S, window=1_000, degree=5), 0.00001).size == 100


def test_tiny_functions_get_half_of_the_window_and_others_an_equal_share_of_it() -> None:
    sizing = Sizing(aim_s=AIM_S, window=1_000, degree=50)
    assert settled(sizing, 1e-8).size == 500
    assert settled(sizing, 1e-4).size == 10


@pytest.mark.parametrize("window", [1, 2, 3])
def test_a_small_window_gives_single_items(window: int) -> None:
    sizing = settled(Sizing(aim_s=AIM_S, window=window, degree=8), 1e-7)
    assert sizing.size == 1
    assert 1 <= sizing.ahead <= window


def test_it_follows_a_change_of_cost() -> None:
    sizing = settled(Sizing(aim_s=AIM_S, window=10_000, degree=4), 0.00001)
    assert sizing.size == 500
    assert settled(sizing, 0.01, batches=RECENT).size == 1
    assert settled(sizing, 0.00001).size == 500


def test_one_batch_that_was_held_up_changes_little() -> None:
    sizing = settled(Sizing(aim_s=AIM_S, window=10_000, degree=4), 0.00001)
    sizing.observe(500, 1.0, 0.005)
    assert sizing.size == 500


def test_not_adaptive_means_single_items() -> None:
    sizing = settled(Sizing(aim_s=AIM_S, window=10_000, degree=4, adaptive=False), 1e-6)
    assert sizing.size == 1
    assert sizing.share(1_000) == 1


def test_nothing_is_learned_from_a_batch_that_did_nothing() -> None:
    sizing = Sizing(aim_s=AIM_S, window=10_000, degree=4)
    sizing.observe(0, 1.0, 1.0)
    assert sizing.cost_s is None


def test_brief_is_what_computes_and_is_over_before_another_worker_is_awake() -> None:
    tiny = {"aim_s": 0.005, "window": 400, "degree": 1}
    assert settled(Sizing(**tiny), 1e-7).brief
    assert not settled(Sizing(**tiny), 1e-7, cpu=0.1).brief  # it waits, and waits can overlap
    assert not settled(Sizing(aim_s=AIM_S, window=10_000, degree=1), 1e-6).brief


def test_so_much_is_read_ahead_as_some_time_of_work() -> None:
    assert settled(Sizing(aim_s=AIM_S, window=10_000, degree=4), 0.01).ahead == int(4 * AHEAD_S / 0.01)
    assert settled(Sizing(aim_s=AIM_S, window=50, degree=4), 0.001).ahead == 50


def test_the_last_items_are_shared() -> None:
    sizing = settled(Sizing(aim_s=AIM_S, window=10_000, degree=4), 0.00005)
    assert sizing.size == 100
    assert sizing.share(1_000) == 100
    assert sizing.share(40) == 10
    assert sizing.share(4) == int(WORTH_S / 0.00005)  # fewer are not worth a handover
    assert sizing.share(1) >= 1
