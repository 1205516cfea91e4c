"""Laws that hold in every run: Little's, conservation of work, Graham's bound, Cobham's priorities; and relations
between two runs of which one is the other, changed in a way whose effect is known.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from queueing import cluster_starts, column, decoupled_starts, estimate, eternal_starts, inputs_of
from worlds import HOUR, MINUTE, Case, S, cases, flat, policy_of, pool, work_of

from scheduler import job as job_role
from scheduler.job_record import Job
from scheduler.policies.order import EarliestDeadlineFirst, Fifo, PriorityWithAgeing, ShortestJobFirst
from scheduler.policies.place import ON_DEMAND, Diversified, LowestPrice, OnDemandFallback, PriceCapacityOptimized
from scheduler.policies.protect import Periodic
from scheduler.policy import Policy
from scheduler.settings import Settings
from sim.inputs import Int64, Interruptions, JobClass, MarketInputs, Pool, ServiceInputs, WorldInputs
from sim.submissions import Submissions
from spotbed.journal import Journal
from spotbed.metering import UNFINISHED, Tally
from spotbed.worlds import simulate

ANY_WORLD = settings(
    max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate)
)
STATIC_ORDERS = (Fifo(), ShortestJobFirst(), PriorityWithAgeing(), EarliestDeadlineFirst())


# Little's law -------------------------------------------------------------------------------------------------------
def job_ms_by_phase(journal: Journal, inputs: WorldInputs, policy: Policy) -> dict[str, int]:
    """The integral over time of the number of jobs in each phase: a sweep over the journal's events of jobs."""
    records = _first_records(inputs)
    numbers: dict[str, int] = defaultdict(int)
    area: dict[str, int] = defaultdict(int)
    now = 0
    for entry in journal.entries:
        if entry.role != "job" or entry.what != "event":
            continue
        for phase, number in numbers.items():
            area[phase] += number * (entry.at_ms - now)
        now = entry.at_ms
        before = records[entry.subject]
        after = records[entry.subject] = job_role.step(before, entry.body, policy)[0]
        numbers[before.phase] -= 1
        numbers[after.phase] += 1
    return {phase: total for phase, total in area.items() if phase in ("queued", "delayed", "leased")}


def _first_records(inputs: WorldInputs) -> dict[str, Job]:
    submissions = Submissions(inputs)
    jobs = [submissions.next_job()[1] for _ in range(len(inputs.work))]
    return {job.ticket.id: job for job in jobs}


def assert_little(tally: Tally, journal: Journal, inputs: WorldInputs, policy: Policy) -> None:
    """L = lambda W over the whole run, times its length: in the system, and in service."""
    assert UNFINISHED not in tally.jobs.status
    area = job_ms_by_phase(journal, inputs, policy)
    flow_ms = column(tally.jobs.end_ms) - inputs.work.submit_ms
    assert sum(area.values()) == int(flow_ms.sum())
    facts = [entry.body for entry in journal.entries if entry.kind == "attempt"]
    assert area["leased"] == sum(fact.end_ms - fact.start_ms for fact in facts)


@pytest.mark.parametrize("architecture", ["decoupled", "central"])
@ANY_WORLD
@given(case=cases("exponential"))
def test_little_holds_on_pools(architecture: str, case: Case) -> None:
    classes = tuple(replace(klass, gang=1) for klass in case.inputs.work.classes)
    work = replace(case.inputs.work, classes=classes, after={})
    inputs = replace(case.inputs, work=work, services=ServiceInputs(), budget_usd=0.0)
    policy, journal = replace(case.policy, architecture=architecture), Journal()
    tally = simulate(inputs, policy, journal)
    assume(UNFINISHED not in tally.jobs.status)
    assert_little(tally, journal, inputs, policy)


@pytest.mark.parametrize("order", STATIC_ORDERS)
def test_little_holds_on_a_cluster(order: object) -> None:
    rng = np.random.default_rng(4)
    classes = (JobClass("a", fail_probability=0.2, deadline_ms=HOUR), JobClass("b", priority=2, timeout_ms=MINUTE))
    count = 300
    work = work_of(
        classes, np.sort(rng.integers(0, HOUR, count)).tolist(), rng.integers(0, 5 * MINUTE, count).tolist(),
        klass=rng.integers(0, 2, count).tolist(),
    )  # fmt: skip
    work = replace(work, slots=rng.integers(1, 9, count).astype(np.int32), outcome_u=rng.random(count))
    inputs, policy, journal = inputs_of(work, cluster_slots=12), policy_of(order=order), Journal()
    assert_little(simulate(inputs, policy, journal), journal, inputs, policy)


# work ---------------------------------------------------------------------------------------------------------------
@st.composite
def loads(draw: st.DrawFn) -> tuple[Int64, Int64]:
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    count = draw(st.integers(1, 60))
    return np.sort(rng.integers(0, 40 * S * count, count)), rng.integers(1, 80 * S, count)


