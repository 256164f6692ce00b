"""The account adds up, or says what does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from headrace.batch import Batch, BatchResult, Failure, Tally
from headrace.errors import AccountError
from headrace.flow.ledger import Account, Ledger


def tally(**counts: int) -> Tally:
    made = Tally()
    for column, count in counts.items():
        setattr(made, column, count)
    return made


def batch(count: int, **more: Any) -> Batch:
    return Batch(0, range(count), list(range(count)), 0.0, **more)


def result(data: int, where: list[Any] | None, done: int, *tallies: Tally, failures: tuple[Failure, ...] = ()) -> Any:
    return BatchResult(list(range(data)), where, done, failures, tallies)


def mapped(count: int) -> Tally:
    return tally(taken=count, done=count, emitted=count)


GOOD = {
    "all mapped": (batch(3), result(3, None, 3, mapped(3))),
    "some given back": (batch(3), result(2, None, 2, mapped(2))),
    "filtered": (batch(3), result(1, [2], 3, tally(taken=3, done=1, filtered=2, emitted=1))),
    "all filtered": (batch(2), result(0, [], 2, tally(taken=2, filtered=2))),
    "skipped and dead": (batch(3), result(1, [0], 3, tally(taken=3, done=1, skipped=1, dead=1, emitted=1))),
    "expanded": (batch(2), result(5, [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)], 2, tally(taken=2, done=2, emitted=5))),
    "fused": (
        batch(2),
        result(
            3,
            [(0, 0), (0, 1), (1, 0)],
            2,
            mapped(2),
            tally(taken=2, done=2, emitted=4),
            tally(taken=4, done=3, filtered=1, emitted=3),
        ),
    ),
    "to be tried again": (batch(2), result(1, [0], 2, tally(taken=2, done=1, retried=1, emitted=1))),
    "tried again": (batch(1, attempt=2, enter=1), result(1, None, 1, tally(), tally(done=1, emitted=1))),
    "tried again in vain": (batch(1, attempt=2), result(0, [], 1, tally(dead=1))),
    "ended in the middle": (batch(3), result(1, [0], 2, mapped(3), tally(taken=2, done=1, raised=1, emitted=1))),
}


@pytest.mark.parametrize("case", GOOD)
def test_what_adds_up_is_booked(case: str) -> None:
    sent, came = GOOD[case]
    account = Account(tuple(f"operator {at}" for at in range(len(came.tallies))))
    account.record(sent, came)
    assert [vars_of(each) for each in account.tallies] == [vars_of(each) for each in came.tallies]
    assert account.batches == 1


def vars_of(each: Tally) -> dict[str, Any]:
    return {column: getattr(each, column) for column in Tally.__slots__}


BAD: dict[str, tuple[Batch, BatchResult]] = {
    "more done than sent": (batch(2), result(3, None, 3, mapped(3))),
    "less than nothing done": (batch(2), result(0, None, -1, mapped(0))),
    "an output too few": (batch(3), result(2, None, 3, mapped(3))),
    "an output too many": (batch(3), result(4, None, 3, mapped(3))),
    "a place too few": (batch(3), result(2, [0], 3, tally(taken=3, done=2, filtered=1, emitted=2))),
    "an output that nobody emitted": (batch(3), result(2, [0, 1], 3, tally(taken=3, done=1, filtered=2, emitted=1))),
    "an item without outcome": (batch(3), result(2, [0, 1], 3, tally(taken=3, done=2, emitted=2))),
    "an item not taken": (batch(3), result(2, [0, 1], 3, mapped(2))),
    "lost between two operators": (batch(3), result(2, [0, 1], 3, mapped(3), mapped(2))),
    "a retry without outcome": (batch(1, attempt=2), result(0, [], 1, tally())),
    "a retry taken twice": (batch(1, attempt=2), result(1, None, 1, mapped(1))),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_add_up_is_refused(case: str) -> None:
    sent, came = BAD[case]
    account = Account(tuple(f"operator {at}" for at in range(len(came.tallies))))
    with pytest.raises(AccountError, match="operator 0"):
        account.record(sent, came)
    assert account.batches == 0


def filled() -> tuple[Ledger, Account, Account]:
    ledger = Ledger()
    source = ledger.open("source", ("source",))
    source.gave(10)
    stage = ledger.open("stage", ("map", "filter"), ("source",))
    stage.fed = 10
    stage.tallies[0].add(mapped(10))
    stage.tallies[1].add(tally(taken=10, done=4, filtered=6, emitted=4))
    sink = ledger.open("sink", ("sink",), ("stage",))
    sink.fed = 4
    sink.tallies[0].add(tally(taken=4, done=4))
    return ledger, stage, sink


def test_a_whole_run_adds_up() -> None:
    ledger, _, _ = filled()
    ledger.check()


def _lost_on_an_edge(stage: Account, sink: Account) -> None:
    sink.fed -= 1


def _doubled_on_an_edge(stage: Account, sink: Account) -> None:
    sink.fed += 1


def _without_outcome(stage: Account, sink: Account) -> None:
    stage.tallies[1].filtered -= 1


def _lost_at_the_source(stage: Account, sink: Account) -> None:
    stage.fed -= 1


def _retried_for_ever(stage: Account, sink: Account) -> None:
    stage.tallies[0].done -= 1
    stage.tallies[0].retried += 1


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (_lost_on_an_edge, "stage emitted 4 items, sink got 3"),
        (_doubled_on_an_edge, "stage emitted 4 items, sink got 5"),
        (_lost_at_the_source, "source emitted 10 items, stage got 9"),
        (_without_outcome, "operator 'filter' got 10 items; 1 have no outcome"),
        (_retried_for_ever, "operator 'map' got 10 items; 1 have no outcome"),
    ],
)
def test_what_is_missing_is_named(spoil: Callable[[Account, Account], None], named: str) -> None:
    ledger, stage, sink = filled()
    spoil(stage, sink)
    with pytest.raises(AccountError, match=named):
        ledger.check()


def test_what_was_not_done_is_abandoned() -> None:
    _, stage, _ = filled()
    stage.tallies[1].add(tally(done=-1, emitted=-1))
    assert [stage.abandoned(position) for position in range(2)] == [0, 1]
