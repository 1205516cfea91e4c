"""Backlog per worker: "Scaling based on Amazon SQS" (Amazon EC2 Auto Scaling User Guide). What one worker may have in
front of it is the acceptable wait over the mean runtime; all workers count as able to take the backlog, busy or not. So
it suits jobs that are short against the wait; behind long ones new jobs starve.

Needs: jobs and estimated work that wait, and workers, by class. Can be deployed.
"""

from __future__ import annotations

from scheduler.observation import ClassCount
from scheduler.policy import FleetView
from scheduler.record import record


@record
class TargetBacklog:
    """Backlog / (acceptable wait / mean estimate) workers in all, those that run a job included. At least one while
    jobs wait, or as many as a gang needs."""

    wait_ms: int = 600_000
    max_workers: int = 1_000_000

    def desired(self, view: FleetView, need: ClassCount) -> int:
        present = need.busy + need.booting + need.idle
        if need.queued <= 0:
            return present
        mean_ms = need.queued_work_ms / need.queued
        per_worker = max(1, int(self.wait_ms / mean_ms)) if mean_ms > 0 else 1
        return min(self.max_workers, max(present, need.seats, -(-need.queued // per_worker)))
