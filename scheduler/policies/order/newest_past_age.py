"""The newest first, past an age ("Avoiding insurmountable queue backlogs", Amazon Builders' Library).

When the backlog is so long that its head is of no use to anybody, the newest jobs still are. Needs nothing but the
submission; ranks the newest `first` jobs. Can be deployed.
"""

from __future__ import annotations

from scheduler.central_record import Waiting
from scheduler.job_record import Job, Ticket
from scheduler.policies.order.scored import Score, Scored
from scheduler.record import record


@record
class NewestPastAge(Scored):
    """As they came, while they are younger than the age; past it, after those, the newest first."""

    age_ms: int = 600_000
    first: int = 25

    def key(self, job: Job) -> float:
        return -job.ticket.submit_ms

    def score(self, now_ms: int, job: Ticket | Waiting) -> Score:
        if now_ms - job.submit_ms <= self.age_ms:
            return 0, job.submit_ms
        return 1, -job.submit_ms
