"""Gangs: together or not at all, one interruption for all, one end, every member's time on the bill, nobody starved."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import MINUTE, S, constant, policy_of, pool, work_of

from scheduler.gangs import HOLD, PASS, START, turn
from scheduler.policies.protect import NoProtection, Periodic
from scheduler.settings import Settings
from sim.decoupled import DecoupledWorld
from sim.inputs import Interruptions, JobClass, MarketInputs, Pool, ServiceInputs, Work, WorldInputs
from spotbed.journal import AttemptFact, Journal
from spotbed.metering import DONE, USEFUL, Tally

QUICK = Settings(tick_ms=10 * S, keep_alive_ms=30 * S, checkpoint_write_ms=5 * S)
PAIR, FOUR = JobClass("pair", gang=2, checkpointable=True), JobClass("four", gang=4, checkpointable=True)
ONE = JobClass("one")


def run(
    work: Work, pools: tuple[Pool, ...], *, protect: object = None, market: MarketInputs | None = None, **fields: object
) -> tuple[Tally, Journal]:
    """A world without latencies."""
    inputs = WorldInputs(1, 0, work, pools, market or MarketInputs(), ServiceInputs(), **fields)  # type: ignore[arg-type]
    journal = Journal()
    return DecoupledWorld(inputs, policy_of(QUICK, protect=protect or NoProtection()), journal).run(), journal


def attempts(journal: Journal) -> dict[tuple[str, int], list[AttemptFact]]:
    """The members of each attempt, by job and epoch."""
    found: dict[tuple[str, int], list[AttemptFact]] = defaultdict(list)
    for entry in journal.entries:
        if entry.kind == "attempt":
            found[entry.body.job, entry.body.attempt].append(entry.body)
    return found


# the rule -------------------------------------------------------------------------------------------------------------
@given(st.integers(2, 100), st.integers(1, 200), st.integers(0, 200))
def test_a_gang_starts_holds_or_lets_pass(seats: int, free: int, more: int) -> None:
    answer = turn(seats, free, free + more)
    assert answer == (START if free >= seats else HOLD if free + more >= seats else PASS)


# together -------------------------------------------------------------------------------------------------------------
def test_all_members_start_and_end_together_and_the_job_ends_once() -> None:
    tally, journal = run(work_of((FOUR,), [0], [10 * MINUTE]), (pool(most=6),))
    ((members),) = attempts(journal).values()
    assert len({each.worker for each in members}) == 4
    assert len({(each.start_ms, each.end_ms, each.cause) for each in members}) == 1
    assert members[0].end_ms - members[0].start_ms == 10 * MINUTE
    assert (tally.jobs.status[0], tally.jobs.attempts[0], tally.attempts) == (DONE, 1, 1)
    assert (tally.duplicate_completions, tally.stale_writes) == (0, 0)
    assert sum(entry.kind == "Complete" and entry.what == "command" for entry in journal.entries) == 4
    assert tally.operations["complete"] == 1


def test_the_fleet_launches_as_many_as_the_gang_has_and_each_is_on_the_bill() -> None:
    tally, journal = run(work_of((FOUR,), [0], [10 * MINUTE]), (pool(most=50),))
    assert tally.pools[0].instances == 4
    assert tally.pools[0].ms[USEFUL] == 4 * 10 * MINUTE
    assert tally.jobs.useful_ms[0] == 10 * MINUTE  # the job's own work, which its wait is measured against
    usd = sum(each.usd for each in attempts(journal)["four-0", 1])
    assert tally.jobs.usd[0] == pytest.approx(usd, rel=1e-12)
    assert usd == pytest.approx(4 * 10 / 60 * 0.068, rel=1e-12)


def test_slots_of_one_instance_can_be_a_gang() -> None:
    tally, _ = run(work_of((PAIR,), [0], [MINUTE]), (pool(most=5),), slots_per_instance=2)
    assert (tally.pools[0].instances, tally.jobs.status[0]) == (1, DONE)


def test_a_gang_is_as_slow_as_its_slowest_member() -> None:
    slow = JobClass("pair", gang=2, runtime_on={"m5": 1.5})
    pools = (pool("fast", most=1), pool("slow", most=1, instance_type="m5.xlarge", price=None))
    _, journal = run(work_of((slow,), [0], [10 * MINUTE]), pools)
    ((members),) = attempts(journal).values()
    assert {each.pool for each in members} == {"fast", "slow"}
    assert {each.end_ms - each.start_ms for each in members} == {15 * MINUTE}


# interruptions --------------------------------------------------------------------------------------------------------
def shortage(at_ms: int, until_ms: int, before: int, during: int) -> MarketInputs:
    """EC2 has `before` instances, and `during` for a while; it says nothing in advance."""
    steps = np.array([0, at_ms, until_ms, 1 << 40]), np.array([before, during, before, before])
    return MarketInputs(
        Interruptions("trace", capacity={"spot": steps}, burst_ms=0), notice_probability=0.0, launch=constant(0)
    )


@pytest.mark.parametrize(("every_ms", "kept_ms"), [(0, 0), (2 * MINUTE, 4 * MINUTE)])
def test_one_interruption_ends_all_and_costs_all_their_work_since_the_checkpoint(every_ms: int, kept_ms: int) -> None:
    protect = Periodic(every_ms=every_ms) if every_ms else NoProtection()
    market = shortage(6 * MINUTE + 30 * S, 8 * MINUTE, 4, 3)
    tally, journal = run(work_of((FOUR,), [0], [10 * MINUTE]), (pool(most=4),), market=market, protect=protect)
    first, second = attempts(journal)["four-0", 1], attempts(journal)["four-0", 2]
    assert len({each.end_ms for each in first}) == 1
    assert Counter(each.cause for each in first) == {"interrupted": 4}
    assert {each.useful_ms for each in first} == {kept_ms}
    assert all(each.lost_ms + each.checkpoint_ms + kept_ms == each.end_ms - each.start_ms for each in first)
    assert {each.useful_ms for each in second} == {10 * MINUTE - kept_ms}
    assert (tally.jobs.status[0], tally.jobs.interruptions[0], tally.pools[0].interruptions) == (DONE, 1, 1)
    assert len({each.worker for each in first} & {each.worker for each in second}) == 3  # the others went on
    assert tally.pools[0].ms[USEFUL] == 4 * 10 * MINUTE


# together with others -------------------------------------------------------------------------------------------------
def starts(journal: Journal) -> dict[str, int]:
    return {job: members[0].start_ms for (job, epoch), members in attempts(journal).items() if epoch == 1}


def test_small_jobs_do_not_starve_a_gang() -> None:
    """Four workers, always busy with jobs of a minute that keep coming; the gang of four comes in the middle."""
    submit = sorted([*range(0, 60 * MINUTE, 14 * S), 20 * MINUTE + 1])
    klass = [int(at_ms == 20 * MINUTE + 1) for at_ms in submit]
    work = work_of((ONE, FOUR), submit, [MINUTE] * len(submit), klass=klass)
    tally, journal = run(work, (pool(most=4),))
    begin_ms = starts(journal)[f"four-{klass.index(1)}"]
    older = sum(at_ms <= 20 * MINUTE for at_ms in submit)
    assert set(tally.jobs.status) == {DONE}
    assert begin_ms <= (older / 4 + 3) * MINUTE
    after = [starts(journal)[f"one-{index}"] for index in range(older + 1, len(submit))]
    assert min(after) >= begin_ms  # nothing behind it passed, for the fleet had four


def test_while_the_fleet_is_too_small_for_a_gang_others_pass() -> None:
    """EC2 has two instances for an hour; the gang of four waits, the jobs behind it do not."""
    market = shortage(0, 60 * MINUTE, 10, 2)
    work = work_of((FOUR, ONE), [0, *[1] * 20], [MINUTE] * 21, klass=[0, *[1] * 20])
    tally, journal = run(work, (pool(most=8),), market=market)
    begun = starts(journal)
    assert max(at_ms for job, at_ms in begun.items() if job != "four-0") < 20 * MINUTE
    assert begun["four-0"] >= 60 * MINUTE
    assert set(tally.jobs.status) == {DONE}


def test_two_gangs_do_not_wait_for_each_others_workers() -> None:
    work = work_of((FOUR, JobClass("three", gang=3)), [0, 0, 1, 2], [5 * MINUTE] * 4, klass=[0, 1, 0, 1])
    tally, journal = run(work, (pool(most=5),))
    assert set(tally.jobs.status) == {DONE}
    spans = sorted((members[0].start_ms, members[0].end_ms, len(members)) for members in attempts(journal).values())
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))  # 3 + 4 > 5
    assert [size for *_, size in spans] == [4, 3, 4, 3]


def test_an_idle_worker_stays_while_a_gang_gathers_and_goes_when_none_does() -> None:
    """Launches come one by one, further apart than the keep-alive."""
    services = ServiceInputs(limit={"ec2.run_instances.bucket": 1, "ec2.run_instances.refill": 1 / 60})
    inputs = WorldInputs(1, 0, work_of((FOUR,), [0], [MINUTE]), (pool(most=9),), MarketInputs(), services)
    tally = DecoupledWorld(inputs, policy_of(QUICK)).run()
    assert (tally.jobs.status[0], tally.pools[0].instances) == (DONE, 4)
    assert tally.limits["ec2.run_instances"] > 0


def test_a_gang_larger_than_all_pools_holds_nobody() -> None:
    work = work_of((JobClass("nine", gang=9), ONE), [0, 1, 2], [MINUTE] * 3, klass=[0, 1, 1])
    inputs = WorldInputs(1, 0, work, (pool(most=4),), MarketInputs(), ServiceInputs(), drain_ms=3 * 60 * MINUTE)
    tally = DecoupledWorld(inputs, policy_of(QUICK)).run()
    assert list(tally.jobs.status) == [0, DONE, DONE]


def test_nobody_waits_for_workers_that_a_spent_budget_does_not_launch() -> None:
    """Launches come one in a minute, and the budget is spent when two of four are there."""
    services = ServiceInputs(limit={"ec2.run_instances.bucket": 1, "ec2.run_instances.refill": 1 / 60})
    inputs = WorldInputs(
        1, 0, work_of((FOUR,), [0], [MINUTE]), (pool(most=9),), MarketInputs(), services, budget_usd=0.002
    )
    tally = DecoupledWorld(inputs, policy_of(QUICK)).run()
    assert (tally.jobs.status[0], tally.pools[0].instances) == (0, 2)
    assert tally.end_ms < 10 * MINUTE


def test_a_gang_starts_when_the_last_of_its_starts_is_heard() -> None:
    """The command to the first member is refused at first, and told again half a minute later."""
    services = ServiceInputs({"start_retried": (constant(30),)}, {"ssm.error": 1.0})
    inputs = WorldInputs(1, 0, work_of((FOUR,), [0], [MINUTE]), (pool(most=9),), MarketInputs(), services)
    world = DecoupledWorld(inputs, policy_of(QUICK), journal := Journal())
    starts, usual = iter(range(4)), world.troubles.chances.found
    world.troubles.chances.found = lambda: usual() if next(starts) == 0 else []  # type: ignore[method-assign]
    world.run()
    ((members),) = attempts(journal).values()
    assert {each.start_ms for each in members} == {90 * S}


def test_each_member_reads_the_input_and_one_writes_the_output() -> None:
    stages = JobClass("pair", gang=2, input_gib=3.0, output_gib=1.0)
    tally, _ = run(work_of((stages,), [0], [MINUTE]), (pool(most=9),))
    assert tally.gib == {"in": 6.0, "out": 1.0}


def test_a_gang_holds_one_set_of_licences() -> None:
    licensed = JobClass("pair", gang=2, licences={"solver": 1})
    tally, journal = run(work_of((licensed,), [0, 0], [MINUTE] * 2), (pool(most=9),), licences={"solver": 1})
    (first, second) = sorted(starts(journal).values())
    assert second - first >= MINUTE
    assert set(tally.jobs.status) == {DONE}
