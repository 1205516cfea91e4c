"""`place`: on which purchase option may a job run, and from which pools does new capacity come?

All of these *decide*: they name pools, each of which is one single-type, single-zone group on AWS.
"""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.job_record import Job
from scheduler.observation import ClassCount, PoolCount
from scheduler.policy import ROUTINGS, FleetView, Routing, fits
from scheduler.record import record

SPOT, ON_DEMAND, ANY = "spot", "on-demand", "any"


def candidates(view: FleetView, need: ClassCount, purchase: str) -> list[PoolCount]:
    """The pools in which the class fits, of one purchase option ("any" for both), in the order of the scenario."""
    return [
        pool for pool in view.observation.pools if fits(need, pool) and (purchase == ANY or pool.purchase == purchase)
    ]


def failed_lately(view: FleetView, pool: PoolCount, avoid_ms: int) -> bool:
    """A failed launch is as likely as the pool is empty, and so it repeats: better elsewhere than later."""
    return pool.last_launch == "failed" and view.now_ms - pool.last_launch_ms < avoid_ms


def fill(view: FleetView, pools: Sequence[PoolCount], count: int) -> list[tuple[str, int]]:
    """Take from the pools in the given order as far as each has room."""
    chosen = []
    for pool in pools:
        take = min(count, view.room[pool.id])
        if take > 0:
            chosen.append((pool.id, take))
            count -= take
    return chosen


def _purchase_of(need: ClassCount, purchase: str) -> str:
    return need.purchase if need.purchase != ANY else purchase


@record
class LowestPrice:
    """The cheapest pool first. Pools whose launch failed in the last `avoid_ms` come last."""

    purchase: str = SPOT
    avoid_ms: int = 300_000

    def route(self, job: Job, now_ms: int) -> Routing:
        return ROUTINGS[self.purchase]

    def choose(self, view: FleetView, need: ClassCount, count: int) -> Sequence[tuple[str, int]]:
        pools = candidates(view, need, _purchase_of(need, self.purchase))
        pools.sort(key=lambda pool: (failed_lately(view, pool, self.avoid_ms), pool.price_usd_per_hour))
        return fill(view, pools, count)


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
        pools = candidates(view, need, _purchase_of(need, self.purchase))
        pools.sort(key=lambda pool: (failed_lately(view, pool, self.avoid_ms), self._score(pool)))
        return fill(view, pools, count)


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
        live = {pool.id: pool.booting + pool.busy + pool.idle for pool in (*spot, *on_demand)}
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


@record
class OnDemandFallback:
    """Spot, and on-demand for jobs that waited or were interrupted too often. `base` chooses Spot; on-demand is for a
    job that has waited `after_wait_ms` since its submission without running, or that has been interrupted
    `after_interruptions` times (0: that rule is off)."""

    base: PriceCapacityOptimized | LowestPrice | Diversified = PriceCapacityOptimized()
    after_wait_ms: int = 900_000
    after_interruptions: int = 2

    def route(self, job: Job, now_ms: int) -> Routing:
        if self.after_interruptions and job.interruptions >= self.after_interruptions:
            return ROUTINGS[ON_DEMAND]
        if not self.after_wait_ms:
            return ROUTINGS[SPOT]
        left_ms = job.ticket.submit_ms + self.after_wait_ms - now_ms
        return Routing(SPOT, left_ms) if left_ms > 0 else ROUTINGS[ON_DEMAND]

    def choose(self, view: FleetView, need: ClassCount, count: int) -> Sequence[tuple[str, int]]:
        if need.purchase == ON_DEMAND:
            return LowestPrice(ON_DEMAND).choose(view, need, count)
        return self.base.choose(view, need, count)
