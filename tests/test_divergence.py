"""Expected completions against closed forms and simulation, and what counts as diverging."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from sim.inputs import Dist, Interruptions, JobClass, Work
from spotbed.divergence import (
    Checkpoints,
    EmpiricalLifetime,
    WeibullLifetime,
    class_finding,
    class_mean_diverges,
    diverges,
    expected_completion_s,
    expected_with_checkpoints_s,
    find_divergence,
    lifetime_of,
    load_limits,
)

HOUR = 3600.0


def poisson(rate: float) -> WeibullLifetime:
    return WeibullLifetime(1.0, 1.0 / rate)


def some_work(*runtime_s: float, name: str = "c") -> Work:
    n = len(runtime_s)
    whole = np.zeros(n, dtype=np.int32)
    return Work(
        classes=(JobClass(name), JobClass("unused")),
        klass=whole,
        submit_ms=np.zeros(n, dtype=np.int64),
        runtime_ms=np.array([1000 * seconds for seconds in runtime_s], dtype=np.int64),
        estimate_ms=np.full(n, -1, dtype=np.int64),
        slots=whole + 1,
        outcome_u=np.zeros(n),
        string_u=np.zeros(n),
    )


@pytest.mark.parametrize(
    ("rate", "work", "expected"), [(0.05, 4, 4.42806), (0.1, 10, 17.18282), (0.5, 4, 12.77811), (1, 5, 147.41316)]
)
def test_restart_from_nothing_under_poisson_interruptions(rate: float, work: float, expected: float) -> None:
    assert expected_completion_s(work, poisson(rate)) == pytest.approx(expected, abs=5e-6)


@given(st.floats(0.01, 2), st.floats(0.1, 5), st.floats(0, 3))
def test_the_cost_of_a_restart_under_poisson_interruptions(rate: float, work: float, restart: float) -> None:
    safe = expected_completion_s(work, poisson(rate), restart_s=restart)
    assert safe == pytest.approx((1 / rate + restart) * math.expm1(rate * work), rel=1e-9)
    exposed = expected_completion_s(work, poisson(rate), restart_s=restart, restart_is_exposed=True)
    restart_with_failures = math.expm1(rate * restart) / rate
    assert exposed == pytest.approx((1 / rate + restart_with_failures) * math.expm1(rate * work), rel=1e-9)


def test_the_formula_of_daly() -> None:
    expected = expected_with_checkpoints_s(
        500 * HOUR, poisson(1 / (6 * HOUR)), Checkpoints(HOUR, 300.0), restart_s=600.0
    )
    assert expected / HOUR == pytest.approx(610.37, abs=0.005)


@given(st.floats(1, 100), st.floats(0.1, 2), st.floats(0, 0.5), st.floats(0, 1), st.integers(1, 500))
@settings(max_examples=60, deadline=None)
def test_daly_holds_for_any_interval(mean: float, interval: float, write: float, restart: float, segments: int) -> None:
    expected = expected_with_checkpoints_s(
        segments * interval, WeibullLifetime(1.0, mean), Checkpoints(interval, write), restart_s=restart
    )
    daly = mean * math.exp(restart / mean) * math.expm1((interval + write) / mean) * segments
    assert expected == pytest.approx(daly, rel=1e-9)


def test_one_segment_without_a_write_is_a_restart_from_nothing() -> None:
    lifetime = WeibullLifetime(0.6, 8.0)
    one = expected_with_checkpoints_s(5.0, lifetime, Checkpoints(5.0, 0.0), restart_s=2.0)
    assert one == pytest.approx(float(expected_completion_s(5.0, lifetime, restart_s=2.0, restart_is_exposed=True)))


@pytest.mark.parametrize("shape", [0.595, 1.0, 1.8])
def test_the_mean_until_is_the_integral_of_the_survival(shape: float) -> None:
    lifetime = WeibullLifetime(shape, 1.75)
    for until in (0.01, 1.0, 7.0):
        area, _ = integrate.quad(lambda t: float(lifetime.survival(np.asarray(t))), 0, until)
        assert lifetime.mean_until(np.asarray(until)) == pytest.approx(area, rel=1e-7)


def test_an_empirical_lifetime_is_a_step_function() -> None:
    lifetime = EmpiricalLifetime(np.array([1.0, 3.0]), np.array([0.5, 0.2]))
    at = np.array([0.0, 0.5, 1.0, 2.0, 3.0, 5.0])
    assert lifetime.survival(at).tolist() == [1, 1, 0.5, 0.5, 0.2, 0.2]
    assert lifetime.mean_until(at) == pytest.approx([0, 0.5, 1.0, 1.5, 2.0, 2.4])


def test_an_empirical_lifetime_gives_the_weibull_it_was_drawn_from() -> None:
    smooth = WeibullLifetime(0.7, 4.0)
    times = 4.0 * (-np.log1p(-(np.arange(1, 20_001) - 0.5) / 20_000)) ** (1 / 0.7)
    steps = EmpiricalLifetime(times, 1 - np.arange(1, 20_001) / 20_000)
    for work in (0.5, 3.0, 9.0):
        assert expected_completion_s(work, steps) == pytest.approx(expected_completion_s(work, smooth), rel=1e-3)


def test_expected_completions_agree_with_simulated_attempts() -> None:
    lifetime, generator = WeibullLifetime(0.6, 3.0), np.random.default_rng(4)
    interval, write, restart, work = 1.0, 0.2, 0.3, 3.0
    totals = []
    for _ in range(4000):
        done, spent, delay = 0, 0.0, 0.0
        while done < 3:
            life = 3.0 * generator.exponential() ** (1 / 0.6)
            saved = min(int(max(life - delay, 0) / (interval + write)), 3 - done)
            done += saved
            spent += delay + saved * (interval + write) if done == 3 else life
            delay = restart
        totals.append(spent)
    error = np.std(totals, ddof=1) / math.sqrt(len(totals))
    expected = expected_with_checkpoints_s(work, lifetime, Checkpoints(interval, write), restart_s=restart)
    assert abs(np.mean(totals) - expected) < 3 * error


def test_more_segments_than_are_followed_go_on_at_the_same_pace() -> None:
    lifetime = WeibullLifetime(0.6, 50.0)
    times = [
        expected_with_checkpoints_s(float(segments), lifetime, Checkpoints(1.0, 0.1), restart_s=0.5)
        for segments in (400, 800)
    ]
    assert times[1] == pytest.approx(2 * times[0], rel=0.01)


def test_what_never_lasts_long_enough_never_ends() -> None:
    mortal = EmpiricalLifetime(np.array([10.0, 20.0]), np.array([0.5, 0.0]))
    assert expected_completion_s([5.0, 25.0], mortal).tolist() == [5.0, math.inf]
    assert expected_completion_s(1e6, poisson(1.0)) == math.inf
    assert expected_with_checkpoints_s(100.0, mortal, Checkpoints(30.0, 1.0)) == math.inf
    assert expected_with_checkpoints_s(100.0, mortal, Checkpoints(4.0, 0.5)) < 200.0


def test_the_limits_are_data_and_both_count() -> None:
    limits = load_limits()
    assert (limits.slowdown, limits.attempt_success) == (100.0, 1e-3)
    found = diverges([99.0, 101.0, 1.0, math.inf], [1.0] * 4, [0.5, 0.5, 0.9e-3, 0.5])
    assert found.tolist() == [False, True, True, True]


def test_poisson_interruptions_reach_the_limit_at_six_and_a_half_per_runtime() -> None:
    work = np.array([6.4, 6.6])
    assert diverges(expected_completion_s(work, poisson(1.0)), work, poisson(1.0).survival(work)).tolist() == [
        False,
        True,
    ]


@pytest.mark.parametrize(("mean_s", "infinite"), [(0.99, False), (1.0, True), (5.0, True)])
def test_exponential_work_as_long_as_the_lifetimes_has_no_mean(mean_s: float, infinite: bool) -> None:
    assert class_mean_diverges(Dist("exponential", {"mean": mean_s}), poisson(1.0), draws=2) is infinite


def test_weibull_work_is_compared_with_lifetimes_of_its_shape() -> None:
    lifetime = WeibullLifetime(0.6, 10.0)
    below, above = (Dist("weibull", {"shape": 0.6, "scale": scale}) for scale in (9.9, 10.0))
    assert not class_mean_diverges(below, lifetime, draws=2)
    assert class_mean_diverges(above, lifetime, draws=2)


def test_a_heavy_tail_diverges_when_the_draws_reach_it() -> None:
    runtime = Dist("lognormal", {"median": 40 * 60.0, "p95": 4 * HOUR})
    rare, often = WeibullLifetime(1.0, 100 * HOUR), WeibullLifetime(1.0, 2 * HOUR)
    assert not class_mean_diverges(runtime, rare, draws=10_000)
    assert not class_mean_diverges(runtime, often, draws=20)
    assert class_mean_diverges(runtime, often, draws=10_000)
    assert not class_mean_diverges(runtime, often, draws=10_000, timeout_s=2 * HOUR)


def test_bounded_work_diverges_as_its_longest_job() -> None:
    assert not class_mean_diverges(Dist("constant", {"value": 6.0}), poisson(1.0), draws=100)
    assert class_mean_diverges(Dist("constant", {"value": 7.0}), poisson(1.0), draws=100)


def test_a_timeout_ends_the_tail() -> None:
    runtime = Dist("exponential", {"mean": 2.0})
    assert class_mean_diverges(runtime, poisson(1.0), draws=10, timeout_s=50.0) is False
    assert class_mean_diverges(runtime, poisson(1.0), draws=10_000, timeout_s=50.0) is True


def test_a_class_that_diverges_is_told() -> None:
    found = class_finding("sim", Dist("exponential", {"mean": 2.0}), poisson(1.0), draws=30)
    assert found is not None
    assert found.message.startswith("expected completion does not converge: jobs of class sim (exponential runtime)")
    assert class_finding("sim", Dist("exponential", {"mean": 0.5}), poisson(1.0), draws=30) is None


def test_jobs_that_diverge_are_found_by_class() -> None:
    work = some_work(HOUR, 10 * HOUR, 12 * HOUR, name="signoff")
    (found,) = find_divergence(work, WeibullLifetime(1.0, HOUR), restart_s=120.0)
    assert (found.job_class, found.jobs) == ("signoff", 2)
    hours = (1 + 1 / 30) * math.expm1(12)
    assert found.message == (
        "expected completion does not converge: 2 of 3 jobs of class signoff are interrupted before they get on; "
        f"the longest, 12 h of work, is expected to end in {hours:.3g} h"
    )
    assert find_divergence(work, WeibullLifetime(1.0, 10 * HOUR), restart_s=120.0) == []


def test_checkpoints_make_a_job_converge_unless_they_are_too_far_apart() -> None:
    work, lifetime = some_work(HOUR, 20 * HOUR), WeibullLifetime(1.0, HOUR)
    close, far = ({"c": Checkpoints(interval, 45.0)} for interval in (0.5 * HOUR, 10 * HOUR))
    assert find_divergence(work, lifetime, restart_s=60.0, checkpoints=close) == []
    (found,) = find_divergence(work, lifetime, restart_s=60.0, checkpoints=far)
    assert found.jobs == 1
    assert "1 of 2 jobs of class c" in found.message


def test_jobs_that_never_end_are_told_so() -> None:
    mortal = EmpiricalLifetime(np.array([1.0]), np.array([0.0]))
    (found,) = find_divergence(some_work(5.0), mortal, restart_s=0.0)
    assert found.message.endswith("is expected to end never")


def test_lifetimes_come_from_the_interruptions_of_a_scenario() -> None:
    assert lifetime_of(Interruptions("exponential", mean_ms=2000.0)) == WeibullLifetime(1.0, 2.0)
    up = Dist("weibull", {"shape": 0.6, "scale": 12 * HOUR})
    assert lifetime_of(Interruptions("weibull", up=up)) == WeibullLifetime(0.6, 12 * HOUR)
    measured = lifetime_of(
        Interruptions("lifetimes", lifetimes_ms=np.array([1000, 3000]), survival=np.array([0.5, 0.0]))
    )
    assert measured is not None
    assert measured.survival(np.array([0.5, 2.0, 3.0])).tolist() == [1.0, 0.5, 0.0]
    assert lifetime_of(Interruptions()) is None
    assert lifetime_of(Interruptions("trace")) is None
