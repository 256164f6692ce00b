"""The oracle: what a chain of operators must give, item by item, in plain Python that imports nothing of ours.

Operators are generators, each over the one before it, so that what an item does is done before the next one is begun.
Workers, windows and batches that travel have no part in it: whatever they are, the results must be these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

Path = int | tuple[int, ...]
Indexed = tuple[Path, Any]


@dataclass(frozen=True)
class Step:
    """An operator: `kind` is "map", "filter", "flat_map", "batch" or "sink"; `on_error` "raise", "skip" or
    "dead_letter"; `size` is of a batch."""

    name: str
    kind: str
    fn: Callable[[Any], Any] | None = None
    on_error: str = "raise"
    retries: int = 0
    size: int = 0


@dataclass
class Count:
    """An operator's account, in items. `calls` counts attempts."""

    taken: int = 0
    done: int = 0
    filtered: int = 0
    skipped: int = 0
    dead: int = 0
    emitted: int = 0
    retried: int = 0
    raised: int = 0
    calls: int = 0


@dataclass(frozen=True)
class Letter:
    """An item set aside."""

    operator: str
    index: Path
    item: Any
    error: str
    attempts: int


class Failed(Exception):
    """What ends a run: `operator` failed at the item with this `index`; None if it was the source itself."""

    def __init__(self, operator: str, index: Path | None, item: Any, error: BaseException, attempts: int = 1) -> None:
        super().__init__(operator, index, item)
        self.operator, self.index, self.item, self.error, self.attempts = operator, index, item, error, attempts


@dataclass
class Outcome:
    """What a run gives: the outputs and the index of each, all before the error if there is one."""

    outputs: list[Any] = field(default_factory=list)
    index: list[Path] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    counts: dict[str, Count] = field(default_factory=dict)
    error: Failed | None = None


def run(items: Iterable[Any], steps: Iterable[Step], source: str = "source") -> Outcome:
    """Run `items` through `steps`."""
    outcome = Outcome()
    flow = _source(source, items, outcome.counts.setdefault(source, Count()))
    for step in steps:
        flow = _STEPS[step.kind](step, flow, outcome)
    try:
        for index, item in flow:
            outcome.index.append(index)
            outcome.outputs.append(item)
    except Failed as failed:
        outcome.error = failed
    return outcome


def through(steps: Iterable[Step], items: Iterable[Indexed]) -> tuple[Given, Outcome]:
    """What `steps` make of `items`, which have their paths already."""
    outcome, flow = Outcome(), iter(items)
    for step in steps:
        flow = _STEPS[step.kind](step, flow, outcome)
    return _all(flow), outcome


def _source(name: str, items: Iterable[Any], tally: Count) -> Iterator[Indexed]:
    position = count()
    try:
        for item in items:
            tally.taken, tally.done, tally.emitted = tally.taken + 1, tally.done + 1, tally.emitted + 1
            yield next(position), item
    except Exception as error:
        raise Failed(name, None, None, error) from error


def _attempts(step: Step, index: Path, item: Any, outcome: Outcome, ask: Callable[[Any], Any]) -> list[Any]:
    """What `ask(item)` gives at last, in a list; an empty one if the item was set aside."""
    tally = outcome.counts[step.name]
    tally.taken += 1
    for attempt in range(1, step.retries + 2):
        tally.calls += 1
        try:
            return [ask(item)]
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # A function that raises StopIteration fails as PEP 479 has it for generators.
            caught = RuntimeError("raised StopIteration") if isinstance(error, StopIteration) else error
        if attempt <= step.retries:
            tally.retried += 1
    if step.on_error == "raise":
        tally.raised += 1
        raise Failed(step.name, index, item, caught, attempt)
    if step.on_error == "skip":
        tally.skipped += 1
    else:
        tally.dead += 1
        outcome.letters.append(Letter(step.name, index, item, type(caught).__name__, attempt))
    return []


def _map(step: Step, flow: Iterator[Indexed], outcome: Outcome) -> Iterator[Indexed]:
    tally = outcome.counts.setdefault(step.name, Count())
    for index, item in flow:
        for value in _attempts(step, index, item, outcome, step.fn):
            tally.done += 1
            tally.emitted += 1
            yield index, value


def _filter(step: Step, flow: Iterator[Indexed], outcome: Outcome) -> Iterator[Indexed]:
    tally = outcome.counts.setdefault(step.name, Count())
    for index, item in flow:
        for wanted in _attempts(step, index, item, outcome, lambda item: bool(step.fn(item))):
            if wanted:
                tally.done += 1
                tally.emitted += 1
                yield index, item
            else:
                tally.filtered += 1


