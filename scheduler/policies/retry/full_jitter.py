"""Exponential backoff with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).

Needs: the job's record. Can be deployed.
"""

from __future__ import annotations

from scheduler.job_record import Job
from scheduler.policies.retry.backoff import Backoff
from scheduler.policies.retry.delays import full_jitter
from scheduler.record import record


@record
class FullJitter(Backoff):
    """Exponential backoff with full jitter. U(0, min(cap, base x 2^n)) with n = failures - 1 (AWS Architecture Blog,
    "Exponential Backoff And Jitter", 2015). A job may spend at most `budget_ms` in delays; after that it is given
    up."""

    def _delay_ms(self, job: Job, u: float) -> float:
        return full_jitter(self.base_ms, self.cap_ms, job.failures - 1, u)
