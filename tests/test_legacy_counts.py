"""The counts of `legacy-2019`: those of the published table, exactly, out of whatever world has run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from legacy_worlds import HOPS, Run, constant, run_legacy, shortage, world

from scheduler.legacy_counts import EXECUTION_END, OTHERS, SEGMENTS, TASKS, Counts, state_counts, total
from spotbed.pricebook import PriceBook
from spotbed.services_preset import ServicesPreset

NO_LIMITS = {"stepfunctions.history_limit": 1 << 30, "legacy.execution_timeout": 1e6}
ITEMS = {
    "transitions": "stepfunctions.transition",
    "functions": "lambda.request",
    "history_events": "stepfunctions.history-event",
    "queue_requests": "sqs.request",
    "table_writes": "dynamodb.provisioned-write",
    "commands": "ssm.command",
}


def closed_form(jobs: int, polls: int) -> tuple[int, int, int]:
    """(transitions, functions, history events) of a worker with so many successful jobs and polls."""
    return 14 * jobs + 3 * polls + 8, 9 * jobs + polls + 5, 55 * jobs + 9 * polls + 28


def used(execution: Mapping[str, Any]) -> tuple[int, int, int]:
    return execution["transitions"], execution["functions"], execution["history_events"]


# the table ----------------------------------------------------------------------------------------------------------
def test_the_machine_has_31_states() -> None:
    assert len(TASKS) == 17
    assert Counter(OTHERS.values()) == {"Pass": 6, "Choice": 5, "Wait": 1, "Succeed": 1, "Fail": 1}


@pytest.mark.parametrize(
    ("segments", "row"),
    [  # transitions, functions, events, queue requests, table writes, commands: section 2 of the original's description
        (("worker_start",), (4 + 1, 2 + 1, 14 + 1, 0, 0, 0)),
        (("job_start",), (6, 5, 27, 4, 1, 1)),
        (("poll",), (3, 1, 9, 0, 0, 0)),
        (("success", "next_job"), (8, 4, 28, 4, 1, 0)),
        (("fail_ssm", "next_job"), (7, 3, 23, 4, 1, 0)),
        (("fail_string", "next_job"), (9, 4, 30, 4, 1, 0)),
        (("give_up",), (1, 1, 5, 0, 0, 0)),
        (("teardown",), (4, 2, 14 + 1, 0, 0, 0)),
        (("empty_receive",), (4, 4, 14, 8, 0, 0)),
        (("job_start", "success", "next_job"), (14, 9, 55, 8, 2, 1)),
    ],
)
def test_rows_of_the_published_table(segments: Sequence[str], row: tuple[int, ...]) -> None:
    assert total(dict.fromkeys(segments, 1)) == Counts(*row)


def test_a_try_that_fails_is_a_transition_and_three_events() -> None:
    assert state_counts("StartJob", 3) == Counts(4, 4, 14, 0, 0, 4)
    assert state_counts("GetJob", 3) == SEGMENTS["empty_receive"]
    assert SEGMENTS["empty_receive"] == state_counts("GetJob").plus(SEGMENTS["receive_retry"], 3)


def test_the_waits_of_retries_are_those_of_the_states() -> None:
    waits = {state: TASKS[state][1].wait_s(TASKS[state][1].attempts) for state in ("GetJob", "CheckJob", "SQSCheck")}
    assert waits == {"GetJob": 2 + 4 + 8, "CheckJob": 3 + 6 + 12, "SQSCheck": 7 + 14 + 28 + 56 + 112}
    assert TASKS["FinalTerminate"][1].wait_s(5) == 10 + 20 + 40 + 80 + 160


def test_the_services_data_prices_the_same_counts() -> None:
    table = ServicesPreset.load().operations["legacy"]
    for segment, counts in SEGMENTS.items():
        assert {name: table[segment].get(item, 0.0) for name, item in ITEMS.items()} == {
            name: getattr(counts, name) for name in ITEMS
        }, segment


# worlds -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("runtimes_s", "polls", "counts"),
    [([3], 1, (25, 15, 92)), ([60] * 10, 120, (508, 215, 1658))],
)
def test_the_published_examples(runtimes_s: list[float], polls: int, counts: tuple[int, int, int]) -> None:
    (execution,) = run_legacy(world(runtimes_s, most=1)).executions
    assert (execution["jobs"], execution["polls"]) == (len(runtimes_s), polls)
    assert used(execution) == counts == closed_form(len(runtimes_s), polls)


def test_an_hour_of_polls_at_the_original_interval() -> None:
    latency = {"poll": (constant(0.3),)}
    (execution,) = run_legacy(world([3600], latency=latency)).executions
    assert execution["polls"] == -(-3_600_000 // 5_300) == 680
    assert used(execution) == closed_form(1, 680) == (2062, 694, 6203)


def expected(execution: Mapping[str, Any]) -> tuple[int, int, int]:
    """The published sums; and where another worker was faster, what an empty queue adds: GetJob in four tries,
    SQSCheck, its Choice and PassCleanEntry, or only the tries before the one that brought a message."""
    segments = execution["segments"]
    if "boot_failed" in segments:
        return 7, 6, 23  # StartExecution, WaitEC2 in four tries, FinalTerminate, Finish
    empty, again = segments.get("empty_receive", 0), segments.get("receive_retry", 0)
    base = closed_form(execution["jobs"], execution["polls"])
    return base[0] + 7 * empty + again, base[1] + 5 * empty + again, base[2] + 23 * empty + 3 * again


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_every_worker_with_successful_jobs_only_makes_the_published_counts(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    count, most = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 8))
    poll_s, delay_s = data.draw(st.integers(1, 30)), data.draw(st.sampled_from([0.0, 0.2, 0.5]))
    runtimes = rng.exponential(data.draw(st.sampled_from([2.0, 60.0, 900.0])), count)
    submit = np.sort(rng.uniform(0, data.draw(st.sampled_from([1.0, 3600.0, 20_000.0])), count))
    latency = {**HOPS, "poll": (constant(delay_s),)}
    inputs = world(runtimes, submit_s=submit, most=most, latency=latency, legacy={"legacy.poll": poll_s, **NO_LIMITS})
    run = run_legacy(inputs)
    cycle_ms = round(1000 * (poll_s + delay_s))
    polls = [max(1, -(-int(runtime_ms) // cycle_ms)) for runtime_ms in inputs.work.runtime_ms]
    assert run.tally.operations["poll"] == sum(polls)
    for execution in run.executions:
        assert used(execution) == expected(execution)
    assert sum(execution["jobs"] for execution in run.executions) == count


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_what_executions_used_is_what_is_metered(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    chance = st.sampled_from([0.0, 0.0, 0.2, 0.6])
    names = ("ssm.error", "lambda.error", "sqs.duplicate", "sqs.empty_receive", "sqs.reorder", "lambda.error.CheckJob")
    inputs = world(
        rng.exponential(600, 40),
        submit_s=np.sort(rng.uniform(0, 4000, 40)),
        most=data.draw(st.integers(1, 10)),
        faults={name: data.draw(chance) / (100 if name == "ssm.error" else 1) for name in names},
        interruptions=shortage(2000, 3000),
        latency=HOPS,
        legacy={"legacy.poll": data.draw(st.sampled_from([5.0, 60.0])), "sqs.count_staleness": 5.0},
        retries=data.draw(st.integers(0, 3)),
        fail_probability=data.draw(chance),
        success_string_missing=data.draw(chance),
        drain_s=86_400,
    )
    run = run_legacy(inputs)
    assert_metered(run)


def assert_metered(run: Run) -> None:
    """The sums of the executions are what the services data makes of the operations that the world counts."""
    operations = {name: times for name, times in run.tally.operations.items() if name in SEGMENTS}
    metered = total(operations)
    over = len([execution for execution in run.executions if execution["end"] == "dead"])
    for name in ("transitions", "functions"):
        assert sum(execution[name] for execution in run.executions) == getattr(metered, name)
    events = sum(execution["history_events"] for execution in run.executions)
    assert events == metered.history_events + over * EXECUTION_END
    assert all(execution["history_events"] <= 25_000 for execution in run.executions)
    segments: Counter[str] = Counter()
    for execution in run.executions:
        segments.update(execution["segments"])
    assert segments == operations


@pytest.mark.parametrize("check_s", [0.0, 0.24, 0.5])
def test_polling_every_5_seconds_costs_5_cents_a_busy_worker_hour(check_s: float) -> None:
    latency = {"poll": (constant(check_s),)}
    run = run_legacy(world([3500] * 8, most=4, latency=latency))
    transitions = SEGMENTS["poll"].transitions * run.tally.operations["poll"]
    busy_hours = sum(fact.useful_ms for fact in run.attempts) / 3_600_000
    usd = transitions * PriceBook.load().usd("stepfunctions.transition")
    assert 0.049 <= usd / busy_hours <= 0.055
