"""Gangs on AWS: the functions decide what the simulator decides, entry by entry; and what only AWS can do wrong."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Set
from dataclasses import replace
from typing import Any

import pytest
import test_aws_conformance as conformance
from aws_world import World
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from moto import mock_aws
from test_aws_conformance import QUIET, aws, services
from test_conformance import SETTINGS, SLOW, SPOT, kinds, small_worlds, with_a_silent_loss, world
from worlds import HOUR, MINUTE, S, policy_of, work_of

from aws import functions, seats
from aws.store import Store, packed
from aws.translate import MOST_SEATS, BadMessage, from_message
from scheduler.events import Rebalance
from scheduler.policies.order import NewestPastAge
from scheduler.policies.place import LowestPrice
from scheduler.policies.protect import Periodic
from scheduler.policies.retry import FullJitter
from scheduler.policies.scale import BacklogAndBusy
from scheduler.policy import Policy
from scheduler.settings import Settings
from sim.inputs import JobClass, ServiceInputs, WorldInputs
from spotbed.journal import Entry

__all__ = ["aws"]  # a fixture
ONE = JobClass("one", vcpus=2.0, checkpointable=True)
PAIR, THREE = replace(ONE, name="pair", gang=2), replace(ONE, name="three", gang=3)
CLASSES = (ONE, PAIR, THREE)
Agree = Callable[..., list[Entry]]


def gangs(
    jobs: list[tuple[int, int, int]],
    lost: dict[str, list[tuple[int, int]]] | None = None,
    services: ServiceInputs = SLOW,
    *,
    notice: bool = True,
    classes: tuple[JobClass, ...] = CLASSES,
) -> WorldInputs:
    """Jobs as (submitted, runtime, how many workers each needs)."""
    made = world(ONE, [(at, runtime) for at, runtime, _ in jobs], lost, services, notice=notice)
    klass = [size - 1 for *_, size in jobs]
    return replace(made, work=work_of(classes, [job[0] for job in jobs], [job[1] for job in jobs], klass=klass))


def started(entries: list[Entry]) -> list[str]:
    """The jobs in the order in which they were claimed."""
    return [entry.subject for entry in entries if (entry.role, entry.kind) == ("job", "Claimed")]


# what both sides do -------------------------------------------------------------------------------------------------
LOSS_OF_ONE = {"spot-a": [(0, 9), (1_000_457, 2), (1_600_457, 9)]}


def together(services: ServiceInputs, agree: Agree) -> None:
    entries = agree(gangs([(0, 300 * S, 3)], services=services))
    assert Counter(entry.kind for entry in entries if entry.role == "worker")["Complete"] == 3
    assert kinds(entries, "job", "three-0") == ["Submitted", "Queue", "Claimed", "AttemptEnded", "ReleaseDependants"]


def two_gangs_and_single_jobs(services: ServiceInputs, agree: Agree) -> None:
    jobs = [(0, 900 * S, 2), (1_003, 700 * S, 1), (2_011, 500 * S, 3), (300_017, 400 * S, 1), (301_031, 100 * S, 2)]
    policy = policy_of(SETTINGS, place=LowestPrice(), scale=BacklogAndBusy(max_workers=4))
    entries = agree(gangs(jobs, services=services), policy)
    assert Counter(started(entries)) == Counter(["pair-0", "one-1", "three-2", "one-3", "pair-4"])


def a_member_that_is_noticed(services: ServiceInputs, agree: Agree) -> None:
    """All leave together, with the checkpoint of the first; the two that stay take the job up with a new third."""
    entries = agree(gangs([(0, 3_000 * S, 3)], LOSS_OF_ONE, services))
    assert Counter(entry.body.cause for entry in entries if entry.kind == "Release") == {
        "interrupted": 1,
        "checkpointed": 2,
    }
    claims = [entry.body for entry in entries if entry.kind == "JobClaimed"]
    assert [claim.epoch for claim in claims] == [1, 1, 1, 2, 2, 2]
    assert claims[-1].progress_ms > 700 * S


def a_member_that_is_let_go(services: ServiceInputs, agree: Agree) -> None:
    plain = tuple(replace(each, checkpointable=False) for each in CLASSES)
    entries = agree(gangs([(0, 3_000 * S, 3)], LOSS_OF_ONE, services, classes=plain))
    assert Counter(entry.body.cause for entry in entries if entry.kind == "Release") == {"interrupted": 3}
    assert kinds(entries, "job", "three-0").count("Claimed") == 2


def a_member_that_is_lost_without_a_notice(services: ServiceInputs, agree: Agree) -> None:
    policy = policy_of(SETTINGS, place=LowestPrice(), protect=Periodic(every_ms=300 * S))
    entries = agree(gangs([(0, 3_000 * S, 3)], LOSS_OF_ONE, services, notice=False), policy)
    progress = [entry.body.progress_ms for entry in entries if entry.kind == "JobClaimed"]
    assert progress == [0, 0, 0, 600 * S, 600 * S, 600 * S]


def all_members_that_are_lost_at_once(services: ServiceInputs, agree: Agree) -> None:
    lost = {"spot-a": [(0, 9), (1_000_457, 0), (1_600_457, 9)]}
    for notice in (False, True):
        entries = agree(gangs([(0, 2_000 * S, 3), (7, 400 * S, 1)], lost, services, notice=notice))
        assert kinds(entries, "job", "three-0").count("Claimed") == 2


def a_member_whose_loss_nobody_reports(services: ServiceInputs, agree: Agree) -> None:
    """The bus brings the registration of both, and not the loss of the one that EC2 takes."""
    lost = {"spot-a": [(0, 9), (1_000_457, 1), (1_600_457, 9)]}
    quiet = with_a_silent_loss(
        gangs([(0, 3_000 * S, 2)], lost, services, notice=False), (False, False, True, False, False)
    )
    entries = agree(quiet)
    found = next(entry for entry in entries if entry.kind == "LeaseExpired")
    assert 1_000_457 < found.at_ms <= 1_000_457 + 360 * S
    assert kinds(entries, "job", "pair-0") == [
        "Submitted", "Queue", "Claimed", "LeaseExpired", "Queue", "Claimed", "AttemptEnded", "ReleaseDependants",
    ]  # fmt: skip


def small_jobs_that_pass_until_the_fleet_has_grown(services: ServiceInputs, agree: Agree) -> None:
    """EC2 has two instances for an hour: the gang of three waits, the jobs behind it do not."""
    lost = {"spot-a": [(0, 2), (HOUR + 457, 9)], "spot-b": [(0, 0), (90 * HOUR, 0)]}
    jobs = [(0, 600 * S, 3), *[(1_000 * number + 13, 300 * S, 1) for number in range(4)]]
    entries = agree(gangs(jobs, lost, services))
    assert started(entries)[-1] == "three-0"
    claims = [entry.at_ms for entry in entries if (entry.subject, entry.kind) == ("three-0", "Claimed")]
    assert HOUR < claims[0] < HOUR + 10 * MINUTE


def small_jobs_that_wait_behind_a_gang(services: ServiceInputs, agree: Agree) -> None:
    """Three workers busy with small jobs that keep coming; what comes after the gang starts after it."""
    jobs = sorted([*[(number * 40_000 + 13, 120 * S, 1) for number in range(12)], (200_017, 300 * S, 3)])
    policy = policy_of(SETTINGS, place=LowestPrice(), scale=BacklogAndBusy(max_workers=3))
    order = started(agree(gangs(jobs, services=services), policy))
    place = jobs.index((200_017, 300 * S, 3))
    behind = [f"one-{number}" for number in range(place + 1, len(jobs))]
    assert all(order.index(f"three-{place}") < order.index(job) for job in behind)


def failures_and_timeouts(services: ServiceInputs, agree: Agree) -> None:
    policy = policy_of(SETTINGS, place=LowestPrice(), retry=FullJitter(base_ms=100 * S))
    fails = tuple(replace(each, fail_probability=1.0, exit_code=3, retries=0) for each in CLASSES)
    entries = agree(gangs([(0, 300 * S, 3)], services=services, classes=fails), policy)
    assert kinds(entries, "job", "three-0")[-3:] == ["AttemptEnded", "GiveUp", "ReleaseDependants"]
    slow = tuple(replace(each, timeout_ms=600 * S, retries=1) for each in CLASSES)
    entries = agree(gangs([(0, 3_000 * S, 3)], services=services, classes=slow), policy)
    assert [entry.body.cause for entry in entries if entry.kind == "Fail"] == ["timeout"] * 6
    assert kinds(entries, "job", "three-0")[-2:] == ["GiveUp", "ReleaseDependants"]


def the_best_of_the_first_jobs(services: ServiceInputs, agree: Agree) -> None:
    """An order that ranks single jobs; gangs go by the key alone."""
    order = NewestPastAge(age_ms=300 * S, first=3)
    policy = policy_of(SETTINGS, place=LowestPrice(), scale=BacklogAndBusy(max_workers=2), order=order)
    jobs = [(0, 420 * S, 1), (10_007, 420 * S, 1), (20_011, 50 * S, 1), (30_013, 50 * S, 1), (400_001, 100 * S, 2)]
    assert len(started(agree(gangs(jobs, services=services), policy))) == len(jobs)


def executions_that_roll_over(services: ServiceInputs, agree: Agree) -> None:
    policy = policy_of(Settings(roll_over_at=50), place=LowestPrice(), scale=BacklogAndBusy(max_workers=2))
    entries = agree(gangs([(number * 1_001, 100 * S, 2) for number in range(4)], services=services), policy)
    assert "RollOver" in [entry.kind for entry in entries]


SCENARIOS = [
    together,
    two_gangs_and_single_jobs,
    a_member_that_is_noticed,
    a_member_that_is_let_go,
    a_member_that_is_lost_without_a_notice,
    all_members_that_are_lost_at_once,
    a_member_whose_loss_nobody_reports,
    small_jobs_that_pass_until_the_fleet_has_grown,
    small_jobs_that_wait_behind_a_gang,
    failures_and_timeouts,
    the_best_of_the_first_jobs,
    executions_that_roll_over,
]


LONG = {small_jobs_that_pass_until_the_fleet_has_grown, all_members_that_are_lost_at_once}


def each_but(slow: Set[Callable[..., None]]) -> pytest.MarkDecorator:
    """Each scenario; those that take long in `make test-all` only."""
    marked = [pytest.param(each, marks=[pytest.mark.slow] * (each in slow)) for each in SCENARIOS]
    return pytest.mark.parametrize("scenario", marked, ids=lambda each: each.__name__)


@services
@each_but(LONG)
def test_both_sides_decide_and_use_the_same(
    scenario: Callable[[ServiceInputs, Agree], None], services: ServiceInputs
) -> None:
    scenario(services, conformance.agree)


@st.composite
def gang_worlds(draw: st.DrawFn) -> tuple[WorldInputs, Policy]:
    """Small worlds in which some jobs are gangs, and EC2 may take some of the instances and leave others.

    Under latencies: what two gangs do in one millisecond is in nobody's order.
    """
    inputs, policy = draw(small_worlds())
    (base,), work = inputs.work.classes, inputs.work
    klass = draw(st.lists(st.sampled_from([0, 1, 2]), min_size=len(work), max_size=len(work)))
    classes = (base, replace(base, name="pair", gang=2), replace(base, name="three", gang=3))
    mixed = work_of(classes, work.submit_ms.tolist(), work.runtime_ms.tolist(), klass=klass)
    least = draw(st.integers(0, 3))
    at_ms, counts = inputs.market.interruptions.capacity["spot-a"]
    capacity = {**inputs.market.interruptions.capacity, "spot-a": (at_ms, counts.clip(least))}
    market = replace(inputs.market, interruptions=replace(inputs.market.interruptions, capacity=capacity))
    return replace(inputs, work=mixed, market=market, services=SLOW), policy


@settings(max_examples=5, deadline=None, derandomize=True, database=None, phases=(Phase.generate,),
          suppress_health_check=QUIET)  # fmt: skip
@given(gang_worlds())
def test_any_small_world_with_gangs(case: tuple[WorldInputs, Policy]) -> None:
    conformance.agree(*case)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, phases=(Phase.generate,), suppress_health_check=QUIET)
@given(gang_worlds())
def test_two_hundred_small_worlds_with_gangs(case: tuple[WorldInputs, Policy]) -> None:
    conformance.agree(*case)


# what only AWS can do wrong -----------------------------------------------------------------------------------------
def performed(inputs: WorldInputs, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[World, list[str]], None]) -> World:
    """The functions' run, in which something comes between when members were chosen and the write of their claim."""
    with mock_aws():
        made, taken = World(inputs, SPOT), seats.taken
        spoilt: list[list[str]] = []

        def spoiled(members: list[str], until_ms: int) -> dict[str, Any]:
            if not spoilt:
                spoilt.append(members)
                spoil(made, members)
            return taken(members, until_ms)

        monkeypatch.setattr(seats, "taken", spoiled)
        made.run()
    assert spoilt
    assert not made.control.target.live()
    return made


