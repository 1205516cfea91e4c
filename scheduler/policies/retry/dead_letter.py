"""Give up at once what fails in the same way each time: a deterministic failure is not cured by a retry ("Using
dead-letter queues", Amazon SQS Developer Guide, with the exit code to tell the cases apart).

Needs: the job's record, which keeps the last exit code and how often it came in a row. Can be deployed.
"""

from __future__ import annotations

from scheduler.job_record import Job
from scheduler.policies.retry.full_jitter import FullJitter
from scheduler.record import record


@record
class DeadLetter:
    """Full jitter, until the same exit code came `alike` times in a row: then to the dead letters. Whatever retries the
    job has left."""

    alike: int = 2
    base: FullJitter = FullJitter()

    def delay_ms(self, job: Job, cause: str, u: float) -> int | None:
        return None if job.rare.alike >= self.alike else self.base.delay_ms(job, cause, u)
