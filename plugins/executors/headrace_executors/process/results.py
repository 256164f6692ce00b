"""What came of a batch, on its way home: as plain values, item by item where something in it cannot travel."""

from __future__ import annotations

from headrace.batch import BatchResult, Failure, Tally, locate
from headrace.errors import ItemUnpicklable, said
from headrace_executors.process.packing import pack, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from headrace.batch import Batch, Where
    from headrace.flow.kernel import Op


def head_of(result: BatchResult, batch: Batch) -> tuple[Any, ...]:
    """All but the outputs."""
    tallies = [tuple(getattr(tally, name) for name in Tally.__slots__) for tally in result.tallies]
    failures = [_failure(failure, batch) for failure in result.failures]
    times = result.nbytes, result.worker, result.began_s, result.ended_s, result.cpu_s
    return result.where, result.done, failures, tallies, times


def result_of(head: tuple[Any, ...], data: Sequence[Any], batch: Batch) -> BatchResult:
    where, done, failures, tallies, (nbytes, worker, began_s, ended_s, cpu_s) = head
    back = []
    for values in tallies:
        tally = Tally()
        for name, value in zip(Tally.__slots__, values, strict=True):
            setattr(tally, name, value)
        back.append(tally)
    return BatchResult(
        data,
        where,
        done,
        [_failure_of(failure, batch) for failure in failures],
        back,
        nbytes=nbytes,
        worker=worker,
        began_s=began_s,
        ended_s=ended_s,
        cpu_s=cpu_s,
    )


def _failure(failure: Failure, batch: Batch) -> tuple[Any, ...]:
    """An error may be one that cannot be pickled, or that cannot be made again from its pickle; then its words travel.
    What a later operator was given may be such a thing, too; then the input of the first one stands for it, and it is
    not tried again."""
    first = failure.where if isinstance(failure.where, int) else failure.where[0]
    item = None
    if failure.item is not batch.data[first]:
        item = _there_and_back(failure.item)
    words = said(failure.error)
    text = _traceback(failure.error) if failure.verdict == "raise" else ""
    error = _there_and_back(failure.error)
    where = failure.operator, failure.name, failure.where, failure.attempts, failure.verdict
    return where, list(failure.trace), item, error, words, text


def _there_and_back(value: Any) -> bytes | None:
    """`value` as a pickle from which it can be made again; None if there is none."""
    try:
        data = pack(value, beside=False)[0]
        unpack(data)
    except BaseException:  # whatever its methods raise
        return None
    return data


def _traceback(error: BaseException) -> str:
    from traceback import format_exception  # costs more than a worker may take to start

    return "".join(format_exception(error))


class RemoteTraceback(Exception):
    """Stands behind an error that was raised in another process, and shows where."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"in a worker process:\n{self.text}"


def _failure_of(values: tuple[Any, ...], batch: Batch) -> Failure:
    (operator, name, where, attempts, verdict), trace, item, packed, words, text = values
    try:
        error = unpack(packed) if packed is not None else None
    except BaseException:
        error = None
    if not isinstance(error, BaseException):
        error = ItemUnpicklable(words)
    if text:
        try:
            error.__cause__ = RemoteTraceback(text)
        except Exception:  # a frozen dataclass, say, can be raised and does not let itself be written
            error = ItemUnpicklable(words)
            error.__cause__ = RemoteTraceback(text)
    first = where if isinstance(where, int) else where[0]
    given = batch.data[first]
    if item is not None:
        try:
            given = unpack(item)
        except BaseException:
            given = batch.data[first]
    return Failure(operator, name, where, locate(batch.index, where), given, error, attempts, verdict, trace)


def without(result: BatchResult, bad: Mapping[int, str], batch: Batch, ops: Sequence[Op]) -> BatchResult:
    """`result` with a failure in place of each output that cannot travel: `bad` says why, by its position. An expansion
    fails whole. What its operator is given again would give no better, so it is not tried again."""
    op, last = ops[-1], len(ops) - 1
    size = len(result.data)
    where: Sequence[Where] = result.where if result.where is not None else range(result.done - size, result.done)
    inputs = [_before(each) if op.kind == "flat_map" else each for each in where]  # of the last operator
    gone: dict[Where, str] = {}
    for at in sorted(bad):
        gone.setdefault(inputs[at], bad[at])
    failures, tally, end = list(result.failures), result.tallies[last], size
    for place, why in gone.items():
        error = ItemUnpicklable(f"what '{op.name}' gave for it cannot travel: {why}")
        item = batch.data[place if isinstance(place, int) else place[0]]
        index = locate(batch.index, place)
        failures.append(Failure(last, op.name, place, index, item, error, batch.attempt, op.on_error))
        tally.done -= 1
        tally.failed(op.on_error, first=False)
        if op.on_error == "raise":  # nothing behind it is wanted
            end = inputs.index(place)
            result.done = (place if isinstance(place, int) else place[0]) + 1
            break
    keep = [at for at in range(end) if inputs[at] not in gone]
    result.data = [result.data[at] for at in keep]
    result.where = [where[at] for at in keep]
    result.failures = failures
    tally.emitted = len(result.data)
    return result


def _before(where: Where) -> Where:
    """Of an output of an expansion, what was expanded."""
    if isinstance(where, int) or len(where) < 2:
        return where
    return where[0] if len(where) == 2 else where[:-1]
