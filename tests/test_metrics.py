"""The metrics of a world by hand; and that counters kept without a journal are those that its facts add up to."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from smoke import worlds as count_of
from worlds import HOUR, Case, S, cases, work_of

from sim.inputs import Billing, JobClass
from spotbed.journal import AttemptFact, Entry, InstanceFact, Journal
from spotbed.ledger import PoolFacts
from spotbed.metering import (
    BOOT,
    CHECKPOINT,
    FAILED,
    IDLE,
    INSTANCE_CAUSES,
    LOST,
    MINIMUM,
    USEFUL,
    JobColumns,
    PoolUse,
    Tally,
)
from spotbed.metric_names import METRIC_NAMES
from spotbed.metrics import metrics
from spotbed.worlds import simulate

DONE, GAVE_UP, UNFINISHED, VANISHED = 1, 2, 0, 4


# by hand ------------------------------------------------------------------------------------------------------------
def tally_of(rows: list[tuple[int, int, int]], pools: list[PoolUse] | None = None) -> Tally:
    """Jobs as (status, end, useful time); the pools' use."""
    columns = JobColumns(len(rows))
    for number, (status, end_ms, useful_ms) in enumerate(rows):
        columns.status[number], columns.end_ms[number], columns.useful_ms[number] = status, end_ms, useful_ms
    return Tally(columns, pools or [])


def measured(rows: list[tuple[int, int, int]], submit_ms: list[int], **klass: Any) -> dict[str, float]:
    work = work_of((JobClass("job", **klass),), submit_ms, [1] * len(rows))
    return metrics(tally_of(rows), work, [], 12.5)


def test_times_of_jobs() -> None:
    """Two jobs that ended well: submitted at 0 and 10 s, done at 60 and 100 s, with 40 and 4 s of work."""
    values = measured([(DONE, 60 * S, 40 * S), (DONE, 100 * S, 4 * S)], [0, 10 * S])
    assert values["makespan_s"] == 100
    assert values["flow_s"] == (60 + 90) / 2
    assert values["wait_s"] == (20 + 86) / 2
    assert values["bounded_slowdown"] == (60 / 40 + 90 / 10) / 2  # work below 10 s counts as 10 s
    assert values["cost_usd"] == 12.5


def test_a_slowdown_is_at_least_one() -> None:
    assert measured([(DONE, 2 * S, 2 * S)], [0])["bounded_slowdown"] == 1


def test_ends_of_jobs() -> None:
    rows = [(DONE, 5, 5), (GAVE_UP, 9, 0), (3, 9, 0), (UNFINISHED, -1, 0), (VANISHED, -1, 0)]
    values = measured(rows, [0] * 5)
    counts = {name: values[f"jobs_{name}"] for name in ("submitted", "done", "failed", "unfinished", "lost")}
    assert counts == {"submitted": 5, "done": 1, "failed": 2, "unfinished": 1, "lost": 1}


def test_deadlines_are_met_by_jobs_that_are_done_in_time() -> None:
    """In time to the millisecond, one millisecond late, given up early, never ended."""
    rows = [(DONE, HOUR, 1), (DONE, HOUR + 1, 1), (GAVE_UP, 5, 0), (UNFINISHED, -1, 0)]
    assert measured(rows, [0] * 4, deadline_ms=HOUR)["deadline_missed"] == 3
    assert measured(rows, [0] * 4)["deadline_missed"] == 0


def test_without_a_job_that_ended_well_there_is_no_mean() -> None:
    values = measured([(UNFINISHED, -1, 0)], [0])
    undefined = {name for name, value in values.items() if math.isnan(value)}
    assert undefined == {"makespan_s", "flow_s", "wait_s", "bounded_slowdown"}


def test_time_of_instances_by_purchase_and_cause() -> None:
    """Two slots: what the causes count in slot time is half as much in instance time."""
    spot, other = PoolUse("a", instance_ms=100 * S), PoolUse("b", instance_ms=30 * S)
    for cause, ms in ((USEFUL, 80), (LOST, 20), (CHECKPOINT, 6), (FAILED, 4), (BOOT, 40), (IDLE, 30), (MINIMUM, 20)):
        spot.ms[cause] = ms * S
    other.ms[USEFUL] = 60 * S
    spot.interruptions, other.launch_failures = 3, 2
    tally = tally_of([(DONE, 1, 1)], [spot, other])
    tally.attempts, tally.duplicate_completions, tally.orphan_workers = 9, 1, 2
    work = work_of((JobClass("job"),), [0], [1])
    values = metrics(tally, work, [PoolFacts("spot", 1.0), PoolFacts("on-demand", 1.0)], 0.0, slots=2)
    expected = {
        "lost_work_s": 10, "idle_s": 15, "boot_s": 20, "spot_worker_s": 100, "on_demand_worker_s": 30,
        "spot_work_s": 40, "on_demand_work_s": 30, "interruptions": 3, "launch_failures": 2, "attempts": 9,
        "duplicate_completions": 1, "orphan_workers": 2,
    }  # fmt: skip
    assert {name: values[name] for name in expected} == expected
    assert list(values) == list(METRIC_NAMES)


