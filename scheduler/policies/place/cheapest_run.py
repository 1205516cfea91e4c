"""The instance type on which a job costs least: predicted runtime there x price, instead of the price per hour alone
(instance choice by predicted performance: Alipourfard et al., "CherryPick", NSDI 2017).

A job's runtime on a type is its estimate x the type's factor, which a benchmark gives. What every worker costs besides,
boot and what is billed at least, counts in: short jobs do not pay for a fast type.

Needs: estimates of the jobs, prices, and the outcome of the last launch. Can be deployed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from scheduler.job_record import Job
from scheduler.observation import ClassCount, PoolCount
from scheduler.policies.place.pools import SPOT, candidates, failed_lately, fill, purchase_of
from scheduler.policy import ROUTINGS, FleetView, Routing
from scheduler.record import record


@lru_cache
def factors_of(text: str) -> Mapping[str, float]:
    """The factors on the runtime by instance type or family, of "c6i=1 m5.xlarge=1.3". Raises ValueError."""
    pairs = (part.partition("=") for part in text.replace(",", " ").split())
    found = {name: float(value) for name, _, value in pairs}
    if any(value <= 0 for value in found.values()):
        raise ValueError(f"a factor on the runtime is above 0: {text!r}")
    return found


@record
class CheapestRun:
    """The pool in which a job of this class costs least. (Mean estimate x factor of the type + `overhead_ms`) x price;
    `factors` are the runtimes relative to that of the estimates, by type or family, 1 where none is given."""

    factors: str = ""
    purchase: str = SPOT
    avoid_ms: int = 300_000
    overhead_ms: int = 60_000

    def __post_init__(self) -> None:
        factors_of(self.factors)

    def route(self, job: Job, now_ms: int) -> Routing:
        return ROUTINGS[self.purchase]

    def _usd(self, pool: PoolCount, runtime_ms: float) -> float:
        known, name = factors_of(self.factors), pool.instance_type
        factor = known.get(name, known.get(name.partition(".")[0], 1.0))
        return (runtime_ms * factor + self.overhead_ms) * pool.price_usd_per_hour

    def choose(self, view: FleetView, need: ClassCount, count: int) -> Sequence[tuple[str, int]]:
        runtime_ms = max(0, need.queued_work_ms) / need.queued if need.queued > 0 else 0.0
        pools = candidates(view, need, purchase_of(need, self.purchase))
        pools.sort(key=lambda pool: (failed_lately(view, pool, self.avoid_ms), self._usd(pool, runtime_ms)))
        return fill(view, pools, count)
