"""Spread over pools with a cap on each, and a floor of on-demand: `diversified` of EC2 Fleet, with
`OnDemandBaseCapacity` as a share (Amazon EC2 User Guide).

Needs: workers by pool, prices, and the outcome of the last launch. Can be deployed.
"""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.job_record import Job
from scheduler.observation import ClassCount, PoolCount
from scheduler.policies.place.lowest_price import LowestPrice
from scheduler.policies.place.pools import ANY, ON_DEMAND, SPOT, candidates, failed_lately, lives
from scheduler.policy import ROUTINGS, FleetView, Routing
from scheduler.record import record


@record
class Diversified:
    """Spread over the Spot pools in which the work fits. No pool above `max_share_per_pool` of them where others have
    room, and a share of `on_demand_floor` on-demand as far as there is room. The least loaded pool is next; of equals,
    the cheapest."""

    max_share_per_pool: float = 0.5
    on_demand_floor: float = 0.0
    avoid_ms: int = 300_000

    def route(self, job: Job, now_ms: int) -> Routing:
        return ROUTINGS[ANY if self.on_demand_floor > 0 else SPOT]

    def choose(self, view: FleetView, need: ClassCount, count: int) -> Sequence[tuple[str, int]]:
        if need.purchase == ON_DEMAND:
            return LowestPrice(ON_DEMAND, self.avoid_ms).choose(view, need, count)
        on_demand = [] if need.purchase == SPOT else candidates(view, need, ON_DEMAND)
        spot = [pool for pool in candidates(view, need, SPOT) if not failed_lately(view, pool, self.avoid_ms)]
        live = {pool.id: lives(pool) for pool in (*spot, *on_demand)}
        chosen = dict.fromkeys(live, 0)
        for _ in range(count):
            pool = self._next(view, spot, on_demand, live, chosen)
            if pool is None:
                break
            chosen[pool.id] += 1
            live[pool.id] += 1
        return [(pool, number) for pool, number in chosen.items() if number]

    def _next(
        self,
        view: FleetView,
        spot: list[PoolCount],
        on_demand: list[PoolCount],
        live: dict[str, int],
        chosen: dict[str, int],
    ) -> PoolCount | None:
        total = sum(live.values()) + 1
        floor = sum(live[pool.id] for pool in on_demand)
        if floor < self.on_demand_floor * total:
            open_pools = [pool for pool in on_demand if chosen[pool.id] < view.room[pool.id]]
            if open_pools:
                return min(open_pools, key=lambda pool: pool.price_usd_per_hour)
        open_pools = [pool for pool in spot if chosen[pool.id] < view.room[pool.id]]
        allowed = max(1.0, self.max_share_per_pool * (total - floor))
        below = [pool for pool in open_pools if live[pool.id] + 1 <= allowed]
        return min(below or open_pools, key=lambda pool: (live[pool.id], pool.price_usd_per_hour), default=None)
