"""The DAG of a pipeline's operators: names, and an order in which each comes after what it reads."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import TopologicalSorter

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
        for name in operator.inputs:
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

    @property
    def ends(self) -> tuple[str, ...]:
        """Operators that nothing reads."""
        read = {name for operator in self for name in operator.inputs}
        return tuple(name for name in self._operators if name not in read)

    def __iter__(self) -> Iterator[Operator]:
        """In topological order."""
        order = TopologicalSorter({name: operator.inputs for name, operator in self._operators.items()})
        return (self._operators[name] for name in order.static_order())

    def __len__(self) -> int:
        return len(self._operators)

    def __repr__(self) -> str:
        return f"<Graph {' > '.join(self._operators)}>"
