"""The cheapest pool first: `lowest-price` of EC2 Fleet and of Auto Scaling ("Allocation strategies for Spot Instances",
Amazon EC2 User Guide).

Needs: prices and the outcome of the last launch. Can be deployed.
"""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.job_record import Job
from scheduler.observation import ClassCount
from scheduler.policies.place.pools import SPOT, candidates, failed_lately, fill, purchase_of
from scheduler.policy import ROUTINGS, FleetView, Routing
from scheduler.record import record


@record
class LowestPrice:
    """The cheapest pool first. Pools whose launch failed in the last `avoid_ms` come last."""

    purchase: str = SPOT
    avoid_ms: int = 300_000

    def route(self, job: Job, now_ms: int) -> Routing:
        return ROUTINGS[self.purchase]

    def choose(self, view: FleetView, need: ClassCount, count: int) -> Sequence[tuple[str, int]]:
        pools = candidates(view, need, purchase_of(need, self.purchase))
        pools.sort(key=lambda pool: (failed_lately(view, pool, self.avoid_ms), pool.price_usd_per_hour))
        return fill(view, pools, count)
