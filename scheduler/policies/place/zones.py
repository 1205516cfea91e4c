"""Even over the zones, so that a zone that is lost takes 1/z of the workers and no more: "Static stability using
Availability Zones" (Amazon Builders' Library). With `scale: static-stability`, which holds z/(z - 1) of what is needed,
the workers that remain are enough, and nothing has to be launched while launches may fail.

Needs: workers by pool, prices, and the outcome of the last launch. Can be deployed.
"""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.job_record import Job
from scheduler.observation import ClassCount
from scheduler.policies.place.pools import SPOT, candidates, failed_lately, lives, purchase_of
from scheduler.policy import ROUTINGS, FleetView, Routing
from scheduler.record import record


@record
class EvenOverZones:
    """The zone with the fewest workers next, and in it the cheapest pool. Pools whose launch failed in the last
    `avoid_ms` are left out while others have room."""

    purchase: str = SPOT
    avoid_ms: int = 300_000

    def route(self, job: Job, now_ms: int) -> Routing:
        return ROUTINGS[self.purchase]

    def choose(self, view: FleetView, need: ClassCount, count: int) -> Sequence[tuple[str, int]]:
        pools = candidates(view, need, purchase_of(need, self.purchase))
        zones = dict.fromkeys((pool.az for pool in pools), 0)
        for pool in pools:
            zones[pool.az] += lives(pool)
        chosen = dict.fromkeys((pool.id for pool in pools), 0)
        for _ in range(count):
            free = [pool for pool in pools if chosen[pool.id] < view.room[pool.id]]
            if not free:
                break
            pool = min(
                free,
                key=lambda pool: (failed_lately(view, pool, self.avoid_ms), zones[pool.az], pool.price_usd_per_hour),
            )
            chosen[pool.id] += 1
            zones[pool.az] += 1
        return [(pool, number) for pool, number in chosen.items() if number]
