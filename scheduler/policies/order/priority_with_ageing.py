"""Priority that grows with the wait. Needs nothing but the job's record. Can be deployed."""

from __future__ import annotations

from scheduler.job_record import Job
from scheduler.record import record


@record
class PriorityWithAgeing:
    """Priority p0 + ageing x wait. Linear ageing is a static key: -p0 / ageing + submission. A job passes any that
    came later than (difference of priority) / ageing before it."""

    points_per_hour: float = 1.0

    def key(self, job: Job) -> float:
        ticket = job.ticket
        return ticket.submit_ms - ticket.spec.priority / self.points_per_hour * 3_600_000
