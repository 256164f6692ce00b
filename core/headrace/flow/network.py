"""The flow of a whole run: its nodes, and what goes between them, whatever the shape of the graph.

    source --> outlet --> reader: stage --> outlet --+--> reader: gate --> outlet --> reader: the consumer
                                                     `--> reader: stage --> outlet --> reader: the consumer

This is the machine that every runner and `drive` put threads, a loop or a task around. It does nothing by itself: the
shell tells it what happened, under the shell's lock, then calls `settle` and does what `work` holds: batches to submit,
steps of gates that call the user's functions. Everything else, moving batches along, gates that only count and pair,
happens in `settle`.

A source that one stage alone reads is pulled on that stage's credit; any other has a window of its own.
"""

from __future__ import annotations

from headrace.errors import WindowTooSmall
from headrace.flow.gate_node import GateNode
from headrace.flow.nodes import Node, SourceNode, StageNode
from headrace.flow.window import Window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from headrace.batch import Failure
    from headrace.flow.gate_node import Job
    from headrace.flow.gates import Gate
    from headrace.flow.ledger import Account
    from headrace.flow.outlet import Reader
    from headrace.flow.stage import Sent, StageFlow


class Network:
    """All nodes of a run. Not thread-safe: whoever holds the shell's lock may call it.

    letter          makes the item that stands for a failure, for who reads dead letters
    window          most failures and dead letters of a gate that wait
    submits, jobs   what the shell has to do after `settle`: it takes all of it out
    failures        items that raised and have not been told of, with the stage whose credit they hold
    clogs           stages whose window has filled with outputs that nobody takes, with their number; 0: it is half
                    empty again. The shell takes all of it out
    errors          what ended nodes, each once, the first first
    consumer_waits  set by the shell: the consumer has nothing, and waits
    """

    def __init__(self, letter: Callable[[Failure], Any] = repr, window: int = 10_000) -> None:
        self.letter = letter
        self.window = window
        self.nodes: dict[str, Node] = {}
        self.ends: dict[str, Reader] = {}
        self.submits: list[tuple[StageNode, Sent]] = []
        self.jobs: list[Job] = []
        self.failures: list[tuple[StageNode | GateNode, Failure]] = []
        self.clogs: list[tuple[StageNode, int]] = []
        self.errors: list[BaseException] = []
        self.consumer_waits = False
        self._touched: dict[Node, None] = {}

    # building

    def source(self, name: str, window: int, max_bytes: int | None = None) -> SourceNode:
        node = SourceNode(self, name, window, max_bytes)
        self.nodes[name] = node
        return node

    def stage(
        self,
        flow: StageFlow,
        inputs: Sequence[str],
        capacity: Callable[[], int],
        *,
        alone: bool,
        letters: Sequence[str] = (),
    ) -> StageNode:
        """`alone`: it is the only one that reads its input, which then is pulled on its credit if it is a source.
        `letters`: the operators whose dead letters it reads, too."""
        first = self.nodes[inputs[0]] if alone and len(inputs) == 1 and not letters else None
        direct = first if isinstance(first, SourceNode) else None
        node = StageNode(self, flow, () if direct else self._readers(inputs, letters), capacity)
        if direct:
            node.source, direct.stage = direct, node
        self.nodes[flow.name] = node
        return node

    def gate(
        self, name: str, gate: Gate, inputs: Sequence[str], account: Account, letters: Sequence[str] = ()
    ) -> GateNode:
        node = GateNode(self, name, gate, self._readers(inputs, letters), account)
        self.nodes[name] = node
        return node

    def end(self, name: str) -> Reader:
        """The consumer reads node `name`."""
        self.ends[name] = self.nodes[name].outlet.read()
        return self.ends[name]

    def _readers(self, inputs: Sequence[str], letters: Sequence[str]) -> list[Reader]:
        readers = [self.nodes[name].outlet.read() for name in inputs]
        return readers + [self._node_of(operator).read_letters(operator) for operator in letters]

    def _node_of(self, operator: str) -> Node:
        return next(node for node in self.nodes.values() if operator in node.operators)

    # running

    def touch(self, node: Node) -> None:
        """Something has changed for `node`: the next `settle` looks at it."""
        self._touched[node] = None

    def starves(self, reader: Reader) -> bool:
        """Whether nothing is there for a reader who would take a batch now."""
        if reader.queue or reader.dropped:
            return False
        return self.consumer_waits if reader.node is None else reader.node.wants()

    def stop(self) -> None:
        """The sources are about to end, wherever they are: what has no partner at a join is nobody's fault."""
        for node in self.nodes.values():
            if isinstance(node, GateNode):
                node.gate.stop()

    def note(self, error: BaseException | None) -> None:
        """`error` has ended a node; those behind it end with the same."""
        if error is not None and not any(error is known for known in self.errors):
            self.errors.append(error)

    @property
    def seen(self) -> list[BaseException]:
        """The errors that the ends came to, the first first. What failed behind the item at which its only reader
        failed is not among them: whether it came so far is a matter of luck."""
        todo, seen = [self.nodes[name] for name in self.ends], []
        while todo:
            node = todo.pop()
            if node.outlet.error is not None:
                seen.append(node.outlet.error)
                todo += [reader.outlet.node for reader in node.inputs] if len(node.inputs) > 1 else []
        return [error for error in self.errors if any(error is each for each in seen)]

    def settle(self, now_s: float) -> None:
        """Move on all that can be moved. What is left to do for the shell is in `submits` and `jobs`."""
        while self._touched:
            node = self._touched.popitem()[0]
            node.settle(now_s)
            for reader in node.inputs:
                self._ask(reader)

    def _ask(self, reader: Reader) -> None:
        """Have those look again that are read by one who has just begun to wait: they may give what they would have
        kept for a fuller batch, or for want of credit."""
        hungry = self.starves(reader)
        if hungry and not reader.hungry:
            self.touch(reader.outlet.node)
        reader.hungry = hungry

    def tick(self, now_s: float) -> None:
        """Look at what has fallen due."""
        for node in self.nodes.values():
            if (due_s := node.due_s) is not None and due_s <= now_s:
                self.touch(node)

    def new_failures(self) -> list[tuple[StageNode | GateNode, Failure]]:
        """What failed since the last call, in no order."""
        failures, self.failures = self.failures, []
        return failures

    @property
    def over(self) -> bool:
        """Whether all ends have given all that they will."""
        return all(reader.over for reader in self.ends.values())

    @property
    def served(self) -> bool:
        """Whether something is there for the consumer: outputs, or the end."""
        for reader in self.ends.values():
            if reader.queue:
                return True
        return self.over

    @property
    def due_s(self) -> float | None:
        return min((due_s for node in self.nodes.values() if (due_s := node.due_s) is not None), default=None)

    @property
    def idle(self) -> bool:
        """Whether nothing goes on that will be heard of, though something may fall due."""
        for node in reversed(self.nodes.values()):
            if node.busy:
                return False
        return not (self.served or self.submits or self.jobs or self.failures)

    @property
    def stuck(self) -> bool:
        """Whether nothing can go on any more although the consumer waits and the end has not come: each node waits for
        another. What falls due later, or a source that is being pulled, is not that."""
        return self.idle and self.due_s is None

    def jam(self) -> WindowTooSmall:
        """What to say of a run that is stuck: who waits for what, and whose window is full."""
        lacking = [node.gate.lacks for node in self.nodes.values() if isinstance(node, GateNode)]
        missing = max((items for items, _ in lacking), default=1)
        waits = ", ".join(words for _, words in lacking if words) or "each node waits for another"
        full = [(node.name, window) for node in self.nodes.values() if (window := node.credit) and not window.room]
        name, window = min(full, key=lambda each: each[1].items, default=("the pipeline", Window(0)))
        why = f"nothing can go on: {waits}, but '{name}' has all {window.items} items under way that its window allows"
        return WindowTooSmall(name, window.items, window.items + max(1, missing), why)

    def __repr__(self) -> str:
        return f"<Network {' '.join(self.nodes)}>"
