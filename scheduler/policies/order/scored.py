"""What the orders share whose scores change while jobs wait.

Decoupled, such an order has a static key, in whose order the index lies, and ranks the `first` jobs of the index again
when a worker claims; a head node, which has the whole queue, ranks all of it at each pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from scheduler.central_record import QueueView, Waiting
from scheduler.job_record import Job, Ticket
from scheduler.policy import RankView

Score: TypeAlias = tuple[float, ...]


class Scored:
    """`rank` and `select` of a `score`; the lowest is first, equal ones as they lie in the index."""

    __slots__ = ()

    def score(self, now_ms: int, job: Ticket | Waiting) -> Score:
        """Of a job that waits; it has `submit_ms`, `estimate_ms` and `slots`."""
        raise NotImplementedError

    def rank(self, view: RankView, jobs: Sequence[Job]) -> Sequence[Job]:
        return sorted(jobs, key=lambda job: self.score(view.now_ms, job.ticket))

    def select(self, view: QueueView) -> Sequence[Waiting]:
        """Those that start now: the first ones as long as they fit."""
        free, starts = view.free, list[Waiting]()
        for job in sorted(view.in_order(), key=lambda job: (self.score(view.now_ms, job), job.place)):
            if job.slots > free:
                break
            starts.append(job)
            free -= job.slots
        return starts
