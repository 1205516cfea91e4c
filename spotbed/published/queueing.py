"""Queues in the simulator's drivers, and what theory says of them: what closed forms are compared with.

Times of the theory are in seconds, those of the drivers in integer milliseconds: draws are rounded first, so that both
see the same numbers.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from scheduler.policies.place import ON_DEMAND, LowestPrice
from scheduler.settings import Settings
from sim.inputs import Billing, Float64, Int64, JobClass, MarketInputs, Pool, ServiceInputs, Work, WorldInputs
from spotbed.journal import Journal
from spotbed.metering import DONE, Tally
from spotbed.metrics import flow_and_wait_s, job_times
from spotbed.published.builders import HOUR, policy_of, pool, work_of
from spotbed.worlds import simulate

SINGLE = (JobClass("job"),)
_WARM_UP_MS = HOUR
_FOR_EVER_MS = 1 << 58


Starts = Callable[..., Int64]
Draws = Callable[[np.random.Generator, int], Float64]  # so many draws
NEAR = 1 / 8  # of the idle share of the servers: how far the loads of the controls are from the queue's


# drivers ------------------------------------------------------------------------------------------------------------
def inputs_of(work: Work, pools: tuple[Pool, ...] = (), **fields: Any) -> WorldInputs:
    """A world without latencies, faults, minimum charges or interruptions, unless `fields` say so."""
    values: dict[str, Any] = {"market": MarketInputs(), "services": ServiceInputs(), "billing": Billing(0.0), **fields}
    return WorldInputs(**{"seed": 1, "world": 0, "work": work, "pools": pools, **values})


def column(values: Iterable[int]) -> Int64:
    return np.fromiter(values, dtype=np.int64)


def run_cluster(
    work: Work, slots: int, journal: Journal | None = None, settings: Settings | None = None, **points: object
) -> Tally:
    """On a fixed cluster of that many slots."""
    return simulate(inputs_of(work, cluster_slots=slots), policy_of(settings, **points), journal)


def slowdowns(tally: Tally, work: Work) -> Float64:
    """Bounded slowdown of each job, the metric that `compare` reports as a mean; all jobs must have ended well."""
    assert set(tally.jobs.status) == {DONE}
    return flow_and_wait_s(job_times(tally, work))[2]


def plain_work(submit_ms: Int64, runtime_ms: Int64) -> Work:
    return work_of(SINGLE, submit_ms.tolist(), runtime_ms.tolist())


def cluster_starts(submit_ms: Int64, runtime_ms: Int64, servers: int, **points: Any) -> Int64:
    """When each job starts on a cluster of that many slots."""
    return column(run_cluster(plain_work(submit_ms, runtime_ms), servers, **points).jobs.first_start_ms)


def decoupled_starts(submit_ms: Int64, runtime_ms: Int64, servers: int, **points: object) -> Int64:
    """The same on that many workers, each of which serves itself."""
    return eternal_starts("decoupled", plain_work(submit_ms, runtime_ms), servers, **points)


def central_starts(submit_ms: Int64, runtime_ms: Int64, servers: int, **points: object) -> Int64:
    """The same on that many workers that a head node serves."""
    return eternal_starts("central", plain_work(submit_ms, runtime_ms), servers, **points)


def eternal_starts(architecture: str, work: Work, servers: int, **points: object) -> Int64:
    """On workers that as many jobs of a millisecond launched an hour before, and that live for ever."""
    warm = _with_warm_up(work, servers)
    drain_ms = int(warm.runtime_ms.sum()) + HOUR
    settings = Settings(tick_ms=(int(warm.submit_ms[-1]) + drain_ms) // 50, keep_alive_ms=_FOR_EVER_MS)
    inputs = inputs_of(warm, (pool("od", "on-demand", servers, boot_s=0),), drain_ms=drain_ms)
    policy = replace(policy_of(settings, place=LowestPrice(ON_DEMAND), **points), architecture=architecture)
    tally = simulate(inputs, policy)
    assert tally.pools[0].instances == servers
    return column(tally.jobs.first_start_ms)[servers:] - _WARM_UP_MS


def _with_warm_up(work: Work, servers: int) -> Work:
    zeros = np.zeros(servers, dtype=np.int64)
    return replace(
        work,
        klass=np.r_[zeros, work.klass].astype(np.int32),
        submit_ms=np.r_[zeros, work.submit_ms + _WARM_UP_MS],
        runtime_ms=np.r_[zeros + 1, work.runtime_ms],
        estimate_ms=np.r_[zeros + 1, work.estimate_ms],
        slots=np.r_[zeros + 1, work.slots].astype(np.int32),
        outcome_u=np.r_[zeros + 0.5, work.outcome_u],
        string_u=np.r_[zeros + 0.5, work.string_u],
    )


# theory -------------------------------------------------------------------------------------------------------------
def kiefer_wolfowitz_ms(submit_ms: Int64, runtime_ms: Int64, servers: int) -> Int64:
    """Waits of a FIFO queue: W' = sort(max(W + (S, 0, ..) - A, 0)), the wait of each job is the first entry of W."""
    vector = [0] * servers
    waits, before = [], 0
    for submit, runtime in zip(submit_ms.tolist(), runtime_ms.tolist(), strict=True):
        passed, before = submit - before, submit
        vector = [max(0, left - passed) for left in vector]
        waits.append(vector[0])
        insort(vector, vector.pop(0) + runtime)
    return column(waits)


