"""First come, first served. Needs nothing but the submission. Can be deployed."""

from __future__ import annotations

from scheduler.job_record import Job
from scheduler.record import record


@record
class Fifo:
    """First come, first served, by the time of submission."""

    def key(self, job: Job) -> float:
        return job.ticket.submit_ms
