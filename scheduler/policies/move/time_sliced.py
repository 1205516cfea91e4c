"""The job's time in n slices, greedy within each: "Time Sliced" of Wu et al., "Can't Be Late", NSDI 2024, section 4.

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
    has_deadline,
    must_leave_spot,
    must_run_now,
    needs_of_available,
    spot_is_up,
)
from scheduler.policy import FleetView
from scheduler.record import record


@record
class TimeSliced:
    """Greedy in each of `slices` equal parts of the time to the deadline. Each must bring its share of the work:
    on-demand when what is left of the slice is less than what is left of its share and two changeovers. One slice is
    `greedy`, many come close to `uniform-progress`."""

    slices: int = 4
    available: str = LAUNCHES
    avoid_ms: int = 300_000
    moves: ClassVar[bool] = True

    @property
    def needs(self) -> frozenset[str]:
        """Observations beyond the ordinary ones."""
        return needs_of_available(self.available)

    def first_slice(self, sight: JobSight) -> float:
        """Where the first slice ends, as a share of a slice."""
        return 1.0

    def _ends_and_goal_ms(self, sight: JobSight, now_ms: int) -> tuple[float, float]:
        """When the present slice ends, and the progress that must be made by then."""
        span_ms = sight.deadline_ms - sight.submit_ms
        length_ms = span_ms / max(1, self.slices)
        first_ms = sight.submit_ms + self.first_slice(sight) * length_ms
        ends_ms = first_ms + max(0, (now_ms - first_ms) // length_ms + 1) * length_ms
        ends_ms = min(ends_ms, sight.deadline_ms)
        return ends_ms, sight.estimate_ms * (ends_ms - sight.submit_ms) / span_ms

    def target(self, sight: JobSight, view: FleetView) -> str:
        if not has_deadline(sight):
            return STAY
        if sight.purchase == SPOT:
            return ON_DEMAND if must_leave_spot(sight, view) else STAY
        up = spot_is_up(sight, view, self.available, self.avoid_ms)
        ends_ms, goal_ms = self._ends_and_goal_ms(sight, view.now_ms)
        left_ms = goal_ms - sight.progress_ms
        if sight.purchase == ON_DEMAND:
            return SPOT if up and left_ms <= 0 and not must_run_now(sight, view) else STAY
        if must_run_now(sight, view) or (left_ms > 0 and ends_ms - view.now_ms < left_ms + 2 * changeover_ms(view)):
            return ON_DEMAND
        return SPOT if up else WAIT
