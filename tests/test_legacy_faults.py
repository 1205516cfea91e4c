"""Faults F1 to F9 of 2019: each does its harm under `legacy-2019`, and none under ours in the same world."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from legacy_worlds import HOPS, assert_unharmed, constant, run_legacy, run_ours, shortage, world

from scheduler.events import DONE, INTERRUPTED, TIMEOUT
from scheduler.legacy import ABANDONED
from sim.inputs import Dist
from spotbed.metering import UNFINISHED

NEVER_S = 1e6
MINUTE_POLLS = {"legacy.poll": 60.0}
POLL_HOPS = {"poll": (constant(0.24),)}


# F1: an interruption is not handled ---------------------------------------------------------------------------------
@pytest.mark.parametrize("detect_s", [3_600, 14_400])
def test_f1_an_interruption_is_noticed_when_systems_manager_gives_up_and_burns_a_retry(detect_s: int) -> None:
    settings = {**MINUTE_POLLS, "legacy.lost_agent_detect": detect_s}
    inputs = world([3000], interruptions=shortage(1000, 2000), legacy=settings)
    old, ours = run_legacy(inputs), run_ours(inputs)
    begun_s = 120
    first = old.attempts[0]
    assert (first.cause, first.start_ms, first.end_ms) == (INTERRUPTED, begun_s * 1000, 1_120_000)
    sent = next(entry for entry in old.journal.entries if entry.kind == "Send")
    assert (sent.body.queue, sent.body.re_run) == ("job-queue", 1)
    assert begun_s + detect_s <= sent.at_ms / 1000 <= begun_s + detect_s + 60
    assert_unharmed(ours, 1)
    assert ours.end_s() <= 2000 + 60 + 120 + 3000


def test_f1_without_a_retry_an_interruption_fails_the_job() -> None:
    inputs = world([3000], interruptions=shortage(1000, 2000), legacy=MINUTE_POLLS, retries=0)
    assert run_legacy(inputs).failed == 1
    assert_unharmed(run_ours(inputs), 1)


def test_f1_while_the_job_is_held_the_group_replaces_the_instance_for_nothing() -> None:
    inputs = world([3000, 3000, 300], interruptions=shortage(1000, 1200), most=2, legacy=MINUTE_POLLS)
    old = run_legacy(inputs)
    assert old.end_s(2) < 2500  # the third job's message was in the queue, and a new worker took it
    assert min(old.end_s(0), old.end_s(1)) > 14_400  # those of the first two were not


# F2: 25,000 history events ------------------------------------------------------------------------------------------
def test_f2_a_worker_that_lives_too_long_loses_its_job_and_is_left_behind() -> None:
    inputs = world([605] * 30, most=1)
    old, ours = run_legacy(inputs), run_ours(inputs)
    (dead,) = old.executions
    whole, left = divmod(25_000 - 16, 55 + 9 * 121)
    assert (dead["end"], dead["jobs"], dead["polls"]) == ("dead", whole, 121 * whole + (left - 27) // 9)
    assert 25_000 - 9 < dead["history_events"] <= 25_000
    assert (old.done, old.lost, old.tally.orphan_workers) == (whole, 1, 1)
    assert old.jobs(UNFINISHED) == 30 - whole - 1  # the orphan fills the pool
    assert old.attempts[-1].cause == ABANDONED
    (orphan,) = old.instances
    assert (orphan.reason, orphan.ended_ms) == ("orphan", old.tally.end_ms)
    assert old.tally.limits == {"stepfunctions.history_limit": 1}
    assert_unharmed(ours, 30)


def test_f2_between_two_jobs_the_next_one_is_lost_before_it_starts() -> None:
    inputs = world([600] * 30, most=1)
    old = run_legacy(inputs)
    whole, left = divmod(25_000 - 16, 55 + 9 * 120)
    assert 10 <= left < 27  # enough to receive and delete its message
    assert (old.done, old.lost, old.tally.attempts, old.tally.orphan_workers) == (whole, 1, whole, 1)
    assert_unharmed(run_ours(inputs), 30)


@pytest.mark.parametrize(("poll_s", "polls"), [(5, 2773), (15, 2773)])
def test_f2_the_limit_is_2773_polls_of_one_job(poll_s: int, polls: int) -> None:
    inputs = world([90_000], legacy={"legacy.poll": poll_s, "legacy.execution_timeout": NEVER_S})
    old = run_legacy(inputs)
    assert old.executions[0]["polls"] == polls
    assert old.attempts[0].end_ms - old.attempts[0].start_ms == (polls + 1) * poll_s * 1000


def test_f2_orphans_are_billed_while_jobs_can_still_be_done() -> None:
    inputs = world([605] * 60, most=2, submit_s=[0] * 55 + [40_000] * 5)
    old = run_legacy(inputs)
    orphans = [fact for fact in old.instances if fact.reason == "orphan"]
    assert len(orphans) == old.tally.orphan_workers > 0
    assert {fact.ended_ms for fact in orphans} == {old.tally.end_ms}
    assert old.tally.end_ms > 40_000_000


def test_f1_and_f2_at_the_defaults_an_interrupted_job_is_lost_for_good() -> None:
    second = world([600, 3000], most=1, interruptions=shortage(1200, 1300), latency=POLL_HOPS)
    first = world([3000], most=1, interruptions=shortage(1200, 1300), latency=POLL_HOPS, retries=1)
    old, nearly = run_legacy(second), run_legacy(first)
    assert (old.done, old.lost, old.tally.orphan_workers) == (1, 1, 0)
    assert nearly.executions[0]["polls"] == -(-14_400_000 // 5_240)
    assert 24_400 < 9 * nearly.executions[0]["polls"] < 24_900
    assert (nearly.lost, nearly.failed) == (0, 1)  # given back, and taken again by the same dead worker: F3
    assert_unharmed(run_ours(second), 2)
    assert_unharmed(run_ours(first), 1)


# F3: the zombie poisons the queue -----------------------------------------------------------------------------------
def test_f3_a_dead_workers_machine_burns_the_retries_of_the_whole_queue() -> None:
    inputs = world(
        [3000] * 6, most=1, interruptions=shortage(1000, 30_000), latency=HOPS, legacy=MINUTE_POLLS, retries=2
    )
    old, ours = run_legacy(inputs), run_ours(inputs)
    refused = [entry for entry in old.journal.entries if entry.kind == "StartRefused"]
    assert len(refused) == 6 * 3 - 1  # every attempt of every job, but the one that was interrupted
    between_s = {(later.at_ms - earlier.at_ms) / 1000 for earlier, later in pairwise(refused)}
    assert all(15 <= gap_s <= 20 for gap_s in between_s)
    assert refused[0].at_ms > 14_400_000
    assert (old.failed, old.tally.attempts) == (6, 1)
    assert old.end_s() < 30_000
    assert_unharmed(ours, 6)


def test_f3_an_agent_that_never_registers_does_the_same() -> None:
    inputs = world([300] * 20, most=2, faults={"ssm.agent_never_registers": 0.5}, retries=1, seed=4)
    old, ours = run_legacy(inputs), run_ours(inputs)
    assert old.failed > 0
    assert old.tally.operations["start_refused"] > 0
    assert_unharmed(ours, 20)


# F4: jobs above an hour ---------------------------------------------------------------------------------------------
def test_f4_a_job_longer_than_an_hour_always_fails() -> None:
    inputs = world([5400, 3600], retries=2)
    old, ours = run_legacy(inputs), run_ours(inputs)
    assert Counter(fact.cause for fact in old.attempts) == {TIMEOUT: 3, DONE: 1}
    assert [fact.failed_ms for fact in old.attempts if fact.cause == TIMEOUT] == [3_600_000] * 3
    assert (old.done, old.failed) == (1, 1)
    assert_unharmed(ours, 2)


# F5: check errors become success ------------------------------------------------------------------------------------
def test_f5_with_a_success_string_the_job_is_run_again_beside_its_running_copy() -> None:
    inputs = world([1200] * 40, most=20, faults={"ssm.error": 0.002}, retries=20)
    old, ours = run_legacy(inputs), run_ours(inputs)
    let_go = [fact for fact in old.attempts if fact.cause == ABANDONED]
    assert old.done == 40
    assert old.tally.attempts == 40 + len(let_go)
    assert 0 < old.tally.duplicate_completions <= len(let_go)
    assert old.tally.faults["ssm.error"] == len(let_go)
    assert_unharmed(ours, 40)


def test_f5_a_job_whose_every_check_fails_is_given_up_though_it_was_done() -> None:
    inputs = world([60], faults={"ssm.error": 1.0}, retries=3)
    old = run_legacy(inputs)
    assert old.failed == 1
    assert old.tally.attempts == 4
    assert_unharmed(run_ours(inputs), 1)


def test_f5_without_a_success_string_a_running_job_is_called_successful_and_ended() -> None:
    inputs = world([1200] * 5, most=5, faults={"ssm.error": 1.0}, legacy={"legacy.string_check": 0})
    old = run_legacy(inputs)
    assert old.lost == 5
    assert [sent.queue for sent in old.bodies("Send")] == ["job-queue-finished"] * 5
    assert {fact.cause for fact in old.attempts} == {ABANDONED}
    assert_unharmed(run_ours(inputs), 5)


def test_f5_a_copy_that_lives_to_its_end_beside_the_next_job_is_done_after_all() -> None:
    inputs = world([300, 600, 900], most=1, faults={"ssm.error": 1.0}, legacy={"legacy.string_check": 0})
    old = run_legacy(inputs)
    assert (old.done, old.lost) == (0, 3)  # three jobs take 60 s in all: none lives long enough
    short = world([15, 30, 900], most=1, faults={"ssm.error": 1.0}, legacy={"legacy.string_check": 0})
    some = run_legacy(short)
    assert (some.done, some.lost) == (2, 1)
    assert some.end_s(0) == 120 + 15
    assert sum(fact.useful_ms for fact in some.attempts) == 2 * 5000  # until the worker turned to the next job


# F6: the scale formula ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(5))
def test_f6_workers_are_killed_while_they_boot_and_the_rest_work_twice_as_long(seed: int) -> None:
    boot = Dist("uniform", {"low": 120, "high": 240})
    inputs = world([3000] * 100, boot=boot, seed=seed)
    old, ours = run_legacy(inputs), run_ours(inputs)
    reasons = Counter(fact.reason for fact in old.instances)
    assert 30 <= reasons["scale-in"] <= 55
    assert reasons.total() == 100
    assert all(fact.ready_ms < 0 for fact in old.instances if fact.reason == "scale-in")
    assert 1.85 <= old.end_s() / 3180 <= 2.0
    assert old.done == 100
    assert_unharmed(ours, 100)
    assert len(ours.instances) == 100
    assert ours.end_s() <= 240 + 3000


def test_f6_workers_killed_while_booting_leave_functions_waiting() -> None:
    boot = Dist("uniform", {"low": 120, "high": 240})
    old = run_legacy(world([3000] * 100, boot=boot))
    killed = sum(fact.reason == "scale-in" for fact in old.instances)
    assert old.tally.operations["boot_failed"] == killed
    booted = sum(fact.ready_ms for fact in old.instances if fact.ready_ms > 0) / 1000
    assert old.tally.operations["boot_second"] == round(booted + 420 * killed)


def test_f6_new_jobs_starve_behind_running_ones() -> None:
    inputs = world([3000] * 10 + [60] * 5, submit_s=[0] * 10 + [600] * 5, boot=constant(30))
    old, ours = run_legacy(inputs), run_ours(inputs)
    assert len(old.instances) == 10
    assert min(old.end_s(job) for job in range(10, 15)) > 3000
    assert max(ours.end_s(job) for job in range(10, 15)) < 600 + 60 + 30 + 60 + 60


# F7: ownership ------------------------------------------------------------------------------------------------------
def test_f7_a_delete_slower_than_the_visibility_timeout_runs_the_job_twice() -> None:
    inputs = world([600] * 60, faults={"lambda.error.DeleteJob": 0.45})
    old, ours = run_legacy(inputs), run_ours(inputs)
    assert old.tally.duplicate_completions > 0
    assert old.tally.attempts == 60 + old.tally.duplicate_completions
    assert sum(fact.useful_ms for fact in old.attempts) == 60 * 600_000
    assert_unharmed(ours, 60)


def test_f7_a_message_that_comes_twice_is_run_twice() -> None:
    inputs = world([600] * 10, faults={"sqs.duplicate": 1.0})
    old = run_legacy(inputs)
    assert (old.done, old.tally.duplicate_completions, old.tally.attempts) == (10, 10, 20)
    assert_unharmed(run_ours(inputs), 10)


def test_f7_a_command_that_was_sent_though_its_try_failed_runs_twice_on_one_instance() -> None:
    inputs = world([600] * 20, faults={"lambda.error.StartJob": 0.3})
    old = run_legacy(inputs)
    retried = sum(execution["segments"].get("task_retry", 0) for execution in old.executions)
    assert old.done == 20
    assert 0 < old.tally.duplicate_completions <= retried
    assert old.tally.attempts == 20  # the second copy's time is the first one's
    assert_unharmed(run_ours(inputs), 20)


# F8: errors that nothing catches ------------------------------------------------------------------------------------
def test_f8_a_first_check_that_fails_as_a_whole_loses_the_job_and_orphans_its_worker() -> None:
    inputs = world([600] * 10, faults={"lambda.error.CheckJob": 1.0})
    old = run_legacy(inputs)
    assert (old.lost, old.tally.orphan_workers) == (10, 10)
    assert {execution["end"] for execution in old.executions} == {"dead"}
    assert {fact.reason for fact in old.instances} == {"orphan"}
    assert_unharmed(run_ours(inputs), 10)


def test_f8_a_protection_that_fails_as_a_whole_ends_the_execution_but_not_the_instance() -> None:
    inputs = world([600] * 4, most=4, faults={"lambda.error.ProtectEC2": 1.0})
    old = run_legacy(inputs)
    assert old.done == 0
    assert {execution["end"] for execution in old.executions} == {"dead"}
    assert {fact.reason for fact in old.instances} == {"end-of-run"}
    assert_unharmed(run_ours(inputs), 4)


# F9: bool("False") --------------------------------------------------------------------------------------------------
def test_f9_a_worker_protects_itself_again_before_it_ends() -> None:
    old = run_legacy(world([60]))
    assert [command.on for command in old.bodies("Protect")] == [True, True]
    assert old.instances[0].reason == "idle"  # masked: a terminate call ignores the protection


def test_f9_when_the_last_call_fails_the_group_cannot_end_the_instance_either() -> None:
    inputs = world([60], submit_s=[0], faults={"lambda.error.FinalTerminate": 1.0})
    old = run_legacy(inputs)
    assert (old.done, old.tally.orphan_workers) == (1, 1)
    assert old.instances[0].reason == "orphan"
    assert_unharmed(run_ours(inputs), 1)
