"""The pool that is interrupted least, whatever it costs: what `capacity-optimized` of EC2 Fleet and of Auto Scaling is
for ("Allocation strategies for Spot Instances", Amazon EC2 User Guide). AWS sees the depth of its pools; we see only
what was taken from us, so this is a model of the intent, and our own code on AWS too.

Needs: interruptions and instance time by pool, and the outcome of the last launch. Can be deployed.
"""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.job_record import Job
from scheduler.observation import ClassCount, PoolCount
from scheduler.policies.place.pools import SPOT, candidates, failed_lately, fill, purchase_of
from scheduler.policy import ROUTINGS, FleetView, Routing
from scheduler.record import record


@record
class CapacityOptimized:
    """The pool with the fewest interruptions per instance-hour first, of equals the cheapest. As the fleet has counted
    them, with one interruption in `prior_hours` before it has."""

    purchase: str = SPOT
    avoid_ms: int = 300_000
    prior_hours: float = 12.0

    def route(self, job: Job, now_ms: int) -> Routing:
        return ROUTINGS[self.purchase]

    def _per_hour(self, pool: PoolCount) -> float:
        return (1 + pool.interruptions) / (self.prior_hours + pool.worker_ms / 3_600_000)

    def choose(self, view: FleetView, need: ClassCount, count: int) -> Sequence[tuple[str, int]]:
        pools = candidates(view, need, purchase_of(need, self.purchase))
        pools.sort(
            key=lambda pool: (
                failed_lately(view, pool, self.avoid_ms),
                pool.purchase == SPOT and self._per_hour(pool),
                pool.price_usd_per_hour,
            )
        )
        return fill(view, pools, count)
