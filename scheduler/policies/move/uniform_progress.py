"""Uniform Progress: Wu et al., "Can't Be Late: Optimizing Spot Instance Savings under Deadlines", NSDI 2024, as in its
released code (the text leaves out that an attempt on on-demand waits there for Spot).

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
    changeover_ms,
    expected_ms,
    has_deadline,
    must_leave_spot,
    must_run_now,
    needs_of_available,
    spot_is_up,
)
from scheduler.policy import FleetView
from scheduler.record import record


@record
class UniformProgress:
    """Keep the pace that meets the deadline. ep(t) = t C0 / R0. Idle and behind: on-demand. Spot whenever it is up;
    from on-demand only when also cp >= ep(t + 2d), as in the paper's released code (its text leaves that half out)."""

    available: str = LAUNCHES
    avoid_ms: int = 300_000
    moves: ClassVar[bool] = True

    @property
    def needs(self) -> frozenset[str]:
        """Observations beyond the ordinary ones."""
        return needs_of_available(self.available)

    def target(self, sight: JobSight, view: FleetView) -> str:
        if not has_deadline(sight):
            return STAY
        if sight.purchase == SPOT:
            return ON_DEMAND if must_leave_spot(sight, view) else STAY
        up = spot_is_up(sight, view, self.available, self.avoid_ms)
        if sight.purchase == ON_DEMAND:
            return self._leave_on_demand(sight, view, up)
        if must_run_now(sight, view):
            return ON_DEMAND
        if up:
            return SPOT
        return ON_DEMAND if sight.progress_ms < expected_ms(sight, view.now_ms) else WAIT

    def _leave_on_demand(self, sight: JobSight, view: FleetView, up: bool) -> str:
        ahead = sight.progress_ms >= expected_ms(sight, view.now_ms + 2 * changeover_ms(view))
        return SPOT if up and ahead and not must_run_now(sight, view) else STAY
