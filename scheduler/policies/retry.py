"""`retry`: the application failed and tries are left; after how long again?

Attempts that end for a reason of the infrastructure never come here: they are queued again at once, at no cost.
"""

from __future__ import annotations

from scheduler.job_record import Job
from scheduler.record import record


@record
class Immediate:
    """At once, from the place in the queue that the order gives it."""

    def delay_ms(self, job: Job, cause: str, u: float) -> int | None:
        return 0


@record
class FullJitter:
    """Exponential backoff with full jitter. U(0, min(cap, base x 2^n)) with n = failures - 1 (AWS Architecture Blog,
    "Exponential Backoff And Jitter", 2015). A job may spend at most `budget_ms` in delays; after that it is given
    up."""

    base_ms: int = 1_000
    cap_ms: int = 900_000
    budget_ms: int = 3_600_000

    def delay_ms(self, job: Job, cause: str, u: float) -> int | None:
        if job.delayed_ms >= self.budget_ms:
            return None
        ceiling = min(self.cap_ms, self.base_ms * 2 ** min(60, job.failures - 1))
        return min(int(u * ceiling), self.budget_ms - job.delayed_ms)