def busy_spells(starts: Int64, runtime_ms: Int64) -> list[tuple[int, int]]:
    """When a single server works, from the starts of its jobs."""
    spells: list[tuple[int, int]] = []
    for begin, end in sorted(zip(starts.tolist(), (starts + runtime_ms).tolist(), strict=True)):
        if spells and begin == spells[-1][1]:
            spells[-1] = (spells[-1][0], end)
        else:
            assert not spells or begin > spells[-1][1], "two jobs at a time"
            spells.append((begin, end))
    return spells


@settings(max_examples=25, deadline=None)
@given(load=loads())
def test_a_single_server_works_at_the_same_times_under_any_order(load: tuple[Int64, Int64]) -> None:
    for starts in (cluster_starts, decoupled_starts):
        found = [busy_spells(starts(*load, 1, order=order), load[1]) for order in STATIC_ORDERS]
        assert all(spells == found[0] for spells in found)


@settings(max_examples=40, deadline=None)
@given(load=loads(), servers=st.integers(1, 6), order=st.sampled_from(STATIC_ORDERS))
def test_no_list_schedule_is_longer_than_graham_allows(load: tuple[Int64, Int64], servers: int, order: object) -> None:
    """sum(t) / c + (1 - 1/c) max(t) for jobs that are all there at the start (Graham, SIAM J. Appl. Math. 17, 1969)."""
    runtime = load[1]
    end = int((cluster_starts(np.zeros_like(runtime), runtime, servers, order=order) + runtime).max())
    assert servers * end <= int(runtime.sum()) + (servers - 1) * int(runtime.max())


@settings(max_examples=25, deadline=None)
@given(load=loads(), servers=st.integers(1, 4))
def test_one_more_server_makes_no_job_wait_longer(load: tuple[Int64, Int64], servers: int) -> None:
    for starts in (cluster_starts, decoupled_starts):
        assert (starts(*load, servers + 1) <= starts(*load, servers)).all()


# priorities ---------------------------------------------------------------------------------------------------------
def test_priorities_wait_as_cobham_says() -> None:
    """Wq_i = W0 / ((1 - sigma_(i-1)) (1 - sigma_i)) for M/M/1 without interruption (Cobham, Oper. Res. 2, 1954)."""
    classes = (JobClass("high", priority=1), JobClass("low"))
    share, rho, unit_ms = 0.4, 0.7, 1_000_000
    strict = PriorityWithAgeing(points_per_hour=1e-9)
    waits, controls = [], []
    rng = np.random.default_rng(12)
    for _ in range(25):
        klass = (rng.random(2_500) >= share).astype(int)
        gaps, services = rng.exponential(1 / rho, 2_500), rng.exponential(1.0, 2_500)
        submit, runtime = (np.rint(values * unit_ms).astype(np.int64) for values in (np.cumsum(gaps), services))
        work = work_of(classes, submit.tolist(), runtime.tolist(), klass=klass.tolist())
        wait = (eternal_starts("decoupled", work, 1, order=strict) - submit)[300:] / unit_ms
        waits.append([wait[klass[300:] == number].mean() for number in (0, 1)])
        controls.append((gaps.mean() - 1 / rho, services.mean() - 1, klass.mean() - (1 - share)))
    for number, exact in enumerate((rho / (1 - share * rho), rho / (1 - share * rho) / (1 - rho))):
        mean, error = estimate(np.array(waits)[:, number], np.array(controls))
        assert abs(mean - exact) <= 3 * error, f"{mean} +- {error}, exact {exact}"


# relations between runs ---------------------------------------------------------------------------------------------
HAVE = (6, 4, 0, 5, 2)  # instances that EC2 has, in turns


def spot_world(
    *, scale: int = 2, usd: float = 0.06, pools: tuple[Pool, ...] | None = None, have: tuple[int, ...] = HAVE
) -> WorldInputs:
    """40 jobs on two Spot pools whose capacity comes and goes; all times are multiples of `scale` half-seconds."""
    rng = np.random.default_rng(9)
    half = 500 * scale
    submit, runtime = np.sort(rng.integers(0, 3_600, 40)) * half, rng.integers(60, 3_000, 40) * half
    work = work_of((JobClass("job", checkpointable=True, retries=2),), submit.tolist(), runtime.tolist())
    found = pools or tuple(pool(name, most=6, price=flat(usd * factor), boot_s=30 * scale) for name, factor in PRICES)
    at_ms = np.arange(0, 40, dtype=np.int64) * 900 * half
    count = np.resize(np.array(have, dtype=np.int64), 40)
    capacity = {"a": (at_ms, count), "b": (at_ms + 300 * half * (at_ms > 0), count[::-1].copy())}
    losses = Interruptions("trace", capacity=capacity, burst_ms=0)
    market = MarketInputs(losses, notice_probability=1.0, notice_lead_ms=60 * half)
    return inputs_of(work, found, market=market)


PRICES = (("a", 1.0), ("b", 1.3))


