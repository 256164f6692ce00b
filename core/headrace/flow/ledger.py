"""The account of a run: every item that went in came out, or is booked by name."""

from __future__ import annotations

from headrace.batch import Tally
from headrace.errors import AccountError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from headrace.batch import Batch, BatchResult
    from headrace.flow.kernel import Op


class Account:
    """What one node of the plan did. Written by its runner only, under whatever lock guards the node.

    `cut` tells that no more was wanted before its input was at its end: what it did not take is nobody's loss.
    `fed` counts the items that reached the node, `tallies` has the sums for each of its `operators`, in order.
    A source has no input; it books what it gave as `emitted`. `letters` are tallies whose `dead` it is given, too.
    """

    def __init__(
        self, operators: tuple[str, ...], inputs: tuple[str, ...] = (), letters: tuple[Tally, ...] = ()
    ) -> None:
        self.operators = operators
        self.inputs = inputs
        self.letters = letters
        self.cut = False
        self.fed = 0
        self.batches = 0
        self.tallies = [Tally() for _ in operators]

    @property
    def emitted(self) -> int:
        return self.tallies[-1].emitted

    def gave(self, items: int) -> None:
        """A source gave `items`."""
        tally = self.tallies[0]
        tally.taken += items
        tally.done += items
        tally.emitted += items

    def record(self, batch: Batch, result: BatchResult) -> None:
        """Book a batch. Raises AccountError if what came back does not add up to what was sent."""
        problem = _problem(batch, result)
        if problem:
            raise AccountError(f"{'+'.join(self.operators)}, batch of item {batch.index[0]}: {problem}")
        self.batches += 1
        for mine, its in zip(self.tallies, result.tallies, strict=True):
            mine.add(its)

    def taken(self, position: int) -> int:
        """Items that reached an operator: what the one before it emitted."""
        return self.fed if position == 0 else self.tallies[position - 1].emitted

    def abandoned(self, position: int) -> int:
        """Items that reached an operator and had no outcome when the run ended."""
        tally = self.tallies[position]
        return self.taken(position) - tally.done - tally.filtered - tally.skipped - tally.dead

    def __repr__(self) -> str:
        return f"<Account {'+'.join(self.operators)}: {self.fed} in, {self.emitted} out>"


def _problem(batch: Batch, result: BatchResult) -> str | None:
    """What does not add up in the result of `batch`, or None."""
    done, tally = result.done, result.tallies[0]
    plain = len(result.tallies) == 1 and result.where is None and batch.attempt == 1 and done == len(batch.data)
    if plain and tally.taken == tally.done == tally.emitted == done == len(result.data):
        return None  # what most batches are: one operator, one output each
    if not 0 <= result.done <= len(batch):
        return f"{result.done} of {len(batch)} items dealt with"
    outputs = len(result.data) if result.where is None else len(result.where)
    if outputs != len(result.data) or (result.where is None and result.done != outputs):
        return f"{result.done} items in and {len(result.data)} outputs, where {outputs} are accounted for"
    stopped = any(tally.raised for tally in result.tallies)
    expected = result.done
    for position, tally in enumerate(result.tallies):
        retried_before = len(batch) if batch.attempt > 1 and position == batch.enter else 0
        taken = tally.taken + min(retried_before, result.done)
        booked = tally.done + tally.filtered + tally.skipped + tally.dead + tally.retried + tally.raised
        if taken != booked or (position >= batch.enter and taken != expected and not stopped):
            return f"operator {position} was to take {expected} items, took {taken} and accounts for {booked}"
        expected = tally.emitted if position >= batch.enter else expected
    if expected != len(result.data) and not stopped:
        return f"{expected} items emitted, {len(result.data)} outputs"
    return None


SHARE_FROM = 100
"""Items that an operator must have taken before the share of those that failed says something."""


def over_cap(op: Op, tally: Tally, *, ended: bool) -> str | None:
    """Why an operator has failed on more items than its `max_failures` allows, or None."""
    failed, most = tally.skipped + tally.dead, op.max_failures
    if most is None or not failed:
        return None
    if isinstance(most, int):
        return f"{failed} items failed, and max_failures={most}" if failed > most else None
    if failed > most * tally.taken and (ended or tally.taken >= SHARE_FROM):
        return f"{failed} of {tally.taken} items failed, and max_failures={most}"
    return None


class Ledger:
    """The accounts of all nodes of a run, by name."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}

    def open(
        self, node: str, operators: tuple[str, ...], inputs: tuple[str, ...] = (), letters: tuple[str, ...] = ()
    ) -> Account:
        """An account for `node`, which reads the nodes `inputs` and the dead letters of the operators `letters`."""
        account = self.accounts[node] = Account(operators, inputs, tuple(map(self.tally, letters)))
        return account

    def tally(self, operator: str) -> Tally:
        """The sums of one operator."""
        found = (
            tally
            for account in self.accounts.values()
            for name, tally in zip(account.operators, account.tallies, strict=True)
            if name == operator
        )
        return next(found)

    def given(self, account: Account) -> int:
        """Items that were emitted for a node by those that it reads."""
        emitted = sum(self.accounts[upstream].emitted for upstream in account.inputs)
        return emitted + sum(tally.dead for tally in account.letters)

    def check(self) -> None:
        """Assert, after a run that went to its end, that nothing is missing: raises AccountError."""
        for name, account in self.accounts.items():
            if account.cut:
                continue
            given = self.given(account)
            reads = bool(account.inputs or account.letters)
            if reads and account.fed != given:
                before = " and ".join(account.inputs) or "others"
                raise AccountError(f"{before} emitted {given} items, {name} got {account.fed}")
            for position, operator in enumerate(account.operators):
                missing = account.abandoned(position) if reads else 0
                if missing:
                    raise AccountError(
                        f"operator '{operator}' got {account.taken(position)} items; {missing} have no outcome"
                    )

    def __repr__(self) -> str:
        return f"<Ledger of {', '.join(self.accounts) or 'nothing'}>"
