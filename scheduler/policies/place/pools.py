"""What the place policies share: which pools may serve a class, which have failed lately, and how to fill them."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.observation import ClassCount, PoolCount
from scheduler.policy import FleetView, fits

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


def purchase_of(need: ClassCount, purchase: str) -> str:
    """The purchase option that a class is bound to, else the policy's own."""
    return need.purchase if need.purchase != ANY else purchase


def lives(pool: PoolCount) -> int:
    """Workers of the pool that boot, run a job or are idle."""
    return pool.booting + pool.busy + pool.idle
