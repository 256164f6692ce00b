"""The next batch size, from the time that batches took."""

from __future__ import annotations

from collections import deque

RECENT = 5
"""Batches whose median cost counts. A median, since a batch that waited for the interpreter lock in its middle looks
slow by thousands: a mean would shrink batches of tiny functions to nothing."""
WORTH_S = 0.0003
"""A batch shorter than this costs more to hand over than it gains by running beside another."""
HANDOVER_S = 0.001
"""A batch takes at least this long for every worker: to hand one over takes 60 to 200 µs of the one interpreter lock
there is, for which those wait whose items are through."""
AHEAD_S = 0.25
"""Seconds of work that are worth reading ahead: more would only fill memory."""
COMPUTES = 0.8
"""A function that is on a core for this share of its time computes; below it, it waits, and waits can overlap."""
GROWTH = 4


def aim(aim_s: float, degree: int) -> float:
    """Seconds that a batch aims at: what was asked for, and longer where so many workers would keep a core busy with
    nothing but handing over."""
    return max(aim_s, degree * HANDOVER_S)


class Sizing:
    """How many items the next batch should have, so that it takes about as long as `aim` says.

    At most GROWTH times the last size, and never more than the window allows: an equal share of half the window for
    each of `degree` workers, so that all can be at work while as much again is under way. Tiny functions, for which
    such a batch would be shorter than WORTH_S, get all of that half: one worker is enough for them.

    size    items for the next batch
    cost_s  what an item costs, in seconds; None while no batch is back
    brief   whether batches only compute, and for a shorter time than it takes to hand one over
    ahead   items worth having at hand for the batches to come
    """

    def __init__(self, *, aim_s: float, window: int, degree: int, adaptive: bool = True) -> None:
        self._aim_s = aim(aim_s, degree)
        self._window = window
        self._degree = degree
        self._fair = max(1, window // (2 * degree))
        self._half = max(1, window // 2)
        self._adaptive = adaptive
        self._costs: deque[float] = deque(maxlen=RECENT)
        self._computed: deque[float] = deque(maxlen=RECENT)  # share of the time that was spent on a core
        self.size = 1
        self.cost_s: float | None = None
        self.brief = False
        self.ahead = min(window, 2 * degree)

    def observe(self, items: int, took_s: float, cpu_s: float, most: int | None = None) -> None:
        """A batch of `items` took `took_s`, of which a core worked for it `cpu_s`; of larger ones than `most` the
        executor takes that many."""
        if not items:
            return
        self._costs.append(took_s / items)
        self._computed.append(cpu_s / took_s if took_s else 1.0)
        self.cost_s = cost_s = max(_median(self._costs), 1e-9)
        if self._adaptive:
            limit = self._half if self._fair * cost_s < WORTH_S else self._fair
            limit = limit if most is None else min(limit, most)
            self.size = max(1, min(round(self._aim_s / cost_s), self.size * GROWTH, limit))
        self.brief = min(self.size, self._fair) * cost_s < WORTH_S and _median(self._computed) > COMPUTES
        self.ahead = min(self._window, max(2 * self.size * self._degree, int(self._degree * AHEAD_S / cost_s)))

    def share(self, items: int) -> int:
        """Items for the next batch when only `items` are left to come: an equal part each, unless that is too short."""
        worth = int(WORTH_S / self.cost_s) if self.cost_s else 1
        return min(self.size, max(-(-items // self._degree), worth, 1))

    def __repr__(self) -> str:
        return f"<Sizing {self.size} items, {self.cost_s} s each>"


def _median(values: deque[float]) -> float:
    return sorted(values)[len(values) // 2]