def test_a_member_that_has_heard_something_meanwhile_takes_no_seat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody takes one then: all look again, and the gang starts with the next."""

    def noticed(made: World, members: list[str]) -> None:
        made.control.store.append_event(members[0], "meanwhile", packed(Rebalance(made.clock.now_ms)))

    made = performed(gangs([(0, 300 * S, 3)]), monkeypatch, noticed)
    claims = [entry for entry in made.journal.entries if (entry.role, entry.kind) == ("job", "Claimed")]
    assert [(job, phase) for job, phase, _ in made.told] == [("three-0", "done")]
    assert len(claims) == 1


def test_a_gang_that_was_cancelled_meanwhile_takes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def cancelled(made: World, members: list[str]) -> None:
        functions.operate({"do": "cancel", "job": "three-0"}, None, made.control)

    made = performed(gangs([(0, 300 * S, 3)]), monkeypatch, cancelled)
    assert [(job, phase) for job, phase, _ in made.told] == [("three-0", "cancelled")]
    assert not [entry for entry in made.journal.entries if entry.kind == "JobClaimed"]


def test_the_largest_gang_fits_into_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    items: list[int] = []
    write = Store.write
    monkeypatch.setattr(Store, "write", lambda store, *writes: items.append(len(writes)) or write(store, *writes))
    with mock_aws():
        World(gangs([(0, 300 * S, 3)]), SPOT).run()
    assert max(items) == 3 + 2
    assert MOST_SEATS + 2 == 100  # DynamoDB, TransactWriteItems


@pytest.mark.parametrize("given", [0, -1, 1.0, "2", True, MOST_SEATS + 1, [2], None])
def test_a_gang_is_a_whole_number_that_fits(given: object) -> None:
    with pytest.raises(BadMessage, match=f"gang: a whole number from 1 to {MOST_SEATS}"):
        from_message(json.dumps({"id": "a", "commands": ["x"], "gang": given}), 0)
