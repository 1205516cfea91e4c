"""As many workers as the deadlines of the waiting jobs need, and no more: the demand bound of earliest deadline first
(Liu, Layland, JACM 20, 1973, for one processor; here the fluid bound for many).

For each deadline D of a waiting job, all work due by D must fit into n x (D - now - the way to a ready worker). Work
without a deadline shall be done within the target, as under `drain-time`.

Needs: the jobs with a deadline and their estimates, which the functions on AWS do not list yet.
"""

from __future__ import annotations

from typing import ClassVar

from scheduler.observation import ClassCount, JobSight
from scheduler.policy import FleetView
from scheduler.record import record


@record
class DeadlineAware:
    """As few workers as meet the deadlines of what waits, by the estimates. A job that cannot wait has a worker of its
    own; work without a deadline is done within `target_ms`."""

    target_ms: int = 3_600_000
    max_workers: int = 1_000_000
    sees_jobs: ClassVar[bool] = True

    def desired(self, view: FleetView, need: ClassCount) -> int:
        present = need.booting + need.idle
        if need.queued <= 0:
            return need.busy + present
        waiting = [job for job in view.observation.jobs if job.key == need.key and job.phase == "queued"]
        due_ms = sum(self._work_ms(job) for job in waiting)
        rest = -(-max(0, need.queued_work_ms - due_ms) // max(1, self.target_ms))
        wanted = self._for_deadlines(view, waiting) + rest
        return min(self.max_workers, need.busy + max(min(need.queued, max(need.seats, wanted)), present))

    def _work_ms(self, job: JobSight) -> int:
        return job.seats * max(0, job.estimate_ms - job.progress_ms)

    def _for_deadlines(self, view: FleetView, waiting: list[JobSight]) -> int:
        most, alone, work_ms = 0, 0, 0
        for job in sorted(waiting, key=lambda job: job.deadline_ms):
            left_ms = job.deadline_ms - view.now_ms - view.observation.reaction_ms
            if left_ms <= self._work_ms(job) // job.seats:
                alone += job.seats
                continue
            work_ms += self._work_ms(job)
            most = max(most, -(-work_ms // left_ms))
        return alone + most