# counters and facts -------------------------------------------------------------------------------------------------
class Fold:
    """What the facts of a journal add up to."""

    def __init__(self, journal: Journal, case: Case) -> None:
        self.entries = journal.entries
        self.slots = case.inputs.slots_per_instance
        self.numbers = {pool.id: number for number, pool in enumerate(case.inputs.pools)}
        self.attempts: list[AttemptFact] = [each.body for each in self._all("attempt")]
        self.instances: list[InstanceFact] = [each.body for each in self._all("instance")]
        self.in_vain = [each.body for each in self._all("kept-for-nothing")]  # work kept by jobs that then failed

    def _all(self, kind: str) -> list[Entry]:
        return [each for each in self.entries if each.kind == kind]

    def commands(self, kind: str) -> int:
        return sum(each.what == "command" for each in self._all(kind))

    def jobs(self, field: str) -> dict[int, float]:
        """The sum of a field of the attempts, by job."""
        sums: dict[int, float] = defaultdict(float)
        for each in self.attempts:
            sums[each.number] += getattr(each, field)
        return dict(sums)

    def interruptions(self) -> Counter[int]:
        """Attempts that EC2 ended, or that left because it would."""
        left = {(each.body.job, each.body.epoch) for each in self._all("Release") if each.body.cause == "interrupted"}
        taken = [each for each in self.attempts if each.cause == "interrupted"]
        noticed = [each for each in self.attempts if each.cause == "checkpointed" and (each.job, each.attempt) in left]
        return Counter(each.number for each in (*taken, *noticed))

    def overhead(self, name: str, cause: int) -> int:
        """Slot time of a pool between attempts, or beyond the life of its instances."""
        here = [each for each in self.instances if each.pool == name]
        if cause == MINIMUM:
            return self.slots * sum(each.minimum_ms for each in here)
        return sum(each.ms[cause] for each in here)

    def of_attempts(self, cause: int) -> int:
        """Slot time of a cause in all pools. What jobs that failed had kept turned out to be of another cause."""
        field = {USEFUL: "useful_ms", LOST: "lost_ms", CHECKPOINT: "checkpoint_ms", FAILED: "failed_ms"}[cause]
        moved: int = sum(each["useful_ms"] for each in self.in_vain if each["cause"] == INSTANCE_CAUSES[cause])
        gone: int = sum(each["useful_ms"] for each in self.in_vain) if cause == USEFUL else 0
        return sum(getattr(each, field) for each in self.attempts) + moved - gone


def recorded(case: Case) -> tuple[Tally, Fold]:
    """The counters of a run without a journal, and the facts of one with a journal. Nothing is refunded."""
    inputs = replace(case.inputs, billing=Billing(case.inputs.billing.minimum_s))
    journal = Journal()
    simulate(inputs, case.policy, journal)
    return simulate(inputs, case.policy), Fold(journal, case)


@count_of(40)
@given(cases("weibull"))
def test_counters_of_jobs_are_the_sums_of_their_attempts(case: Case) -> None:
    tally, fold = recorded(case)
    columns = tally.jobs
    known = range(len(columns))
    assert tally.attempts == len(fold.attempts)
    counted = Counter(each.number for each in fold.attempts)
    assert {number: columns.attempts[number] for number in known if columns.attempts[number]} == dict(counted)
    assert {number: columns.interruptions[number] for number in known if columns.interruptions[number]} == dict(
        fold.interruptions()
    )
    last = {each.number: fold.numbers[each.pool] for each in fold.attempts}
    assert {number: columns.pool[number] for number in known if columns.pool[number] >= 0} == last
    usd = fold.jobs("usd")
    assert all(math.isclose(columns.usd[number], usd.get(number, 0.0), rel_tol=1e-9) for number in known)
    useful, lost = fold.jobs("useful_ms"), fold.jobs("lost_ms")
    in_vain = sum(each["useful_ms"] for each in fold.in_vain)
    assert sum(columns.useful_ms) == sum(useful.values()) - in_vain
    done = [number for number in known if columns.status[number] == DONE]
    assert all(columns.useful_ms[number] == useful[number] for number in done)
    assert all(columns.lost_ms[number] == lost[number] for number in done)
    starts = {number: min(each.start_ms for each in fold.attempts if each.number == number) for number in counted}
    assert {number: columns.first_start_ms[number] for number in known if number in counted} == starts


@count_of(40)
@given(cases("exponential"))
def test_counters_of_pools_are_the_sums_of_their_instances(case: Case) -> None:
    tally, fold = recorded(case)
    for use in tally.pools:
        here = [each for each in fold.instances if each.pool == use.pool]
        assert use.instances == len(here)
        assert use.interruptions == sum(each.reason == "interrupted" for each in here)
        assert use.instance_ms == sum(each.ended_ms - each.launched_ms + each.minimum_ms for each in here)
        assert use.instance_usd == pytest.approx(sum(each.usd for each in here), rel=1e-9)
        for cause in (BOOT, IDLE, MINIMUM):
            assert use.ms[cause] == fold.overhead(use.pool, cause), INSTANCE_CAUSES[cause]
    for cause in (USEFUL, LOST, CHECKPOINT, FAILED):
        assert sum(use.ms[cause] for use in tally.pools) == fold.of_attempts(cause), INSTANCE_CAUSES[cause]


@count_of(40)
@given(cases("trace"))
def test_counters_of_calls_are_the_commands_in_the_journal(case: Case) -> None:
    tally, fold = recorded(case)
    commands = {
        "Complete": ("complete",),
        "Fail": ("fail",),
        "Release": ("release", "late"),  # late: the job knows already
        "RollOver": ("roll_over",),
        "Launch": ("launch",),
    }
    for kind, operations in commands.items():
        assert sum(tally.operations.get(each, 0) for each in operations) == fold.commands(kind), kind
    assert tally.operations["submit"] == len(case.inputs.work)
    assert tally.operations.get("dead_letter", 0) == fold.commands("GiveUp")
    refused = sum(each.body.count for each in fold.entries if each.kind == "LaunchFailed")
    assert sum(use.launch_failures for use in tally.pools) * fold.slots == refused
