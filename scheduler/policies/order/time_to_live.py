"""A time to live: what has waited longer is sidelined ("Avoiding insurmountable queue backlogs", Amazon Builders'
Library).

The job is not thrown away: no accepted job is lost. It starts when nothing younger waits; what shall end instead has a
timeout or is cancelled by who knows that nobody wants it. Needs nothing but the submission; ranks the newest `first`
jobs. Can be deployed.
"""

from __future__ import annotations

from scheduler.central_record import Waiting
from scheduler.job_record import Job, Ticket
from scheduler.policies.order.scored import Score, Scored
from scheduler.record import record


@record
class TimeToLive(Scored):
    """As they came; a job past its time to live waits aside until nothing younger does, then the oldest first."""

    age_ms: int = 3_600_000
    first: int = 25

    def key(self, job: Job) -> float:
        return -job.ticket.submit_ms

    def score(self, now_ms: int, job: Ticket | Waiting) -> Score:
        return now_ms - job.submit_ms > self.age_ms, job.submit_ms