def _flat_map(step: Step, flow: Iterator[Indexed], outcome: Outcome) -> Iterator[Indexed]:
    tally = outcome.counts.setdefault(step.name, Count())
    for index, item in flow:
        for values in _attempts(step, index, item, outcome, lambda item: list(step.fn(item))):
            tally.done += 1
            tally.emitted += len(values)
            base = index if isinstance(index, tuple) else (index,)
            yield from (((*base, ordinal), value) for ordinal, value in enumerate(values))


def _sink(step: Step, flow: Iterator[Indexed], outcome: Outcome) -> Iterator[Indexed]:
    tally = outcome.counts.setdefault(step.name, Count())
    for index, item in flow:
        tally.done += len(_attempts(step, index, item, outcome, step.fn))
    yield from ()


def _batch(step: Step, flow: Iterator[Indexed], outcome: Outcome) -> Iterator[Indexed]:
    """What came before an error goes out before it, as a shorter list."""
    tally = outcome.counts.setdefault(step.name, Count())
    members: list[Indexed] = []
    ended: Failed | None = None
    while ended is None:
        try:
            members.append(next(flow))
            tally.taken += 1
        except StopIteration:
            break
        except Failed as failed:
            ended = failed
        if len(members) == step.size:
            yield _listed(members, tally)
            members = []
    if members:
        yield _listed(members, tally)
    if ended is not None:
        raise ended


def _listed(members: list[Indexed], tally: Count) -> Indexed:
    tally.done += len(members)
    tally.emitted += 1
    return members[0][0], [item for _, item in members]


_STEPS = {"map": _map, "filter": _filter, "flat_map": _flat_map, "batch": _batch, "sink": _sink}


# Graphs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Node:
    """A step of a graph: `inputs` names what it reads. `kind` may also be "source", "merge" or "zip"."""

    step: Step
    inputs: tuple[str, ...] = ()
    items: tuple[Any, ...] = ()
    fill: tuple[Any, ...] = ()


@dataclass
class Given:
    """What a node gives: its items with their paths, and what ended it."""

    items: list[Indexed] = field(default_factory=list)
    error: Failed | None = None


def run_graph(nodes: Iterable[Node]) -> tuple[dict[str, Given], Outcome]:
    """Run `nodes`, each of which reads those before it: what each gives, and the letters and counts of all. The order
    behind a merge is that of its inputs, one after the other, which a real run need not keep."""
    outcome, given = Outcome(), dict[str, Given]()
    sources = 0
    for node in nodes:
        name = node.step.name
        tally = outcome.counts.setdefault(name, Count())
        if node.step.kind == "source":
            flow = _source(name, node.items, tally)
            given[name] = _all(((name, index) if sources else index, item) for index, item in flow)
            sources += 1
        elif node.step.kind == "zip":
            given[name] = _zip(node, [given[each] for each in node.inputs], tally)
        else:
            flow = _replay([given[each] for each in node.inputs])
            given[name] = _all(
                _merge(flow, tally) if node.step.kind == "merge" else _STEPS[node.step.kind](node.step, flow, outcome)
            )
    return given, outcome


def _all(flow: Iterator[Indexed]) -> Given:
    given = Given()
    try:
        for each in flow:
            given.items.append(each)
    except Failed as failed:
        given.error = failed
    return given


def _replay(inputs: list[Given]) -> Iterator[Indexed]:
    for given in inputs:
        yield from given.items
    for given in inputs:
        if given.error is not None:
            raise given.error


def _merge(flow: Iterator[Indexed], tally: Count) -> Iterator[Indexed]:
    for each in flow:
        tally.taken, tally.done, tally.emitted = tally.taken + 1, tally.done + 1, tally.emitted + 1
        yield each


def _zip(node: Node, inputs: list[Given], tally: Count) -> Given:
    lengths = [len(given.items) for given in inputs]
    count = max(lengths) if node.fill else min(lengths)
    given = Given()
    for at in range(count):
        there = [each.items[at] if at < len(each.items) else None for each in inputs]
        index = next(each[0] for each in there if each is not None)
        given.items.append((index, tuple(node.fill[0] if each is None else each[1] for each in there)))
        tally.done += sum(each is not None for each in there)
    tally.emitted = count
    tally.taken = sum(lengths)
    if not node.fill and count < max(lengths):
        longer = next(each for each in inputs if len(each.items) > count)
        given.error = Failed(node.step.name, longer.items[count][0], longer.items[count][1], ValueError("unequal"))
    else:
        given.error = next((each.error for each in inputs if each.error is not None), None)
    return given
