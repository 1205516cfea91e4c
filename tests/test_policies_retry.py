"""After how long again: the immediate retry, and full jitter against its closed form."""

from __future__ import annotations

import math

import pytest
from core_examples import job, policy_of, ticket
from hypothesis import given
from hypothesis import strategies as st

from scheduler import job as job_role
from scheduler.draw import draw
from scheduler.events import FAILED, INTERRUPTED, STRING_MISSING, TIMEOUT, AttemptEnded
from scheduler.job_record import Job
from scheduler.policies.retry import (
    DeadLetter,
    DecorrelatedJitter,
    EqualJitter,
    FullJitter,
    Immediate,
    Rules,
    Sideline,
    TokenBucket,
)

ALMOST_ONE = 1 - 2**-53
JITTER = FullJitter(base_ms=1_000, cap_ms=10_000, budget_ms=1 << 40)


def failed(times: int, delayed_ms: int = 0) -> Job:
    return job("failed", of=ticket(), failures=times, delayed_ms=delayed_ms)


def test_immediate_is_at_once_where_full_jitter_waits() -> None:
    assert Immediate().delay_ms(failed(3), FAILED, 0.75) == 0
    assert JITTER.delay_ms(failed(3), FAILED, 0.75) == 3_000


@pytest.mark.parametrize(
    ("times", "ceiling_ms"), [(1, 1_000), (2, 2_000), (3, 4_000), (4, 8_000), (5, 10_000), (6, 10_000), (400, 10_000)]
)
def test_the_ceiling_doubles_with_each_failure_up_to_the_cap(times: int, ceiling_ms: int) -> None:
    """U(0, min(cap, b 2^n)), n = failures - 1."""
    assert JITTER.delay_ms(failed(times), FAILED, 0.0) == 0
    assert JITTER.delay_ms(failed(times), FAILED, 0.5) == ceiling_ms // 2
    assert JITTER.delay_ms(failed(times), FAILED, ALMOST_ONE) == ceiling_ms - 1


@given(st.integers(1, 100), st.floats(0, 1, exclude_max=True), st.sampled_from([FAILED, TIMEOUT]))
def test_a_delay_lies_within_its_bounds(times: int, u: float, cause: str) -> None:
    delay_ms = JITTER.delay_ms(failed(times), cause, u)
    assert delay_ms is not None
    assert 0 <= delay_ms < min(10_000, 1_000 * 2 ** (times - 1))


@pytest.mark.parametrize("times", [1, 3, 9])
def test_the_mean_delay_is_half_the_ceiling(times: int) -> None:
    """Within three standard errors of min(cap, b 2^n) / 2, on the core's own draws."""
    count, ceiling_ms = 4_000, min(10_000, 1_000 * 2 ** (times - 1))
    delays = [JITTER.delay_ms(failed(times), FAILED, draw(5, n, times, "retry")) or 0 for n in range(count)]
    error = ceiling_ms / math.sqrt(12 * count)
    assert abs(sum(delays) / count - ceiling_ms / 2) <= 3 * error


def test_the_delays_of_a_job_stay_within_its_budget_and_then_it_is_given_up() -> None:
    policy = FullJitter(base_ms=60_000, cap_ms=60_000, budget_ms=100_000)
    record, delays = failed(1), []
    while (delay_ms := policy.delay_ms(record, FAILED, 0.75)) is not None:
        delays.append(delay_ms)
        record = failed(record.failures + 1, delayed_ms=record.delayed_ms + delay_ms)
    assert delays == [45_000, 45_000, 10_000]


def test_a_budget_of_nothing_gives_up_at_the_first_failure() -> None:
    assert FullJitter(budget_ms=0).delay_ms(failed(1), FAILED, 0.5) is None


# jitter -------------------------------------------------------------------------------------------------------------
def test_equal_jitter_waits_at_least_half_the_ceiling_where_full_jitter_may_not_wait() -> None:
    """After three failures the ceiling is 4 s."""
    equal = EqualJitter(base_ms=1_000, cap_ms=10_000, budget_ms=1 << 40)
    assert [equal.delay_ms(failed(3), FAILED, u) for u in (0.0, 0.5, 0.75)] == [2_000, 3_000, 3_500]
    assert [JITTER.delay_ms(failed(3), FAILED, u) for u in (0.0, 0.5)] == [0, 2_000]


def test_decorrelated_jitter_grows_with_what_was_drawn_where_equal_jitter_grows_with_the_failures() -> None:
    """U(1 s, 3 x the last delay): after 1 s up to 3 s, after 8 s up to 24 s, which the cap cuts to 10 s."""
    policy = DecorrelatedJitter(base_ms=1_000, cap_ms=10_000, budget_ms=1 << 40)

    def delay(last_ms: int, u: float) -> int | None:
        return policy.delay_ms(job("failed", of=ticket(), failures=9, last_delay_ms=last_ms), FAILED, u)

    assert [delay(0, u) for u in (0.0, 0.5)] == [1_000, 2_000]  # before the first the last is the base
    assert [delay(1_000, 0.5), delay(8_000, 0.0), delay(8_000, 0.25), delay(8_000, 0.9)] == [
        2_000,
        1_000,
        6_750,
        10_000,
    ]


