"""The usual case in one piece (sim.usual) changes nothing: journals and tallies are those of the general methods."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from worlds import FAULTS, HOUR, MINUTE, SLOW, S, constant, flat, policy_of, pool, steps, work_of

from scheduler.policies.order import ShortestJobFirst
from scheduler.policies.place import LowestPrice, OnDemandFallback
from scheduler.policies.protect import Daly, NoProtection, OnNotice, Periodic
from scheduler.policy import Policy
from scheduler.settings import Settings
from sim.decoupled import DecoupledWorld
from sim.inputs import Billing, Interruptions, JobClass, MarketInputs, ServiceInputs, WorldInputs
from sim.usual import Usual
from spotbed.journal import Journal
from spotbed.metering import Tally

JOBS = 300
CLASSES = (
    JobClass("plain", vcpus=2, checkpointable=True),
    JobClass("poison", vcpus=2, fail_probability=0.2, retries=1),
    JobClass("small", vcpus=1, timeout_ms=8 * MINUTE, late_penalty_usd_per_hour=1.0),
    JobClass("slower", vcpus=2, runtime_on={"m5": 1.5}),
)
MOVING = steps([0, 40 * MINUTE, 9 * HOUR], [0.06, 0.09, 0.05])
POLICIES = {
    "defaults": policy_of(Settings(keep_alive_ms=30 * S)),
    "rolls over": policy_of(Settings(keep_alive_ms=0, roll_over_at=60, events_per_cycle=13), protect=NoProtection()),
    "periodic": policy_of(
        Settings(checkpoint_write_ms=5 * S, checkpoint_restore_ms=9 * S), protect=Periodic(every_ms=MINUTE)
    ),
    "daly": policy_of(Settings(checkpoint_write_ms=5 * S), protect=Daly(mtbf_ms=HOUR), order=ShortestJobFirst()),
    "routes again": policy_of(protect=OnNotice(), place=OnDemandFallback(LowestPrice(), 10 * MINUTE, 1)),
}


def world_of(seed: int, classes: tuple[JobClass, ...], *, faults: float = 0.0, moving: bool = False) -> WorldInputs:
    """Three hundred jobs of minutes over three hours on three pools that lose an instance each half hour."""
    rng = np.random.default_rng(seed)
    submit = np.sort(rng.integers(0, 3 * HOUR, JOBS)).tolist()
    work = work_of(
        classes,
        submit,
        rng.integers(MINUTE, 12 * MINUTE, JOBS).tolist(),
        klass=rng.integers(0, len(classes), JOBS).tolist(),
    )
    pools = (
        pool("a", most=9, price=MOVING if moving else flat(0.06)),
        pool("b", most=5, instance_type="m5.xlarge"),
        pool("c", "on-demand", 3),
    )
    services = ServiceInputs(
        SLOW,
        dict.fromkeys(FAULTS, faults) if faults else {},
        {"ssm.send_command.bucket": 4, "ssm.send_command.refill": 0.05},
    )
    market = MarketInputs(Interruptions("exponential", mean_ms=30.0 * MINUTE), launch=constant(5))
    return WorldInputs(seed, 0, work, pools, market, services, Billing(60.0, first_hour_free=True), drain_ms=48 * HOUR)


class General(DecoupledWorld):
    usual = False


def told(inputs: WorldInputs, policy: Policy, kind: type[DecoupledWorld]) -> tuple[str, Tally]:
    journal = Journal()
    tally = kind(inputs, policy, journal).run()
    return journal.sha256(), tally


def facts(tally: Tally) -> dict[str, object]:
    columns = tally.jobs
    jobs = {name: getattr(columns, name).tolist() for name in vars(columns)}
    return {**{name: getattr(tally, name) for name in tally.__slots__ if name != "jobs"}, **jobs}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize(("classes", "faults"), [(CLASSES[:1], 0.0), (CLASSES, 0.0), (CLASSES, 0.1)])
@pytest.mark.parametrize("moving", [False, True])
def test_it_changes_nothing(classes: tuple[JobClass, ...], faults: float, moving: bool, policy: Policy) -> None:
    for seed in range(2):
        inputs = world_of(seed, classes, faults=faults, moving=moving)
        (journal, tally), (general_journal, general_tally) = (
            told(inputs, policy, kind) for kind in (DecoupledWorld, General)
        )
        assert facts(tally) == facts(general_tally)
        assert journal == general_journal
        assert facts(DecoupledWorld(inputs, policy).run()) == facts(tally), "without a journal"


def test_it_is_the_usual_case(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Usual] = []
    first = Usual.__init__
    monkeypatch.setattr(Usual, "__init__", lambda self, world: (made.append(self), first(self, world))[1])
    inputs = replace(world_of(0, CLASSES[:1]), market=MarketInputs(launch=constant(5)))
    tally = DecoupledWorld(inputs, POLICIES["defaults"]).run()
    (usual,) = made
    assert usual.cycles == usual.operations()["complete"] == tally.operations["complete"] == JOBS
