"""Shuffle sharding: the published probabilities exactly, and the harm that a flooding tenant does to healthy ones."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from math import comb

import numpy as np
import pytest
from worlds import HOUR, MINUTE, policy_of, pool, work_of

from scheduler.settings import Settings
from sim.decoupled import DecoupledWorld
from sim.inputs import JobClass, MarketInputs, ServiceInputs, WorldInputs
from spotbed.shuffle_sharding import overlap_probability, shard_licences, sharded_classes, shards_of

SHARDS, CHOSEN = 8, 2


@pytest.mark.parametrize(
    ("shards", "chosen", "published"), [(8, 2, "3.57e-02"), (100, 5, "1.33e-08"), (2048, 4, "1.4e-12")]
)
def test_the_published_probabilities_of_sharing_all_shards(shards: int, chosen: int, published: str) -> None:
    found = overlap_probability(shards, chosen, chosen)
    assert found == 1 / comb(shards, chosen)
    digits = len(published.split("e")[0]) - 2
    assert f"{found:.{digits}e}" == published


@pytest.mark.parametrize(("shards", "chosen"), [(8, 2), (9, 4), (5, 5), (4, 3)])
def test_the_probabilities_are_those_of_all_sets(shards: int, chosen: int) -> None:
    mine = set(range(chosen))
    counts = Counter(len(mine & set(other)) for other in combinations(range(shards), chosen))
    for shared in range(-1, chosen + 2):
        assert overlap_probability(shards, chosen, shared) == counts[shared] / comb(shards, chosen)


def test_tenants_names_choose_each_set_as_often_as_any_other() -> None:
    tenants = 2_800
    sets = Counter(shards_of(f"tenant-{number}", SHARDS, CHOSEN) for number in range(tenants))
    assert len(sets) == comb(SHARDS, CHOSEN) == 28
    chi_square = sum((count - tenants / 28) ** 2 / (tenants / 28) for count in sets.values())
    assert chi_square < 49.6  # 99.5 % of chi-square with 27 degrees of freedom
    with pytest.raises(ValueError, match="between 1 and 8 shards, not 9"):
        shards_of("a", 8, 9)


# the harm to healthy tenants ----------------------------------------------------------------------------------------
TENANTS = [f"tenant-{number}" for number in range(24)]
FLOOD = "tenant-0"


def waits_by_tenant(chosen: int, *, floods: bool) -> dict[str, float]:
    """Mean wait (s) of each healthy tenant's jobs: eight shards of two workers; a job of a minute for each tenant each
    ten minutes. One tenant may flood: 200 jobs of an hour at once."""
    classes = sharded_classes((JobClass("job", tenant=tenant) for tenant in TENANTS), SHARDS, chosen)
    jobs = [
        (at * MINUTE, tenant * chosen + turn % chosen, MINUTE)
        for turn, at in enumerate(range(60, 180, 10))
        for tenant in range(len(TENANTS))
    ]
    if floods:
        jobs += [(0, number % chosen, HOUR) for number in range(200)]
    jobs.sort()
    submits, klass, runtimes = (list(column) for column in zip(*jobs, strict=True))
    work = work_of(classes, submits, runtimes, klass=klass)
    pools = (pool(most=16, boot_s=0),)
    inputs = WorldInputs(
        1, 0, work, pools, MarketInputs(), ServiceInputs(), licences=shard_licences(SHARDS, 2), drain_ms=400 * HOUR
    )
    tally = DecoupledWorld(inputs, policy_of(Settings(keep_alive_ms=HOUR))).run()
    waits: dict[str, list[float]] = {}
    for number, start_ms in enumerate(tally.jobs.first_start_ms):
        if runtimes[number] == MINUTE:
            waits.setdefault(classes[klass[number]].tenant, []).append((start_ms - submits[number]) / 1000)
    return {tenant: float(np.mean(values)) for tenant, values in waits.items() if tenant != FLOOD}


def harmed(chosen: int) -> tuple[set[str], dict[str, float]]:
    """Who waits ten minutes longer in the mean than without the flood."""
    calm, flooded = waits_by_tenant(chosen, floods=False), waits_by_tenant(chosen, floods=True)
    return {tenant for tenant in calm if flooded[tenant] > calm[tenant] + 600}, flooded


def test_a_flood_harms_only_tenants_that_share_a_shard_and_those_who_share_one_half_as_much() -> None:
    shared = {
        tenant: len({*shards_of(tenant, SHARDS, CHOSEN)} & {*shards_of(FLOOD, SHARDS, CHOSEN)}) for tenant in TENANTS
    }
    suffers, waits = harmed(CHOSEN)
    assert suffers == {tenant for tenant, count in shared.items() if count and tenant != FLOOD}
    whole = {tenant for tenant in suffers if shared[tenant] == CHOSEN}
    for tenant in suffers - whole:
        others = [waits[each] for each in whole]
        assert all(waits[tenant] < 0.7 * other for other in others)


def test_without_shards_the_flood_harms_everybody() -> None:
    """Each tenant may use all eight shards, in turn."""
    suffers, _ = harmed(SHARDS)
    assert suffers == set(TENANTS) - {FLOOD}
