"""Lower bounds: against every schedule of tiny worlds, closed forms, and what must not change them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.inputs import UNLIMITED, Dist, JobClass, Pool, PricePath, Work
from spotbed.bounds import (
    cluster_makespan_bound_s,
    cost_bound_usd,
    earliest_start_ms,
    fits,
    makespan_bound_s,
    runtime_factor,
)

HOUR_MS = 3_600_000
SMALL = JobClass("small", vcpus=4)
LARGE = JobClass("large", vcpus=16)


def constant(usd_per_hour: float) -> PricePath:
    return PricePath(np.array([0]), np.array([usd_per_hour]))


def a_pool(
    name: str = "a", *, most: int = 1, vcpus: int = 16, usd: float = 1.0, kind: str = "c6i.xlarge", spot: bool = True
) -> Pool:
    purchase = "spot" if spot else "on-demand"
    return Pool(name, kind, "us-east-1a", purchase, most, vcpus, 64, 0, constant(usd), usd, Dist("constant"))


def some_work(
    runtime_ms: Sequence[int],
    submit_ms: Sequence[int] | None = None,
    *,
    classes: Sequence[JobClass] = (SMALL,),
    klass: Sequence[int] | None = None,
    slots: Sequence[int] | None = None,
    after: dict[int, tuple[int, ...]] | None = None,
) -> Work:
    n = len(runtime_ms)
    return Work(
        classes=tuple(classes),
        klass=np.array(klass if klass is not None else [0] * n, dtype=np.int32),
        submit_ms=np.array(submit_ms if submit_ms is not None else [0] * n, dtype=np.int64),
        runtime_ms=np.array(runtime_ms, dtype=np.int64),
        estimate_ms=np.full(n, -1, dtype=np.int64),
        slots=np.array(slots if slots is not None else [1] * n, dtype=np.int32),
        outcome_u=np.zeros(n),
        string_u=np.zeros(n),
        after=after or {},
    )


def list_schedule_s(work: Work, slots: int) -> float:
    """The makespan (seconds) of list scheduling in the order of submission on equal slots, one per job."""
    free = [0] * slots
    for submit, runtime in zip(work.submit_ms.tolist(), work.runtime_ms.tolist(), strict=True):
        first = min(range(slots), key=free.__getitem__)
        free[first] = max(free[first], submit) + runtime
    return (max(free) - int(work.submit_ms.min())) / 1000


def every_schedule(work: Work, pools: Sequence[Pool]) -> list[tuple[float, float]]:
    """(makespan in s, cost in USD) of all schedules that start jobs in some order, each on some slot, at once."""
    slots = [pool for pool in pools for _ in range(pool.max)]
    results = []
    for order in itertools.permutations(range(len(work))):
        if any(before in order[place:] for place, job in enumerate(order) for before in work.after.get(job, ())):
            continue
        fitting = [[s for s, slot in enumerate(slots) if fits(work.classes[work.klass[job]], slot)] for job in order]
        results.extend(one_schedule(work, slots, order, choice) for choice in itertools.product(*fitting))
    return results


def one_schedule(work: Work, slots: Sequence[Pool], order: Sequence[int], choice: Sequence[int]) -> tuple[float, float]:
    free, end, cost = [0] * len(slots), [0] * len(work), 0.0
    for job, slot in zip(order, choice, strict=True):
        factor = runtime_factor(work.classes[work.klass[job]], slots[slot].instance_type)
        start = max([free[slot], int(work.submit_ms[job]), *(end[before] for before in work.after.get(job, ()))])
        end[job] = free[slot] = start + round(int(work.runtime_ms[job]) * factor)
        cost += price_between(slots[slot].price, start, end[job])
    return (max(end) - int(work.submit_ms.min())) / 1000, cost


def price_between(path: PricePath, start_ms: int, end_ms: int) -> float:
    edges = [*path.at_ms.tolist(), 1 << 60]
    overlaps = [max(0, min(end_ms, b) - max(start_ms, a)) for a, b in itertools.pairwise(edges)]
    return sum(ms * usd for ms, usd in zip(overlaps, path.usd_per_hour.tolist(), strict=True)) / HOUR_MS


@st.composite
def tiny_worlds(draw: st.DrawFn) -> tuple[Work, list[Pool]]:
    n = draw(st.integers(1, 4))
    factors = {"c7g": draw(st.sampled_from([0.5, 0.8, 1.0]))}
    classes = (replace(SMALL, runtime_on=factors), replace(LARGE, runtime_on={"c7g.4xlarge": 1.5}))
    after = {n - 1: (0,)} if n > 1 and draw(st.booleans()) else {}
    work = some_work(
        draw(st.lists(st.integers(0, 9000), min_size=n, max_size=n)),
        sorted(draw(st.lists(st.integers(0, 5000), min_size=n, max_size=n))),
        classes=classes,
        klass=draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)),
        after=after,
    )
    steps = PricePath(np.array([0, 2000, 7000]), np.array([draw(st.floats(0.1, 3)) for _ in range(3)]))
    pools = [
        replace(a_pool("large", kind="c7g.4xlarge", most=draw(st.integers(1, 2))), price=steps),
        a_pool("small", kind=draw(st.sampled_from(["c7g.xlarge", "m5.xlarge"])), vcpus=4, usd=draw(st.floats(0.1, 3))),
    ]
    return work, pools


@settings(max_examples=60, deadline=None)
@given(tiny_worlds())
def test_no_schedule_of_a_tiny_world_is_below_the_bounds(world: tuple[Work, list[Pool]]) -> None:
    work, pools = world
    schedules = every_schedule(work, pools)
    assert makespan_bound_s(work, pools) <= min(makespan for makespan, _ in schedules)
    assert cost_bound_usd(work, pools) <= min(cost for _, cost in schedules) + 1e-12


@settings(max_examples=30, deadline=None)
@given(tiny_worlds(), st.integers(3000, 30_000))
def test_no_schedule_that_ends_in_time_is_below_the_bound_for_it(world: tuple[Work, list[Pool]], by_ms: int) -> None:
    work, pools = world
    first_ms = int(work.submit_ms.min())
    in_time = [cost for makespan, cost in every_schedule(work, pools) if makespan <= (by_ms - first_ms) / 1000]
    if in_time:
        one_ms_each = len(work) * 3.0 / HOUR_MS  # runtimes are rounded to the millisecond
        assert cost_bound_usd(work, pools, finish_by_ms=by_ms) <= min(in_time) + one_ms_each
    else:
        assert min(makespan for makespan, _ in every_schedule(work, pools)) > (by_ms - first_ms) / 1000


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=40), st.integers(1, 8))
def test_list_scheduling_is_within_two_minus_one_over_c_of_the_bound(runtime_ms: list[int], slots: int) -> None:
    work = some_work(runtime_ms)
    bound = makespan_bound_s(work, [a_pool(most=slots)])
    assert bound <= list_schedule_s(work, slots) <= (2 - 1 / slots) * bound + 0.001
    assert bound == cluster_makespan_bound_s(work, slots)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 5000)), min_size=1, max_size=20),
    st.integers(1, 4),
)
def test_on_one_slot_the_bound_is_the_makespan_and_on_more_it_is_below(jobs: list[tuple[int, int]], slots: int) -> None:
    submit_ms, runtime_ms = zip(*sorted(jobs), strict=True)
    work = some_work(runtime_ms, submit_ms)
    assert cluster_makespan_bound_s(work, 1) == list_schedule_s(work, 1)
    assert cluster_makespan_bound_s(work, slots) <= list_schedule_s(work, slots)


def test_jobs_that_may_be_split_reach_the_bound_of_mc_naughton() -> None:
    assert makespan_bound_s(some_work([3000, 3000, 3000]), [a_pool(most=2)]) == 4.5  # whole jobs need 6 s
    assert makespan_bound_s(some_work([9000, 3000, 3000]), [a_pool(most=2)]) == 9.0


def test_late_arrivals_count_from_their_submission() -> None:
    work = some_work([1000, 4000, 4000, 4000], [0, 10_000, 10_000, 10_000])
    assert makespan_bound_s(work, [a_pool(most=2)]) == 16.0  # 10 + 12 / 2, though all work / capacity is 6.5


def test_a_chain_bounds_through_its_earliest_starts() -> None:
    work = some_work([1000, 2000, 3000, 500], [0, 0, 0, 4000], after={1: (0,), 3: (1,)})
    done = np.ones(4, dtype=bool)
    assert earliest_start_ms(work, work.runtime_ms, done).tolist() == [0, 1000, 0, 4000]
    assert makespan_bound_s(work, [a_pool(most=9)]) == 4.5
    done[0] = False
    assert earliest_start_ms(work, work.runtime_ms, done).tolist() == [0, 0, 0, 4000]


def test_a_crowded_shape_is_not_hidden_by_free_pools_of_another() -> None:
    work = some_work([8000, 8000, 1000], classes=(SMALL, LARGE), klass=[1, 1, 0])
    pools = [a_pool("few", most=1), a_pool("many", most=100, vcpus=4)]
    assert makespan_bound_s(work, pools) == 16.0


def test_with_more_shapes_than_sets_are_asked_each_shape_still_counts() -> None:
    classes = [JobClass(f"c{k}", vcpus=1, gpus=k % 2, memory_gib=k) for k in range(12)]
    pools = [replace(a_pool(f"p{k}"), memory_gib=float(k), gpus=k % 2) for k in range(12)]
    work = some_work([7000] * 6, classes=classes, klass=[11] * 6)
    assert makespan_bound_s(work, pools) == 42.0


def test_gangs_and_slots_per_instance_change_what_an_hour_holds() -> None:
    work = some_work([6000, 6000], classes=(replace(SMALL, gang=3),))
    assert makespan_bound_s(work, [a_pool(most=3)]) == 12.0
    assert makespan_bound_s(work, [a_pool(most=3)], slots_per_instance=2) == 6.0
    assert cost_bound_usd(work, [a_pool(usd=100)]) == pytest.approx(1.0)  # 36 s at 100 USD/h
    assert cost_bound_usd(work, [a_pool(usd=100)], slots_per_instance=2) == pytest.approx(0.5)


def test_wide_jobs_of_a_cluster_never_overlap() -> None:
    work = some_work([5000, 5000, 5000], slots=[60, 60, 20])
    assert cluster_makespan_bound_s(work, 100) == 10.0  # work / capacity alone gives 7 s
    assert cluster_makespan_bound_s(replace(work, slots=np.array([50, 50, 0], dtype=np.int32)), 100) == 5.0
    with pytest.raises(ValueError, match="60 slots is never done on a cluster of 50"):
        cluster_makespan_bound_s(work, 50)


def test_only_what_is_done_bounds_and_the_first_submission_stays() -> None:
    work = some_work([5000, 1000, 90_000], [0, 2000, 2000])
    done = np.array([False, True, False])
    assert makespan_bound_s(work, [a_pool()], done=done) == 3.0
    assert cluster_makespan_bound_s(work, 1, done=done) == 3.0
    assert cost_bound_usd(work, [a_pool(usd=3600)], done=done) == pytest.approx(1.0)
    nothing = np.zeros(3, dtype=bool)
    bounds = makespan_bound_s(work, [], done=nothing), cost_bound_usd(work, [], done=nothing)
    assert (*bounds, cluster_makespan_bound_s(work, 1, done=nothing)) == (0.0, 0.0, 0.0)


def test_a_job_that_fits_no_pool_cannot_be_done() -> None:
    work = some_work([1000], classes=(LARGE,))
    with pytest.raises(ValueError, match="'large' fit no pool"):
        makespan_bound_s(work, [a_pool(vcpus=8), a_pool(most=0)])
    with pytest.raises(ValueError, match="'large' fit no pool"):
        cost_bound_usd(work, [a_pool(vcpus=8)])


def test_the_cost_takes_the_cheapest_pool_that_fits_with_its_speed() -> None:
    work = some_work([HOUR_MS, HOUR_MS], classes=(replace(SMALL, runtime_on={"c7g": 0.5}), LARGE), klass=[0, 1])
    pools = [a_pool("slow", usd=1.0), a_pool("fast", kind="c7g.xlarge", vcpus=4, usd=1.5)]
    assert cost_bound_usd(work, pools) == pytest.approx(0.5 * 1.5 + 1.0)


def test_prices_count_from_the_submission_on() -> None:
    cheap_at_first = PricePath(np.array([0, 1000, 2000]), np.array([1.0, 9.0, 5.0]))
    pools = [replace(a_pool(), price=cheap_at_first)]
    work = some_work([HOUR_MS, HOUR_MS, HOUR_MS], [0, 999, 1000])
    assert cost_bound_usd(work, pools) == pytest.approx(1.0 + 1.0 + 5.0)


def test_a_commitment_and_a_free_first_hour_lower_the_bound() -> None:
    work = some_work([HOUR_MS])
    pools = [a_pool("spot", usd=0.8), a_pool("od", usd=1.0, spot=False)]
    assert cost_bound_usd(work, pools, on_demand_discount=0.5) == pytest.approx(0.5)
    assert cost_bound_usd(work, pools, on_demand_discount=0.1) == pytest.approx(0.8)
    assert cost_bound_usd(work, pools, refunded_usd=0.3) == pytest.approx(0.5)
    assert cost_bound_usd(work, pools, refunded_usd=2.0) == 0.0


def test_pools_fill_up_when_there_is_an_end() -> None:
    work = some_work([HOUR_MS] * 3)
    pools = [a_pool("cheap", usd=1.0), a_pool("dear", usd=4.0, most=9)]
    assert cost_bound_usd(work, pools) == pytest.approx(3.0)
    assert cost_bound_usd(work, pools, finish_by_ms=3 * HOUR_MS) == pytest.approx(3.0)
    assert cost_bound_usd(work, pools, finish_by_ms=2 * HOUR_MS) == pytest.approx(2.0 + 4.0)
    assert cost_bound_usd(work, pools, finish_by_ms=2 * HOUR_MS, slots_per_instance=2) == pytest.approx(1.5)
    with pytest.raises(ValueError, match="no room"):
        cost_bound_usd(work, pools[:1], finish_by_ms=2 * HOUR_MS)


def test_speeds_count_in_pools_that_fill_up() -> None:
    work = some_work([4 * HOUR_MS], classes=(replace(SMALL, runtime_on={"c7g": 0.5}),))
    pools = [a_pool("slow", usd=1.0, most=9), a_pool("fast", kind="c7g.xlarge", usd=1.0)]
    assert cost_bound_usd(work, pools, finish_by_ms=HOUR_MS) == pytest.approx(1.0 + 2.0)  # 1 h fast does 2 h of work


@settings(max_examples=60, deadline=None)
@given(tiny_worlds(), st.integers(1, 5), st.floats(0.01, 5))
def test_another_pool_never_raises_a_bound(world: tuple[Work, list[Pool]], most: int, usd: float) -> None:
    work, pools = world
    more = [*pools, a_pool("more", most=most, usd=usd, vcpus=4)]
    assert makespan_bound_s(work, more) <= makespan_bound_s(work, pools)
    assert cost_bound_usd(work, more) <= cost_bound_usd(work, pools)


@settings(max_examples=60, deadline=None)
@given(tiny_worlds())
def test_bounds_scale_with_prices_and_times_and_ignore_order(world: tuple[Work, list[Pool]]) -> None:
    work, pools = world
    double = [replace(pool, price=replace(pool.price, usd_per_hour=2 * pool.price.usd_per_hour)) for pool in pools]
    assert cost_bound_usd(work, double) == pytest.approx(2 * cost_bound_usd(work, pools))
    assert cost_bound_usd(work, pools[::-1]) == pytest.approx(cost_bound_usd(work, pools))
    assert makespan_bound_s(work, pools[::-1]) == makespan_bound_s(work, pools)
    slow = replace(work, runtime_ms=1000 * work.runtime_ms, submit_ms=1000 * work.submit_ms)
    assert makespan_bound_s(slow, pools) == pytest.approx(1000 * makespan_bound_s(work, pools), abs=2.0 * len(work))


def test_a_pool_without_a_limit_leaves_the_longest_job() -> None:
    work = some_work([2000] * 500)
    assert makespan_bound_s(work, [a_pool(most=UNLIMITED), a_pool("b", most=1)]) == 2.0


@pytest.mark.bench
def test_a_million_jobs_are_bounded_in_two_seconds() -> None:
    import time

    generator, n = np.random.default_rng(1), 1_000_000
    work = some_work(
        generator.integers(1000, 10**7, n).tolist(),
        np.sort(generator.integers(0, 10**9, n)).tolist(),
        classes=(SMALL, LARGE, replace(SMALL, name="gpu", vcpus=2)),
        klass=generator.integers(0, 3, n).tolist(),
    )
    steps = PricePath(np.arange(0, 10**9, 10**5), generator.random(10**4))
    pools = [replace(a_pool(f"p{k}", most=100, vcpus=4 if k < 4 else 16), price=steps) for k in range(7)]
    began = time.process_time()
    makespan_bound_s(work, pools)
    cost_bound_usd(work, pools, finish_by_ms=10**12)
    assert time.process_time() - began < 2.0
