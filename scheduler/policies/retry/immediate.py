"""Retry at once.

Needs: nothing. Can be deployed.
"""

from __future__ import annotations

from scheduler.job_record import Job
from scheduler.record import record


@record
class Immediate:
    """At once, from the place in the queue that the order gives it."""

    def delay_ms(self, job: Job, cause: str, u: float) -> int | None:
        return 0
