"""Draws against the closed forms and against scipy.stats, which is another implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sim.distributions import lognormal_sigma, mean_s, quantile, quantile_function, quantile_s, sample_ms, to_ms
from sim.inputs import NEVER_MS, Dist
from sim.streams import Streams

DRAWS = 20_000
KS_LIMIT = 1.628 / math.sqrt(DRAWS)  # the 1 % point of the Kolmogorov distribution; the seed is fixed

CONTINUOUS = {
    "exponential": (Dist("exponential", {"mean": 600.0}), stats.expon(scale=600.0)),
    "lognormal": (
        Dist("lognormal", {"median": 2400.0, "p95": 14400.0}),
        stats.lognorm(s=math.log(6.0) / 1.6448536269514722, scale=2400.0),
    ),
    "weibull": (Dist("weibull", {"shape": 0.595, "scale": 6300.0}), stats.weibull_min(0.595, scale=6300.0)),
    "uniform": (Dist("uniform", {"low": 30.0, "high": 90.0}), stats.uniform(30.0, 60.0)),
}


@pytest.mark.parametrize("kind", CONTINUOUS)
def test_draws_follow_the_distribution(kind: str) -> None:
    dist, reference = CONTINUOUS[kind]
    draws = quantile(dist, Streams(12).per_entity(kind, 0, DRAWS))
    assert stats.kstest(draws, reference.cdf).statistic < KS_LIMIT


@pytest.mark.parametrize("kind", CONTINUOUS)
def test_mean_and_quantiles_are_the_closed_forms(kind: str) -> None:
    dist, reference = CONTINUOUS[kind]
    assert mean_s(dist) == pytest.approx(reference.mean(), rel=1e-12)
    for p in (0.0001, 0.05, 0.5, 0.95, 0.9999):
        assert quantile_s(dist, p) == pytest.approx(reference.ppf(p), rel=1e-9)


def test_lognormal_is_given_by_its_median_and_p95() -> None:
    dist = Dist("lognormal", {"median": 2400.0, "p95": 14400.0})
    assert quantile_s(dist, 0.5) == pytest.approx(2400.0, rel=1e-12)
    assert quantile_s(dist, 0.95) == pytest.approx(14400.0, rel=1e-12)
    assert lognormal_sigma(10.0, 10.0) == 0.0
    with pytest.raises(ValueError, match="0 < median <= p95"):
        lognormal_sigma(10.0, 9.0)


def test_a_constant_is_its_value() -> None:
    dist = Dist("constant", {"value": 42.5})
    assert quantile(dist, [0.0, 0.3, 0.999]).tolist() == [42.5] * 3
    assert mean_s(dist) == 42.5


def test_an_empirical_distribution_gives_each_value_its_share() -> None:
    dist = Dist("empirical", values=(30.0, 10.0, 20.0, 10.0))
    uniforms = (np.arange(1000) + 0.5) / 1000
    values, counts = np.unique(quantile(dist, uniforms), return_counts=True)
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == {10.0: 500, 20.0: 250, 30.0: 250}
    assert mean_s(dist) == 17.5
    assert quantile_s(dist, 0.5) == 10.0  # the smallest x with F(x) >= 0.5
    assert quantile_s(dist, 0.0) == 10.0


@given(u=st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=20), kind=st.sampled_from(list(CONTINUOUS)))
def test_a_draw_grows_with_its_uniform_and_is_finite(u: list[float], kind: str) -> None:
    draws = quantile(CONTINUOUS[kind][0], sorted(u))
    assert np.isfinite(draws).all()
    assert (np.diff(draws) >= 0).all()
    assert (draws >= 0).all()


@given(u=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20), kind=st.sampled_from(list(CONTINUOUS)))
def test_a_draw_depends_on_its_own_uniform_only(u: list[float], kind: str) -> None:
    dist = CONTINUOUS[kind][0]
    assert quantile(dist, u).tolist() == pytest.approx([quantile_s(dist, each) for each in u], rel=1e-14)


def test_milliseconds_are_rounded_and_bounded() -> None:
    assert to_ms([0.0004, 0.0006, 1.2345, -3.0]).tolist() == [0, 1, 1234, 0]
    assert to_ms(1e30).item() == NEVER_MS
    assert sample_ms(Dist("uniform", {"low": 1.0, "high": 3.0}), [0.0, 0.5]).tolist() == [1000, 2000]
    assert sample_ms(Dist("weibull", {"shape": 0.01, "scale": 1e6}), [0.9999]).tolist() == [NEVER_MS]


def test_what_cannot_be_drawn_is_named() -> None:
    with pytest.raises(ValueError, match="unknown distribution 'pareto'"):
        quantile_function(Dist("pareto"))
    with pytest.raises(ValueError, match="unknown distribution 'pareto'"):
        mean_s(Dist("pareto"))
    with pytest.raises(ValueError, match="at least one value"):
        quantile_function(Dist("empirical"))