def timed_policy(*, scale: int = 2, **points: object) -> Policy:
    half = 500 * scale
    timed = Settings(
        tick_ms=30 * half, keep_alive_ms=40 * half, boot_timeout_ms=HOUR, checkpoint_write_ms=20 * half,
        checkpoint_restore_ms=10 * half, startup_ms=4 * half,
    )  # fmt: skip
    parts = {"place": LowestPrice(avoid_ms=600 * half), "protect": Periodic(every_ms=400 * half), **points}
    return policy_of(timed, **parts)


def bill_usd(tally: Tally) -> float:
    return sum(use.instance_usd for use in tally.pools)


def ends(tally: Tally) -> list[int]:
    return list(tally.jobs.end_ms)


def test_twice_the_rates_in_half_the_time_cost_the_same() -> None:
    slow = simulate(spot_world(scale=2), timed_policy(scale=2))
    fast = simulate(spot_world(scale=1, usd=0.12), timed_policy(scale=1))
    assert slow.pools[0].interruptions > 5
    assert ends(slow) == [2 * end for end in ends(fast)]
    assert [use.ms for use in slow.pools] == [[2 * ms for ms in use.ms] for use in fast.pools]
    assert bill_usd(slow) == pytest.approx(bill_usd(fast), rel=1e-12)


@pytest.mark.parametrize("place", [LowestPrice(), PriceCapacityOptimized(), Diversified()])
def test_the_order_of_the_pools_means_nothing(place: object) -> None:
    world = spot_world()
    turned = replace(world, pools=world.pools[::-1])
    before, after = (simulate(inputs, timed_policy(place=place)) for inputs in (world, turned))
    assert ends(before) == ends(after)
    assert {use.pool: use.instance_usd for use in before.pools} == {use.pool: use.instance_usd for use in after.pools}


def test_the_names_of_the_pools_mean_nothing() -> None:
    """Where nothing is drawn: which instances go when only some must is drawn by the name of the pool."""
    world = spot_world(have=(6, 0, 6))
    names = {"a": "zebra", "b": "aardvark"}
    losses = world.market.interruptions
    renamed = replace(
        world,
        pools=tuple(replace(each, id=names[each.id]) for each in world.pools),
        market=replace(
            world.market,
            interruptions=replace(losses, capacity={names[key]: path for key, path in losses.capacity.items()}),
        ),
    )
    before, after = (simulate(inputs, timed_policy()) for inputs in (world, renamed))
    assert ends(before) == ends(after)
    assert bill_usd(before) == bill_usd(after)


@pytest.mark.parametrize(("most", "usd"), [(0, 0.001), (50, 9.0)])
def test_a_pool_that_is_always_empty_changes_nothing(most: int, usd: float) -> None:
    """One that admits none, however cheap; and one that never has any, if another is asked first."""
    world = spot_world()
    empty = replace(pool("empty", most=most, price=flat(usd), boot_s=60))
    nothing = (np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
    losses = world.market.interruptions
    with_empty = replace(
        world,
        pools=(empty, *world.pools),
        market=replace(world.market, interruptions=replace(losses, capacity={**losses.capacity, "empty": nothing})),
    )
    before, after = (simulate(inputs, timed_policy()) for inputs in (world, with_empty))
    assert ends(before) == ends(after)
    assert [use.instance_usd for use in after.pools] == [0.0, *(use.instance_usd for use in before.pools)]


PURCHASES = (
    LowestPrice(),
    LowestPrice(ON_DEMAND),
    LowestPrice("any"),
    PriceCapacityOptimized(),
    Diversified(),
    Diversified(on_demand_floor=0.3),
    OnDemandFallback(),
)


def purchase_pools(spot_usd: float, on_demand_usd: float) -> tuple[Pool, ...]:
    return (
        pool("a", most=100, price=flat(spot_usd), boot_s=0),
        pool("b", most=100, price=flat(spot_usd), boot_s=0),
        pool("od", "on-demand", most=100, price=flat(on_demand_usd), boot_s=0),
    )


@pytest.mark.parametrize("place", PURCHASES)
def test_without_interruptions_everyone_pays_work_times_price(place: object) -> None:
    world = spot_world(pools=purchase_pools(0.05, 0.05), have=(100,))
    policy = policy_of(Settings(keep_alive_ms=0), place=place)
    work_h = float(world.work.runtime_ms.sum()) / HOUR
    assert bill_usd(simulate(world, policy)) == pytest.approx(0.05 * work_h, rel=1e-12)


@pytest.mark.parametrize("place", PURCHASES)
def test_at_the_price_of_on_demand_nothing_beats_on_demand(place: object) -> None:
    world = spot_world(pools=purchase_pools(0.05, 0.05))
    cheapest, other = (
        simulate(world, policy_of(Settings(keep_alive_ms=0), place=each)) for each in (LowestPrice(ON_DEMAND), place)
    )
    assert bill_usd(cheapest) <= bill_usd(other) * (1 + 1e-12)
