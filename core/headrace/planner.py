"""From a graph and a profile to a plan: which executor each stage runs on, and how its flow is controlled."""

from __future__ import annotations

from functools import partial
from typing import Any

from headrace.errors import GraphError
from headrace.flow.gates import BatchGate, SinkGate
from headrace.flow.kernel import Kernel, Op
from headrace.flow.sizeof import sizeof
from headrace.flow.stage import FlowSettings
from headrace.graph import Graph
from headrace.operators import Operator
from headrace.plan import GateNode, Node, Plan, PluginRef, SourceNode, StageNode, StageSpec
from headrace.profiles import Profile


def plan(name: str, graph: Graph, profile: Profile, *, window: int | None = None, max_bytes: int | None = None) -> Plan:
    """What to run. `window` and `max_bytes` override the profile's. Imports no plugin and starts nothing.

    Raises GraphError for a pipeline that cannot run, naming the operator.
    """
    if not len(graph):
        raise GraphError(f"pipeline '{name}' has no source; begin with .source(name, iterable)")
    window, max_bytes = window or profile.window, max_bytes or profile.max_bytes
    nodes: list[Node] = []
    for operator in graph:
        if operator.kind == "source":
            nodes.append(SourceNode(operator.name, operator.origin))
        elif operator.kind in ("batch", "sink"):
            nodes.append(_gate(operator, window))
        else:
            nodes.append(_stage(operator, profile, window, max_bytes))
    return Plan(name, profile.name, tuple(nodes), graph.ends)


def _gate(operator: Operator, window: int) -> GateNode:
    if operator.kind == "sink":
        make = partial(SinkGate, op=_op(operator), passing=(KeyboardInterrupt,))
        return GateNode(operator.name, operator.inputs, "sink", make)
    if operator.size > window:
        raise GraphError(
            f"batch '{operator.name}': lists of {operator.size} items never fill under a window of {window}; "
            f"a size of at most {window}, or Pipeline(..., window={operator.size}), would do"
        )
    return GateNode(
        operator.name, operator.inputs, "batch", partial(BatchGate, size=operator.size, max_wait_s=operator.max_wait_s)
    )


def _stage(operator: Operator, profile: Profile, window: int, max_bytes: int | None) -> StageNode:
    executor = _executor(operator.executor, profile)
    hints = _hints(executor)
    flow = FlowSettings(
        window=min(window, hints.get("max_memory_items", window)),
        max_bytes=min(filter(None, (max_bytes, hints.get("max_memory_bytes"))), default=None),
        ordered=operator.ordered,
        adaptive=hints.get("adaptive_batching", True),
        aim_s=profile.aim_s,
        linger_s=profile.linger_s,
    )
    kernel = Kernel((_op(operator),), limit_s=flow.limit_s, measure=sizeof if flow.max_bytes else None)
    spec = StageSpec(operator.name, kernel, operator.parallel_degree)
    return StageNode(operator.name, operator.inputs, (operator.name,), spec, executor, flow)


def _op(operator: Operator) -> Op:
    assert operator.fn is not None
    return Op(operator.name, operator.kind, operator.fn, operator.on_error, operator.retries + 1)


def _executor(chosen: Any, profile: Profile) -> Any:
    """What an operator's `executor=` means under a profile: a PluginRef or an executor."""
    if chosen == "auto":
        return profile.executor
    return PluginRef(chosen) if isinstance(chosen, str) else chosen


def _hints(executor: Any) -> dict[str, Any]:
    """What an executor's own settings say of the flow of its stages."""
    settings = getattr(executor, "settings", None)
    if isinstance(executor, PluginRef):
        return dict(executor.settings)
    names = ("max_memory_items", "max_memory_bytes", "adaptive_batching")
    return {name: getattr(settings, name) for name in names if hasattr(settings, name)}
