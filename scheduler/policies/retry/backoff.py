"""What the backoffs share: a base, a cap, and a budget of delays for each job."""

from __future__ import annotations

from scheduler.job_record import Job
from scheduler.record import record


@record
class Backoff:
    """A delay that grows with the failures; after `budget_ms` of delays the job is given up."""

    base_ms: int = 1_000
    cap_ms: int = 900_000
    budget_ms: int = 3_600_000

    def _delay_ms(self, job: Job, u: float) -> float:
        raise NotImplementedError

    def delay_ms(self, job: Job, cause: str, u: float) -> int | None:
        if job.delayed_ms >= self.budget_ms:
            return None
        return min(int(self._delay_ms(job, u)), self.budget_ms - job.delayed_ms)
