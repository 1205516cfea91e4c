"""A fixed cluster: jobs of many slots, what ends them, what is metered, and a head node that may fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from queueing import column, inputs_of, run_cluster
from worlds import HOUR, MINUTE, S, policy_of, work_of

from scheduler.policies.order import EarliestDeadlineFirst, Fifo, ShortestJobFirst
from scheduler.policies.order.easy import Easy
from scheduler.policies.place import OnDemandFallback
from scheduler.policies.retry import FullJitter, Immediate
from scheduler.settings import Settings
from sim.drivers import driver_of
from sim.inputs import HeadNode, JobClass, ServiceInputs, Work
from spotbed.journal import AttemptFact, Journal
from spotbed.metering import DONE, GAVE_UP, UNFINISHED
from spotbed.metrics import metrics
from spotbed.worlds import simulate

ORDERS = (Fifo(), ShortestJobFirst(), EarliestDeadlineFirst(), Easy(), Easy(candidates="sjbf"), Easy(strict=True))


def load(*jobs: tuple[int, int, int], klass: JobClass | None = None, **fields: Any) -> Work:
    """Jobs as (submission s, runtime s, slots)."""
    submit, runtime, slots = (list(values) for values in zip(*jobs, strict=True))
    found = work_of((klass or JobClass("job"),), [at * S for at in submit], [run * S for run in runtime])
    return replace(found, slots=np.array(slots, dtype=np.int32), **fields)


def facts_of(journal: Journal) -> list[AttemptFact]:
    return [entry.body for entry in journal.entries if entry.kind == "attempt"]


def starts_s(work: Work, slots: int, **points: object) -> list[float]:
    return (column(run_cluster(work, slots, **points).jobs.first_start_ms) / S).tolist()


# slots --------------------------------------------------------------------------------------------------------------
def test_jobs_take_their_slots_and_wait_for_them() -> None:
    work = load((0, 10, 3), (1, 10, 2), (2, 10, 1), (3, 10, 4))
    assert starts_s(work, 4, order=Fifo()) == [0, 10, 10, 20]
    assert starts_s(work, 4, order=Easy()) == [0, 10, 2, 20]


def test_a_job_of_no_length_starts_and_ends() -> None:
    assert starts_s(load((5, 0, 4), (5, 0, 4), (5, 7, 1)), 4) == [5, 5, 5]


def test_a_job_that_is_larger_than_the_cluster_is_refused() -> None:
    with pytest.raises(AssertionError, match="larger"):
        run_cluster(load((0, 1, 5)), 4)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1 << 32), order=st.sampled_from(ORDERS), slots=st.integers(4, 20))
def test_no_more_slots_are_taken_than_there_are(seed: int, order: object, slots: int) -> None:
    rng = np.random.default_rng(seed)
    count = 60
    submit, runtime = np.sort(rng.integers(0, 600, count)), rng.integers(0, 60, count)
    needs = rng.integers(1, slots + 1, count)
    work = load(*zip(submit.tolist(), runtime.tolist(), needs.tolist(), strict=True))
    journal = Journal()
    tally = run_cluster(work, slots, journal, order=order)
    assert set(tally.jobs.status) == {DONE}
    changes = sorted(
        change
        for fact in facts_of(journal)
        if fact.end_ms > fact.start_ms
        for need in [int(work.slots[fact.number])]
        for change in ((fact.start_ms, need), (fact.end_ms, -need))
    )
    busy = np.cumsum([need for _, need in changes])
    assert busy.max(initial=0) <= slots
    assert (column(tally.jobs.end_ms) - column(tally.jobs.first_start_ms) == work.runtime_ms).all()
    assert (column(tally.jobs.first_start_ms) >= work.submit_ms).all()


# ends ---------------------------------------------------------------------------------------------------------------
def test_a_job_that_fails_is_tried_again_as_the_retry_policy_says() -> None:
    work = load((0, 10, 1), klass=JobClass("job", fail_probability=1.0, retries=2))
    journal = Journal()
    tally = run_cluster(work, 1, journal, retry=Immediate())
    assert list(tally.jobs.status) == [GAVE_UP]
    assert [(fact.start_ms, fact.end_ms, fact.cause, fact.failed_ms) for fact in facts_of(journal)] == [
        (number * 10 * S, (number + 1) * 10 * S, "failed", 10 * S) for number in range(3)
    ]
    late = run_cluster(work, 1, retry=FullJitter(base_ms=HOUR))
    assert late.jobs.attempts[0] == 3
    assert late.end_ms > 30 * S


def test_a_job_that_takes_too_long_is_ended() -> None:
    journal = Journal()
    tally = run_cluster(load((0, 10, 1), klass=JobClass("job", timeout_ms=4 * S, retries=0)), 1, journal)
    assert list(tally.jobs.status) == [GAVE_UP]
    assert [(fact.cause, fact.end_ms) for fact in facts_of(journal)] == [("timeout", 4 * S)]


def test_a_job_waits_for_those_that_it_needs() -> None:
    work = load((0, 10, 1), (1, 10, 1), (2, 10, 1), after={2: (0, 1)})
    assert starts_s(work, 4) == [0, 1, 11]
    klass = JobClass("job", fail_probability=0.5, retries=0)
    failing = load((0, 10, 1), (1, 10, 1), klass=klass, after={1: (0,)}, outcome_u=np.array([0.0, 0.9]))
    tally = run_cluster(failing, 4)
    assert list(tally.jobs.status) == [GAVE_UP, GAVE_UP]
    assert list(tally.jobs.attempts) == [1, 0]


def test_licences_are_counted() -> None:
    work = load((0, 10, 1), (0, 10, 1), (0, 10, 1), klass=JobClass("job", licences={"solver": 2}))
    tally = simulate(inputs_of(work, cluster_slots=9, licences={"solver": 4}), policy_of())
    assert list(tally.jobs.first_start_ms) == [0, 0, 10 * S]


def test_what_has_not_ended_when_the_drain_ends_is_unfinished() -> None:
    inputs = inputs_of(load((0, 10, 1), (0, 9_000, 1), (1, 5, 1)), cluster_slots=1, drain_ms=HOUR)
    tally = simulate(inputs, policy_of())
    assert list(tally.jobs.status) == [DONE, UNFINISHED, UNFINISHED]
    assert tally.end_ms == HOUR + S


# metering -----------------------------------------------------------------------------------------------------------
def test_metrics_of_a_cluster() -> None:
    """Waits 0, 9 and 16 s of runs of 10, 8 and 2 s; slowdowns are bounded at 10 s."""
    work = load((0, 10, 1), (1, 8, 1), (2, 2, 1))
    found = metrics(run_cluster(work, 1), work, [], 0.0)
    assert found["wait_s"] == pytest.approx((0 + 9 + 16) / 3)
    assert found["bounded_slowdown"] == pytest.approx((1 + 1.7 + 1.8) / 3)
    assert found["makespan_s"] == 20
    assert found["jobs_done"] == found["attempts"] == 3
    assert found["spot_worker_s"] == found["interruptions"] == found["jobs_lost"] == 0


def test_startup_and_staging_are_part_of_an_attempt_but_startup_is_not_work() -> None:
    work = load((0, 10, 1), klass=JobClass("job", input_gib=2.0, output_gib=1.0))
    journal = Journal()
    inputs = inputs_of(work, cluster_slots=1, services=ServiceInputs(staging_gib_per_s=1.0))
    simulate(inputs, policy_of(Settings(startup_ms=4 * S)), journal)
    fact = facts_of(journal)[0]
    assert (fact.end_ms, fact.useful_ms, fact.checkpoint_ms) == (17 * S, 13 * S, 4 * S)
    assert (fact.pool, fact.worker, fact.usd) == ("cluster", "cluster", 0.0)


def test_a_head_node_is_paid_for_only_if_it_has_a_price() -> None:
    inputs = inputs_of(load((5, 10, 1)), cluster_slots=1)
    assert simulate(inputs, policy_of()).head_node_ms == 0
    assert simulate(replace(inputs, head_node=HeadNode(0.4)), policy_of()).head_node_ms == 10 * S


def test_the_queue_is_sampled_once_a_tick_at_most() -> None:
    work = load(*((second, 100, 1) for second in range(200)))
    tally = run_cluster(work, 2, settings=Settings(tick_ms=MINUTE))
    times = [sample[0] for sample in tally.samples]
    assert np.diff(times).min() >= MINUTE
    assert tally.samples[1] == (MINUTE, 59, 0, 2, 0)


def test_every_architecture_runs_on_a_cluster_in_the_same_way() -> None:
    work = load((0, 10, 3), (1, 10, 2), (2, 10, 1))
    inputs = inputs_of(work, cluster_slots=4)
    assert driver_of("decoupled", inputs) is driver_of("central", inputs)
    place = OnDemandFallback(after_wait_ms=2 * S)  # asks to be asked again while a job waits
    assert starts_s(work, 4, place=place) == [0, 10, 10]


def test_the_same_run_writes_the_same_journal() -> None:
    rng = np.random.default_rng(5)
    jobs = [(int(at), int(run), int(need)) for at, run, need in rng.integers(1, 50, (80, 3))]
    work = load(*sorted(jobs), klass=JobClass("job", fail_probability=0.3), outcome_u=rng.random(80))
    hashes = set()
    for _ in range(2):
        journal = Journal()
        run_cluster(work, 50, journal, order=Easy())
        hashes.add(journal.sha256())
    assert len(hashes) == 1


# the head node ------------------------------------------------------------------------------------------------------
def test_a_busy_head_node_delays_starts() -> None:
    inputs = inputs_of(load((0, 5, 1), (0, 5, 1), (0, 5, 1)), cluster_slots=4, head_node=HeadNode(0.0, 0.5))
    assert list(simulate(inputs, policy_of()).jobs.first_start_ms) == [0, 2 * S, 4 * S]


def test_a_head_node_that_is_down_starts_nothing_and_records_nothing() -> None:
    """Down from 20 to 50: the job of 15 s ends at 25, which is known at 50; the next one starts then."""
    inputs = inputs_of(load((10, 15, 4), (12, 5, 4), (30, 5, 4)), cluster_slots=4)
    tally = simulate(replace(inputs, head_node=HeadNode(0.0, 0.0, ((20 * S, 30 * S),))), policy_of())
    assert list(tally.jobs.first_start_ms) == [10 * S, 50 * S, 55 * S]
    assert list(tally.jobs.end_ms) == [50 * S, 55 * S, 60 * S]
    assert list(tally.jobs.useful_ms) == [15 * S, 5 * S, 5 * S]
