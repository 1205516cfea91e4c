"""How many workers: the three rules on the same classes of work, worked out by hand."""

from __future__ import annotations

import pytest
from core_examples import HOUR, MINUTE, need, observation, sight, view
from hypothesis import given
from hypothesis import strategies as st

from scheduler.policies.scale import (
    BacklogAndBusy,
    DeadlineAware,
    DrainTime,
    HourOfDay,
    StaticStability,
    StepBands,
    TargetBacklog,
    VisibleBacklog,
    workers_by_hour,
)
from scheduler.policy import Scale

SEEN = view(observation())


def missing(policy: Scale, **counts: int) -> int:
    """What the fleet would launch: desired less what lives."""
    of = need(**counts)
    return policy.desired(SEEN, of) - of.busy - of.booting - of.idle


def test_the_rule_of_2019_forgets_the_busy_workers_and_backlog_and_busy_does_not() -> None:
    """Ten run and five wait: 2019 wants five workers in all, and would end five of those that there are."""
    counts = {"queued": 5, "busy": 10}
    assert VisibleBacklog().desired(SEEN, need(**counts)) == 5
    assert missing(VisibleBacklog(), **counts) == -5
    assert BacklogAndBusy().desired(SEEN, need(**counts)) == 15
    assert missing(BacklogAndBusy(), **counts) == 5


def test_workers_on_their_way_are_not_ordered_again() -> None:
    assert missing(BacklogAndBusy(), queued=5, booting=5) == 0
    assert missing(BacklogAndBusy(), queued=5, booting=3, idle=1) == 1
    assert missing(BacklogAndBusy(), queued=2, booting=5) == 0


def test_backlog_and_busy_never_wants_fewer_than_there_are() -> None:
    assert missing(BacklogAndBusy(), queued=0, busy=4, booting=3, idle=2) == 0


def test_drain_time_gives_each_worker_work_for_the_target_where_backlog_and_busy_gives_it_one_job() -> None:
    """Twelve jobs of ten minutes: two hours of work, done within one hour by two workers."""
    counts = {"queued": 12, "queued_work_ms": 2 * HOUR}
    assert missing(DrainTime(), **counts) == 2
    assert missing(BacklogAndBusy(), **counts) == 12
    assert missing(DrainTime(target_ms=50 * MINUTE), **counts) == 3  # 2.4 is not enough with two


def test_drain_time_stays_between_one_worker_and_one_per_job() -> None:
    assert missing(DrainTime(), queued=3, queued_work_ms=90 * HOUR) == 3
    assert missing(DrainTime(), queued=3, queued_work_ms=1) == 1
    assert missing(DrainTime(), queued=3, queued_work_ms=0) == 1  # nobody gave an estimate
    assert missing(DrainTime(), queued=0, queued_work_ms=0, busy=2, booting=1) == 0


def test_drain_time_wants_enough_free_workers_for_the_largest_gang_that_waits() -> None:
    """A gang starts on workers that are free at once: those that are busy are no part of it."""
    assert missing(DrainTime(), queued=5, queued_work_ms=MINUTE, seats=3) == 3
    assert missing(DrainTime(), queued=5, queued_work_ms=MINUTE, seats=3, busy=4, booting=1, idle=1) == 1
    assert missing(DrainTime(), queued=0, queued_work_ms=0, seats=3) == 0


def test_drain_time_counts_those_on_their_way() -> None:
    assert missing(DrainTime(), queued=12, queued_work_ms=3 * HOUR, booting=2, busy=7) == 1


@pytest.mark.parametrize("policy", [BacklogAndBusy(max_workers=6), DrainTime(max_workers=6)])
def test_a_maximum_of_workers_holds_for_all_of_them(policy: Scale) -> None:
    assert missing(policy, queued=50, queued_work_ms=50 * HOUR, busy=4, booting=1) == 1
    assert missing(policy, queued=50, queued_work_ms=50 * HOUR, busy=6) == 0


@given(*[st.integers(0, 50)] * 4, st.integers(0, 100 * HOUR), st.integers(1, 60))
def test_no_rule_wants_more_new_workers_than_jobs_wait(
    queued: int, busy: int, booting: int, idle: int, work_ms: int, seats: int
) -> None:
    counts = {"queued": queued, "busy": busy, "booting": booting, "idle": idle, "queued_work_ms": work_ms}
    counts["seats"] = seats
    for policy in (VisibleBacklog(), BacklogAndBusy(), DrainTime()):
        assert missing(policy, **counts) <= queued
    assert missing(DrainTime(), **counts) <= missing(BacklogAndBusy(), **counts)


# target backlog -----------------------------------------------------------------------------------------------------
def test_target_backlog_counts_busy_workers_as_able_to_take_the_queue_where_drain_time_adds_them() -> None:
    """60 jobs of one minute, ten minutes of wait: ten jobs a worker, six workers in all; four run already."""
    counts = {"queued": 60, "queued_work_ms": 60 * MINUTE, "busy": 4}
    assert missing(TargetBacklog(wait_ms=10 * MINUTE), **counts) == 2
    assert missing(DrainTime(target_ms=10 * MINUTE), **counts) == 6


def test_target_backlog_starves_behind_long_jobs() -> None:
    """One job of an hour waits, four workers are busy: one worker for each job is the target, and there are four."""
    assert missing(TargetBacklog(), queued=1, queued_work_ms=HOUR, busy=4) == 0
    assert missing(TargetBacklog(), queued=5, queued_work_ms=5 * HOUR, busy=4) == 1
    assert missing(TargetBacklog(max_workers=4), queued=9, queued_work_ms=9 * HOUR, busy=4) == 0
    assert missing(TargetBacklog(), queued=0, busy=3, idle=2) == 0


