"""From a graph and a profile to a plan: which executor each stage runs on, and how its flow is controlled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from headrace.errors import GraphError, WindowTooSmall
from headrace.flow.gates import BatchGate, Gate, MergeGate, SinkGate, ZipGate
from headrace.flow.kernel import Kernel, Op
from headrace.flow.ledger import Account
from headrace.flow.sizeof import sizeof
from headrace.flow.stage import FlowSettings
from headrace.flow.stateful import NOTHING, FoldGate, RateGate, TakeGate, WindowGate
from headrace.flow.writer import WriterGate
from headrace.graph import Graph
from headrace.operators import NO_FILL, Operator, Retry
from headrace.plan import GateNode, Node, Plan, PluginRef, SourceNode, StageNode, StageSpec
from headrace.profiles import Profile


def plan(
    name: str,
    graph: Graph,
    profile: Profile,
    *,
    window: int | None = None,
    max_bytes: int | None = None,
    fail_fast: bool = False,
    degree: int | None = None,
    fuse: bool = True,
) -> Plan:
    """What to run. `window`, `max_bytes` override the profile's, `degree` is that of operators that have none, `fuse`
    makes one stage of neighbours where that costs no worker. Imports no plugin and starts nothing.

    Raises GraphError for a pipeline that cannot run, naming the operator.
    """
    if not len(graph):
        raise GraphError(f"pipeline '{name}' has no source; begin with .source(name, iterable)")
    window, max_bytes = window or profile.window, max_bytes or profile.max_bytes
    nodes: list[Node] = []
    members: dict[str, int] = {}  # items of a source that one output of each operator may stand for
    for operator in graph:
        each = max((members[name] for name in operator.inputs), default=1)
        members[operator.name] = 1 if operator.kind == "flat_map" else each * max(1, operator.size)
        if operator.kind == "source":
            nodes.append(SourceNode(operator.name, operator.origin))
        elif operator.kind in ("map", "filter", "flat_map"):
            stage = _stage(operator, profile, max(1, window // each), max_bytes, degree)
            nodes.append(attrs.evolve(stage, letters=graph.letters(operator.name)))
        else:
            if operator.kind in ("batch", "window"):
                _check_size(operator, window, each)
                _make_room(operator, nodes)
            letters = graph.letters(operator.name)
            make = _gate(operator, len(operator.inputs) + len(letters))
            nodes.append(GateNode(operator.name, operator.inputs, operator.kind, make, letters))
    if fuse:
        nodes = _fused(nodes, graph.ends)
    return Plan(name, profile.name, tuple(nodes), graph.ends, window, max_bytes, profile.linger_s, fail_fast)


def _fused(nodes: list[Node], ends: tuple[str, ...]) -> list[Node]:
    """The same with neighbours made one, under the name of the last of them, which is what others read."""
    readers = Counter([*ends, *(name for node in nodes for name in node.inputs)])
    fused: dict[str, Node] = {}
    for node in nodes:
        alone = len(node.inputs) == 1 and not getattr(node, "letters", ())
        before = fused.get(node.inputs[0]) if alone else None
        if before is not None and readers[before.name] == 1 and _fit(before, node):
            del fused[before.name]
            node = _joined(before, node)  # type: ignore[arg-type]
        fused[node.name] = node
    return list(fused.values())


def _fit(before: Node, node: Node) -> bool:
    """Whether two neighbours may be one stage: nothing is lost by it where the work is done in line, or where each
    would have had all workers that it wants, as then the stage has as many as both. An operator with a degree of its
    own keeps its own workers: of those that wait, half as many would do half as much."""
    if not (isinstance(before, StageNode) and isinstance(node, StageNode) and before.executor == node.executor):
        return False
    if _awaits(before) or _awaits(node):  # each item is awaited by itself
        return False
    same = _same_flow(before.flow, node.flow) and before.spec.degree == node.spec.degree
    same = same and node.spec.timeout_s is None  # which is measured for an item in one operator
    same = same and before.spec.recycle == node.spec.recycle
    unbounded = node.spec.degree is None and "max_workers" not in _settings(node.executor)
    return same and (node.executor == PluginRef("serial") or unbounded)


def _awaits(node: StageNode) -> bool:
    plain = getattr(node.executor, "plain", node.executor != PluginRef("coroutine"))
    return node.spec.kernel.awaits or not plain


def _same_flow(one: FlowSettings, other: FlowSettings) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in FlowSettings.__slots__)


def _joined(before: StageNode, node: StageNode) -> StageNode:
    operators = before.operators + node.operators
    kernel = Kernel(before.spec.kernel.ops + node.spec.kernel.ops, measure=node.spec.kernel.measure)
    spec = StageSpec(
        "+".join(operators), kernel, node.spec.degree, idempotent=node.spec.idempotent, recycle=node.spec.recycle
    )
    return StageNode(node.name, before.inputs, operators, spec, node.executor, node.flow, before.letters)


def _gate(operator: Operator, ports: int) -> Callable[[Account], Gate]:
    """What makes the gate of an operator."""
    name = operator.name
    if operator.kind == "sink" and operator.target is not None:
        return partial(WriterGate, name=name, target=operator.target, ports=ports)
    if operator.kind == "sink":
        return partial(SinkGate, op=_op(operator), passing=(KeyboardInterrupt,), ports=ports)
    if operator.kind == "merge":
        return partial(MergeGate, ports=ports)
    if operator.kind == "zip":
        return partial(
            ZipGate, name=name, inputs=operator.inputs, fill=operator.fill, fills=operator.fill is not NO_FILL
        )
    if operator.kind == "window":
        return partial(WindowGate, name=name, size=operator.size, step=operator.step, ports=ports)
    if operator.kind == "take":
        return partial(TakeGate, count=operator.count, ports=ports)
    if operator.kind in ("reduce", "fold"):
        initial = NOTHING if operator.kind == "reduce" else operator.initial
        return partial(FoldGate, op=_op(operator), passing=(KeyboardInterrupt,), initial=initial, ports=ports)
    if operator.kind == "rate_limit":
        return partial(RateGate, per_s=operator.per_s, burst=operator.burst, ports=ports)
    return partial(BatchGate, name=name, size=operator.size, max_wait_s=operator.max_wait_s, ports=ports)


def _check_size(operator: Operator, window: int, each: int) -> None:
    if operator.size * each > window:
        of_lists = f" lists of {each}" if each > 1 else " items"
        lists = f"{operator.kind} '{operator.name}': lists of {operator.size}{of_lists}"
        why = f"{lists} never fill under a window of {window}"
        raise WindowTooSmall((*operator.inputs, operator.name)[0], window, operator.size * each, why)


def _make_room(operator: Operator, nodes: list[Node]) -> None:
    """A list that fills counts in the windows of the stages whose items it collects: they must hold that many."""
    by_name = {node.name: node for node in nodes}
    todo = list(operator.inputs)
    while todo:
        node = by_name[todo.pop()]
        if isinstance(node, StageNode) and node.flow.window < operator.size:
            most = _hints(node.executor).get("max_memory_items", operator.size)
            if most < operator.size:
                lists = f"{operator.kind} '{operator.name}': lists of {operator.size} items"
                why = f"{lists} never fill behind '{node.name}', whose executor has max_memory_items={most}"
                raise WindowTooSmall(node.name, most, operator.size, why)
            node.flow.window = operator.size
        elif isinstance(node, GateNode) and node.kind in ("merge", "zip", "take", "rate_limit"):
            todo += node.inputs


def _stage(operator: Operator, profile: Profile, window: int, max_bytes: int | None, degree: int | None) -> StageNode:
    executor = _executor(operator, profile)
    hints = _hints(executor)
    flow = FlowSettings(
        window=min(window, hints.get("max_memory_items", window)),
        max_bytes=min(filter(None, (max_bytes, hints.get("max_memory_bytes"))), default=None),
        ordered=operator.ordered and hints.get("ordered", True),
        adaptive=hints.get("adaptive_batching", True),
        aim_s=profile.aim_s,
        linger_s=profile.linger_s or profile.aim_s,
        timeout_s=operator.timeout_s,
        idempotent=operator.idempotent,
    )
    kernel = Kernel((_op(operator),), measure=sizeof if flow.max_bytes else None)
    spec = StageSpec(
        operator.name,
        kernel,
        operator.parallel_degree or degree,
        operator.timeout_s,
        idempotent=operator.idempotent,
        recycle=operator.recycle,
    )
    return StageNode(operator.name, operator.inputs, (operator.name,), spec, executor, flow)


def _op(operator: Operator) -> Op:
    retries = operator.retries
    again = retries if isinstance(retries, Retry) else Retry(retries + 1, on=(BaseException,))
    return Op(
        operator.name,
        operator.kind,
        operator.fn,
        operator.on_error,
        again.attempts,
        on=again.on,
        backoff_s=again.backoff_s,
        jitter=again.jitter,
        max_backoff_s=again.max_backoff_s,
        max_failures=operator.max_failures,
        setup=operator.setup,
        awaits=operator.awaits,
    )


def _executor(operator: Operator, profile: Profile) -> Any:
    """What an operator's `executor=` means under a profile: a PluginRef or an executor."""
    chosen = operator.executor
    if chosen == "auto":
        return profile.coroutines if operator.awaits else profile.executor
    return PluginRef(chosen) if isinstance(chosen, str) else chosen


def _hints(executor: Any) -> dict[str, Any]:
    """What an executor's own settings say of the flow of its stages. Wrong ones are refused when the plugin is made."""
    said = _settings(executor)
    return {name: value for name, value in said.items() if isinstance(value, _HINTS.get(name, ()))}


def _settings(executor: Any) -> dict[str, Any]:
    """The settings that somebody has chosen for an executor."""
    if isinstance(executor, PluginRef):
        return dict(executor.settings)
    settings: Any = getattr(executor, "settings", None)
    if not attrs.has(type(settings)):
        return {name: getattr(settings, name) for name in _HINTS if hasattr(settings, name)}
    chosen = {field.name: getattr(settings, field.name) for field in attrs.fields(type(settings))}
    defaults = {field.name: field.default for field in attrs.fields(type(settings))}
    return {name: value for name, value in chosen.items() if value != defaults[name]}


_HINTS: dict[str, type] = {"max_memory_items": int, "max_memory_bytes": int, "adaptive_batching": bool, "ordered": bool}
