"""Put aside what fails again and again, so that it does not stand in the way of the others: the side queue of "Avoiding
insurmountable queue backlogs" (Amazon Builders' Library).

Needs: the job's record. Can be deployed.
"""

from __future__ import annotations

from scheduler.job_record import Job
from scheduler.policies.retry.full_jitter import FullJitter
from scheduler.record import record


@record
class Sideline:
    """Full jitter for the first failures, then aside for long. From the `after`-th failure on a job waits `aside_ms`
    before each further attempt; how many those are its `retries` say."""

    after: int = 2
    aside_ms: int = 3_600_000
    base: FullJitter = FullJitter()

    def delay_ms(self, job: Job, cause: str, u: float) -> int | None:
        return self.aside_ms if job.failures >= self.after else self.base.delay_ms(job, cause, u)