def offered_pmf(servers: int, load: float, most: int) -> Float64:
    """P(n jobs in the system) of M/M/c for n = 0 .. most, `load` = lambda / mu."""
    n = np.arange(most + 1)
    logs = np.where(
        n <= servers,
        n * math.log(load) - np.array([math.lgamma(k + 1) for k in np.minimum(n, servers)]),
        n * math.log(load) - math.lgamma(servers + 1) - np.maximum(0, n - servers) * math.log(servers),
    )
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum())


def mmc_wait(servers: int, rho: float) -> float:
    """Mean wait of M/M/c at mu = 1: Erlang's C(c, a) / (c - lambda)."""
    load = servers * rho
    terms = [load**k / math.factorial(k) for k in range(servers)]
    last = load**servers / math.factorial(servers) / (1 - rho)
    return last / (sum(terms) + last) / (servers - load)


def mg1_wait(rate: float, second_moment: float, mean: float = 1.0) -> float:
    """Pollaczek-Khinchine: lambda E[S^2] / (2 (1 - rho))."""
    return rate * second_moment / (2 * (1 - rate * mean))


# experiments --------------------------------------------------------------------------------------------------------
def estimate(values: Float64, controls: Float64) -> tuple[float, float]:
    """(mean, standard error) of what was measured in each world, with control variates (shape: worlds x controls) whose
    means are 0: the intercept of a least-squares fit (Lavenberg and Welch, Management Science 27, 1981)."""
    design = np.c_[np.ones(len(values)), controls]
    coefficients = np.linalg.lstsq(design, values)[0]
    left = values - design @ coefficients
    variance = float(left @ left) / (len(values) - design.shape[1])
    return float(coefficients[0]), math.sqrt(variance * np.linalg.pinv(design.T @ design)[0, 0])


class Queue(NamedTuple):
    """Servers with Poisson arrivals, `rate` in a mean service (1). A scale makes every service that much longer.

    `begin(u, scale)`: how many jobs a stationary world begins with, by inversion; each is a draw of `residuals`.
    `wait(scale)`: the mean wait by theory.
    """

    servers: int
    rate: float
    services: Draws
    residuals: Draws
    begin: Callable[[float, float], int]
    wait: Callable[[float], float]


def exponentials(rng: np.random.Generator, count: int) -> Float64:
    """Services of M/M/c, and what is left of them."""
    return rng.exponential(1.0, count)


def mmc(servers: int, rho: float) -> Queue:
    """M/M/c: the jobs in a stationary system follow `offered_pmf`."""

    @cache
    def cumulative(scale: float) -> Float64:
        return np.cumsum(offered_pmf(servers, servers * rho * scale, 4000))

    def begin(u: float, scale: float) -> int:
        return int(np.searchsorted(cumulative(scale), u))

    return Queue(
        servers, servers * rho, exponentials, exponentials, begin, lambda scale: scale * mmc_wait(servers, rho * scale)
    )


def mg1(rho: float, services: Draws, residuals: Draws, second_moment: float) -> Queue:
    """M/G/1: its work is that of a geometric number of residual services (Pollaczek-Khinchine)."""
    return Queue(
        1,
        rho,
        services,
        residuals,
        lambda u, scale: int(math.log1p(-u) / math.log(rho * scale)),
        lambda scale: mg1_wait(rho, scale**2 * second_moment, scale),
    )


def queue_worlds(queue: Queue, worlds: int, jobs: int, seed: int = 0) -> tuple[Float64, Float64]:
    """(mean wait, controls) of worlds in the decoupled driver, in units of the mean service (1,000 s).

    Each world begins in the stationary state, so there is no warm-up. The controls are the mean waits, less what theory
    says, of the same draws with services somewhat shorter and longer, by the recursion of Kiefer and Wolfowitz and not
    by the driver: they take away the chance of the draws, and what the driver does is left.
    """
    load = queue.rate / queue.servers
    scales = (1.0, 1 - NEAR * (1 - load), 1 + NEAR * (1 - load))
    rng = np.random.default_rng([seed, queue.servers, round(load * 100)])
    means, controls = [], []
    for _ in range(worlds):
        u = rng.random()
        begins = [queue.begin(u, scale) for scale in scales]
        left = queue.residuals(rng, max(begins))
        gaps, services = rng.exponential(1 / queue.rate, jobs), queue.services(rng, jobs)
        drawn = [
            (_ms(np.r_[np.zeros(begin), np.cumsum(gaps)]), _ms(scale * np.r_[left[:begin], services]))
            for begin, scale in zip(begins, scales, strict=True)
        ]
        own, near = drawn[0], drawn[1:]
        means.append((decoupled_starts(*own, queue.servers) - own[0])[begins[0] :].mean() / _UNIT_MS)
        theirs = [kiefer_wolfowitz_ms(*each, queue.servers)[-jobs:].mean() / _UNIT_MS for each in near]
        controls.append([mean - queue.wait(scale) for mean, scale in zip(theirs, scales[1:], strict=True)])
    return np.array(means), np.array(controls)


_UNIT_MS = 1_000_000


def _ms(units: Float64) -> Int64:
    return np.rint(units * _UNIT_MS).astype(np.int64)
