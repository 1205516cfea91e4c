"""One worker for each job that waits or runs; what boots is counted on.

Needs: jobs that wait and workers, by class. Can be deployed.
"""

from __future__ import annotations

from scheduler.observation import ClassCount
from scheduler.policy import FleetView
from scheduler.record import record


@record
class BacklogAndBusy:
    """busy + max(backlog, booting). A burst of n jobs launches n workers, once; those that boot are on their way."""

    max_workers: int = 1_000_000

    def desired(self, view: FleetView, need: ClassCount) -> int:
        return min(self.max_workers, need.busy + max(need.queued, need.booting + need.idle))
