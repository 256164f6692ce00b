"""The DAG of a pipeline's operators: names, and an order in which each comes after what it reads."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush

from headrace.errors import GraphError
from headrace.operators import Operator
from headrace.settings import did_you_mean


class Graph:
    """Operators by name. An operator is refused when it is added, if it cannot be part of a graph."""

    def __init__(self) -> None:
        self._operators: dict[str, Operator] = {}

    def add(self, operator: Operator) -> None:
        """Raises GraphError for a name that is taken, or an input that is not there or gives nothing."""
        if operator.name in self._operators:
            raise GraphError(f"operator '{operator.name}' is in the pipeline already; a name can be used once")
        if len(set(operator.inputs)) < len(operator.inputs):
            twice = next(name for name in operator.inputs if operator.inputs.count(name) > 1)
            raise GraphError(f"operator '{operator.name}' reads '{twice}' twice; it can be read once")
        for name in operator.inputs:
            if name == operator.name:
                raise GraphError(f"operator '{name}' reads itself; a pipeline has no cycles")
            if name not in self._operators:
                raise GraphError(
                    f"operator '{operator.name}' reads '{name}', which is not in the pipeline."
                    f"{did_you_mean(name, self._operators)}"
                )
            if self._operators[name].kind == "sink":
                raise GraphError(f"operator '{operator.name}' reads '{name}', which is a sink and gives nothing on")
        self._operators[operator.name] = operator

    @property
    def last(self) -> Operator | None:
        """The operator that was added last."""
        return next(reversed(self._operators.values()), None)

    def check(self) -> None:
        """Raises GraphError for dead letters that go to an operator which is not there, or back where they are from."""
        for operator in self._operators.values():
            to = operator.dead_letters
            if to is not None and to not in self._operators:
                raise GraphError(
                    f"operator '{operator.name}' sends its dead letters to '{to}', which is not in the pipeline."
                    f"{did_you_mean(to, self._operators)}"
                )
            kind = "" if to is None else self._operators[to].kind
            if kind in ("source", "zip"):
                raise GraphError(f"operator '{operator.name}' sends its dead letters to '{to}', which is a {kind}")
        try:
            TopologicalSorter(self._edges()).prepare()
        except CycleError as error:
            raise GraphError(
                f"the dead letters of a pipeline go round in a cycle: {' > '.join(error.args[1])}"
            ) from None

    def letters(self, name: str) -> tuple[str, ...]:
        """The operators whose dead letters `name` gets."""
        return tuple(each.name for each in self._operators.values() if each.dead_letters == name)

    def _edges(self) -> dict[str, tuple[str, ...]]:
        """What each operator needs before it, dead letters included."""
        return {name: operator.inputs + self.letters(name) for name, operator in self._operators.items()}

    def part(self, name: str) -> Graph:
        """What `name` needs: it and all that it reads, directly or not."""
        wanted, todo = set(), [name]
        while todo:
            at = todo.pop()
            if at not in wanted:
                wanted.add(at)
                todo += self._edges()[at]
        part = Graph()
        part._operators = {at: operator for at, operator in self._operators.items() if at in wanted}
        return part

    @property
    def ends(self) -> tuple[str, ...]:
        """Operators that nothing reads."""
        read = {name for operator in self for name in operator.inputs}
        return tuple(name for name in self._operators if name not in read)

    def __iter__(self) -> Iterator[Operator]:
        """In topological order; those that could stand either way as they were added."""
        order = TopologicalSorter(self._edges())
        place = {name: at for at, name in enumerate(self._operators)}
        order.prepare()
        ready: list[tuple[int, str]] = []
        while order.is_active():
            for name in order.get_ready():
                heappush(ready, (place[name], name))
            _, name = heappop(ready)
            order.done(name)
            yield self._operators[name]

    @property
    def names(self) -> list[str]:
        return list(self._operators)

    def __contains__(self, name: object) -> bool:
        return name in self._operators

    def __str__(self) -> str:
        """A line: the operators in order, with what they read where that is not the one before."""
        words: list[str] = []
        before: tuple[str, ...] = ()
        for operator in self._operators.values():
            odd = operator.inputs != before and operator.inputs
            words.append(f"{operator.name} <- {', '.join(operator.inputs)}" if odd else operator.name)
            before = (operator.name,)
        return " > ".join(words)

    def __len__(self) -> int:
        return len(self._operators)

    def __repr__(self) -> str:
        return f"<Graph {' > '.join(self._operators)}>"
