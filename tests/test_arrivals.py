"""Arrival processes: counts, order, rates, and the same job at the same time whatever the horizon."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sim.arrivals import DAY_S, Arrivals, arrival_ms, daily_count, daily_times_s
from sim.streams import Streams

HOUR_MS = 3_600_000
PER_HOUR = 1 / 3600.0
DAILY = Arrivals("daily", rate_per_s=25 * PER_HOUR, peak_hour=14.0, ratio=5.0, starts_hour=8.0)

any_random = st.one_of(
    st.builds(Arrivals, kind=st.just("poisson"), rate_per_s=st.floats(1e-4, 10.0)),
    st.builds(
        Arrivals,
        kind=st.just("daily"),
        rate_per_s=st.floats(1e-4, 10.0),
        peak_hour=st.floats(0, 24),
        ratio=st.floats(1, 1000),
        starts_hour=st.floats(0, 24),
    ),
)
any_arrivals = st.one_of(
    any_random,
    st.builds(Arrivals, kind=st.just("periodic"), every_s=st.floats(0.001, 1e5)),
    st.builds(Arrivals, kind=st.just("burst"), every_s=st.floats(0.001, 1e5), size=st.integers(1, 50)),
    st.just(Arrivals("at-once")),
)


def test_regular_arrivals_start_at_zero() -> None:
    streams = Streams(1)
    assert arrival_ms(Arrivals("periodic", every_s=90.0), streams, jobs=4).tolist() == [0, 90_000, 180_000, 270_000]
    assert arrival_ms(Arrivals("burst", every_s=60.0, size=3), streams, jobs=5).tolist() == [0, 0, 0, 60_000, 60_000]
    assert arrival_ms(Arrivals("at-once"), streams, jobs=3).tolist() == [0, 0, 0]


def test_the_horizon_stops_arrivals_before_it() -> None:
    streams = Streams(1)
    periodic = Arrivals("periodic", every_s=60.0)
    assert arrival_ms(periodic, streams, horizon_ms=180_000).tolist() == [0, 60_000, 120_000]
    assert arrival_ms(periodic, streams, horizon_ms=180_001).tolist() == [0, 60_000, 120_000, 180_000]
    assert arrival_ms(periodic, streams, jobs=2, horizon_ms=180_000).tolist() == [0, 60_000]
    assert len(arrival_ms(Arrivals("burst", every_s=60.0, size=10), streams, horizon_ms=120_000)) == 20


def test_poisson_gaps_are_exponential() -> None:
    times = arrival_ms(Arrivals("poisson", rate_per_s=0.01), Streams(3), jobs=20_000)
    gaps_s = np.diff(times, prepend=0) / 1000.0
    assert stats.kstest(gaps_s, stats.expon(scale=100.0).cdf).statistic < 1.628 / math.sqrt(20_000)


def test_poisson_counts_have_the_mean_and_variance_of_the_rate() -> None:
    counts = [
        len(arrival_ms(Arrivals("poisson", rate_per_s=25 * PER_HOUR), Streams(5, world), horizon_ms=48 * HOUR_MS))
        for world in range(200)
    ]
    assert np.mean(counts) == pytest.approx(1200, abs=3 * math.sqrt(1200 / 200))
    assert 0.75 < np.var(counts) / 1200 < 1.25  # chi-square with 199 degrees of freedom, 1 % on each side


def test_daily_arrivals_follow_the_daily_cycle() -> None:
    """Per hour of the day the counts fit the integral of the rate (chi-square, fixed seed), over whole days."""
    days = 200
    times = arrival_ms(DAILY, Streams(9), horizon_ms=days * 24 * HOUR_MS)
    hours = (times // HOUR_MS) % 24
    edges = daily_count(DAILY, np.linspace(0.0, DAY_S, 25))
    expected = days * np.diff(edges)
    statistic = float(((np.bincount(hours, minlength=24) - expected) ** 2 / expected).sum())
    assert statistic < stats.chi2(24).ppf(0.99)
    assert len(times) == pytest.approx(days * 24 * 25, abs=3 * math.sqrt(days * 24 * 25))


def test_the_daily_rate_peaks_at_the_peak_hour_and_has_the_ratio() -> None:
    around = np.arange(0.0, DAY_S + 1, 1.0)
    rate = np.diff(daily_count(DAILY, around))
    assert (int(rate.argmax()) / 3600 + DAILY.starts_hour) % 24 == pytest.approx(14.0, abs=0.01)
    assert rate.max() / rate.min() == pytest.approx(5.0, rel=1e-6)
    assert rate.sum() == pytest.approx(24 * 25, rel=1e-9)


@given(arrivals=any_random.filter(lambda each: each.kind == "daily"), counts=st.lists(st.floats(0, 1e6), max_size=30))
def test_the_inverse_of_the_daily_count_is_one(arrivals: Arrivals, counts: list[float]) -> None:
    wanted = np.sort(np.array(counts))
    times = daily_times_s(arrivals, wanted)
    np.testing.assert_allclose(daily_count(arrivals, times), wanted, rtol=1e-9, atol=1e-8)
    assert (np.diff(times) >= 0).all()


def test_daily_without_a_swing_is_poisson() -> None:
    flat = Arrivals("daily", rate_per_s=0.02, ratio=1.0, peak_hour=5.0)
    poisson = Arrivals("poisson", rate_per_s=0.02)
    np.testing.assert_allclose(
        arrival_ms(flat, Streams(2), jobs=500), arrival_ms(poisson, Streams(2), jobs=500), rtol=0, atol=1
    )


@given(arrivals=any_arrivals, jobs=st.integers(0, 200), horizon_ms=st.integers(1, 10**7), seed=st.integers(0, 3))
def test_arrivals_are_sorted_and_end_with_jobs_or_horizon(
    arrivals: Arrivals, jobs: int, horizon_ms: int, seed: int
) -> None:
    times = arrival_ms(arrivals, Streams(seed), jobs=jobs, horizon_ms=horizon_ms)
    assert (np.diff(times) >= 0).all()
    assert (times >= 0).all()
    assert len(times) <= jobs
    assert (times < horizon_ms).all()
    longer = arrival_ms(arrivals, Streams(seed), jobs=jobs)
    assert len(longer) == jobs
    assert times.tolist() == longer[longer < horizon_ms].tolist()


@given(arrivals=any_random, seed=st.integers(0, 3))
def test_more_jobs_leave_the_first_ones_where_they_were(arrivals: Arrivals, seed: int) -> None:
    many = arrival_ms(arrivals, Streams(seed), jobs=120)
    assert arrival_ms(arrivals, Streams(seed), jobs=50).tolist() == many[:50].tolist()


def test_blocks_do_not_show() -> None:
    """More than one block of draws gives the same running sum, to the millisecond, as one block."""
    poisson = Arrivals("poisson", rate_per_s=1.0)
    long = arrival_ms(poisson, Streams(4), jobs=40_000)
    gaps = -np.log1p(-Streams(4).per_entity("arrival", 0, 40_000))
    assert long.tolist() == np.rint(np.cumsum(gaps) * 1000).astype(int).tolist()


def test_what_never_ends_or_never_comes_is_refused() -> None:
    with pytest.raises(ValueError, match="give a number of jobs"):
        arrival_ms(Arrivals("at-once"), Streams(1), horizon_ms=1000)
    with pytest.raises(ValueError, match="give a number of jobs"):
        arrival_ms(Arrivals("poisson", rate_per_s=1.0), Streams(1))
    with pytest.raises(ValueError, match="rate must be positive"):
        arrival_ms(Arrivals("poisson"), Streams(1), jobs=1)
    with pytest.raises(ValueError, match="period must be positive"):
        arrival_ms(Arrivals("periodic"), Streams(1), jobs=1)
    with pytest.raises(ValueError, match="at least 1"):
        arrival_ms(Arrivals("daily", rate_per_s=1.0, ratio=0.5), Streams(1), jobs=1)
