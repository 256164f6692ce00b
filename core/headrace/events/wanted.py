"""What somebody wants to hear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from headrace.errors import SettingsError, shorten
from headrace.settings import flag, function, or_none, whole_number


@frozen
class Wanted:
    """A listener, the types that it hears (all, if there is none), and how. Refuses what no dispatcher takes, in words.

    batch        it gets sequences of events
    max_pending  most events that may wait for it; None: the dispatcher says
    """

    listener: Callable[[Any], Any]
    types: tuple[type, ...] = ()
    batch: bool = field(default=False, kw_only=True)
    max_pending: int | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        function(of="a function of one event").check("listener", self.listener)
        for wanted in self.types:
            if not isinstance(wanted, type):
                raise SettingsError(f"types must be classes of events; got {shorten(wanted)}")
        flag().check("batch", self.batch)
        or_none(whole_number(at_least=1, of="events")).check("max_pending", self.max_pending)

    def hears(self, type: type) -> bool:
        return not self.types or issubclass(type, self.types)
