"""Spot as long as there is some, and on-demand when nothing else is left: Wu et al., "Can't Be Late", NSDI 2024.

Needs: the jobs with a deadline; with `available: now` the capacity itself, which no AWS call gives.
"""

from __future__ import annotations

from typing import ClassVar

from scheduler.observation import JobSight
from scheduler.policies.move.terms import (
    LAUNCHES,
    ON_DEMAND,
    SPOT,
    STAY,
    WAIT,
    has_deadline,
    must_leave_spot,
    must_run_now,
    needs_of_available,
    spot_is_up,
)
from scheduler.policy import FleetView
from scheduler.record import record


@record
class Greedy:
    """Spot when it is up, else wait; on-demand by the safety net only."""

    available: str = LAUNCHES
    avoid_ms: int = 300_000
    moves: ClassVar[bool] = True

    @property
    def needs(self) -> frozenset[str]:
        """Observations beyond the ordinary ones."""
        return needs_of_available(self.available)

    def target(self, sight: JobSight, view: FleetView) -> str:
        if not has_deadline(sight) or sight.purchase == ON_DEMAND:
            return STAY
        if sight.purchase == SPOT:
            return ON_DEMAND if must_leave_spot(sight, view) else STAY
        if must_run_now(sight, view):
            return ON_DEMAND
        return SPOT if spot_is_up(sight, view, self.available, self.avoid_ms) else WAIT
