"""Every fault that can be injected, twenty times and more, and nothing is lost; and the core against an adversary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from chaos import ADVERSARY, Chaos
from faulty import RARE, FaultyWorld
from reckoning import reckon
from smoke import check
from watch import Watch
from worlds import (
    FAULTS,
    MINUTE,
    ZONES,
    Case,
    S,
    hostile,
    policy_of,
)

from scheduler.policies.place import LowestPrice
from scheduler.policies.protect import OnNotice, Periodic
from scheduler.policies.retry import Immediate
from scheduler.policy import Policy
from scheduler.settings import Settings
from sim.clock import TIMER
from sim.inputs import Dist, Interruptions, Outage, WorldInputs

ENOUGH = 20
SETTINGS = Settings(lease_ms=2 * MINUTE, tick_ms=30 * S, keep_alive_ms=30 * S, roll_over_at=100)
OURS = policy_of(SETTINGS, place=LowestPrice("any"), protect=OnNotice(rebalance="checkpoint"))


# one trouble at a time ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Trouble:
    """What is met at least twenty times when the inputs are changed so."""

    met: str
    change: Callable[[WorldInputs], WorldInputs]
    policy: Policy = OURS


def _with_services(**fields: Any) -> Callable[[WorldInputs], WorldInputs]:
    return lambda inputs: replace(inputs, services=replace(inputs.services, **fields))


def faulty(*names: str, probability: float = 0.2) -> Callable[[WorldInputs], WorldInputs]:
    return _with_services(probability=dict.fromkeys(names, probability))


def market(**fields: Any) -> Callable[[WorldInputs], WorldInputs]:
    return lambda inputs: replace(inputs, market=replace(inputs.market, **fields))


def limited(**limits: float) -> Callable[[WorldInputs], WorldInputs]:
    found = {name.replace("__", "."): value for name, value in limits.items()}
    return _with_services(limit=found)


def _poisoned(inputs: WorldInputs) -> WorldInputs:
    first, *others = inputs.work.classes
    return replace(inputs, work=replace(inputs.work, classes=(replace(first, fail_probability=1.0), *others)))


def _capacity_comes_and_goes(inputs: WorldInputs) -> WorldInputs:
    up, down = (Dist("exponential", {"mean": mean}) for mean in (900.0, 300.0))
    return market(interruptions=Interruptions("weibull", up=up, down=down, burst_ms=0))(inputs)


def _outages(inputs: WorldInputs) -> WorldInputs:
    times = [(5 + 12 * number) * MINUTE for number in range(5)]
    return market(outages=tuple(Outage(ZONES[0], at, at + 6 * MINUTE) for at in times))(inputs)


def _with_jobs(**fields: Any) -> Callable[[WorldInputs], WorldInputs]:
    def change(inputs: WorldInputs) -> WorldInputs:
        classes = tuple(replace(klass, **fields) for klass in inputs.work.classes)
        return replace(inputs, work=replace(inputs.work, classes=classes))

    return change


def _all_of(*changes: Callable[[WorldInputs], WorldInputs]) -> Callable[[WorldInputs], WorldInputs]:
    def change(inputs: WorldInputs) -> WorldInputs:
        for each in changes:
            inputs = each(inputs)
        return inputs

    return change


TROUBLES = (
    *(Trouble(name, faulty(name, probability=0.3)) for name in (*FAULTS, *RARE)),
    Trouble("agent never registered", faulty("ssm.agent_never_registers")),
    Trouble("gang interrupted", _with_jobs(gang=2)),
    Trouble("interrupted without a notice", market(notice_probability=0.3)),
    Trouble("launch failed: capacity", _capacity_comes_and_goes),
    Trouble("launch failed: ec2.run_instances", limited(ec2__run_instances__bucket=1, ec2__run_instances__refill=0.02)),
    Trouble("launch failed: ec2.vcpu_quota", limited(ec2__vcpus__spot=8)),
    Trouble("lease expired", faulty("eventbridge.drop", probability=0.5)),
    Trouble("limited: lambda.concurrency", _with_services(limit={"lambda.concurrency": 1}, cycle_lambda_s=2.0)),
    Trouble(
        "limited: stepfunctions.transition",
        limited(stepfunctions__transition__bucket=1, stepfunctions__transition__refill=1.0),
    ),
    Trouble("notice after the end", market(notice_lead_ms=3 * S)),
    Trouble("notice lost", faulty("eventbridge.drop", probability=0.5)),
    Trouble("notice twice", faulty("eventbridge.duplicate", probability=0.5)),
    Trouble("poison job", _poisoned),
    Trouble("rebalance alone", market(rebalance_probability=1.0, notice_probability=0.3)),
    Trouble("rolled over", faulty()),
    Trouble("spell of failed launches", _capacity_comes_and_goes, policy_of(SETTINGS)),
    Trouble("stale counts", _with_services(count_staleness_s=20.0)),
    Trouble("stale write refused", faulty("lease.false_expiry")),
    Trouble("submitted twice", faulty("sqs.duplicate")),
    Trouble("success though killed", _with_jobs(success_string_missing=0.3)),
    Trouble("whole pool reclaimed", _all_of(_capacity_comes_and_goes, market(notice_probability=0.0))),
    Trouble("zone outage", _outages),
)


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.met.replace(" ", "-"))
def test_nothing_is_lost_in_trouble(trouble: Trouble) -> None:
    met = 0
    for seed in range(40):
        met += check(Case(trouble.change(hostile(seed)), trouble.policy)).seen[trouble.met]
        if met >= ENOUGH:
            return
    pytest.fail(f"{trouble.met}: met {met} times only")


def test_nothing_is_lost_when_the_policy_changes_in_mid_flight() -> None:
    changed = replace(OURS, protect=Periodic(every_ms=MINUTE), retry=Immediate(), place=LowestPrice())
    for seed in range(ENOUGH):
        inputs = faulty("lease.false_expiry", "eventbridge.drop")(hostile(seed))
        watch = Watch(inputs, OURS)
        world = FaultyWorld(inputs, OURS, watch)

        def change(policy: Policy, world: FaultyWorld = world, watch: Watch = watch) -> None:
            world.policy = watch.policy = policy

        world.clock.at(20 * MINUTE, TIMER, change, changed)
        reckon(watch, world.run())


# the pure core against an adversary -----------------------------------------------------------------------------------
WRONGS = (
    "cancelled",
    "claim refused",
    "commands performed twice",
    "dependency twice",
    "event dropped",
    "event twice",
    "index stale",
    "instance lost",
    "lease expired though alive",
    "policy changed",
    "sqs twice",
    "stale write",
    "start undeliverable",
    "timer twice",
    "write twice",
)


def test_nothing_is_lost_whatever_order_messages_take() -> None:
    """Messages late, twice, in any order or never; commands done twice; clocks a minute apart; policies changed."""
    seen: Counter[str] = Counter()
    attempts = 0
    for seed in range(300):
        chaos = Chaos(seed, ADVERSARY, jobs=15, hosts=4)
        chaos.run(hostile_turns=1_500, calm_turns=20_000)
        seen.update(chaos.seen)
        attempts += sum(record.epoch for record in chaos.records.values())
    assert not {wrong: seen[wrong] for wrong in WRONGS if seen[wrong] < ENOUGH}
    assert attempts > 2 * 300 * 15  # it hurts
