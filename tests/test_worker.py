"""The worker role: every row from every state that can come about, and the promises that hold on all of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from core_examples import Refusal, Step, claimed, declared, endings, policy_of, walk, worker
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.codec import decode, encode
from scheduler.commands import Checkpoint, Claim, Complete, Fail, Release, RollOver, SetTimer, Start, Stop
from scheduler.events import (
    CHECKPOINTED,
    DONE,
    FAILED,
    INTERRUPTED,
    RELEASED,
    STRING_MISSING,
    TIMEOUT,
    UNSTARTED,
    AttemptEnded,
    JobClaimed,
    Lost,
    MoveOrdered,
    NothingToClaim,
    Notice,
    Ready,
    Rebalance,
    StopOrdered,
    TimerFired,
    Woken,
)
from scheduler.policies.protect import Continuous, Daly, NoProtection, OnNotice, Periodic
from scheduler.policy import Policy
from scheduler.settings import Settings
from scheduler.worker import BOOT, GATHER, KEEP_ALIVE, MACHINE, Badge, Worker, step

HOLDS = {"running", "draining", "moving", "noticed"}
SMALL = Settings(roll_over_at=56, keep_alive_ms=60_000, checkpoint_write_ms=30_000)
POLICIES = {
    "on-notice": policy_of(SMALL),
    "nothing": policy_of(SMALL, protect=NoProtection()),
    "checkpoint at rebalance": policy_of(SMALL, protect=OnNotice(rebalance="checkpoint")),
    "release at rebalance": policy_of(SMALL, protect=OnNotice(rebalance="release")),
    "no keep-alive": policy_of(Settings(roll_over_at=56, keep_alive_ms=0)),
}
OURS = policy_of()


def ended(cause: str = DONE, *, name: str = "a", epoch: int = 1, exit_code: int = 0, progress_ms: int = 0) -> Any:
    return AttemptEnded(0, name, epoch, cause, exit_code, progress_ms)


def events(state: Worker) -> Iterator[Any]:
    """Everything that may come, in time or late: of the job that is held, of another, and of an older epoch."""
    yield from (Ready(0), NothingToClaim(0), Rebalance(0), Lost(0), MoveOrdered(0), StopOrdered(0, "user"))
    yield from (TimerFired(0, name) for name in (BOOT, KEEP_ALIVE, "other"))
    yield from (Notice(0, 120_000), Notice(0, 1_000))
    if state.generation < 2:  # executions without end would be states without end
        yield from (Woken(0), TimerFired(0, GATHER), NothingToClaim(0, gathers=True))
        for name in ("a", "b"):
            yield from (claimed(name, epoch, checkpointable=name == "a") for epoch in (1, 2))
    for cause in (DONE, FAILED, STRING_MISSING, TIMEOUT, CHECKPOINTED, INTERRUPTED):
        yield from (ended(cause, name=name, epoch=epoch) for name in ("a", "b") for epoch in (1, 2))


@cache
def walked() -> tuple[list[Step], list[Refusal]]:
    steps, refusals = [], []
    for policy in POLICIES.values():
        some, refused = walk(MACHINE, [worker()], events, policy)
        steps += some
        refusals += refused
    return steps, refusals


def steps() -> list[Step]:
    return walked()[0]


def reports(commands: tuple[Any, ...]) -> list[tuple[str, int]]:
    return [(each.job, each.epoch) for each in commands if isinstance(each, Complete | Fail | Release)]


def orders(commands: tuple[Any, ...]) -> Counter[type]:
    return Counter(map(type, commands))


def after(*heard: Any, policy: Policy = OURS, start: Worker | None = None) -> tuple[Worker, tuple[Any, ...]]:
    """The state after these events, and what the last of them made the worker order."""
    state, commands = start or worker(), ()
    for event in heard:
        state, commands = step(state, event, policy)
    return state, commands


# the table ----------------------------------------------------------------------------------------------------------
def test_each_row_ends_where_it_says_and_everywhere_that_it_says() -> None:
    assert endings(steps()) == declared(MACHINE)


def test_only_a_worker_that_never_claimed_is_deaf_to_answers_about_jobs() -> None:
    refused = {(each.before.phase, type(each.event)) for each in walked()[1]}
    assert refused == {("booting", kind) for kind in (JobClaimed, NothingToClaim, AttemptEnded)}


# promises -----------------------------------------------------------------------------------------------------------
def test_a_worker_holds_a_job_in_the_phases_that_run_one_and_in_no_other() -> None:
    for each in steps():
        assert bool(each.after.job) == (each.after.phase in HOLDS), each
        assert bool(each.after.epoch) == bool(each.after.job), each


def test_a_claimed_job_is_started_or_given_back_and_never_forgotten() -> None:
    for each in steps():
        if isinstance(each.event, JobClaimed):
            key = (each.event.job, each.event.epoch)
            held = (each.before.job, each.before.epoch)
            starts = [(start.job, start.epoch) for start in each.commands if isinstance(start, Start)]
            assert (starts + reports(each.commands) == [key]) == (key != held), each
            assert bool(starts) == ((each.after.job, each.after.epoch) == key != held), each


def test_a_job_that_leaves_a_worker_is_reported_once_under_its_epoch() -> None:
    for each in steps():
        held = (each.before.job, each.before.epoch)
        if each.before.job and not each.after.job:
            assert reports(each.commands) == [held], each
        elif not isinstance(each.event, JobClaimed):
            assert reports(each.commands) == [], each


def test_the_end_of_another_attempt_changes_nothing() -> None:
    stale = [
        each
        for each in steps()
        if isinstance(each.event, AttemptEnded)
        and (each.event.job, each.event.epoch) != (each.before.job, each.before.epoch)
    ]
    assert {each.before.phase for each in stale} == MACHINE.table.keys() - {"booting"}
    assert all(each.after == each.before and each.commands == () for each in stale)


def test_a_worker_claims_when_it_begins_to_and_not_again() -> None:
    for each in steps():
        begins = each.after.phase == "claiming" != each.before.phase
        assert orders(each.commands)[Claim] == begins, each


def test_a_worker_is_stopped_once_when_it_begins_to_stop() -> None:
    for each in steps():
        begins = each.after.phase == "stopping" != each.before.phase
        assert orders(each.commands)[Stop] == begins, each


def test_what_has_begun_to_stop_never_works_again() -> None:
    last = [each for each in steps() if each.before.phase in ("stopping", "gone")]
    assert {each.after.phase for each in last} == {"stopping", "gone"}
    assert not any(isinstance(order, Start | Claim | Checkpoint | SetTimer) for each in last for order in each.commands)
    assert not any(each.after.phase == "stopping" for each in last if each.before.phase == "gone")


def test_only_the_instance_being_gone_makes_a_worker_gone() -> None:
    for each in steps():
        assert (each.after.phase == "gone") == (isinstance(each.event, Lost) or each.before.phase == "gone"), each


def test_an_event_that_comes_twice_orders_nothing_more() -> None:
    """Nothing but a wake or a change of the held job may make the same event act again."""
    for policy in POLICIES.values():
        for first in walk(MACHINE, [worker()], events, policy)[0]:
            again, commands = MACHINE.step(first.after, first.event, policy)
            holds = (first.after.job, first.after.epoch)
            if isinstance(first.event, JobClaimed) and holds != (first.event.job, first.event.epoch):
                assert reports(commands) == reports(first.commands), first  # given back again: the epoch fences it
                continue
            assert (again, commands) == (first.after, ()), first


def test_a_step_changes_neither_state_nor_event_and_repeats_itself() -> None:
    for policy in POLICIES.values():
        for before, event, result, commands in walk(MACHINE, [worker()], events, policy)[0]:
            written = json.dumps([encode(before), encode(event)])
            assert MACHINE.step(before, event, policy) == (result, commands)
            assert MACHINE.step(*(decode(each) for each in json.loads(written)), policy) == (result, commands)
            assert json.dumps([encode(before), encode(event)]) == written


# one life, step by step ---------------------------------------------------------------------------------------------
def test_the_happy_path() -> None:
    state, commands = after(Ready(0))
    assert (state.phase, commands) == ("claiming", (Claim(),))
    state, commands = after(claimed("a", 4, at_ms=10, timeout_ms=7_000), start=state)
    assert state == worker("running", job="a", epoch=4, checkpointable=True)
    assert commands == (Start("a", 4, 0, 7_000),)
    state, commands = after(ended(DONE, epoch=4, progress_ms=500), start=state)
    assert state == worker("claiming", history=28)
    assert commands == (Complete("a", 4), Claim())
    state, commands = after(NothingToClaim(20), start=state)
    assert (state.phase, commands) == ("idle", (SetTimer(KEEP_ALIVE, 60_000),))
    state, commands = after(TimerFired(60_020, KEEP_ALIVE), start=state)
    assert (state.phase, commands) == ("stopping", (Stop("idle"),))
    assert after(Lost(60_030), start=state) == (worker("gone", history=28), ())


RUNNING = (Ready(0), claimed("a"))


@pytest.mark.parametrize("cause", [FAILED, STRING_MISSING, TIMEOUT])
def test_a_failure_is_reported_with_all_that_is_known_of_it(cause: str) -> None:
    _, commands = after(*RUNNING, ended(cause, exit_code=3, progress_ms=9))
    assert commands == (Fail("a", 1, cause, 3, 9), Claim())


def test_a_notice_asks_for_a_checkpoint_that_fits_and_releases_a_job_at_once_if_none_does() -> None:
    policy = policy_of(Settings(checkpoint_write_ms=120_000))
    state, commands = after(*RUNNING, Notice(0, 120_000), policy=policy)
    assert (state.phase, commands) == ("noticed", (Checkpoint("a", 1),))
    state, commands = after(*RUNNING, Notice(0, 119_999), policy=policy)
    assert (state.phase, commands) == ("stopping", (Release("a", 1, INTERRUPTED, -1), Stop("interrupted")))
    uncheckpointable = (Ready(0), claimed("a", checkpointable=False), Notice(0, 600_000))
    assert after(*uncheckpointable, policy=policy)[1] == (Release("a", 1, INTERRUPTED, -1), Stop("interrupted"))


def test_a_checkpoint_after_a_notice_is_an_interruption_and_after_a_move_it_is_none() -> None:
    _, noticed = after(*RUNNING, Notice(0, 120_000), ended(CHECKPOINTED, progress_ms=5))
    assert noticed == (Release("a", 1, INTERRUPTED, 5), Stop("interrupted"))
    _, moved = after(*RUNNING, MoveOrdered(0), ended(CHECKPOINTED, progress_ms=5))
    assert moved == (Release("a", 1, CHECKPOINTED, 5), Stop("moved"))


def test_leaving_on_a_recommendation_is_no_interruption_because_ec2_took_nothing() -> None:
    checkpoints = policy_of(protect=OnNotice(rebalance="checkpoint"))
    state, commands = after(*RUNNING, Rebalance(0), policy=checkpoints)
    assert (state.phase, commands) == ("moving", (Checkpoint("a", 1),))
    assert after(ended(CHECKPOINTED), start=state)[1] == (Release("a", 1, CHECKPOINTED, 0), Stop("moved"))
    releases = policy_of(protect=OnNotice(rebalance="release"))
    _, commands = after(*RUNNING, Rebalance(0), policy=releases)
    assert commands == (Release("a", 1, RELEASED, -1), Stop("moved"))


def test_a_notice_that_comes_after_the_recommendation_makes_it_an_interruption() -> None:
    checkpoints = policy_of(protect=OnNotice(rebalance="checkpoint"))
    _, commands = after(*RUNNING, Rebalance(0), Notice(0, 120_000), ended(CHECKPOINTED), policy=checkpoints)
    assert commands == (Release("a", 1, INTERRUPTED, 0), Stop("interrupted"))


def test_an_attempt_that_ends_by_itself_after_the_notice_has_ended_well() -> None:
    state, commands = after(*RUNNING, Notice(0, 120_000), ended(DONE))
    assert (state.phase, commands) == ("stopping", (Complete("a", 1), Stop("interrupted")))


def test_a_lost_instance_gives_its_job_back() -> None:
    for way in ((), (Notice(0, 120_000),), (MoveOrdered(0),), (StopOrdered(0, "user"),)):
        state, commands = after(*RUNNING, *way, Lost(0))
        assert (state.phase, commands) == ("gone", (Release("a", 1, INTERRUPTED, -1),))


def test_an_order_to_stop_lets_the_attempt_finish() -> None:
    state, commands = after(*RUNNING, StopOrdered(0, "user"))
    assert (state.phase, commands) == ("draining", ())
    assert after(ended(DONE), start=state)[1] == (Complete("a", 1), Stop("drained"))


def test_an_order_to_stop_that_comes_during_a_claim_is_no_interruption() -> None:
    state, commands = after(Ready(0), StopOrdered(0, "user"))
    assert (state.phase, commands) == ("stopping", (Stop("user"),))
    assert after(claimed("a"), start=state)[1] == (Release("a", 1, UNSTARTED, -1),)
    assert after(NothingToClaim(0), start=state) == (state, ())


def test_a_notice_during_a_claim_waits_for_its_answer() -> None:
    state, commands = after(Ready(0), Notice(0, 120_000))
    assert (state.phase, commands) == ("leaving", ())
    assert after(claimed("a"), start=state)[1] == (Release("a", 1, UNSTARTED, -1), Stop("interrupted"))
    assert after(NothingToClaim(0), start=state)[1] == (Stop("interrupted"),)


def test_a_second_answer_to_one_claim_is_taken_or_given_back() -> None:
    """A claim may be performed twice, and find nothing the first time."""
    state, commands = after(Ready(0), NothingToClaim(0), claimed("b"))
    assert (state.phase, commands) == ("running", (Start("b", 1, 0, -1),))
    state, commands = after(claimed("a", 2), start=state)
    assert (state.job, commands) == ("b", (Release("a", 2, UNSTARTED, -1),))


def test_a_worker_whose_agent_never_registers_stops() -> None:
    assert after(TimerFired(0, BOOT)) == (worker("stopping"), (Stop("never-registered"),))
    assert after(Ready(0), TimerFired(0, BOOT))[1] == ()


# checkpoints --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("protect", "every_ms"), [(Periodic(every_ms=5_000), 5_000), (NoProtection(), 0), (Continuous(), -1)]
)
def test_a_start_says_how_often_to_checkpoint(protect: Any, every_ms: int) -> None:
    policy = policy_of(protect=protect)
    assert after(*RUNNING, policy=policy)[1] == (Start("a", 1, every_ms, -1),)


def test_a_job_that_cannot_be_checkpointed_is_never_asked_to() -> None:
    once = (Ready(0), claimed("a", checkpointable=False))
    assert after(*once, policy=policy_of(protect=Periodic()))[1] == (Start("a", 1, 0, -1),)
    state, commands = after(*once, MoveOrdered(0))
    assert (state.phase, commands) == ("stopping", (Release("a", 1, RELEASED, -1), Stop("moved")))


def test_daly_takes_what_the_fleet_has_measured_in_the_pool() -> None:
    policy = policy_of(Settings(checkpoint_write_ms=300_000), protect=Daly(mtbf_ms=24 * 3_600_000))
    starts = [after(Ready(0), claimed("a", mtbf_ms=mtbf), policy=policy)[1][0] for mtbf in (0, 6 * 3_600_000)]
    assert [round(start.checkpoint_every_ms / 60_000) for start in starts] == [117, 57]


def test_no_periodic_checkpoint_is_written_where_ec2_takes_nothing_back() -> None:
    sure = Worker(Badge("w1", "od", "on-demand"), "claiming")
    for protect, every_ms in ((Periodic(every_ms=5_000), 0), (Daly(), 0), (Continuous(), -1)):
        assert after(claimed("a"), start=sure, policy=policy_of(protect=protect))[1] == (Start("a", 1, every_ms, -1),)
    moving, commands = after(MoveOrdered(0), start=after(claimed("a"), start=sure)[0])
    assert (moving.phase, commands) == ("moving", (Checkpoint("a", 1),))


# gangs --------------------------------------------------------------------------------------------------------------
def test_a_worker_stays_for_a_gang_that_gathers_and_looks_again_at_each_tick() -> None:
    policy = policy_of(Settings(keep_alive_ms=0, tick_ms=60_000))
    state, commands = after(Ready(0), NothingToClaim(0, gathers=True), policy=policy)
    assert (state.phase, commands) == ("idle", (SetTimer(GATHER, 60_000),))
    state, commands = after(TimerFired(60_000, GATHER), start=state, policy=policy)
    assert (state.phase, state.history, commands) == ("claiming", 28, (Claim(),))
    assert after(NothingToClaim(0), start=state, policy=policy)[1] == (Stop("idle"),)


def test_a_gang_that_loses_a_member_gives_its_job_back_from_the_others_too() -> None:
    state, commands = after(*RUNNING, ended(INTERRUPTED, progress_ms=5))
    assert (state.phase, commands) == ("claiming", (Release("a", 1, INTERRUPTED, 5), Claim()))


# the history limit --------------------------------------------------------------------------------------------------
def test_an_execution_rolls_over_before_the_history_limit_and_claims_in_the_next() -> None:
    policy = policy_of(Settings(roll_over_at=20_000, events_per_cycle=28))
    state, cycles = worker("claiming"), 0
    while True:
        state = after(claimed("a"), start=state, policy=policy)[0]
        state, commands = after(ended(DONE), start=state, policy=policy)
        cycles += 1
        if len(commands) > 2:
            break
    assert commands == (Complete("a", 1), RollOver(1), Claim())
    assert cycles == 20_000 // 28 + 1
    assert (state.history, state.generation) == (0, 1)


def test_wakes_for_nothing_grow_the_history_too() -> None:
    policy = policy_of(Settings(roll_over_at=100, events_per_cycle=28))
    state, given = worker("claiming"), []
    for _ in range(4):
        state, commands = after(NothingToClaim(0), Woken(0), start=state, policy=policy)
        given.append(commands)
    assert given == [(Claim(),)] * 3 + [(RollOver(1), Claim())]
    assert (state.phase, state.history, state.generation) == ("claiming", 0, 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 99), max_size=200), st.integers(30, 200))
def test_no_execution_reaches_the_limit_whatever_comes(choices: list[int], roll_over_at: int) -> None:
    policy = policy_of(Settings(roll_over_at=roll_over_at))
    state = worker("claiming")
    for choice in choices:
        options = [event for event in events(state) if type(event) in MACHINE.table[state.phase]]
        options = [event for event in options if not isinstance(event, Lost | StopOrdered | Notice | TimerFired)]
        before = state
        state, commands = step(state, options[choice % len(options)], policy)
        assert state.history < roll_over_at
        assert state.generation - before.generation == orders(commands)[RollOver]
