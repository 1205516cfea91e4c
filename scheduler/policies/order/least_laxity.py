"""The least laxity first: D - t - C, deadline less now less the work that is left (Dertouzos and Mok, IEEE TSE 1989).

The laxities of all jobs that wait shrink alike, so D - C is a static key. Needs deadlines and estimates. Can be
deployed.
"""

from __future__ import annotations

from scheduler.job_record import Job
from scheduler.policies.order.shortest_job_first import LAST
from scheduler.record import record


@record
class LeastLaxityFirst:
    """Least slack before the deadline first; jobs without a deadline come last, by submission. A job without an
    estimate has all the time to its deadline."""

    def key(self, job: Job) -> float:
        ticket = job.ticket
        if ticket.deadline_ms < 0:
            return LAST + ticket.submit_ms
        return ticket.deadline_ms - max(0, ticket.estimate_ms - job.progress_ms)
