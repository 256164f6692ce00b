"""What proves concurrency without a sleep: a gate that holds those who come to it."""

from __future__ import annotations

import threading

PATIENCE_S = 10.0
"""How long is waited for what must happen. Only a test that fails waits that long."""


class Gate:
    """Holds each thread that comes to it until it is opened, and tells who has come.

        gate = Gate()
        ... executor.execute(gate.hold, items)    # each call comes to the gate
        gate.wait_for(4)                          # four calls are inside at the same time
        gate.open()

    A gate that nobody opens lets its threads go after `patience_s`, with an AssertionError in each.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._opened = False
        self._came: list[object] = []

    def hold(self, item: object = None) -> object:
        """Wait for the gate to open; gives back `item`."""
        with self._changed:
            self._came.append(item)
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._opened, self._patience_s):
                raise AssertionError(f"the gate was not opened within {self._patience_s} s")
        return item

    def open(self) -> None:
        with self._changed:
            self._opened = True
            self._changed.notify_all()

    @property
    def came(self) -> list[object]:
        """Those who have come so far, in the order in which they came."""
        with self._changed:
            return list(self._came)

    def wait_for(self, number: int) -> list[object]:
        """Wait until `number` have come; AssertionError if they do not."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._came) >= number, self._patience_s):
                raise AssertionError(f"{len(self._came)} of {number} came within {self._patience_s} s")
            return list(self._came)

    def __repr__(self) -> str:
        return f"<Gate, {'open' if self._opened else 'closed'}, {len(self._came)} came>"
