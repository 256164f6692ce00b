"""What became of the events of one listener, by type."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.events import EventAccount


class Counts:
    """What became of the events of one type."""

    __slots__ = ("delivered", "dropped", "emitted", "failed")

    def __init__(self) -> None:
        self.emitted = self.delivered = self.dropped = self.failed = 0

    @property
    def pending(self) -> int:
        return self.emitted - self.delivered - self.dropped - self.failed

    def __repr__(self) -> str:
        return f"<Counts {self.emitted} emitted, {self.pending} pending>"


def account(listener: str, counts: Mapping[type, Counts]) -> tuple[EventAccount, ...]:
    """The account of a listener, a row for each type."""
    return tuple(
        EventAccount(
            listener=listener,
            type=type.__name__,
            emitted=each.emitted,
            delivered=each.delivered,
            dropped=each.dropped,
            failed=each.failed,
            pending=each.pending,
        )
        for type, each in tuple(counts.items())
    )
