"""Nothing is lost in 520 random worlds of 50 jobs and more: every rule is checked after every event.

The rules: docs/invariants.md.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faulty import RARE
from reckoning import reckon
from smoke import check, meet
from watch import Watch
from worlds import FAULTS, HOUR, MINUTE, SOURCES, ZONES, Case, S, case_of, constant, hostile, policy_of, pool, work_of

from scheduler.policies.place import LowestPrice
from scheduler.policies.scale import DrainTime
from scheduler.settings import Settings
from sim.decoupled import DecoupledWorld
from sim.inputs import Dist, Interruptions, JobClass, MarketInputs, Outage, ServiceInputs, WorldInputs
from sim.services import Faults
from spotbed.journal import Journal
from spotbed.worlds import simulate

WORLDS = 104  # of each source of interruptions
DISTINCT = 101  # of them have a journal of their own; the sources differ anyway
GANGS = (1, 1, 1, 1, 1, 1, 2, 3)  # from which a class takes its size
ENOUGH = 20
TROUBLES = (
    *FAULTS,
    *RARE,
    "agent never registered",
    "gang interrupted",
    "interrupted without a notice",
    "launch failed: capacity",
    "launch failed: ec2.run_instances",
    "launch failed: ec2.vcpu_quota",
    "lease expired",
    "limited: lambda.concurrency",
    "limited: stepfunctions.send_task_success",
    "limited: stepfunctions.start_execution",
    "limited: stepfunctions.transition",
    "poison job",
    "rebalance alone",
    "rolled over",
    "spell of failed launches",
    "stale counts",
    "stale write refused",
    "submitted twice",
    "success though killed",
    "whole pool reclaimed",
    "zone outage",
)
SELDOM = ("notice after the end", "notice lost", "notice twice")  # twenty times in all, where a source has few notices
SETTINGS = Settings(lease_ms=2 * MINUTE, tick_ms=30 * S, keep_alive_ms=30 * S)
OURS = policy_of(SETTINGS, place=LowestPrice("any"))


@pytest.mark.parametrize("source", SOURCES)
def test_nothing_is_lost_whatever_happens(source: str) -> None:
    seen, journals = meet(source, WORLDS, GANGS)
    assert len(journals) >= DISTINCT
    rare = {trouble: seen[trouble] for trouble in TROUBLES if seen[trouble] < ENOUGH}
    rare |= {trouble: seen[trouble] for trouble in SELDOM if seen[trouble] < ENOUGH / len(SOURCES)}
    assert not rare, f"too rare in these worlds to show anything: {rare}"


def test_a_gang_gets_all_of_its_workers_also_when_less_would_do_for_its_work() -> None:
    """A minute of work for three workers at once, and an hour to do it in."""
    work = work_of((JobClass("job", vcpus=2, gang=3),), [0], [MINUTE])
    inputs = WorldInputs(1, 0, work, (pool(),), MarketInputs(), ServiceInputs(), drain_ms=HOUR)
    patient = replace(OURS, scale=DrainTime(target_ms=HOUR))
    assert list(simulate(inputs, patient).jobs.status) == [1]


def test_every_trouble_is_explained(root: Path) -> None:
    text = (root / "docs" / "invariants.md").read_text("utf-8")
    assert [
        name for name in (*TROUBLES, *SELDOM) if f"`{name}`" not in text and name.partition(":")[0] not in text
    ] == []


def test_there_are_enough_worlds() -> None:
    assert len(SOURCES) * DISTINCT >= 500
    assert min(len(case_of(source, seed).inputs.work) for source in SOURCES for seed in range(20)) >= 50


# L1 -------------------------------------------------------------------------------------------------------------------
CALM_MS = 90 * MINUTE


class FaultsUntil(Faults):
    """Faults that stop."""

    def __init__(self, world: DecoupledWorld) -> None:
        super().__init__(world.inputs.services, world.streams)
        self._world = world

    def occurs(self, name: str) -> bool:
        return self._world.clock.now_ms < CALM_MS and super().occurs(name)

    def gap(self, name: str) -> int:
        """Calls come in order of time, so those of later attempts never fail."""
        return super().gap(name) if self._world.clock.now_ms < CALM_MS else 1 << 60


def stormy(seed: int) -> WorldInputs:
    """Everything goes wrong for ninety minutes: no Spot capacity at times, an outage, all faults; then nothing does."""
    inputs = hostile(seed)
    rng = np.random.default_rng(seed)
    at_ms = np.r_[0, np.sort(rng.choice(np.arange(1, 89), 8, replace=False)) * MINUTE, CALM_MS]
    capacity = {each.id: (at_ms, np.r_[rng.integers(0, 4, 9), 100]) for each in inputs.pools if each.purchase == "spot"}
    return replace(
        inputs,
        market=replace(
            inputs.market,
            interruptions=Interruptions("trace", capacity=capacity, burst_ms=MINUTE),
            notice_probability=0.5,
            outages=(Outage(ZONES[0], 60 * MINUTE, CALM_MS),),
        ),
        services=replace(inputs.services, probability=dict.fromkeys(FAULTS, 0.3)),
    )


def bound_ms(inputs: WorldInputs, workers: int) -> int:
    """By when all must have ended: what was begun in the storm is noticed, and then the work is done by list scheduling
    (Graham, 1966), from the start and with its staging, on all workers that the pools admit."""
    noticed = SETTINGS.boot_timeout_ms + SETTINGS.lease_ms + 2 * SETTINGS.tick_ms
    launched = (
        LowestPrice().avoid_ms + SETTINGS.tick_ms + 2 * MINUTE
    )  # a pool that failed lately is avoided for a while
    work = inputs.work.runtime_ms + 30 * S
    return CALM_MS + noticed + launched + int(work.sum()) // workers + int(work.max())


@pytest.mark.parametrize("seed", range(20))
def test_every_job_ends_within_a_bound_once_faults_stop_and_capacity_is_back(seed: int) -> None:
    inputs = stormy(seed)
    watch = Watch(inputs, OURS)
    world = DecoupledWorld(inputs, OURS, watch)
    world.faults = FaultsUntil(world)
    tally = world.run()
    reckon(watch, tally)
    assert sum(tally.faults.values()) >= 100
    assert sum(end_ms > CALM_MS for end_ms in tally.jobs.end_ms) >= 2
    assert max(tally.jobs.end_ms) <= bound_ms(inputs, workers=sum(each.max for each in inputs.pools))


# L2 and scale -------------------------------------------------------------------------------------------------------
def test_without_jobs_there_are_no_workers() -> None:
    none = work_of((JobClass("job"),), [], [])
    tally = simulate(WorldInputs(1, 0, none, (pool(),), MarketInputs(), ServiceInputs()), OURS)
    assert tally.pools[0].instances == 0
    assert tally.end_ms <= SETTINGS.tick_ms


def burst(jobs: int, *, slots: int = 1) -> WorldInputs:
    """Jobs of 50 minutes at once; instances boot for 3 minutes, give or take one, as in the original's fault F6."""
    work = work_of((JobClass("job", vcpus=2),), [0] * jobs, [50 * MINUTE] * jobs)
    each = replace(pool(most=jobs, vcpus=2 * slots), boot=Dist("uniform", {"low": 120, "high": 240}))
    return WorldInputs(
        3, 0, work, (each,), MarketInputs(launch=constant(10)), ServiceInputs(), slots_per_instance=slots
    )


