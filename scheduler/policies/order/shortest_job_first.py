"""The shortest job first. Needs estimates. Can be deployed."""

from __future__ import annotations

from scheduler.job_record import Job
from scheduler.record import record

LAST = float(1 << 60)  # the key of what comes after all that has one


@record
class ShortestJobFirst:
    """Shortest estimate first, then by submission. Work already in a checkpoint is not counted again."""

    def key(self, job: Job) -> float:
        estimate_ms = job.ticket.estimate_ms
        return estimate_ms - job.progress_ms if estimate_ms >= 0 else LAST
