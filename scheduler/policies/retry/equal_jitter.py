"""Exponential backoff with equal jitter (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).

Needs: the job's record. Can be deployed.
"""

from __future__ import annotations

from scheduler.job_record import Job
from scheduler.policies.retry.backoff import Backoff
from scheduler.policies.retry.delays import equal_jitter
from scheduler.record import record


@record
class EqualJitter(Backoff):
    """Exponential backoff with equal jitter. v / 2 + U(0, v / 2) with v = min(cap, base x 2^(failures - 1)): it never
    retries sooner than half the ceiling, and so spreads the retries over half the time."""

    def _delay_ms(self, job: Job, u: float) -> float:
        return equal_jitter(self.base_ms, self.cap_ms, job.failures - 1, u)