@pytest.mark.parametrize("kind", [EqualJitter, DecorrelatedJitter])
def test_all_backoffs_keep_to_the_budget_of_delays(kind: type[EqualJitter]) -> None:
    policy = kind(base_ms=60_000, cap_ms=60_000, budget_ms=100_000)
    assert policy.delay_ms(failed(2, delayed_ms=90_000), FAILED, 0.5) == 10_000
    assert policy.delay_ms(failed(3, delayed_ms=100_000), FAILED, 0.5) is None


def test_the_record_keeps_the_last_delay_the_last_exit_code_and_how_often_it_came_in_a_row() -> None:
    policy = policy_of(retry=JITTER)
    record = job("leased", of=ticket(retries=9), epoch=1)
    seen = []
    for code in (137, 137, 1):
        record, _ = job_role.step(record, AttemptEnded(0, "a", record.epoch, FAILED, code, -1), policy)
        seen.append((record.rare.exit_code, record.rare.alike))
        assert record.rare.last_delay_ms == JITTER.delay_ms(record, FAILED, draw(0, "a", 1, "retry"))
        record = job("leased", of=record.ticket, epoch=1, **{name: getattr(record.rare, name) for name in KEPT})
    assert seen == [(137, 1), (137, 2), (1, 1)]
    after, _ = job_role.step(record, AttemptEnded(0, "a", 1, INTERRUPTED, 0, -1), policy)
    assert (after.rare.exit_code, after.rare.alike) == (1, 1)  # an interruption is no failure of the application


KEPT = ("failures", "delayed_ms", "exit_code", "alike", "last_delay_ms")


# rules --------------------------------------------------------------------------------------------------------------
def exited(code: int, alike: int = 1, times: int = 1) -> Job:
    return job("failed", of=ticket(), failures=times, exit_code=code, alike=alike)


@pytest.mark.parametrize(
    ("code", "cause", "retried"),
    [(137, FAILED, True), (139, FAILED, False), (13, FAILED, False), (2, FAILED, True), (124, TIMEOUT, False),
     (0, STRING_MISSING, False)],
)  # fmt: skip
def test_the_first_rule_that_matches_decides_and_what_none_matches_is_retried(
    code: int, cause: str, retried: bool
) -> None:
    rules = Rules("137=retry 13*=exit timeout=exit string*=exit")
    assert (rules.delay_ms(exited(code), cause, 0.5) is not None) == retried
    assert FullJitter().delay_ms(exited(code), cause, 0.5) is not None  # its neighbour does not look at the code


def test_rules_that_are_no_rules_are_refused() -> None:
    for text in ("137=stop", "137", "=exit"):
        with pytest.raises(ValueError, match="a rule is PATTERN=retry or PATTERN=exit"):
            Rules(text)


# sideline and dead letter -------------------------------------------------------------------------------------------
def test_from_the_second_failure_on_a_job_is_put_aside_where_full_jitter_brings_it_back() -> None:
    assert [Sideline().delay_ms(failed(times), FAILED, 0.5) for times in (1, 2, 3)] == [500, 3_600_000, 3_600_000]
    assert FullJitter().delay_ms(failed(2), FAILED, 0.5) == 1_000


def test_the_same_exit_code_twice_in_a_row_goes_to_the_dead_letters_where_sideline_tries_on() -> None:
    assert DeadLetter().delay_ms(exited(1, alike=1, times=4), FAILED, 0.5) == 4_000
    assert DeadLetter().delay_ms(exited(1, alike=2, times=2), FAILED, 0.5) is None
    assert Sideline().delay_ms(exited(1, alike=2, times=2), FAILED, 0.5) == 3_600_000


# token bucket -------------------------------------------------------------------------------------------------------
def test_a_retry_costs_five_after_a_timeout_ten_and_a_success_brings_one() -> None:
    bucket = TokenBucket(capacity=20)
    assert bucket.after_retry(FAILED).tokens == 15
    assert bucket.after_retry(TIMEOUT).tokens == 10
    assert bucket.after_retry(TIMEOUT).after_success(3).tokens == 13
    assert bucket.after_success(3).tokens == 20  # never above its capacity


def test_a_bucket_that_cannot_pay_gives_up_where_full_jitter_retries() -> None:
    nearly = TokenBucket(capacity=20, spent=15)
    assert nearly.delay_ms(failed(1), FAILED, 0.5) == 500
    assert nearly.delay_ms(failed(1), TIMEOUT, 0.5) is None
    assert TokenBucket(capacity=20, spent=16).delay_ms(failed(1), FAILED, 0.5) is None
    assert FullJitter().delay_ms(failed(1), TIMEOUT, 0.5) == 500


@given(st.lists(st.booleans(), max_size=300))
def test_an_empty_bucket_allows_at_most_one_retry_for_five_successes(outcomes: list[bool]) -> None:
    """Exactly: after s successes from empty, floor(s / 5) retries are allowed if each is asked for at once."""
    bucket, successes, retries = TokenBucket(spent=500), 0, 0
    for success in outcomes:
        if success:
            bucket, successes = bucket.after_success(), successes + 1
        elif bucket.delay_ms(failed(1), FAILED, 0.5) is not None:
            bucket, retries = bucket.after_retry(FAILED), retries + 1
        assert retries <= successes // 5
        assert bucket.tokens == successes - 5 * retries  # 300 successes never fill it
