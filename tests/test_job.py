"""The job role: every row from every state that can come about; what fences it, what spends a retry, what ends it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from core_examples import HOUR, MINUTE, Refusal, Step, declared, endings, job, policy_of, ticket, walk
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.codec import decode, encode
from scheduler.commands import Delay, GiveUp, Queue, ReleaseDependants, SetTimer, Unqueue
from scheduler.draw import draw
from scheduler.events import (
    CHECKPOINTED,
    DONE,
    FAILED,
    INFRASTRUCTURE,
    INTERRUPTED,
    LEASE_LOST,
    RELEASED,
    STRING_MISSING,
    TIMEOUT,
    UNSTARTED,
    AttemptEnded,
    Cancelled,
    Claimed,
    DependencyFailed,
    DependencyMet,
    LeaseExpired,
    Routed,
    Submitted,
    TimerFired,
)
from scheduler.job import MACHINE, RECONSIDER, step
from scheduler.job_record import Job
from scheduler.policies.order import PriorityWithAgeing, ShortestJobFirst
from scheduler.policies.place import LowestPrice, OnDemandFallback
from scheduler.policies.retry import FullJitter, Immediate
from scheduler.policy import Policy
from scheduler.settings import Settings

FINAL = {"done", "failed", "cancelled"}
APPLICATION = (FAILED, STRING_MISSING, TIMEOUT)
RETRIES = 1
POLICIES = {
    "jitter": policy_of(Settings(seed=1), retry=FullJitter(base_ms=5_000)),
    "immediate": policy_of(retry=Immediate()),
    "fallback": policy_of(place=OnDemandFallback(after_wait_ms=1_000, after_interruptions=2), retry=Immediate()),
}
OURS = policy_of(place=LowestPrice(), retry=Immediate())


def ended(cause: str, epoch: int = 1, *, at_ms: int = 0, progress_ms: int = -1) -> AttemptEnded:
    return AttemptEnded(at_ms, "a", epoch, cause, 0, progress_ms)


def events(state: Job) -> Iterator[Any]:
    """Everything that may come, in time or late, of this epoch or of another, now or later."""
    yield from (Submitted(0), DependencyMet(0, 1), DependencyMet(0, 0), DependencyFailed(0), Cancelled(0))
    yield from (TimerFired(at_ms, name) for at_ms in (0, 2_000) for name in (RECONSIDER, "delay"))
    yield from (Routed(0, purchase) for purchase in ("spot", "on-demand", "none"))
    if state.epoch < 3:  # leases without end would be states without end
        yield Claimed(0, "w1")
    for epoch in {state.epoch, state.epoch - 1, state.epoch + 1}:
        yield from (LeaseExpired(0, epoch, progress) for progress in (-1, 7))
        for cause in (DONE, *APPLICATION, *sorted(INFRASTRUCTURE)):
            yield from (ended(cause, epoch, progress_ms=progress) for progress in (-1, 7))


@cache
def walked() -> tuple[list[Step], list[Refusal]]:
    steps, refusals = [], []
    one = ticket(retries=RETRIES, estimate_ms=10)
    for policy in POLICIES.values():
        some, refused = walk(MACHINE, [job(of=one), job(of=one, waiting_for=2)], events, policy)
        steps += some
        refusals += refused
    return steps, refusals


def steps() -> list[Step]:
    return walked()[0]


def after(*heard: Any, policy: Policy = OURS, start: Job | None = None) -> tuple[Job, tuple[Any, ...]]:
    """The record after these events, and what the last of them made the job order."""
    state, commands = start or job(of=ticket(retries=2)), ()
    for event in heard:
        state, commands = step(state, event, policy)
    return state, commands


def current(each: Step) -> bool:
    """Whether the event is the end of the lease that the record has."""
    return each.before.phase == "leased" and each.event.epoch == each.before.epoch


# the table ----------------------------------------------------------------------------------------------------------
def test_each_row_ends_where_it_says_and_everywhere_that_it_says() -> None:
    assert endings(steps()) == declared(MACHINE)


def test_what_cannot_happen_to_a_job_that_was_never_queued_is_refused_by_name() -> None:
    refused = {(each.before.phase, type(each.event)) for each in walked()[1]}
    never = {(phase, kind) for phase in ("new", "held") for kind in (AttemptEnded, Claimed, LeaseExpired)}
    unknown = {("new", kind) for kind in (DependencyMet, DependencyFailed, Cancelled, Routed, TimerFired)}
    assert refused == never | unknown


# promises -----------------------------------------------------------------------------------------------------------
def test_an_end_is_the_end() -> None:
    last = [each for each in steps() if each.before.phase in FINAL]
    assert {each.row for each in last} == {(phase, kind) for phase in FINAL for kind in MACHINE.table[phase]}
    assert all(each.after is each.before and each.commands == () for each in last)


def test_whatever_carries_another_epoch_changes_nothing() -> None:
    stale = [each for each in steps() if isinstance(each.event, AttemptEnded | LeaseExpired) and not current(each)]
    assert {each.before.phase for each in stale} == MACHINE.table.keys() - {"new", "held"}
    assert all(each.after is each.before and each.commands == () for each in stale)


def test_the_epoch_grows_by_one_with_each_lease_and_with_a_cancellation_only() -> None:
    for each in steps():
        grows = each.before.phase != each.after.phase and each.after.phase in ("leased", "cancelled")
        assert each.after.epoch == each.before.epoch + grows, each


def test_a_job_is_done_by_its_present_lease_only() -> None:
    done = [each for each in steps() if each.after.phase == "done" != each.before.phase]
    assert done
    assert all(current(each) and each.event.cause == DONE for each in done)


def test_only_a_failure_of_the_application_spends_a_retry() -> None:
    for each in steps():
        spends = isinstance(each.event, AttemptEnded) and each.event.cause in APPLICATION and current(each)
        assert each.after.failures == each.before.failures + spends, each


def test_interruptions_count_what_the_infrastructure_took_and_nothing_else() -> None:
    for each in steps():
        taken = isinstance(each.event, LeaseExpired) or (
            isinstance(each.event, AttemptEnded) and each.event.cause in (INTERRUPTED, LEASE_LOST)
        )
        assert each.after.interruptions == each.before.interruptions + (taken and current(each)), each


def test_an_attempt_that_the_infrastructure_ends_is_queued_again_at_once() -> None:
    back = [
        each
        for each in steps()
        if isinstance(each.event, AttemptEnded) and each.event.cause in INFRASTRUCTURE and current(each)
    ]
    assert {each.event.cause for each in back} == INFRASTRUCTURE
    for each in back:
        assert each.after.phase == "queued"
        assert isinstance(each.commands[0], Queue)


def test_safe_progress_is_never_lost() -> None:
    for each in steps():
        if each.after.phase != "done":
            assert each.after.progress_ms >= each.before.progress_ms, each


def test_a_job_is_indexed_whenever_it_comes_to_wait_and_where_its_record_says() -> None:
    for each in steps():
        queued = [order for order in each.commands if isinstance(order, Queue)]
        comes = each.after.phase == "queued" and each.after.purchase != each.before.purchase
        comes |= each.after.phase == "queued" != each.before.phase
        assert len(queued) == comes, each
        assert all(order.purchase == each.after.purchase for order in queued), each


def test_dependants_hear_once_how_the_job_ended() -> None:
    for each in steps():
        ends = each.after.phase in FINAL and each.before.phase not in FINAL
        told = [order.done for order in each.commands if isinstance(order, ReleaseDependants)]
        assert told == ([each.after.phase == "done"] if ends else []), each
        assert any(isinstance(order, GiveUp) for order in each.commands) == (ends and each.after.phase == "failed"), (
            each
        )


def test_a_step_changes_neither_record_nor_event_and_repeats_itself() -> None:
    for policy in POLICIES.values():
        start = job(of=ticket(retries=RETRIES, estimate_ms=10), waiting_for=1)
        for before, event, result, commands in walk(MACHINE, [start], events, policy)[0][::37]:
            written = json.dumps([encode(before), encode(event)])
            assert MACHINE.step(before, event, policy) == (result, commands)
            assert MACHINE.step(*(decode(each) for each in json.loads(written)), policy) == (result, commands)
            assert json.dumps([encode(before), encode(event)]) == written


# one job, step by step ----------------------------------------------------------------------------------------------
def test_the_happy_path() -> None:
    state, commands = after(Submitted(5))
    assert (state.phase, commands) == ("queued", (Queue(0, "spot"),))
    state, commands = after(Claimed(9, "w1"), start=state)
    assert (state.phase, state.epoch, commands) == ("leased", 1, ())
    state, commands = after(ended(DONE, progress_ms=500), start=state)
    assert (state.phase, state.progress_ms, commands) == ("done", 500, (ReleaseDependants(True),))


def test_a_second_claim_is_refused_and_takes_no_epoch() -> None:
    state = after(Submitted(0), Claimed(0, "w1"))[0]
    assert after(Claimed(0, "w2"), start=state) == (state, ())


def test_a_job_may_run_twice_but_completes_once() -> None:
    state = after(Submitted(0), Claimed(0, "w1"), LeaseExpired(0, 1), Claimed(0, "w2"))[0]
    assert (state.phase, state.epoch) == ("leased", 2)
    assert after(ended(DONE, 1), start=state) == (state, ())
    state, commands = after(ended(DONE, 2), start=state)
    assert (state.phase, commands) == ("done", (ReleaseDependants(True),))
    assert after(ended(DONE, 2), ended(DONE, 1), start=state) == (state, ())


def test_a_completion_that_comes_after_the_lease_expired_is_refused_even_before_the_next_claim() -> None:
    state = after(Submitted(0), Claimed(0, "w1"), LeaseExpired(0, 1))[0]
    assert after(ended(DONE, 1), start=state) == (state, ())


@pytest.mark.parametrize("cause", sorted(INFRASTRUCTURE))
def test_no_number_of_losses_exhausts_the_retries(cause: str) -> None:
    state = after(Submitted(0))[0]
    for epoch in range(1, 50):
        state, commands = after(Claimed(0, "w1"), ended(cause, epoch), start=state)
        assert commands == (Queue(0, "spot"),)
    assert (state.phase, state.failures) == ("queued", 0)
    assert state.interruptions == (49 if cause in (INTERRUPTED, LEASE_LOST) else 0)


@pytest.mark.parametrize("cause", APPLICATION)
def test_retries_run_out_after_as_many_failures_and_one_more(cause: str) -> None:
    state = after(Submitted(0))[0]
    for epoch in (1, 2):
        state, commands = after(Claimed(0, "w1"), ended(cause, epoch), start=state)
        assert commands == (Queue(0, "spot"),)
    state, commands = after(Claimed(0, "w1"), ended(cause, 3), start=state)
    assert (state.phase, state.failures) == ("failed", 3)
    assert commands == (GiveUp(cause), ReleaseDependants(False))


def test_losses_between_failures_change_nothing_about_the_retries() -> None:
    state, epoch = after(Submitted(0))[0], 0
    for cause in (FAILED, INTERRUPTED, RELEASED, FAILED, UNSTARTED, CHECKPOINTED, LEASE_LOST):
        epoch += 1
        state = after(Claimed(0, "w1"), ended(cause, epoch), start=state)[0]
        assert state.phase == "queued"
    state = after(Claimed(0, "w1"), ended(FAILED, epoch + 1), start=state)[0]
    assert (state.phase, state.failures, state.interruptions) == ("failed", 3, 2)


@given(st.lists(st.sampled_from([*APPLICATION, *sorted(INFRASTRUCTURE)]), max_size=60), st.integers(0, 5))
@settings(deadline=None)
def test_a_job_fails_at_the_failure_after_its_last_retry_whatever_happens_between(
    causes: list[str], retries: int
) -> None:
    state = after(Submitted(0), start=job(of=ticket(retries=retries)))[0]
    spent = 0
    for cause in causes:
        if state.phase == "failed":
            break
        state = after(Claimed(0, "w1"), ended(cause, state.epoch + 1), start=state)[0]
        spent += cause in APPLICATION
        assert (state.phase == "failed") == (spent > retries)


def test_what_the_wrapper_had_made_safe_outlives_a_lease() -> None:
    state = after(Submitted(0), Claimed(0, "w1"), LeaseExpired(0, 1, 700))[0]
    assert (state.phase, state.progress_ms, state.interruptions) == ("queued", 700, 1)
    assert after(Claimed(0, "w2"), LeaseExpired(0, 2), start=state)[0].progress_ms == 700


# delays -------------------------------------------------------------------------------------------------------------
def test_a_retry_waits_as_long_as_the_policy_draws_from_seed_job_and_epoch() -> None:
    policy = policy_of(Settings(seed=42), retry=FullJitter(base_ms=60_000))
    for epoch, ceiling_ms in ((1, 60_000), (2, 120_000)):
        start = job("leased", of=ticket(retries=2), epoch=epoch, failures=epoch - 1, purchase="spot")
        state, commands = after(ended(FAILED, epoch), start=start, policy=policy)
        expected = int(draw(42, "a", epoch, "retry") * ceiling_ms)
        assert commands == (Delay(expected),)
        assert (state.phase, state.delayed_ms) == ("delayed", expected)
        state, commands = after(TimerFired(expected, "delay"), start=state, policy=policy)
        assert (state.phase, commands) == ("queued", (Queue(0, "spot"),))


def test_a_delayed_job_is_not_woken_by_an_older_timer_of_its_place_in_the_queue() -> None:
    start = job("delayed", of=ticket(), epoch=1)
    assert after(TimerFired(0, RECONSIDER), start=start) == (start, ())


def test_a_retry_policy_that_gives_up_ends_the_job_though_retries_are_left() -> None:
    policy = policy_of(retry=FullJitter(budget_ms=10))
    start = job("leased", of=ticket(retries=9), epoch=1, delayed_ms=10)
    state, commands = after(ended(TIMEOUT), start=start, policy=policy)
    assert (state.phase, commands) == ("failed", (GiveUp(TIMEOUT), ReleaseDependants(False)))


# dependencies -------------------------------------------------------------------------------------------------------
def test_a_job_waits_for_all_that_it_depends_on() -> None:
    state, commands = after(Submitted(0), start=job(waiting_for=2))
    assert (state.phase, commands) == ("held", ())
    state, commands = after(DependencyMet(7, 1), start=state)
    assert (state.phase, state.waiting_for, commands) == ("held", 1, ())
    state, commands = after(DependencyMet(8, 1), start=state)
    assert (state.phase, state.waiting_for, commands) == ("held", 1, ())
    state, commands = after(DependencyMet(9, 0), start=state)
    assert (state.phase, state.waiting_for, commands) == ("queued", 0, (Queue(0, "spot"),))


def test_a_job_whose_dependency_failed_fails_and_says_so_to_its_own_dependants() -> None:
    state, commands = after(Submitted(0), DependencyFailed(7), start=job(waiting_for=2))
    assert (state.phase, commands) == ("failed", (GiveUp("dependency"), ReleaseDependants(False)))


# cancellation -------------------------------------------------------------------------------------------------------
def test_a_cancelled_job_takes_a_new_epoch_so_that_its_attempt_can_no_longer_complete() -> None:
    running = after(Submitted(0), Claimed(0, "w1"))[0]
    state, commands = after(Cancelled(5), start=running)
    assert (state.phase, state.epoch, commands) == ("cancelled", 2, (ReleaseDependants(False),))
    assert after(ended(DONE, 1), start=state) == (state, ())


def test_a_waiting_job_that_is_cancelled_leaves_the_index() -> None:
    assert after(Submitted(0), Cancelled(5))[1] == (Unqueue(), ReleaseDependants(False))
    assert after(Cancelled(5), start=job("delayed"))[1] == (ReleaseDependants(False),)
    assert after(Cancelled(5), start=job("held", waiting_for=1))[1] == (ReleaseDependants(False),)


# where and in which order -------------------------------------------------------------------------------------------
def test_the_sort_key_is_the_order_policys_and_is_made_again_each_time() -> None:
    policy = policy_of(order=ShortestJobFirst(), place=LowestPrice())
    state, commands = after(Submitted(0), start=job(of=ticket(estimate_ms=900)), policy=policy)
    assert commands == (Queue(900, "spot"),)
    _, commands = after(Claimed(0, "w"), ended(INTERRUPTED, progress_ms=300), start=state, policy=policy)
    assert commands == (Queue(600, "spot"),)


def test_an_interrupted_job_gets_its_place_back() -> None:
    policy = policy_of(order=PriorityWithAgeing(), place=LowestPrice())
    first = after(Submitted(70), start=job(of=ticket(submit_ms=70, priority=1)), policy=policy)
    again = after(Claimed(HOUR, "w"), ended(INTERRUPTED, at_ms=2 * HOUR), start=first[0], policy=policy)
    assert again[1] == first[1]


def test_a_job_is_reconsidered_when_the_place_policy_asked_for_it() -> None:
    policy = policy_of(place=OnDemandFallback(after_wait_ms=10 * MINUTE, after_interruptions=0))
    state, commands = after(Submitted(0), policy=policy)
    assert commands == (Queue(0, "spot"), SetTimer(RECONSIDER, 10 * MINUTE))
    early = after(TimerFired(4 * MINUTE, RECONSIDER), start=state, policy=policy)
    assert early == (state, (SetTimer(RECONSIDER, 6 * MINUTE),))
    state, commands = after(TimerFired(10 * MINUTE, RECONSIDER), start=state, policy=policy)
    assert (state.purchase, commands) == ("on-demand", (Queue(0, "on-demand"),))


def test_a_route_of_the_fleet_is_stronger_than_the_place_policy_and_stays() -> None:
    state = after(Submitted(0))[0]
    bound, commands = after(Routed(5, "on-demand"), start=state)
    assert (bound.bound, bound.purchase, commands) == ("on-demand", "on-demand", (Queue(0, "on-demand"),))
    assert after(Routed(6, "on-demand"), start=bound)[1] == ()
    again = after(Claimed(7, "w"), ended(INTERRUPTED), start=bound)[1]
    assert again == (Queue(0, "on-demand"),)


@pytest.mark.parametrize("phase", ["leased", "delayed"])
def test_a_route_waits_for_the_job_to_be_queued_again(phase: str) -> None:
    start = job(phase, epoch=1, purchase="spot")
    bound, commands = after(Routed(0, "on-demand"), start=start)
    assert (bound.phase, bound.purchase, bound.bound, commands) == (phase, "spot", "on-demand", ())
    back = {"leased": ended(INTERRUPTED), "delayed": TimerFired(9, "delay")}[phase]
    assert after(back, start=bound)[1] == (Queue(0, "on-demand"),)


# the policy's randomness --------------------------------------------------------------------------------------------
def test_a_draw_is_sha256_of_seed_and_event() -> None:
    """Recomputed by hand: the first seven bytes of SHA-256("7/job-1/2/retry"), as a fraction of 2^56."""
    import hashlib

    digits = hashlib.sha256(b"7/job-1/2/retry").hexdigest()[:14]
    assert draw(7, "job-1", 2, "retry") == int(digits, 16) / 16**14
    assert draw(7, "job-1", 2, "retry") != draw(8, "job-1", 2, "retry")


def test_draws_are_uniform() -> None:
    """Kolmogorov-Smirnov at n = 10,000: the 0.1 % point of sqrt(n) D is 1.95."""
    numbers = sorted(draw(1, "job", number) for number in range(10_000))
    gap = max(max((place + 1) / 10_000 - u, u - place / 10_000) for place, u in enumerate(numbers))
    assert gap * 100 < 1.95
    assert numbers[0] >= 0
    assert numbers[-1] < 1
