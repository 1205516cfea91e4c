"""Enough workers to empty the backlog in a given time, by the jobs' estimates.

Needs: jobs and estimated work that wait, and workers, by class. Can be deployed.
"""

from __future__ import annotations

from scheduler.observation import ClassCount
from scheduler.policy import FleetView
from scheduler.record import record


@record
class DrainTime:
    """As many workers as empty the backlog in the target time. By the jobs' estimates; busy workers are added; at least
    one (or as many as a gang needs), at most one per waiting job."""

    target_ms: int = 3_600_000
    max_workers: int = 1_000_000

    def desired(self, view: FleetView, need: ClassCount) -> int:
        if need.queued <= 0:
            return need.busy + need.booting + need.idle
        wanted = -(-need.queued_work_ms // max(1, self.target_ms))
        more = min(need.queued, max(need.seats, wanted))
        return min(self.max_workers, need.busy + max(more, need.booting + need.idle))
