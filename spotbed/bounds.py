"""Lower bounds of one world: no policy, however clever, ends it sooner or cheaper.

They are bounds of a relaxation: jobs may be split, moved and resumed at will, every instance that a pool may hold is
there from the first submission on, nothing boots, fails, is interrupted or is billed but the time that a job really
needs. So staging, checkpoints, boot, idle time, minimum charges, storage, penalties and the control plane count as
zero. Only the jobs that `done` marks (shape n, all if None) are held to be done: pass those that ended well under
every policy the bound is shown for. Jobs that failed or never ended then bound nothing.

The makespan is bounded by the longest chain of jobs, and by work over capacity: what is submitted from a moment r on
must be done after r. The latter is asked of every set of pools, with the jobs that fit no other pool, so that a
crowded shape is not hidden by free pools of another one. The cost is bounded by each job's time at the lowest price,
from its submission on, of the pools that it fits; with a latest end, by a linear program in which pools fill up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

import numpy as np
import numpy.typing as npt

from sim.inputs import UNLIMITED, Float64, Int64, JobClass, Pool, PricePath, Work

Mask = npt.NDArray[np.bool_]
MS_PER_HOUR = 3_600_000
MS_PER_S = 1000
MOST_POOL_SETS = 32  # whose work over capacity is asked; all pools together and each shape's are always among them


@dataclass(frozen=True, slots=True)
class _Options:
    """Where a class can run: pool numbers, and the factor on its runtime in each."""

    pools: tuple[int, ...]
    factors: tuple[float, ...]

    @property
    def fastest(self) -> float:
        return min(self.factors)


def makespan_bound_s(
    work: Work, pools: Sequence[Pool], *, done: Mask | None = None, slots_per_instance: int = 1
) -> float:
    """A lower bound of the makespan (last end minus first submission, seconds) of a world on pools."""
    done = _mask(work, done)
    if not done.any():
        return 0.0
    options = _options(work, pools, done)
    fastest_ms = _scaled_ms(work.runtime_ms, _per_job(work, {k: choice.fastest for k, choice in options.items()}))
    gang = _per_job(work, {k: work.classes[k].gang for k in options}).astype(np.int64)
    release_ms = earliest_start_ms(work, fastest_ms, done)
    end_ms = int((release_ms + fastest_ms)[done].max())
    released = _Released(release_ms, fastest_ms * gang)
    for pool_set in _pool_sets({choice.pools for choice in options.values()}):
        inside = [k for k, choice in options.items() if pool_set.issuperset(choice.pools)]
        capacity = sum(pools[p].max for p in pool_set) * slots_per_instance
        if capacity < UNLIMITED:
            end_ms = max(end_ms, released.end_ms(done & np.isin(work.klass, inside), capacity))
    return (end_ms - int(work.submit_ms.min())) / MS_PER_S


def cluster_makespan_bound_s(work: Work, slots: int, *, done: Mask | None = None) -> float:
    """A lower bound of the makespan (seconds) on a fixed cluster of `slots`, of which job i takes `work.slots[i]`.

    Besides chain and work over capacity: no two jobs that want more than half of the cluster run at once.
    """
    done = _mask(work, done)
    if not done.any():
        return 0.0
    if int(work.slots[done].max()) > slots:
        raise ValueError(f"a job of {int(work.slots[done].max())} slots is never done on a cluster of {slots}")
    release_ms = earliest_start_ms(work, work.runtime_ms, done)
    end_ms = max(
        int((release_ms + work.runtime_ms)[done].max()),
        _Released(release_ms, work.runtime_ms * work.slots).end_ms(done, slots),
        _Released(release_ms, work.runtime_ms).end_ms(done & (work.slots > slots // 2), 1),
    )
    return (end_ms - int(work.submit_ms.min())) / MS_PER_S


def cost_bound_usd(
    work: Work,
    pools: Sequence[Pool],
    *,
    done: Mask | None = None,
    slots_per_instance: int = 1,
    on_demand_discount: float = 0.0,
    refunded_usd: float = 0.0,
    finish_by_ms: int | None = None,
) -> float:
    """A lower bound of the bill (USD) of a world on pools; the control plane's least is zero.

    `on_demand_discount` is the largest share that a commitment takes off on-demand prices, `refunded_usd` the most
    that any policy compared was not billed because EC2 took its instances in their first hour: work done there is
    free, so without it the bound would not hold. With `finish_by_ms` (time of the world) it is the bound for
    schedules whose last job ends by then: the cheapest pools may not hold them.
    """
    done = _mask(work, done)
    if not done.any():
        return 0.0
    options = _options(work, pools, done)
    discounts = [1.0 - on_demand_discount if pool.purchase == "on-demand" else 1.0 for pool in pools]
    costs = [_cheapest_usd(work, k, choice, pools, discounts, done).sum() for k, choice in options.items()]
    cost = float(sum(costs)) / slots_per_instance
    if finish_by_ms is not None:
        capacity = [pool.max * slots_per_instance for pool in pools]
        program = _filled_pools_usd(work, options, pools, discounts, capacity, done, finish_by_ms)
        cost = max(cost, program / slots_per_instance)
    return max(0.0, cost - refunded_usd)


class _Released:
    """Jobs by the moment from which they can run, with the slot time that each of them needs."""

    def __init__(self, release_ms: Int64, area_ms: Int64) -> None:
        self._order = np.argsort(release_ms, kind="stable")
        self._release_ms = release_ms[self._order]
        self._area_ms = area_ms[self._order]

    def end_ms(self, chosen: Mask, capacity: int) -> int:
        """The latest of r + (slot time of the chosen jobs released from r on) / capacity over all r; 0 without jobs."""
        kept = chosen[self._order]
        if not kept.any():
            return 0
        remaining = np.cumsum(self._area_ms[kept][::-1])[::-1]
        return int((self._release_ms[kept] - (-remaining // capacity)).max())  # -(-a // b) rounds up to a whole ms


def earliest_start_ms(work: Work, runtime_ms: Int64, done: Mask) -> Int64:
    """When each job could start at the earliest, its done predecessors taking `runtime_ms`; shape n, world time."""
    release = work.submit_ms.astype(np.int64, copy=True)
    for job in TopologicalSorter(work.after).static_order():
        for before in work.after.get(job, ()):
            if done[before]:
                release[job] = max(release[job], release[before] + runtime_ms[before])
    return release


def runtime_factor(job_class: JobClass, instance_type: str) -> float:
    """The factor on the runtime on an instance type: that of the type, else of its family, else 1."""
    family = instance_type.partition(".")[0]
    return job_class.runtime_on.get(instance_type, job_class.runtime_on.get(family, 1.0))


def fits(job_class: JobClass, pool: Pool) -> bool:
    """Whether an instance of the pool has the vCPUs, memory and GPUs of one worker of the job."""
    return job_class.vcpus <= pool.vcpus and job_class.memory_gib <= pool.memory_gib and job_class.gpus <= pool.gpus


def _mask(work: Work, done: Mask | None) -> Mask:
    return np.ones(len(work), dtype=np.bool_) if done is None else done


def _options(work: Work, pools: Sequence[Pool], done: Mask) -> dict[int, _Options]:
    """By number of each class that has done jobs; ValueError if these fit no pool, for then they cannot be done."""
    return {int(k): _options_of(work.classes[k], pools) for k in np.unique(work.klass[done])}


def _options_of(job_class: JobClass, pools: Sequence[Pool]) -> _Options:
    usable = tuple(p for p, pool in enumerate(pools) if pool.max > 0 and fits(job_class, pool))
    if not usable:
        raise ValueError(f"jobs of class {job_class.name!r} fit no pool, so they cannot be done")
    return _Options(usable, tuple(runtime_factor(job_class, pools[p].instance_type) for p in usable))


def _per_job(work: Work, by_class: Mapping[int, float]) -> Float64:
    """A number of each job's class; 1 for the classes that are not given (none of their jobs is done)."""
    table = np.ones(len(work.classes))
    for k, value in by_class.items():
        table[k] = value
    return table[work.klass]


