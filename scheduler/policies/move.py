"""`move`: should a job with a deadline run elsewhere? Notation of Wu et al., "Can't Be Late", NSDI 2024: C work left,
R time left, d changeover delay, ep(t) the progress that a uniform pace would have made by t, cp the progress made.

All share the safety net: when an idle job has R < C + 2d, it goes to on-demand and stays there to the end. d is here
startup or restore and the time from a decision to a ready worker.
`available: now` reads Spot's capacity directly, as the paper does; no AWS call answers that, so it cannot be deployed.
`available: launches` takes a pool for empty for `avoid_ms` after a failed launch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from scheduler.observation import ClassCount, JobSight, PoolCount
from scheduler.policy import FleetView, fits
from scheduler.record import record

STAY, SPOT, ON_DEMAND, WAIT = "stay", "spot", "on-demand", "wait"
NOW, LAUNCHES = "now", "launches"


def _up(pool: PoolCount, view: FleetView, available: str, avoid_ms: int) -> bool:
    if available == NOW:
        return pool.available_now
    return pool.last_launch != "failed" or view.now_ms - pool.last_launch_ms >= avoid_ms


def _need_of(sight: JobSight, view: FleetView) -> ClassCount:
    need = next(need for need in view.observation.classes if need.key == sight.key)
    return replace(need, purchase=SPOT)


def spot_is_up(sight: JobSight, view: FleetView, available: str, avoid_ms: int) -> bool:
    """Whether a Spot pool in which the job fits seems to have room."""
    need = _need_of(sight, view)
    return any(
        fits(need, pool) and pool.purchase == SPOT and _up(pool, view, available, avoid_ms)
        for pool in view.observation.pools
    )


def work_left_ms(sight: JobSight) -> int:
    """C(t): the estimated work that is not done."""
    return max(0, sight.estimate_ms - sight.progress_ms)


def changeover_ms(view: FleetView) -> int:
    """d, and what passes from a decision to a ready worker, which the paper takes as zero."""
    return view.observation.changeover_ms + view.observation.reaction_ms


def slack_ms(sight: JobSight, view: FleetView) -> int:
    """R - C."""
    return sight.deadline_ms - view.now_ms - work_left_ms(sight)


def must_run_now(sight: JobSight, view: FleetView) -> bool:
    """The safety net of an idle job: R < C + 2d."""
    return slack_ms(sight, view) < 2 * changeover_ms(view)


def must_leave_spot(sight: JobSight, view: FleetView) -> bool:
    """The safety net of a job on Spot, R < C + d: checkpoints cost it pace, which the paper leaves out, and on-demand
    needs none. Where they cost nothing the slack of a running job stays as it is, and this never comes true."""
    return slack_ms(sight, view) < changeover_ms(view)


def has_deadline(sight: JobSight) -> bool:
    return sight.deadline_ms >= 0 and sight.estimate_ms >= 0


@record
class Stay:
    """A running attempt stays where it is."""

    moves: ClassVar[bool] = False

    def target(self, sight: JobSight, view: FleetView) -> str:
        return STAY


@record
class Greedy:
    """Spot when it is up, else wait; on-demand by the safety net only."""

    available: str = LAUNCHES
    avoid_ms: int = 300_000
    moves: ClassVar[bool] = True

    @property
    def needs(self) -> frozenset[str]:
        """Observations beyond the ordinary ones."""
        return frozenset({"pools.available_now"} if self.available == NOW else ())

    def target(self, sight: JobSight, view: FleetView) -> str:
        if not has_deadline(sight) or sight.purchase == ON_DEMAND:
            return STAY
        if sight.purchase == SPOT:
            return ON_DEMAND if must_leave_spot(sight, view) else STAY
        if must_run_now(sight, view):
            return ON_DEMAND
        return SPOT if spot_is_up(sight, view, self.available, self.avoid_ms) else WAIT


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
        return frozenset({"pools.available_now"} if self.available == NOW else ())

    def _expected_ms(self, sight: JobSight, at_ms: int) -> float:
        return (at_ms - sight.submit_ms) * sight.estimate_ms / (sight.deadline_ms - sight.submit_ms)

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
        return ON_DEMAND if sight.progress_ms < self._expected_ms(sight, view.now_ms) else WAIT

    def _leave_on_demand(self, sight: JobSight, view: FleetView, up: bool) -> str:
        later_ms = view.now_ms + 2 * changeover_ms(view)
        ahead = sight.progress_ms >= self._expected_ms(sight, later_ms)
        return SPOT if up and ahead and not must_run_now(sight, view) else STAY
