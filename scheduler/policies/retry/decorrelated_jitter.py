"""Decorrelated jitter: a delay drawn up to three times the last one (AWS Architecture Blog, "Exponential Backoff And
Jitter", 2015).

Needs: the job's record, which keeps the last delay. Can be deployed.
"""

from __future__ import annotations

from scheduler.job_record import Job
from scheduler.policies.retry.backoff import Backoff
from scheduler.policies.retry.delays import decorrelated_jitter
from scheduler.record import record


@record
class DecorrelatedJitter(Backoff):
    """min(cap, U(base, 3 x the job's last delay)). It grows by what was drawn, not by the number of failures, and never
    retries sooner than the base."""

    def _delay_ms(self, job: Job, u: float) -> float:
        return decorrelated_jitter(self.base_ms, self.cap_ms, job.rare.last_delay_ms, u)
