"""The decision of a canary: each limit at its boundary, and what holds for any counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from aws_stacks import TARGET
from hypothesis import given
from hypothesis import strategies as st

from aws.canary import FEWEST_JOBS, MINUTES, WATCHES, Window, decide, limit_of, most_within
from aws.render import Limits, scheduler_stack

LIMITS = Limits(cost_per_job_usd=0.5, dead_letters=3, deadline_misses=2)
GOOD = Window(
    seconds=MINUTES * 60, jobs_done=FEWEST_JOBS, cost_usd=0.5 * FEWEST_JOBS, dead_letters=3, deadline_misses=2
)


def test_a_version_at_its_limits_is_kept() -> None:
    assert decide(LIMITS, GOOD).action == "keep"
    assert decide(LIMITS, GOOD).reasons == ()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"duplicate_completions": 1}, "1 jobs were completed twice: at most 0"),
        ({"lost_jobs": 1}, "1 jobs are lost: at most 0"),
        ({"dead_letters": 4}, "4 jobs were given up within five minutes: at most 3"),
        ({"deadline_misses": 3}, "3 deadlines were missed within an hour: at most 2"),
        ({"cost_usd": 0.501 * FEWEST_JOBS}, "0.501 USD a job cost: at most 0.5"),
    ],
)
def test_one_step_above_a_limit_rolls_back_and_says_why(change: dict[str, Any], says: str) -> None:
    found = decide(LIMITS, replace(GOOD, **change))
    assert found.action == "roll back"
    assert found.reasons == (says,)


def test_it_waits_until_enough_is_seen() -> None:
    assert decide(LIMITS, replace(GOOD, seconds=MINUTES * 60 - 1)).action == "wait"
    few = decide(LIMITS, replace(GOOD, jobs_done=FEWEST_JOBS - 1))
    assert few.action == "wait"  # though they cost more each: of so few that says little
    assert few.reasons == (f"{FEWEST_JOBS - 1} jobs are done: {FEWEST_JOBS} say enough",)
    assert len(decide(LIMITS, Window(seconds=0)).reasons) == 2


def test_what_must_not_be_needs_no_evidence() -> None:
    assert decide(LIMITS, Window(seconds=1, lost_jobs=1)).action == "roll back"
    both = decide(LIMITS, Window(seconds=1, lost_jobs=2, duplicate_completions=1))
    assert len(both.reasons) == 2


windows = st.builds(
    Window,
    seconds=st.floats(0, 3600),
    jobs_done=st.integers(0, 100),
    duplicate_completions=st.integers(0, 1),
    lost_jobs=st.integers(0, 1),
    dead_letters=st.integers(0, 6),
    deadline_misses=st.integers(0, 4),
    cost_usd=st.floats(0, 100),
)
COUNTS = ("duplicate_completions", "lost_jobs", "dead_letters", "deadline_misses")


@given(windows)
def test_one_of_three_and_with_reasons(window: Window) -> None:
    found = decide(LIMITS, window)
    assert (found.action == "keep") is (not found.reasons)


@given(windows, st.sampled_from(COUNTS))
def test_more_of_what_is_bad_never_mends_a_version(window: Window, name: str) -> None:
    worse = replace(window, **{name: getattr(window, name) + 1})
    if decide(LIMITS, window).action == "roll back":
        assert decide(LIMITS, worse).action == "roll back"
    if decide(LIMITS, worse).action == "keep":
        assert decide(LIMITS, window).action == "keep"


@given(windows, st.floats(0, 3600))
def test_time_alone_rolls_nothing_back(window: Window, more_s: float) -> None:
    later = replace(window, seconds=window.seconds + more_s)
    assert (decide(LIMITS, window).action == "roll back") is (decide(LIMITS, later).action == "roll back")
    if decide(LIMITS, window).action == "keep":
        assert decide(LIMITS, later).action == "keep"


@given(windows, st.floats(0.1, 10), st.floats(0, 10))
def test_wider_limits_never_roll_back_more(window: Window, cost: float, more: float) -> None:
    narrow = Limits(cost, 2, 2)
    wide = Limits(cost + more, 2 + more, 2 + more)
    if decide(wide, window).action == "roll back":
        assert decide(narrow, window).action == "roll back"


# the alarms -----------------------------------------------------------------------------------------------------------
def test_the_alarms_of_the_account_watch_the_same_numbers() -> None:
    template = scheduler_stack(TARGET, limits=LIMITS)
    parameters, resources = template["Parameters"], template["Resources"]
    for watch in WATCHES:
        alarm = resources[watch.alarm]["Properties"]
        threshold = alarm["Threshold"]
        if isinstance(threshold, dict):
            threshold = parameters[threshold["Ref"]]["Default"]
        assert threshold == limit_of(watch, LIMITS), watch.alarm
        assert (alarm["Period"], alarm["EvaluationPeriods"]) == (watch.period_s, watch.periods)
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
        assert alarm["TreatMissingData"] == "notBreaching"


def test_each_of_them_rolls_a_deployment_back_within_the_canary() -> None:
    template = scheduler_stack(TARGET, limits=LIMITS)
    preference = template["Globals"]["Function"]["DeploymentPreference"]
    assert preference["Type"] == f"Canary10Percent{MINUTES}Minutes"
    named = {each["Ref"] for each in preference["Alarms"]}
    assert {watch.alarm for watch in WATCHES} <= named


@given(st.lists(st.integers(0, 2_000_000), max_size=12))
def test_the_most_within_a_window(times_ms: list[int]) -> None:
    expected = max((sum(start <= at < start + 300_000 for at in times_ms) for start in times_ms), default=0)
    assert most_within(times_ms, "DeadLetters") == expected
