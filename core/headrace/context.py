"""Where am I: what a function can ask while it works on an item.

Nothing is written down per item. A kernel's pass says once where it is in its items, and who asks looks there.
Worker processes import this module, so it is standard library without `typing`.
"""

from __future__ import annotations

from contextvars import ContextVar

from headrace.batch import locate
from headrace.errors import HeadraceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random
    from typing import Any

    from headrace.batch import Path, Where

    Told = Callable[..., None]


class Current:
    """The item that the caller's function is working on.

    run       name of the run
    operator  name of the operator
    attempt   which attempt at the item this is, from 1
    """

    __slots__ = ("_come", "_failed", "_index", "_rng", "_seed", "_where", "attempt", "operator", "run")

    def __init__(
        self,
        run: str,
        operator: str,
        attempt: int,
        seed: int,
        index: Sequence[Path],
        where: Sequence[Where],
        failed: Sequence[Any],
    ) -> None:
        self.run = run
        self.operator = operator
        self.attempt = attempt
        self._seed = seed
        self._index = index
        self._where = where
        self._failed = failed
        self._come: Sequence[Any] = ()
        self._rng: tuple[Path, Random] | None = None

    def counts(self, come: Sequence[Any]) -> None:
        """`come` has one entry for each item that is through and did not fail."""
        self._come = come

    @property
    def index(self) -> Path:
        """The item's way from its source: its position there, and an ordinal for every `flat_map` passed."""
        return locate(self._index, self._where[len(self._come) + len(self._failed)])

    @property
    def rng(self) -> Random:
        """A generator of random numbers for this item in this operator: from the seed of the run, the operator's name
        and the item's index, so that results depend neither on fusion nor on the number of workers. Each attempt begins
        with the same numbers."""
        from random import Random  # costs more than a worker may take to start

        index = self.index
        if self._rng is None or self._rng[0] != index:
            self._rng = index, Random(f"{self._seed} {self.operator} {index!r}")
        return self._rng[1]

    def notify(self, type: type, /, **attributes: Any) -> None:
        """Tell those who listen to the run's events that an event of `type` happened; `run` and `operator` are filled
        in where it has them. From a worker process it travels home with the item's result, so that what has to run
        again is told once; what cannot be pickled arrives as its `repr`."""
        if hasattr(type, "lifecycle"):  # a headrace.events.Event, which this module cannot import
            attributes = {"run": self.run, "operator": self.operator, **attributes}
        tell(self.run, type, attributes)

    def __repr__(self) -> str:
        return f"<Current: operator '{self.operator}' at item {self.index}, attempt {self.attempt}, run '{self.run}'>"


_here: ContextVar[Current | None] = ContextVar("headrace.current", default=None)


def current() -> Current:
    """The item that the caller's function is working on: `run`, `operator`, `index`, `attempt`, and `rng`.

    Raises HeadraceError where no operator's function is running. Good until the function returns.
    """
    here = _here.get()
    if here is None:
        raise HeadraceError("headrace.current() tells of an item, and no operator's function is running here")
    return here


def enter(here: Current | None) -> Current | None:
    """Say where the functions are that this thread calls from now on; None: nowhere. Gives what was said before."""
    before = _here.get()
    _here.set(here)
    return before


dispatchers: dict[str, Told] = {}
"""What tells an event to who listens, by the run, or by the key that something has which was sent to a worker."""
_home: Told | None = None


def tell(key: str, type: type, attributes: dict[str, Any]) -> None:
    """Tell an event to those who listen under `key`; in a worker process: at home. Nobody may be there any more."""
    if _home is not None:
        _home(key, type, attributes)
    elif (told := dispatchers.get(key)) is not None:
        told(type, **attributes)


def live_away(home: Told) -> None:
    """This is a worker process: what is told goes through `home(key, type, attributes)`."""
    global _home
    _home = home


def lives_away() -> bool:
    return _home is not None
