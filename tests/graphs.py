"""Random graphs for the simulation of a network. What the functions in them answer follows from the item alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any
from zlib import crc32

import reference

MOST_ITEMS = 60
"""A node that gives more than about so many is not expanded any further: a seed should take milliseconds."""
ROOMY = 100_000


def number_of(item: Any) -> int:
    """The same for the same item in each process, which `hash` is not."""
    return crc32(repr(item).encode())


class Work:
    """A user's function. Which items fail follows from them, and a retry helps either in time or never: so it does not
    matter in which order items come, nor whether one of them comes twice."""

    def __init__(self, kind: str, salt: int, fan: int, every: int, times: int, *, steady: bool) -> None:
        self.kind, self.salt, self.fan, self.every, self.times, self.steady = kind, salt, fan, every, times, steady
        self.tried: Counter[int] = Counter()
        self.before_each: Callable[[], None] = lambda: None

    def __call__(self, item: Any) -> Any:
        self.before_each()
        number = number_of((self.salt, item))
        if self.every and number % self.every == 0:
            self.tried[number] += 1
            if self.tried[number] <= self.times:
                raise StopIteration if number % 5 == 0 else ValueError(number)
        if self.kind == "filter":
            return number % 3 > 0
        if self.kind == "flat_map":
            return [(number, ordinal) for ordinal in range(self.children(number))]
        return (number, self.salt)

    def children(self, number: int) -> int:
        if self.steady:
            return self.fan
        return number % (self.fan + 1) if number % 7 else 2 * self.fan  # a few are large

    @property
    def most(self) -> int:
        """The most that it makes of an item."""
        return self.fan if self.steady else 2 * self.fan

    def fresh(self) -> Work:
        return Work(self.kind, self.salt, self.fan, self.every, self.times, steady=self.steady)


@dataclass(frozen=True)
class Spec:
    """A node. `kind` is "source", "stage", "batch", "merge", "zip" or "sink"; `steps` are a stage's, or the sink's."""

    name: str
    kind: str
    inputs: tuple[str, ...] = ()
    steps: tuple[reference.Step, ...] = ()
    window: int = 0
    max_bytes: int | None = None
    items: int = 0  # of a source
    fails: bool = False  # a source does, at its end
    ordered: bool = True
    degree: int = 1
    capacity: int = 1
    aim_s: float = 0.005
    size: int = 0  # of a batch
    max_wait_s: float | None = None
    fills: bool = False

    def fresh_steps(self, **changed: Any) -> list[reference.Step]:
        return [reference.Step(**{**vars(step), "fn": step.fn.fresh(), **changed}) for step in self.steps]

    @property
    def bound(self) -> int:
        """Most items between a stage's input and its output taken: the window and an expansion, as it is held whole;
        one, where all are alike, else one for each batch on its way."""
        made = most = 1
        for step in self.steps:
            made *= max(1, step.fn.most)
            most = max(most, made)
        steady = all(step.kind != "filter" and not step.fn.every and step.fn.steady for step in self.steps)
        return self.window + (1 if steady else self.capacity) * (most - 1)


@dataclass(frozen=True)
class Graph:
    nodes: tuple[Spec, ...]

    def readers(self, name: str) -> list[Spec]:
        return [spec for spec in self.nodes if name in spec.inputs]

    @property
    def ends(self) -> list[str]:
        return [spec.name for spec in self.nodes if not self.readers(spec.name)]

    @property
    def fits(self) -> bool:
        """Whether all windows are large enough, whatever comes: then nothing can get stuck."""
        return all(spec.window >= self._kept(spec.name) for spec in self.nodes if spec.window)

    def _kept(self, name: str) -> int:
        """Items that those behind a node may hold for want of more, and one."""
        return max((self._kept_by(reader) for reader in self.readers(name)), default=1)

    def _kept_by(self, reader: Spec) -> int:
        if reader.kind == "zip":
            return ROOMY
        if reader.kind == "batch":
            return reader.size * self._kept(reader.name)
        return self._kept(reader.name) if reader.kind == "merge" else 1


class _Draw:
    """Draws a graph. `much` is about how many items each node gives."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.nodes: list[Spec] = []
        self.much: dict[str, float] = {}
        self.roomy = random.random() < 0.3
        self.calm = random.random() < 0.5  # nothing ends the run
        self.max_bytes = random.choice([None, None, None, 1, 100, 1_000])

    def graph(self) -> Graph:
        self._source()
        kinds = ["stage"] * 8 + ["batch", "batch", "merge", "merge", "zip", "zip", "sink", "source"]
        for _ in range(self.random.choice([1, 2, 3, 4, 5, 7])):
            kind = self.random.choice(kinds)
            if kind == "source":
                self._source()
            else:
                self._node(kind)
        return Graph(tuple(self.nodes))

    def _window(self) -> int:
        return ROOMY if self.roomy else self.random.choice([1, 2, 3, 5, 10, 30])

    def _add(self, spec: Spec, much: float) -> None:
        self.nodes.append(spec)
        self.much[spec.name] = much

    def _source(self) -> None:
        items = self.random.choice([0, 1, 3, 8, 15, 30])
        fails = not self.calm and self.random.random() < 0.2
        name = f"source {len(self.nodes)}"
        self._add(Spec(name, "source", (), (), self._window(), self.max_bytes, items, fails), items)

    def _node(self, kind: str) -> None:
        random = self.random
        there = [spec.name for spec in self.nodes if spec.kind != "sink"]
        # The last ones more often, for long chains; any of them for fans.
        drawn = [random.choice(there[-2:] if random.random() < 0.6 else there) for _ in range(3)]
        names = tuple(dict.fromkeys(drawn))
        if kind in ("merge", "zip"):
            kind = "stage" if len(names) < 2 else kind
        elif random.random() < 0.8:
            names = names[:1]
        name, much = f"{kind} {len(self.nodes)}", sum(self.much[each] for each in names)
        if kind == "stage":
            self._stage(name, names, much)
        elif kind == "batch":
            size, wait_s = random.choice([1, 2, 3, 7]), random.choice([None, None, None, 0.003, 0.03])
            self._add(Spec(name, kind, names, size=size, max_wait_s=wait_s), much / size)
        elif kind == "sink":
            self._add(Spec(name, kind, names, (self._step(name, "sink", fan=1),)), 0)
        else:
            self._add(Spec(name, kind, names, fills=random.random() < 0.6), much)

    def _stage(self, name: str, names: tuple[str, ...], much: float) -> None:
        random, steps = self.random, []
        for at in range(random.choice([1, 1, 1, 2, 3])):
            fan = random.choice([1, 2, 3, 8])
            kind = random.choice(["map", "map", "filter"] + (["flat_map"] if much * fan < MOST_ITEMS else []))
            fan = fan if kind == "flat_map" else 1
            much *= fan
            steps.append(self._step(f"{kind} {len(self.nodes)}.{at}", kind, fan))
        degree = random.choice([1, 1, 2, 4])
        self._add(
            Spec(
                name,
                "stage",
                names,
                tuple(steps),
                self._window(),
                self.max_bytes,
                ordered=random.random() < 0.7,
                degree=degree,
                capacity=degree * random.randint(1, 3),
                aim_s=random.choice([0.0001, 0.005, 10.0]),
            ),
            much,
        )

    def _step(self, name: str, kind: str, fan: int) -> reference.Step:
        random = self.random
        retries = random.choice([0, 0, 1, 2])
        every = random.choice([0, 0, 0, 2, 5, 30])
        times = random.choice([99, random.randint(1, retries) if retries else 99])
        work = Work(
            kind, random.randrange(1_000), fan, every, times, steady=kind != "flat_map" or random.random() < 0.4
        )
        policies = ["skip", "dead_letter"] if self.calm else ["skip", "dead_letter", "raise", "raise"]
        return reference.Step(name, kind, work, random.choice(policies), retries)


def some_graph(random: Random) -> Graph:
    return _Draw(random).graph()
