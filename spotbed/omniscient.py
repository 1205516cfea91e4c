"""The bound of all `move` policies: what one job with a deadline costs who knows when Spot comes and goes.

Omniscient of Wu et al., "Can't Be Late", NSDI 2024: each tick the job idles, runs on Spot (if there is some) or on
on-demand; it may run on one of them only; each change to a running state costs a changeover of progress. So

    minimise s + k v   such that   s + v >= d (changes to Spot + changes to on-demand) + C

with s and v the ticks on Spot and on on-demand. Solved exactly by dynamic programming over the slack, time left less
work left: to idle uses up a tick of it, to change uses up a changeover, to go on uses up nothing. The schedule changes
at ticks only; one that may change within a tick can cost less, by a tick for each of its changes at most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sim.inputs import Float64


def omniscient_cost(
    available: Sequence[bool], *, tick_ms: int, work_ms: int, changeover_ms: int, price_ratio: float
) -> float:
    """The least s + k v, in ticks at the price of Spot; infinite if no schedule meets the deadline.

    `available[i]` says whether there is Spot in tick i, from the submission to the deadline; `price_ratio` is k, the
    price of on-demand over that of Spot.
    """
    unit_ms = math.gcd(tick_ms, changeover_ms)
    tick, changeover, work = tick_ms // unit_ms, changeover_ms // unit_ms, -(-work_ms // unit_ms)
    slack = len(available) * tick - work
    if slack < 0:
        return math.inf
    idle = spot = on_demand = np.zeros(slack + 1)
    for left, up in enumerate(reversed(available), 1):
        waits = _less(idle, tick)
        enters_spot = _less(spot, changeover) + 1.0 if up else waits
        stays_spot = spot + 1.0 if up else waits
        enters_on_demand = _less(on_demand, changeover) + price_ratio
        stays_on_demand = on_demand + price_ratio
        not_spot = np.minimum(waits, enters_on_demand)
        idle, spot = np.minimum(not_spot, enters_spot), np.minimum(not_spot, stays_spot)
        on_demand = np.minimum(np.minimum(waits, enters_spot), stays_on_demand)
        for state in (idle, spot, on_demand):
            state[left * tick :] = 0.0  # with that much slack there is no work left
    return float(idle[slack])


def _less(cost: Float64, by: int) -> Float64:
    """The cost by slack (in units), when `by` of it is used up first; shape as `cost`."""
    moved = np.full(len(cost), np.inf)
    if by < len(cost):
        moved[by:] = cost[: len(cost) - by]
    return moved
