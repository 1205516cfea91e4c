"""Policies that only a whole world can show: a zone that is lost, a bucket that all jobs share, instances that age."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from worlds import HOUR, MINUTE, flat, policy_of, pool, work_of

from scheduler.policies.place import Diversified, EvenOverZones, LowestPrice
from scheduler.policies.protect import AgeAware, Daly, Periodic
from scheduler.policies.retry import Immediate, TokenBucket
from scheduler.policies.scale import BacklogAndBusy, HourOfDay, StaticStability
from scheduler.policy import Place, Policy, Scale
from scheduler.settings import Settings
from sim.decoupled import DecoupledWorld
from sim.inputs import JobClass, MarketInputs, Outage, Pool, ServiceInputs, Work, WorldInputs
from spotbed.metering import DONE, GAVE_UP, Tally

ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")


def world(work: Work, pools: tuple[Pool, ...], market: MarketInputs | None = None, **more: object) -> WorldInputs:
    return WorldInputs(7, 0, work, pools, market or MarketInputs(), ServiceInputs(), **more)  # type: ignore[arg-type]


def run(inputs: WorldInputs, policy: Policy) -> Tally:
    return DecoupledWorld(inputs, policy).run()


# a zone is lost while launches fail ---------------------------------------------------------------------------------
def steady_work(until_ms: int = 8 * HOUR) -> Work:
    """One job of 55 minutes every ten minutes: between five and six run at a time. Their work is kept."""
    submits = list(range(0, until_ms, 10 * MINUTE))
    return work_of((JobClass("job", checkpointable=True),), submits, [55 * MINUTE] * len(submits))


def waits_after_the_loss(place: Place, scale: Scale) -> tuple[list[int], int]:
    """The waits of the jobs that were submitted in the first hour without the zone, and how many attempts it ended. The
    other zones give no instance either: everybody launches there then."""
    work = steady_work()
    begins, ends = 4 * HOUR + MINUTE, 6 * HOUR
    steps, counts = np.array([0, begins, ends], dtype=np.int64), np.array([20, 0, 20], dtype=np.int64)
    pools = tuple(pool(zone, az=zone, most=20, price=flat(0.06 + 0.001 * n)) for n, zone in enumerate(ZONES))
    market = MarketInputs(outages=(Outage(ZONES[0], begins, ends),), room=dict.fromkeys(ZONES, (steps, counts)))
    settings = Settings(keep_alive_ms=2 * HOUR)
    policy = policy_of(settings, protect=Periodic(every_ms=MINUTE), place=place, scale=scale)
    tally = run(world(work, pools, market), policy)
    assert set(tally.jobs.status) == {DONE}
    hit = [n for n in range(len(work)) if begins <= work.submit_ms[n] < begins + HOUR]
    lost = sum(attempts - 1 for attempts in tally.jobs.attempts)
    return [tally.jobs.first_start_ms[n] - int(work.submit_ms[n]) for n in hit], lost


def test_static_stability_needs_no_launch_when_a_zone_is_lost_and_launches_fail() -> None:
    waits, lost = waits_after_the_loss(EvenOverZones(), StaticStability(zones=3))
    assert 1 <= lost <= 3  # of nine workers a third, some of them idle
    assert max(waits) <= MINUTE


def test_without_the_reserve_or_without_the_zones_the_jobs_wait() -> None:
    even, lost = waits_after_the_loss(EvenOverZones(), BacklogAndBusy())
    assert 1 <= lost <= 3
    assert max(even) > 10 * MINUTE
    piled, all_lost = waits_after_the_loss(LowestPrice(), StaticStability(zones=3))
    assert all_lost >= 5  # the reserve stood in the zone that was lost
    assert max(piled) > 10 * MINUTE


def test_diversified_counts_pools_and_so_piles_up_in_a_zone_of_many_pools() -> None:
    pools = (*(pool(f"a{n}", az=ZONES[0]) for n in range(4)), pool("b", az=ZONES[1]), pool("c", az=ZONES[2]))
    work = work_of((JobClass("job"),), [0] * 12, [HOUR] * 12)
    inputs = world(work, pools, MarketInputs(outages=(Outage(ZONES[0], 30 * MINUTE, HOUR, launches_fail=False),)))
    lost = {
        type(place).__name__: sum(n - 1 for n in run(inputs, policy_of(place=place)).jobs.attempts)
        for place in (Diversified(), EvenOverZones())
    }
    assert lost == {"Diversified": 8, "EvenOverZones": 4}


# workers before the jobs --------------------------------------------------------------------------------------------
def test_workers_that_the_hour_asks_for_are_ready_when_the_jobs_come_and_the_run_ends() -> None:
    """A job at midnight makes the class known; eight at 8:00 find eight workers, which otherwise boot first."""
    work = work_of((JobClass("job"),), [0, *[8 * HOUR] * 8], [MINUTE] * 9)
    hours = HourOfDay("0=0 8=8 9=0")
    inputs = world(work, (pool(boot_s=300),))

    def wait(scale: object) -> int:
        tally = run(inputs, policy_of(Settings(keep_alive_ms=10 * MINUTE), scale=scale))
        assert set(tally.jobs.status) == {DONE}
        return max(tally.jobs.first_start_ms[1:]) - 8 * HOUR

    assert wait(hours) < MINUTE
    assert wait(BacklogAndBusy()) >= 5 * MINUTE


# a bucket that all jobs share ---------------------------------------------------------------------------------------
def failing(count: int, retries: int) -> WorldInputs:
    """Jobs that always fail, one after the other."""
    job = JobClass("job", fail_probability=1.0, retries=retries)
    submits = [number * 10 * MINUTE for number in range(count)]
    return world(work_of((job,), submits, [MINUTE] * count), (pool(boot_s=0),))


@pytest.mark.parametrize(("capacity", "retries"), [(0, 0), (4, 0), (5, 1), (50, 10), (500, 40)])
def test_jobs_that_always_fail_are_retried_as_often_as_the_bucket_pays_and_no_more(capacity: int, retries: int) -> None:
    """Twenty jobs with two retries each would be tried 40 times again."""
    inputs = failing(20, retries=2)
    bucket = TokenBucket(replace(TokenBucket().base, base_ms=0), capacity=capacity)
    tally = run(inputs, policy_of(retry=bucket))
    assert set(tally.jobs.status) == {GAVE_UP}
    assert sum(tally.jobs.attempts) == 20 + retries
    assert sum(run(inputs, policy_of(retry=Immediate())).jobs.attempts) == 60


@pytest.mark.parametrize("journaled", [False, True])
def test_successes_fill_the_bucket_at_one_retry_for_five(journaled: bool) -> None:
    """An empty bucket, and a job that always fails after each eleven that succeed: at the k-th failing job 11 k tokens
    have come in, and what is left of them pays two retries, or three when fives have added up."""
    good, bad = JobClass("good"), JobClass("bad", fail_probability=1.0, retries=3)
    klass = ([0] * 11 + [1]) * 10
    submits = [number * 10 * MINUTE for number in range(len(klass))]
    inputs = world(work_of((good, bad), submits, [MINUTE] * len(klass), klass=klass), (pool(boot_s=0),))
    bucket = TokenBucket(replace(TokenBucket().base, base_ms=0), capacity=500, spent=500)
    made = DecoupledWorld(inputs, policy_of(retry=bucket))
    made.usual = not journaled
    tally = made.run()
    tries = [tally.jobs.attempts[n] for n in range(len(klass)) if klass[n]]
    assert tries == [3, 3, 3, 3, 4, 3, 3, 3, 3, 4]
    assert sum(each - 1 for each in tries) == 110 // 5


# instances that age -------------------------------------------------------------------------------------------------
def test_a_job_on_an_old_instance_writes_fewer_checkpoints_than_one_on_a_young_one() -> None:
    """Two jobs of 40 h, one after the other on one worker: the second starts on an instance that is 42 h old."""
    settings = Settings(checkpoint_write_ms=5 * MINUTE, keep_alive_ms=HOUR)
    work = work_of((JobClass("job", checkpointable=True),), [0, 0], [40 * HOUR] * 2)
    inputs = world(work, (pool(most=1, boot_s=0),))

    def written(protect: object) -> list[int]:
        tally = run(inputs, policy_of(settings, protect=protect))
        ends = tally.jobs.end_ms
        return [ms - 40 * HOUR for ms in (ends[0] - tally.jobs.first_start_ms[0], ends[1] - ends[0])]

    young, old = written(AgeAware(shape=0.5, mtbf_ms=24 * HOUR))
    assert young > old > 0
    first, second = written(Daly(mtbf_ms=24 * HOUR))
    assert first == second
    assert old < first < young
