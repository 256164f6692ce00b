"""How many operators may be at work at once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, cast

from headrace.flow.gate_node import Job
from headrace.flow.nodes import StageNode

if TYPE_CHECKING:
    from typing import Any

    from headrace.flow.gate_node import GateNode
    from headrace.flow.stage import Sent

    Work = tuple[StageNode, Sent] | tuple[GateNode, Job]

SLICE_S = 0.02
"""An operator that has been at work for so long begins nothing more while others wait for their turn."""


class Turns:
    """A semaphore for operators: `most` of them may be at work at once. One has its turn only while something of it
    runs, so that none keeps it while it waits for input or for room; who waits gets it in the order of asking. Sources
    need none: an idle one would keep it for ever.

    Not thread-safe: the engine calls it under its lock, whenever anything was booked.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: list[Work] = []
        self._since_s: dict[StageNode | GateNode, float] = {}  # since when each of those at work has its turn

    def admit(
        self, submits: list[tuple[StageNode, Sent]], jobs: list[Job], now_s: float
    ) -> tuple[list[tuple[StageNode, Sent]], list[Job]]:
        """What may begin now, of what is given and of what has waited: batches to submit, and steps of gates."""
        queue: list[Work] = [*self._held, *submits, *((job.node, job) for job in jobs)]
        self._held = []
        waiting = Counter(node for node, _ in queue)
        self._since_s = {node: since_s for node, since_s in self._since_s.items() if _running(node) > waiting[node]}
        others = any(node not in self._since_s for node in waiting)
        begun: tuple[list[Any], list[Job]] = ([], [])
        for work in queue:
            node = work[0]
            if node not in self._since_s and len(self._since_s) < self._most:
                self._since_s[node] = now_s
            since_s = self._since_s.get(node)
            may = since_s is not None and not (others and now_s - since_s > SLICE_S)
            if not may:
                self._held.append(work)
            elif isinstance(node, StageNode):
                begun[0].append(work)
            else:
                begun[1].append(cast(Job, work[1]))
        return begun

    def __repr__(self) -> str:
        return f"<Turns {len(self._since_s)}/{self._most} at work, {len(self._held)} batches wait>"


def _running(node: StageNode | GateNode) -> int:
    """Batches of a stage, or steps of a gate, that the network has given out, here or at work."""
    return node.flow.running if isinstance(node, StageNode) else int(node.busy)
