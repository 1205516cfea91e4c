"""Refuse long jobs on Spot: a job that loses all its work with an interruption pays for Spot only while it is short.

Without checkpoints a job of work T takes (e^x - 1) / x times as long at rate lambda, with x = lambda T (restart from
scratch, Poisson interruptions); so Spot is cheaper while k > (e^x - 1) / x, where k is the price of on-demand over that
of Spot: x < 1.256 for k = 2, 1.976 for k = 3.1446, 3.615 for k = 10.

Needs: estimates of the jobs, and what its base needs. Can be deployed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scheduler.job_record import Job
from scheduler.observation import ClassCount
from scheduler.policies.place.lowest_price import LowestPrice
from scheduler.policies.place.pools import ON_DEMAND, SPOT
from scheduler.policies.place.price_capacity_optimized import PriceCapacityOptimized
from scheduler.policy import ROUTINGS, FleetView, Routing
from scheduler.record import record


def pays(work_ms: float, mtbf_ms: float, price_ratio: float) -> bool:
    """Whether a job that cannot keep its work is cheaper on Spot than on on-demand."""
    x = work_ms / mtbf_ms
    return x <= 0 or (x < 700 and price_ratio > math.expm1(x) / x)


@record
class ShortOnSpot:
    """On-demand for jobs without checkpoints that are too long for Spot. By their estimate, the mean time between
    interruptions and the ratio of the prices; all others run on Spot."""

    base: PriceCapacityOptimized | LowestPrice = PriceCapacityOptimized()
    mtbf_ms: int = 12 * 3_600_000
    price_ratio: float = 3.0

    def route(self, job: Job, now_ms: int) -> Routing:
        ticket = job.ticket
        if ticket.spec.checkpointable or ticket.estimate_ms < 0:
            return ROUTINGS[SPOT]
        return ROUTINGS[SPOT if pays(ticket.estimate_ms, self.mtbf_ms, self.price_ratio) else ON_DEMAND]

    def choose(self, view: FleetView, need: ClassCount, count: int) -> Sequence[tuple[str, int]]:
        if need.purchase == ON_DEMAND:
            return LowestPrice(ON_DEMAND).choose(view, need, count)
        return self.base.choose(view, need, count)
