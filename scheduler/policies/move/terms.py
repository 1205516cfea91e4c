"""The terms that the move policies share, in the notation of Wu et al., "Can't Be Late", NSDI 2024: C work left, R time
left, d changeover delay, ep(t) the progress that a uniform pace would have made by t, cp the progress made.

All share the safety net: when an idle job has R < C + 2d, it goes to on-demand and stays there to the end. d is here
startup or restore and the time from a decision to a ready worker.
`available: now` reads Spot's capacity directly, as the paper does; no AWS call answers that, so it cannot be deployed.
`available: launches` takes a pool for empty for `avoid_ms` after a failed launch.
"""

from __future__ import annotations

from dataclasses import replace

from scheduler.observation import ClassCount, JobSight, PoolCount
from scheduler.policy import FleetView, fits

STAY, SPOT, ON_DEMAND, WAIT, PAUSE = "stay", "spot", "on-demand", "wait", "pause"
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
    """Whether it can be said what the job needs, and by when."""
    return sight.deadline_ms >= 0 and sight.estimate_ms >= 0


def expected_ms(sight: JobSight, at_ms: int) -> float:
    """ep(at): the progress that a uniform pace would have made by then."""
    return (at_ms - sight.submit_ms) * sight.estimate_ms / (sight.deadline_ms - sight.submit_ms)


def needs_of_available(available: str) -> frozenset[str]:
    """What reading Spot's capacity in this way needs beyond the ordinary."""
    return frozenset({"pools.available_now"} if available == NOW else ())