def _scaled_ms(runtime_ms: Int64, factor: Float64) -> Int64:
    """Rounded down: whichever way the simulator rounds, it takes no less."""
    return np.floor(runtime_ms * factor).astype(np.int64)


def _pool_sets(shapes: set[tuple[int, ...]]) -> list[frozenset[int]]:
    """The unions of the sets of pools that single classes can use, as far as MOST_POOL_SETS goes."""
    single = [frozenset(shape) for shape in sorted(shapes)]
    found = dict.fromkeys([*single, frozenset[int]().union(*single)])
    unions = list(single)
    for union in unions:  # the list grows while it is read: unions of unions follow
        for new in (union | shape for shape in single):
            if new not in found and len(found) < MOST_POOL_SETS:
                found[new] = None
                unions.append(new)
    return list(found)


def _cheapest_usd(
    work: Work, k: int, choice: _Options, pools: Sequence[Pool], discounts: Sequence[float], done: Mask
) -> Float64:
    """Of each done job of class k, the least of (hours on a pool) x (lowest USD per hour there from its submission)."""
    chosen = done & (work.klass == k)
    submit_ms, runtime_ms = work.submit_ms[chosen], work.runtime_ms[chosen]
    least = np.full(len(submit_ms), np.inf)
    for p, factor in zip(choice.pools, choice.factors, strict=True):
        price = _lowest_price_from(pools[p].price, submit_ms) * discounts[p]
        np.minimum(least, np.floor(runtime_ms * factor) * price, out=least)
    return least * (work.classes[k].gang / MS_PER_HOUR)