# step bands ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("queued", "more"), [(0, 0), (1, 1), (9, 1), (10, 5), (99, 5), (100, 20), (500, 20)])
def test_the_highest_band_that_is_reached_says_how_many_are_added(queued: int, more: int) -> None:
    assert missing(StepBands(), queued=queued, busy=3) == more
    assert missing(BacklogAndBusy(), queued=queued, busy=3) == queued


def test_a_step_is_not_taken_again_while_its_workers_boot() -> None:
    assert missing(StepBands(), queued=50, busy=3, booting=5) == 0
    assert missing(StepBands(), queued=50, busy=3, booting=2) == 3
    assert missing(StepBands("1=8"), queued=2) == 2  # never more than jobs


def test_bands_that_are_no_bands_are_refused() -> None:
    for text in ("1", "a=1", "1=2=3"):
        with pytest.raises(ValueError, match="invalid literal"):
            StepBands(text)


# deadline-aware -----------------------------------------------------------------------------------------------------
def due(number: int, work_ms: int, deadline_ms: int) -> object:
    return sight(f"job-{number}", estimate_ms=work_ms, deadline_ms=deadline_ms)


def for_deadlines(*jobs: tuple[int, int], rest_ms: int = 0, reaction_ms: int = 0) -> int:
    sights = [due(number, *each) for number, each in enumerate(jobs)]
    queued_work_ms = sum(work for work, _ in jobs) + rest_ms
    seen = view(observation(jobs=sights, reaction_ms=reaction_ms))  # type: ignore[arg-type]
    return DeadlineAware().desired(seen, need(queued=len(jobs) + 9 * bool(rest_ms), queued_work_ms=queued_work_ms))


def test_far_deadlines_need_few_workers_where_backlog_and_busy_takes_one_for_each_job() -> None:
    """Eight jobs of an hour, due in four hours: two workers. Half of them due in two hours: still two."""
    assert for_deadlines(*[(HOUR, 4 * HOUR)] * 8) == 2
    assert for_deadlines(*[(HOUR, 2 * HOUR)] * 4, *[(HOUR, 4 * HOUR)] * 4) == 2
    assert for_deadlines(*[(HOUR, 2 * HOUR)] * 6, *[(HOUR, 4 * HOUR)] * 2) == 3
    assert missing(BacklogAndBusy(), queued=8, queued_work_ms=8 * HOUR) == 8


def test_a_job_that_cannot_wait_has_a_worker_of_its_own_and_the_way_to_a_worker_counts() -> None:
    assert for_deadlines((HOUR, HOUR), (HOUR, 4 * HOUR), (HOUR, 4 * HOUR)) == 2
    assert for_deadlines((HOUR, 2 * HOUR), (HOUR, 2 * HOUR)) == 1
    assert for_deadlines((HOUR, 2 * HOUR), (HOUR, 2 * HOUR), reaction_ms=5 * MINUTE) == 2


def test_work_without_a_deadline_is_done_within_the_target() -> None:
    assert for_deadlines((HOUR, 4 * HOUR), rest_ms=3 * HOUR) == 1 + 3


# hour of day --------------------------------------------------------------------------------------------------------
def test_workers_are_there_before_the_hour_in_which_backlog_and_busy_would_only_begin() -> None:
    """Eight from eight on, two at night; a quarter of an hour early."""
    policy = HourOfDay("8=8 18=2")
    empty = need()
    wanted = {at: policy.desired(view(observation(), at * MINUTE), empty) for at in (0, 464, 465, 1064, 1065, 1905)}
    assert wanted == {0: 2, 464: 2, 465: 8, 1064: 8, 1065: 2, 1905: 8}
    assert BacklogAndBusy().desired(view(observation(), 465 * MINUTE), empty) == 0
    assert policy.desired(view(observation(), 0), need(queued=5, busy=1)) == 6


def test_the_table_of_past_jobs_is_the_mean_work_of_each_hour() -> None:
    """Two days: at 9:00 three hours of work each day, at 17:30 one hour on the first day only."""
    day = 24 * HOUR
    submits = [9 * HOUR, 17 * HOUR + 30 * MINUTE, day + 9 * HOUR]
    table = workers_by_hour(submits, [3 * HOUR, HOUR, 3 * HOUR])
    assert {part for part in table.split() if not part.endswith("=0")} == {"9=3", "17=1"}
    assert len(table.split()) == 24
    assert workers_by_hour([], []) == ""
    assert HourOfDay(table).desired(view(observation(), 9 * HOUR), need()) == 3


# static stability ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("zones", "workers"), [(2, 12), (3, 9), (4, 8), (7, 7)])
def test_what_is_left_after_a_zone_is_lost_is_enough(zones: int, workers: int) -> None:
    """Six jobs: z / (z - 1) x 6."""
    counts = {"queued": 2, "busy": 4}
    assert StaticStability(zones=zones).desired(SEEN, need(**counts)) == workers
    assert workers * (zones - 1) / zones >= 6
    assert BacklogAndBusy().desired(SEEN, need(**counts)) == 6


def test_the_reserve_is_not_ordered_again_when_it_idles_or_boots() -> None:
    assert missing(StaticStability(), busy=6, idle=3) == 0
    assert missing(StaticStability(), busy=6, booting=2) == 1
    assert missing(StaticStability()) == 0
