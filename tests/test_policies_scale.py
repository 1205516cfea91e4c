"""How many workers: the three rules on the same classes of work, worked out by hand."""

from __future__ import annotations

import pytest
from core_examples import HOUR, MINUTE, need, observation, view
from hypothesis import given
from hypothesis import strategies as st

from scheduler.policies.scale import BacklogAndBusy, DrainTime, VisibleBacklog
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
