"""AWS Architecture Blog, "Exponential Backoff And Jitter" (2015): time and calls of clients that write one row.

The delays are the functions of our retry policies. Published cells are means of 100 repetitions; ours are of more, so
that the difference is the model's and not the draw's.
"""

from __future__ import annotations

import pytest
from core_examples import job, ticket

from scheduler.events import FAILED
from scheduler.policies.retry import DecorrelatedJitter, EqualJitter, FullJitter
from spotbed.backoff import BACKOFFS, BASE_MS, CAP_MS, contention

pytestmark = pytest.mark.published

# (clients, backoff): (ms until the last has written, calls)
CELLS = {
    (10, "none"): (382, 50),
    (10, "exponential"): (3590, 51),
    (10, "full"): (465, 38),
    (100, "none"): (2026, 2421),
    (100, "exponential"): (63572, 1860),
    (100, "full"): (4925, 795),
    (100, "equal"): (6619, 812),
    (100, "decorrelated"): (4576, 1000),
}


@pytest.mark.parametrize(("clients", "backoff"), CELLS)
def test_the_published_cells(clients: int, backoff: str) -> None:
    """Within 5 % of the time and 3 % of the calls."""
    time_ms, calls = CELLS[clients, backoff]
    found = contention(clients, BACKOFFS[backoff], repetitions=100_000 // clients**2 + 90, seed=1)
    assert found.time_ms == pytest.approx(time_ms, rel=0.05)
    assert found.calls == pytest.approx(calls, rel=0.03)


@pytest.mark.parametrize("u", [0.0, 0.25, 0.999])
def test_the_policies_delays_are_those_of_the_model(u: float) -> None:
    """The n-th failure of a job is the retry n - 1 of the model, to a whole millisecond."""
    budget = {"base_ms": int(BASE_MS), "cap_ms": int(CAP_MS), "budget_ms": 1 << 40}
    for failures in (1, 2, 5, 12):
        failed = job("failed", of=ticket(), failures=failures, last_delay_ms=70 * failures)
        assert FullJitter(**budget).delay_ms(failed, FAILED, u) == int(BACKOFFS["full"](failures - 1, 0.0, u))
        assert EqualJitter(**budget).delay_ms(failed, FAILED, u) == int(BACKOFFS["equal"](failures - 1, 0.0, u))
        last = BACKOFFS["decorrelated"](failures - 1, 70.0 * failures, u)
        assert DecorrelatedJitter(**budget).delay_ms(failed, FAILED, u) == int(last)
