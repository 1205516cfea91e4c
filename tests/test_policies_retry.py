"""After how long again: the immediate retry, and full jitter against its closed form."""

from __future__ import annotations

import math

import pytest
from core_examples import job, ticket
from hypothesis import given
from hypothesis import strategies as st

from scheduler.draw import draw
from scheduler.events import FAILED, TIMEOUT
from scheduler.job_record import Job
from scheduler.policies.retry import FullJitter, Immediate

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
