"""Enough workers that a lost zone leaves enough: z zones need z / (z - 1) of the capacity ("Static stability using
Availability Zones", Amazon Builders' Library). To be used with `place: zones`, which spreads them evenly.

Needs: jobs that wait and workers, by class. Can be deployed.
"""

from __future__ import annotations

from typing import ClassVar

from scheduler.observation import ClassCount
from scheduler.policy import FleetView
from scheduler.record import record


@record
class StaticStability:
    """(busy + backlog) x zones / (zones - 1) workers, rounded up. What is more than needed idles until a zone is lost;
    a keep-alive of a tick or more keeps it."""

    zones: int = 3
    max_workers: int = 1_000_000
    steady: ClassVar[bool] = True

    def desired(self, view: FleetView, need: ClassCount) -> int:
        needed = need.busy + need.queued
        spare = -(-needed // (self.zones - 1)) if self.zones > 1 else 0
        present = need.busy + need.booting + need.idle
        return min(self.max_workers, max(present, needed + spare))