@pytest.mark.parametrize(("slots", "instances"), [(1, 100), (3, 34)])
def test_a_burst_of_n_jobs_launches_exactly_n_workers_and_stops_none_that_boots(slots: int, instances: int) -> None:
    inputs = burst(100, slots=slots)
    journal = Journal()
    tally = simulate(inputs, OURS, journal)
    lives = [entry.body for entry in journal.entries if entry.kind == "instance"]
    assert len(lives) == instances
    assert all(each.ready_ms >= 0 for each in lives)
    assert tally.attempts == 100
    assert max(tally.jobs.end_ms) <= 50 * MINUTE + 250 * S + SETTINGS.tick_ms
    check(Case(inputs, OURS))


def test_a_world_is_stopped_at_the_end_of_its_drain_and_says_what_is_unfinished() -> None:
    """No pool ever has room: the job is neither lost nor done, and no instance is billed."""
    inputs = burst(1)
    never = Interruptions("trace", capacity={"spot": (np.array([0]), np.array([0]))})
    tally = simulate(replace(inputs, market=MarketInputs(never), drain_ms=HOUR), OURS)
    assert list(tally.jobs.status) == [0]
    assert tally.pools[0].instances == 0
    assert HOUR <= tally.end_ms <= HOUR + SETTINGS.tick_ms
