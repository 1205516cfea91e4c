"""Price weighed with the risk of an interruption: what `price-capacity-optimized` of EC2 Fleet and of Auto Scaling is
for ("Allocation strategies for Spot Instances", Amazon EC2 User Guide); AWS publishes no formula.

Needs: prices, interruptions and instance time by pool, and the outcome of the last launch. Can be deployed.
"""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.job_record import Job
from scheduler.observation import ClassCount, PoolCount
from scheduler.policies.place.pools import SPOT, candidates, failed_lately, fill, purchase_of
from scheduler.policy import ROUTINGS, FleetView, Routing
from scheduler.record import record


@record
class PriceCapacityOptimized:
    """Cheapest after the expected cost of interruptions. Price x (1 + risk_weight x interruptions per instance-hour),
    from what the fleet has counted, with one interruption in `prior_hours` before it has. AWS publishes no formula for
    its strategy of this name: this is a model of its intent, and it is our code that runs on AWS too."""

    purchase: str = SPOT
    avoid_ms: int = 300_000
    risk_weight: float = 1.0
    prior_hours: float = 12.0

    def route(self, job: Job, now_ms: int) -> Routing:
        return ROUTINGS[self.purchase]

    def _score(self, pool: PoolCount) -> float:
        hours = pool.worker_ms / 3_600_000
        per_hour = (1 + pool.interruptions) / (self.prior_hours + hours)
        return pool.price_usd_per_hour * (1 + self.risk_weight * per_hour)

    def choose(self, view: FleetView, need: ClassCount, count: int) -> Sequence[tuple[str, int]]:
        pools = candidates(view, need, purchase_of(need, self.purchase))
        pools.sort(key=lambda pool: (failed_lately(view, pool, self.avoid_ms), self._score(pool)))
        return fill(view, pools, count)
