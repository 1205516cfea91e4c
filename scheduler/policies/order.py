"""`order`: which waiting job next? Static keys, fixed when the job is queued; the lowest key is first.

An interrupted job is queued again under the same key, so it does not lose its place.
"""

from __future__ import annotations

from scheduler.job_record import Job
from scheduler.record import record

_LAST = float(1 << 60)


@record
class Fifo:
    """First come, first served, by the time of submission."""

    def key(self, job: Job) -> float:
        return job.ticket.submit_ms


@record
class PriorityWithAgeing:
    """Priority p0 + ageing x wait. Linear ageing is a static key: -p0 / ageing + submission. A job passes any that
    came later than (difference of priority) / ageing before it."""

    points_per_hour: float = 1.0

    def key(self, job: Job) -> float:
        ticket = job.ticket
        return ticket.submit_ms - ticket.spec.priority / self.points_per_hour * 3_600_000


@record
class ShortestJobFirst:
    """Shortest estimate first, then by submission. Work already in a checkpoint is not counted again."""

    def key(self, job: Job) -> float:
        estimate_ms = job.ticket.estimate_ms
        return estimate_ms - job.progress_ms if estimate_ms >= 0 else _LAST


@record
class EarliestDeadlineFirst:
    """Earliest deadline first; jobs without one come last, by submission."""

    def key(self, job: Job) -> float:
        ticket = job.ticket
        return ticket.deadline_ms if ticket.deadline_ms >= 0 else _LAST + ticket.submit_ms
