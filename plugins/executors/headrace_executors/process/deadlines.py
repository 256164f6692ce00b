"""Who is late: items that run for longer than they may, and workers that do not begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace_executors.process.child import Child
    from headrace_executors.process.job import Job

STACK_S = 0.03
"""Seconds that a worker which hangs gets to write down where."""
BEGIN_S = 5.0
"""Seconds beyond its deadline in which a worker with nothing else to do must have begun with an item."""


def due_s(child: Child, jobs: Sequence[Job], now_s: float) -> float | None:
    """When to `look` at a worker that has these batches; None: it has none that may be late."""
    if child.late is not None:
        return child.late[0]
    due = []
    for job in jobs:
        if job.lane.timeout_s is not None:
            began_s = child.began_s(job)
            due.append((now_s if began_s is None else began_s) + job.lane.timeout_s)
    return min(due, default=None)


def look(child: Child, jobs: Sequence[Job], now_s: float) -> None:
    """See whether a worker is late, and end it then: first it is asked to write down where it is."""
    if child.late is not None:
        if child.late[0] <= now_s:
            child.kill()
        return
    for job in jobs:
        timeout_s = job.lane.timeout_s
        if timeout_s is None:
            continue
        began_s = child.began_s(job)
        if began_s is not None:
            if began_s + timeout_s <= now_s:
                child.ask_for_stack()
                child.late = now_s + STACK_S, job
        elif len(jobs) == 1 and child.ready and job.sent_s + timeout_s + BEGIN_S <= now_s:
            child.kill()  # stopped before it began: the batch goes to another
