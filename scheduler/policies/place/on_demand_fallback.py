"""Spot, with on-demand for the jobs that need it: after a wait, when the slack is used up, after k interruptions, or
for a share of all jobs (the mix of `OnDemandPercentageAboveBaseCapacity` of Auto Scaling, by job).

Needs: what its base needs. Can be deployed.
"""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.draw import draw
from scheduler.job_record import Job
from scheduler.observation import ClassCount
from scheduler.policies.place.diversified import Diversified
from scheduler.policies.place.lowest_price import LowestPrice
from scheduler.policies.place.pools import ON_DEMAND, SPOT
from scheduler.policies.place.price_capacity_optimized import PriceCapacityOptimized
from scheduler.policy import ROUTINGS, FleetView, Routing
from scheduler.record import record


@record
class OnDemandFallback:
    """Spot, and on-demand for jobs that waited or were interrupted too often. `base` chooses Spot; on-demand is for a
    job that has waited `after_wait_ms` since its submission without running, that has been interrupted
    `after_interruptions` times, whose time to the deadline is less than `slack_factor` times its estimated work, or
    that belongs to the `share` of jobs that run there from the start (0: that rule is off)."""

    base: PriceCapacityOptimized | LowestPrice | Diversified = PriceCapacityOptimized()
    after_wait_ms: int = 900_000
    after_interruptions: int = 2
    slack_factor: float = 0.0
    share: float = 0.0

    def route(self, job: Job, now_ms: int) -> Routing:
        if self.after_interruptions and job.interruptions >= self.after_interruptions:
            return ROUTINGS[ON_DEMAND]
        if self.share and draw(0, job.ticket.id, "share") < self.share:
            return ROUTINGS[ON_DEMAND]
        ends_ms = self._spot_ends_ms(job)
        if not ends_ms:
            return ROUTINGS[SPOT]
        left_ms = min(ends_ms) - now_ms
        return Routing(SPOT, left_ms) if left_ms > 0 else ROUTINGS[ON_DEMAND]

    def _spot_ends_ms(self, job: Job) -> list[int]:
        """When the wait is over, and when the slack is used up, as far as these rules are on."""
        ticket, ends_ms = job.ticket, []
        if self.after_wait_ms:
            ends_ms.append(ticket.submit_ms + self.after_wait_ms)
        if self.slack_factor and ticket.deadline_ms >= 0 and ticket.estimate_ms >= 0:
            work_ms = max(0, ticket.estimate_ms - job.progress_ms)
            ends_ms.append(round(ticket.deadline_ms - self.slack_factor * work_ms))
        return ends_ms

    def choose(self, view: FleetView, need: ClassCount, count: int) -> Sequence[tuple[str, int]]:
        if need.purchase == ON_DEMAND:
            return LowestPrice(ON_DEMAND).choose(view, need, count)
        return self.base.choose(view, need, count)
