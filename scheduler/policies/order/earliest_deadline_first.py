"""The earliest deadline first. Needs deadlines. Can be deployed."""

from __future__ import annotations

from scheduler.job_record import Job
from scheduler.policies.order.shortest_job_first import LAST
from scheduler.record import record


@record
class EarliestDeadlineFirst:
    """Earliest deadline first; jobs without one come last, by submission."""

    def key(self, job: Job) -> float:
        ticket = job.ticket
        return ticket.deadline_ms if ticket.deadline_ms >= 0 else LAST + ticket.submit_ms
