"""SpotHedge: Mao et al., "SkyServe: Serving AI Models across Regions and Clouds with Spot Instances", EuroSys 2025.

A pool is marked when it loses an instance or a launch in it fails. New Spot goes to clean pools only, those that are
not used first, the cheapest of them first. When fewer than two pools are clean, all marks are cleared. On-demand fills
in for Spot that is missing. (Its spare replicas are a matter of `scale`: see `static-stability`.)

The marks follow from the last failure and the last loss of each pool, in order of time; so the policy keeps no state of
its own. (What a pool did before its last mark is forgotten: the original would remember it.)

Needs: when each pool last lost an instance, and the outcome of its last launch. Can be deployed.
"""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.job_record import Job
from scheduler.observation import ClassCount, PoolCount
from scheduler.policies.place.lowest_price import LowestPrice
from scheduler.policies.place.pools import ANY, ON_DEMAND, SPOT, candidates, lives
from scheduler.policy import ROUTINGS, FleetView, Routing
from scheduler.record import record


def marked(pools: Sequence[PoolCount]) -> frozenset[str]:
    """The pools whose last failure or loss has not been cleared since."""
    marks = []
    for pool in pools:
        failed_ms = pool.last_launch_ms if pool.last_launch == "failed" else -1
        at_ms = max(failed_ms, pool.last_interruption_ms)
        if at_ms >= 0:
            marks.append((at_ms, pool.id))
    found: set[str] = set()
    for _, name in sorted(marks):
        found.add(name)
        if len(pools) - len(found) < 2:
            found.clear()
    return frozenset(found)


@record
class SpotHedge:
    """Spot in clean pools, the unused and cheap ones first; on-demand for what they cannot give. A pool is marked by a
    loss or a failed launch; all marks are cleared when fewer than two pools are clean."""

    def route(self, job: Job, now_ms: int) -> Routing:
        return ROUTINGS[ANY]

    def choose(self, view: FleetView, need: ClassCount, count: int) -> Sequence[tuple[str, int]]:
        if need.purchase == ON_DEMAND:
            return LowestPrice(ON_DEMAND).choose(view, need, count)
        spot = candidates(view, need, SPOT)
        bad = marked(spot)
        clean = [pool for pool in spot if pool.id not in bad]
        used = {pool.id: lives(pool) for pool in clean}
        chosen = dict.fromkeys(used, 0)
        while (left := count - sum(chosen.values())) > 0:
            free = [pool for pool in clean if chosen[pool.id] < view.room[pool.id]]
            if not free:
                break
            pool = min(free, key=lambda pool: (used[pool.id] + chosen[pool.id], pool.price_usd_per_hour))
            chosen[pool.id] += 1
        orders = [(pool, number) for pool, number in chosen.items() if number]
        if left and need.purchase == ANY:
            orders += LowestPrice(ON_DEMAND).choose(view, need, left)
        return orders
