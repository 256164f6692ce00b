"""What became of the events that a listener was to hear."""

from __future__ import annotations

from attrs import frozen

from headrace.errors import HeadraceError


@frozen(kw_only=True)
class EventAccount:
    """The events of one type for one listener, in numbers, since it subscribed.

    emitted = delivered + dropped + failed + pending, at every moment.

    delivered  the listener was called with it, and returned
    failed     the listener raised, or the event could not be built
    dropped    the queue was full, or was closed in the middle
    pending    waits, or the listener is being called with it
    """

    listener: str
    type: str
    emitted: int = 0
    delivered: int = 0
    dropped: int = 0
    failed: int = 0
    pending: int = 0


class EventQueueFull(HeadraceError):
    """A listener's queue is full, and the dispatcher's `overflow` says that this is to be raised."""

    def __init__(self, listener: str, max_pending: int) -> None:
        super().__init__(listener, max_pending)
        self.listener, self.max_pending = listener, max_pending

    def __str__(self) -> str:
        return (
            f"{self.max_pending} events wait for the listener {self.listener}, as many as may. A larger max_pending, "
            'or an overflow that drops ("drop_oldest", "drop_newest", "coalesce") would do'
        )
