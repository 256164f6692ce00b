"""What is to run: the plan that the planner makes and a runner reads. Data only."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import Any

from attrs import Factory, frozen

from headrace.flow.gates import Gate
from headrace.flow.kernel import Kernel
from headrace.flow.ledger import Account
from headrace.flow.stage import FlowSettings
from headrace.operators import Recycle
from headrace.settings import Rule


@frozen
class PluginRef:
    """A plugin by name, with raw settings that are held against its settings class before it is made."""

    name: str
    settings: Mapping[str, Any] = Factory(dict)

    def __attrs_post_init__(self) -> None:
        Rule("a mapping of settings by name", lambda value: isinstance(value, Mapping)).check(
            f"PluginRef('{self.name}').settings", self.settings
        )

    def __str__(self) -> str:
        return self.name


@frozen
class StageSpec:
    """All that an executor learns of a stage, once.

    name    the stage's name in errors, thread names and reports
    kernel  the picklable work: `kernel.run(batch, control)` gives a `BatchResult`
    degree  batches of this stage that may run at once; the executor's pool grows to it
    timeout_s  longest that an item may run; then it fails, and `lane.abandon(batch)` tells that its worker is lost
    idempotent whether items may run again whose worker was lost
    recycle    when a worker process is replaced by a new one, or None
    loop       a `headrace.drive.loops.Loop` for the coroutines of its function, which is the run's; None: there is none
    """

    name: str
    kernel: Kernel
    degree: int | None = None
    timeout_s: float | None = None
    idempotent: bool = True
    recycle: Recycle | None = None
    loop: Any = None


@frozen
class SourceNode:
    """Where items come from: an iterable, or a callable that makes one, so that the plan can run again."""

    name: str
    origin: Iterable[Any] | AsyncIterable[Any] | Callable[[], Iterable[Any] | AsyncIterable[Any]]
    inputs: tuple[str, ...] = ()
    kind: str = "source"


@frozen
class StageNode:
    """One or more fused operators on one executor: a reference to a plugin, or an `Executor` that the user made.

    `letters` names the operators whose dead letters it reads, besides its inputs.
    """

    name: str
    inputs: tuple[str, ...]
    operators: tuple[str, ...]
    spec: StageSpec
    executor: PluginRef | Any
    flow: FlowSettings
    letters: tuple[str, ...] = ()


@frozen
class GateNode:
    """A stateful operator, run by the runner. `make(account)` gives a fresh gate; `kind` is its operator's word;
    `letters` as in StageNode."""

    name: str
    inputs: tuple[str, ...]
    kind: str
    make: Callable[[Account], Gate]
    letters: tuple[str, ...] = ()


Node = SourceNode | StageNode | GateNode


@frozen
class Plan:
    """The DAG after fusion, in topological order.

    ends       the nodes that nothing reads
    window     most items between a source and what reads it, unless that is one stage alone; max_bytes: in bytes
    linger_s   longest that an item waits for a later one; None: as long as it takes, and no thread is begun for it
    fail_fast  whether the first failure ends all, or only what comes behind it
    """

    name: str
    profile: str
    nodes: tuple[Node, ...]
    ends: tuple[str, ...]
    window: int = 10_000
    max_bytes: int | None = None
    linger_s: float | None = None
    fail_fast: bool = False

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def made_of(self) -> dict[str, tuple[str, str]]:
        """The kind of each operator, and what it runs on."""
        made: dict[str, tuple[str, str]] = {}
        for node in self.nodes:
            if isinstance(node, StageNode):
                made |= {op.name: (op.kind, label(node.executor)) for op in node.spec.kernel.ops}
            else:
                made[node.name] = (node.kind, "")
        return made


def label(executor: Any) -> str:
    """What to call an executor in reports: a plugin's name, or what kind of executor it is."""
    return str(executor) if isinstance(executor, PluginRef) else type(executor).__name__
