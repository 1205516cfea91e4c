"""Slots: n attempts share an instance; each is billed one n-th of it, and one interruption ends all of them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
from worlds import MINUTE, S, policy_of, pool, work_of

from scheduler.policies.protect import NoProtection
from scheduler.settings import Settings
from sim.decoupled import DecoupledWorld
from sim.inputs import Billing, Interruptions, JobClass, MarketInputs, Pool, ServiceInputs, Work, WorldInputs
from spotbed.journal import AttemptFact, InstanceFact, Journal
from spotbed.metering import DONE, Tally

SETTINGS = Settings(tick_ms=10 * S, keep_alive_ms=30 * S)
ONE_CPU = JobClass("job")
USD_PER_MS = 0.068 / 3_600_000


def run(
    work: Work, pools: tuple[Pool, ...], slots: int, market: MarketInputs | None = None
) -> tuple[Tally, list[AttemptFact], list[InstanceFact]]:
    inputs = WorldInputs(
        1, 0, work, pools, market or MarketInputs(), ServiceInputs(), Billing(0.0), slots_per_instance=slots
    )
    journal = Journal()
    tally = DecoupledWorld(inputs, policy_of(SETTINGS, protect=NoProtection()), journal).run()
    facts = [entry.body for entry in journal.entries if entry.what == "fact"]
    attempts = [each for each in facts if isinstance(each, AttemptFact)]
    return tally, attempts, [each for each in facts if isinstance(each, InstanceFact)]


@pytest.mark.parametrize(("jobs", "slots", "instances"), [(8, 4, 2), (9, 4, 3), (4, 1, 4), (5, 2, 3)])
def test_the_fleet_counts_slots_and_launches_instances(jobs: int, slots: int, instances: int) -> None:
    tally, attempts, _ = run(work_of((ONE_CPU,), [0] * jobs, [10 * MINUTE] * jobs), (pool(most=50),), slots)
    assert tally.pools[0].instances == instances
    assert len({each.worker.partition(".")[0] for each in attempts}) == instances
    assert len({each.worker for each in attempts}) == jobs


def test_a_slot_pays_its_share_and_the_shares_are_the_bill() -> None:
    tally, attempts, (instance,) = run(work_of((ONE_CPU,), [0] * 4, [m * MINUTE for m in (1, 2, 3, 4)]), (pool(),), 4)
    for each in attempts:
        assert each.usd == pytest.approx((each.end_ms - each.start_ms) * USD_PER_MS / 4, rel=1e-12)
    use = tally.pools[0]
    assert instance.usd == pytest.approx((instance.ended_ms - instance.launched_ms) * USD_PER_MS, rel=1e-12)
    assert sum(use.ms) == 4 * use.instance_ms
    assert math.fsum(use.usd) == pytest.approx(use.instance_usd, rel=1e-12)
    assert math.fsum(tally.jobs.usd) == pytest.approx(math.fsum(each.usd for each in attempts), rel=1e-12)


def test_the_instance_stops_with_its_last_slot() -> None:
    _, attempts, (instance,) = run(work_of((ONE_CPU,), [0] * 2, [1 * MINUTE, 30 * MINUTE]), (pool(),), 2)
    assert instance.ended_ms == max(each.end_ms for each in attempts) + SETTINGS.keep_alive_ms
    assert instance.reason == "idle"


def test_one_interruption_ends_the_attempts_of_all_slots() -> None:
    steps = np.array([0, 5 * MINUTE, 6 * MINUTE, 1 << 40]), np.array([9, 0, 9, 9])
    market = MarketInputs(Interruptions("trace", capacity={"spot": steps}, burst_ms=0), notice_probability=0.0)
    tally, attempts, instances = run(work_of((ONE_CPU,), [0] * 3, [10 * MINUTE] * 3), (pool(),), 3, market)
    assert Counter((each.cause, each.attempt) for each in attempts) == {("interrupted", 1): 3, ("done", 2): 3}
    assert {each.end_ms for each in attempts if each.cause == "interrupted"} == {5 * MINUTE}
    assert (tally.pools[0].interruptions, len(instances)) == (1, 2)
    assert list(tally.jobs.interruptions) == [1, 1, 1]


def test_what_fits_is_asked_of_a_slot() -> None:
    """Two slots of a pool with 4 vCPUs have two each: a job of three vCPUs runs on the larger pool."""
    pools = (pool("small", vcpus=4), pool("large", vcpus=8, price=None, list_usd=0.34))
    tally, attempts, _ = run(work_of((JobClass("job", vcpus=3),), [0] * 2, [MINUTE] * 2), pools, 2)
    assert {each.pool for each in attempts} == {"large"}
    assert set(tally.jobs.status) == {DONE}


def test_the_largest_size_of_a_pool_is_in_instances() -> None:
    """One slot of each instance is empty soon, but its instance is there: nothing is launched in its place."""
    work = work_of((ONE_CPU,), [0, 0, *[5 * MINUTE] * 4], [MINUTE, 20 * MINUTE, *[MINUTE] * 4])
    _, attempts, instances = run(work, (pool(most=1),), 2)
    spans = sorted((each.launched_ms, each.ended_ms) for each in instances)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))
    by_slot: dict[str, list[AttemptFact]] = defaultdict(list)
    for each in attempts:
        by_slot[each.worker].append(each)
    assert len(attempts) == 6
    assert max(len(each) for each in by_slot.values()) >= 1
