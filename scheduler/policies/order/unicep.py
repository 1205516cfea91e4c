"""UNICEP: small jobs that have waited long for their length (Tang, Lan, Desai, Buettner, "Fault-aware, utility-based
job scheduling on Blue Gene/P systems", CLUSTER 2009).

Needs estimates; ranks the oldest `first` jobs. Can be deployed; on pools n is 1.
"""

from __future__ import annotations

import math

from scheduler.central_record import Waiting
from scheduler.job_record import Job, Ticket
from scheduler.policies.order.scored import Score, Scored
from scheduler.record import record


@record
class Unicep(Scored):
    """Lowest -w / (log2(n) r) first, with the wait w, the estimate r and n slots: jobs of one slot come before all
    others, among themselves by w / r; without an estimate last."""

    first: int = 25

    def key(self, job: Job) -> float:
        return job.ticket.submit_ms

    def score(self, now_ms: int, job: Ticket | Waiting) -> Score:
        if job.estimate_ms < 0:
            return 2, 0
        share = (now_ms - job.submit_ms) / max(1, job.estimate_ms)
        return (0, -share) if job.slots == 1 else (1, -share / math.log2(job.slots))
