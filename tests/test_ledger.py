"""The bill: two ways of adding up that agree, and every rule of EC2's billing computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from smoke import worlds as count_of
from worlds import HOUR, MINUTE, Case, S, cases, flat, policy_of, pool, steps, work_of

from scheduler.policies.place import LowestPrice
from scheduler.policies.protect import NoProtection
from scheduler.settings import Settings
from sim.inputs import Billing, Interruptions, JobClass, MarketInputs, Pool, ServiceInputs, Work, WorldInputs
from spotbed.journal import InstanceFact, Journal
from spotbed.ledger import Bill, Costs, LedgerError, PoolFacts, make_bill
from spotbed.metering import INSTANCE_CAUSES, JobColumns, PoolUse, Tally
from spotbed.metrics import job_times, late_penalty_usd
from spotbed.pricebook import PriceBook
from spotbed.services_preset import ServicesPreset
from spotbed.worlds import simulate

BOOK, PRESET = PriceBook.load(), ServicesPreset.load()
PLAIN = JobClass("job", vcpus=2)
AT_ONCE = policy_of(Settings(keep_alive_ms=0, tick_ms=MINUTE), place=LowestPrice("any"), protect=NoProtection())


def world(pools: tuple[Pool, ...], runtime_ms: list[int], **fields: Any) -> WorldInputs:
    """Jobs that are all submitted at once, no latency and no interruptions."""
    work = work_of((PLAIN,), [0] * len(runtime_ms), runtime_ms)
    inputs = WorldInputs(1, 0, work, pools, MarketInputs(), ServiceInputs())
    return replace(inputs, **fields)


def run(inputs: WorldInputs) -> tuple[Tally, list[InstanceFact]]:
    journal = Journal()
    tally = simulate(inputs, AT_ONCE, journal)
    return tally, [entry.body for entry in journal.entries if entry.kind == "instance"]


def bill_of(tally: Tally, inputs: WorldInputs, costs: Costs | None = None, **fields: float) -> Bill:
    facts = [PoolFacts(each.purchase, each.on_demand_usd_per_hour) for each in inputs.pools]
    slots = inputs.slots_per_instance
    return make_bill(tally, facts, "decoupled", BOOK, PRESET, costs or Costs(), slots=slots, **fields)


def by_cause(use: PoolUse) -> dict[str, float]:
    return {cause: usd for cause, usd in zip(INSTANCE_CAUSES, use.usd, strict=True) if usd}


def close(value: float) -> object:
    return pytest.approx(value, rel=1e-12, abs=1e-15)


# the rules of EC2 -----------------------------------------------------------------------------------------------------
def test_an_instance_is_billed_by_the_second_from_its_start_with_boot_and_work_apart() -> None:
    inputs = world((pool(price=flat(0.36), boot_s=40),), [100 * S])
    tally, (instance,) = run(inputs)
    assert instance.ended_ms - instance.launched_ms == 140 * S
    assert by_cause(tally.pools[0]) == {"useful": close(0.0100), "boot": close(0.0040)}
    assert tally.pools[0].instance_usd == close(0.0140)
    assert list(tally.jobs.usd) == [close(0.0100)]


def test_a_short_instance_pays_for_a_minute() -> None:
    pools = (pool(price=flat(0.36), boot_s=20),)
    tally, (instance,) = run(world(pools, [10 * S]))
    assert instance.minimum_ms == 30 * S
    assert by_cause(tally.pools[0]) == {"useful": close(0.0010), "boot": close(0.0020), "minimum": close(0.0030)}
    free, (short,) = run(world(pools, [10 * S], billing=Billing(minimum_s=0)))
    assert short.minimum_ms == 0
    assert by_cause(free.pools[0]) == {"useful": close(0.0010), "boot": close(0.0020)}


def interrupted_after(lifetime_ms: int, billing: Billing) -> tuple[Tally, list[InstanceFact]]:
    """One job of two hours, on Spot; every instance goes `lifetime_ms` after it began to run."""
    lifetimes = Interruptions(
        "lifetimes", lifetimes_ms=np.array([lifetime_ms], dtype=np.int64), survival=np.array([0.0])
    )
    market = MarketInputs(lifetimes, notice_probability=0.0)
    pools = (pool(price=flat(0.36), boot_s=60, most=1),)
    return run(world(pools, [2 * HOUR], billing=billing, market=market, drain_ms=2 * HOUR))


def test_an_instance_that_ec2_takes_within_its_first_hour_is_free_where_that_rule_holds() -> None:
    tally, instances = interrupted_after(30 * MINUTE, Billing(first_hour_free=True))
    taken = [each for each in instances if each.reason == "interrupted"]
    use = tally.pools[0]
    assert len(taken) >= 2
    assert sum(each.usd for each in taken) == 0
    assert use.free_ms == len(taken) * 30 * MINUTE
    assert use.refunded_usd == close(len(taken) * 0.18)
    charged = [each for each in instances if each.pool == "spot" and each.reason != "interrupted"]
    assert use.instance_usd == close(sum(each.usd for each in charged))
    assert tally.jobs.usd[0] == close(sum(use.usd[:4]))  # the job's attempts were free too
    paid, instances = interrupted_after(30 * MINUTE, Billing(first_hour_free=False))
    assert paid.pools[0].free_ms == paid.pools[0].refunded_usd == 0
    assert [each.usd for each in instances if each.reason == "interrupted"] == [close(0.18)] * len(taken)


def test_the_first_hour_is_over_after_an_hour() -> None:
    tally, instances = interrupted_after(HOUR, Billing(first_hour_free=True))
    taken = [each for each in instances if each.reason == "interrupted"]
    assert taken
    assert all(each.usd == close(0.36) for each in taken)
    assert tally.pools[0].free_ms == 0


def test_an_instance_that_we_stop_is_never_free() -> None:
    inputs = world((pool(price=flat(0.36)),), [10 * MINUTE], billing=Billing(first_hour_free=True))
    tally, (instance,) = run(inputs)
    assert instance.usd == close(0.36 * 11 / 60)
    assert tally.pools[0].free_ms == 0


def test_price_changes_are_integrated() -> None:
    """0.36 USD/h for the first 10 minutes, 0.72 for the next 5, then 0.18; boot 1 minute, work 20."""
    path = steps([0, 10 * MINUTE, 15 * MINUTE], [0.36, 0.72, 0.18])
    tally, (instance,) = run(world((pool(price=path, boot_s=60),), [20 * MINUTE]))
    boot = 0.36 * 1 / 60
    work = (0.36 * 9 + 0.72 * 5 + 0.18 * 6) / 60
    assert instance.usd == close(boot + work)
    assert by_cause(tally.pools[0]) == {"useful": close(work), "boot": close(boot)}


def test_slots_share_their_instance() -> None:
    """Two jobs of 5 and 10 minutes on one instance of two slots: five minutes of half an instance are idle."""
    inputs = world((pool(price=flat(0.36), boot_s=60, vcpus=4),), [5 * MINUTE, 10 * MINUTE], slots_per_instance=2)
    tally, (instance,) = run(inputs)
    assert instance.usd == close(0.36 * 11 / 60)
    halves = {"useful": 15.0, "boot": 2.0, "idle": 5.0}
    assert by_cause(tally.pools[0]) == {cause: close(0.36 * half / 2 / 60) for cause, half in halves.items()}
    lines = {line.cause: line.usage for line in bill_of(tally, inputs).lines if line.item == "ec2.spot"}
    assert lines == {cause: close(half * 30) for cause, half in halves.items()}


# the other lines ------------------------------------------------------------------------------------------------------
def test_storage_is_billed_for_the_time_of_instances() -> None:
    inputs = world((pool(boot_s=60),), [10 * MINUTE])
    tally, _ = run(inputs)
    lines = {line.cause: line for line in bill_of(tally, inputs, Costs(ebs_gib=8)).lines if line.item == "ebs.gp3"}
    assert {cause: line.usage for cause, line in lines.items()} == {"useful": close(8 * 600), "boot": close(8 * 60)}
    assert lines["useful"].usd == close(8 * 600 * BOOK.usd("ebs.gp3"))


def hand_made(on_demand_usd: float, by_hour: dict[int, float]) -> tuple[Tally, list[PoolFacts]]:
    use = PoolUse("od", instance_usd=on_demand_usd, instance_ms=4 * HOUR)
    use.usd[0], use.ms[0] = on_demand_usd, 4 * HOUR
    return Tally(JobColumns(1), [use], on_demand_usd_by_hour=by_hour), [PoolFacts("on-demand", 1.0)]


def test_commitments_cover_hour_by_hour_and_are_paid_whether_used_or_not() -> None:
    """1.5 USD/h at 25 % off cover 2 USD of list price in each hour: all of hour 0 (1 USD) and two thirds of hour 1."""
    tally, facts = hand_made(4.0, {0: 1.0, 1: 3.0})
    costs = Costs(commitments=((1.5, 0.25),))
    bill = make_bill(tally, facts, "decoupled", BOOK, PRESET, costs, hours=4.0)
    lines = {line.item: line.usd for line in bill.lines}
    assert lines["ec2.on-demand"] == close(4.0 * (1 - 3.0 / 4.0))
    assert lines["fixed.commitment"] == close(4 * 1.5)


def test_hours_of_on_demand_use_are_kept_for_commitments() -> None:
    """90 minutes at 0.60 USD/h from minute 50 on: the hours have 10, 60 and 20 minutes."""
    work = replace(work_of((PLAIN,), [50 * MINUTE], [89 * MINUTE]))
    inputs = world((pool("od", "on-demand", price=flat(0.6), boot_s=60),), [0], billing=Billing(by_hour=True))
    tally, (instance,) = run(replace(inputs, work=work))
    assert (instance.launched_ms, instance.ended_ms) == (50 * MINUTE, 140 * MINUTE)
    assert tally.on_demand_usd_by_hour == {0: close(0.1), 1: close(0.6), 2: close(0.2)}


def test_fixed_lines_and_penalties() -> None:
    tally, facts = hand_made(0.0, {})
    bill = make_bill(
        tally, facts, "decoupled", BOOK, PRESET, Costs(fixed=(("licence server", 0.25),)), hours=8.0, penalty_usd=3.0
    )
    lines = {line.item: (line.cause, line.usd) for line in bill.lines}
    assert lines["fixed.licence server"] == ("fixed", close(2.0))
    assert lines["penalty.late"] == ("fixed", 3.0)


def test_the_penalty_counts_the_hours_after_the_deadline() -> None:
    """Done 90 minutes late, done in time, given up (late until the end), and without a deadline."""
    classes = (JobClass("due", deadline_ms=HOUR, late_penalty_usd_per_hour=2.0), JobClass("free"))
    work: Work = work_of(classes, [0, 0, 0, 0], [1, 1, 1, 1], klass=[0, 0, 0, 1])
    tally = Tally(JobColumns(4), [])
    for number, (status, end_ms) in enumerate([(1, 150 * MINUTE), (1, HOUR), (2, 5 * MINUTE), (1, 9 * HOUR)]):
        tally.jobs.status[number], tally.jobs.end_ms[number] = status, end_ms
    assert late_penalty_usd(job_times(tally, work), work, end_ms=4 * HOUR) == close(2.0 * (1.5 + 3.0))


def test_a_spent_budget_stops_launches_and_says_so() -> None:
    """Two jobs of an hour at 0.36 USD/h spend 0.50 USD within 42 minutes; the jobs that come later find no worker."""
    work = work_of((PLAIN,), [0, 0, 3 * HOUR, 3 * HOUR], [HOUR] * 4)
    inputs = replace(world((pool(price=flat(0.36)),), [0], budget_usd=0.5), work=work)
    tally, instances = run(inputs)
    assert len(instances) == 2
    assert list(tally.jobs.status) == [1, 1, 0, 0]
    (note,) = tally.notes
    assert note.startswith("The budget of 0.50 USD was spent after 0.7 h")
    unlimited, _ = run(replace(inputs, budget_usd=0.0))
    assert list(unlimited.jobs.status) == [1, 1, 1, 1]


# the two ways ---------------------------------------------------------------------------------------------------------
def test_a_second_that_nobody_accounts_for_is_an_error() -> None:
    inputs = world((pool(),), [10 * MINUTE])
    tally, _ = run(inputs)
    tally.pools[0].usd[0] += 2e-9
    with pytest.raises(LedgerError, match="by cause"):
        bill_of(tally, inputs)


@count_of(60)
@given(cases("price"))
def test_the_two_ways_agree_in_every_world_and_jobs_and_overhead_make_up_the_whole(case: Case) -> None:
    tally = simulate(case.inputs, case.policy)
    hours = tally.end_ms / HOUR
    costs = Costs(ebs_gib=8, fixed=(("line", 0.01),), commitments=((0.2, 0.3),))
    bill = bill_of(tally, case.inputs, costs, hours=hours)
    assert all(line.usd >= -1e-12 and line.usage >= 0 for line in bill.lines)
    assert math.isclose(sum(line.usd for line in bill.lines), bill.total_usd, rel_tol=1e-9)
    assert math.isclose(sum(bill.by_cause().values()), bill.total_usd, rel_tol=1e-9)
    overhead = sum(sum(use.usd[INSTANCE_CAUSES.index("boot") :]) for use in tally.pools)
    whole = sum(use.instance_usd for use in tally.pools)
    assert math.isclose(sum(tally.jobs.usd) + overhead, whole, rel_tol=1e-9, abs_tol=1e-12)