def _lowest_price_from(path: PricePath, at_ms: Int64) -> Float64:
    """The lowest price from each of the moments `at_ms` on."""
    lowest = np.minimum.accumulate(path.usd_per_hour[::-1])[::-1]
    if len(lowest) == 1:
        return np.full(len(at_ms), lowest[0])
    return lowest[np.searchsorted(path.at_ms, at_ms, side="right") - 1]


def _filled_pools_usd(
    work: Work,
    options: Mapping[int, _Options],
    pools: Sequence[Pool],
    discounts: Sequence[float],
    capacity: Sequence[int],
    done: Mask,
    finish_by_ms: int,
) -> float:
    """The least sum of (hours on a pool) x (USD per hour) when no pool gives more than its capacity until the end.

    One variable per class and pool: the hours there. True to the rounding of a millisecond per attempt.
    """
    from scipy.optimize import linprog

    first_ms = int(work.submit_ms[done].min())
    window_hours = (finish_by_ms - first_ms) / MS_PER_HOUR
    pairs = [(k, p, factor) for k, o in options.items() for p, factor in zip(o.pools, o.factors, strict=True)]
    prices = [_lowest_price_between(pool.price, first_ms, finish_by_ms) * discounts[p] for p, pool in enumerate(pools)]
    needed = [float(work.runtime_ms[done & (work.klass == k)].sum()) * work.classes[k].gang for k in options]
    solution = linprog(
        [prices[p] for _, p, _ in pairs],
        A_ub=[[1.0 if p == column else 0.0 for _, p, _ in pairs] for column in range(len(pools))],
        b_ub=[slots * window_hours for slots in capacity],
        A_eq=[[1.0 / factor if k == row else 0.0 for k, _, factor in pairs] for row in options],
        b_eq=[milliseconds / MS_PER_HOUR for milliseconds in needed],
        method="highs",
    )
    if solution.fun is None:
        raise ValueError(f"the pools have no room to end these jobs by {finish_by_ms} ms: {solution.message}")
    return float(solution.fun)


def _lowest_price_between(path: PricePath, from_ms: int, until_ms: int) -> float:
    first = int(np.searchsorted(path.at_ms, from_ms, side="right")) - 1
    last = max(int(np.searchsorted(path.at_ms, until_ms, side="left")), first + 1)
    return float(path.usd_per_hour[first:last].min())
