"""Greedy in slices whose bounds lie elsewhere for each job: "Randomised Shifted Greedy" of Wu et al., "Can't Be Late",
NSDI 2024. The shift is what a trace that knows the policy cannot foresee; drawing it per job is our reading.

Needs: the jobs with a deadline; with `available: now` the capacity itself, which no AWS call gives.
"""

from __future__ import annotations

from scheduler.draw import draw
from scheduler.observation import JobSight
from scheduler.policies.move.time_sliced import TimeSliced
from scheduler.record import record


@record
class ShiftedGreedy(TimeSliced):
    """Time-sliced, with all bounds of a job's slices shifted by one random share of a slice. The draw is a pure
    function of `draw_seed` and the job, so the same job is always shifted by as much."""

    draw_seed: int = 0

    def first_slice(self, sight: JobSight) -> float:
        return 1.0 - draw(self.draw_seed, sight.job, "shift")
