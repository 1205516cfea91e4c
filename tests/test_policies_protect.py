"""When to write checkpoints and what to do on a notice: golden values of Daly, and what tells the policies apart."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from core_examples import HOUR, MINUTE, claimed
from hypothesis import given
from hypothesis import strategies as st

from scheduler.policies.protect import (
    AgeAware,
    Continuous,
    Daly,
    NoProtection,
    OnNotice,
    OnRebalance,
    Periodic,
    Young,
    daly_interval_ms,
    young_interval_ms,
)
from scheduler.policy import CHECKPOINT, RELEASE, RUN_ON, Protect
from scheduler.settings import Settings

WRITES = Settings(checkpoint_write_ms=5 * MINUTE)
ALL: dict[str, Protect] = {
    "none": NoProtection(), "on-notice": OnNotice(), "periodic": Periodic(), "daly": Daly(), "continuous": Continuous()
}  # fmt: skip


# Daly ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("mtbf_ms", "minutes"), [(24 * HOUR, 117), (6 * HOUR, 57), (15 * MINUTE, 9.1)])
def test_dalys_interval_for_a_write_of_five_minutes(mtbf_ms: int, minutes: float) -> None:
    """Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", FGCS 22 (2006), eq. 37."""
    digits = 1 if minutes < 10 else 0
    assert round(daly_interval_ms(5 * MINUTE, mtbf_ms) / MINUTE, digits) == minutes


def test_where_a_write_takes_longer_than_twice_the_mean_time_the_interval_is_that_time() -> None:
    assert daly_interval_ms(20 * MINUTE, 10 * MINUTE) == 10 * MINUTE
    just_below = daly_interval_ms(20 * MINUTE - 1e-6, 10 * MINUTE)  # 2M (1 + 1/3 + 1/9) - 2M = 8/9 M
    assert just_below == pytest.approx(8 / 9 * 10 * MINUTE, rel=1e-9)


def test_dalys_interval_minimises_the_expected_run_time() -> None:
    """Between it and the minimum of M e^(R/M) (e^((tau + delta)/M) - 1) Ts / tau lies less than a thousandth."""

    def expected(tau: float, delta: float, mean: float) -> float:
        return math.expm1((tau + delta) / mean) / tau

    for mean_h in (0.5, 1, 6, 24):
        mean, delta = mean_h * HOUR, 5.0 * MINUTE
        best = min(expected(minutes * MINUTE / 4, delta, mean) for minutes in range(1, 2_000))
        assert expected(daly_interval_ms(delta, mean), delta, mean) <= 1.001 * best


@given(st.integers(0, 10 * MINUTE), st.integers(1, 100 * HOUR))
def test_an_interval_is_at_least_a_millisecond(write_ms: int, mtbf_ms: int) -> None:
    every_ms = Daly(mtbf_ms=mtbf_ms).checkpoint_every_ms(claimed(), Settings(checkpoint_write_ms=write_ms))
    assert every_ms >= 1


def test_the_interval_grows_with_the_mean_time() -> None:
    every = [daly_interval_ms(5 * MINUTE, hours * HOUR / 8) for hours in range(1, 200)]
    assert all(shorter < longer for shorter, longer in pairwise(every))


def test_what_was_measured_in_the_pool_is_stronger_than_the_parameter() -> None:
    daly = Daly(mtbf_ms=24 * HOUR)
    assert round(daly.checkpoint_every_ms(claimed(mtbf_ms=0), WRITES) / MINUTE) == 117
    assert round(daly.checkpoint_every_ms(claimed(mtbf_ms=6 * HOUR), WRITES) / MINUTE) == 57


# the others ---------------------------------------------------------------------------------------------------------
def test_how_often_each_writes_the_same_jobs_checkpoints() -> None:
    every = {name: policy.checkpoint_every_ms(claimed(), WRITES) for name, policy in ALL.items()}
    daly = round(daly_interval_ms(5 * MINUTE, 12 * HOUR))
    assert every == {"none": 0, "on-notice": 0, "periodic": HOUR, "daly": daly, "continuous": -1}


def test_what_each_does_on_a_notice_of_two_minutes() -> None:
    brief = Settings(checkpoint_write_ms=2 * MINUTE)
    answers = {name: policy.on_notice(True, 2 * MINUTE, brief) for name, policy in ALL.items()}
    assert answers == {"none": RUN_ON, "on-notice": CHECKPOINT, "periodic": CHECKPOINT, "daly": CHECKPOINT,
                       "continuous": RUN_ON}  # fmt: skip


@pytest.mark.parametrize("policy", [OnNotice(), Periodic(), Daly()])
def test_a_write_that_does_not_fit_into_the_notice_is_not_begun(policy: Protect) -> None:
    assert policy.on_notice(True, 5 * MINUTE, WRITES) == CHECKPOINT
    assert policy.on_notice(True, 5 * MINUTE - 1, WRITES) == RELEASE
    assert policy.on_notice(False, HOUR, WRITES) == RELEASE


@pytest.mark.parametrize("answer", [RUN_ON, CHECKPOINT, RELEASE])
def test_a_recommendation_is_followed_as_the_parameter_says_and_only_if_nothing_is_lost_by_it(answer: str) -> None:
    policy = OnNotice(rebalance=answer)
    assert policy.on_rebalance(True, WRITES) == answer
    assert policy.on_rebalance(False, WRITES) == RUN_ON
    assert NoProtection().on_rebalance(True, WRITES) == RUN_ON


def test_continuous_progress_says_that_it_cannot_be_deployed() -> None:
    assert Continuous().needs
    assert not any(getattr(ALL[name], "needs", None) for name in ("none", "on-notice", "periodic", "daly"))


# Young --------------------------------------------------------------------------------------------------------------
def test_youngs_interval_is_the_first_order_of_dalys() -> None:
    """sqrt(2 x 5 min x 24 h) = 120 min, where Daly has 117; with a write that takes next to nothing they agree."""
    assert young_interval_ms(5 * MINUTE, 24 * HOUR) == 120 * MINUTE
    assert Young(mtbf_ms=24 * HOUR).checkpoint_every_ms(claimed(), WRITES) == 120 * MINUTE
    assert round(Daly(mtbf_ms=24 * HOUR).checkpoint_every_ms(claimed(), WRITES) / MINUTE) == 117
    assert Young().checkpoint_every_ms(claimed(mtbf_ms=6 * HOUR), WRITES) == 60 * MINUTE
    assert young_interval_ms(1, 24 * HOUR) == pytest.approx(daly_interval_ms(1, 24 * HOUR), rel=1e-3)


# age ----------------------------------------------------------------------------------------------------------------
def test_with_shape_one_the_age_makes_no_difference_and_the_interval_is_dalys() -> None:
    for age_ms in (0, HOUR, 100 * HOUR):
        policy = AgeAware(shape=1.0, mtbf_ms=24 * HOUR).at_age(age_ms)
        assert policy.checkpoint_every_ms(claimed(), WRITES) == Daly(mtbf_ms=24 * HOUR).checkpoint_every_ms(
            claimed(), WRITES
        )


def test_under_a_decreasing_hazard_an_old_instance_writes_less_often_than_daly_and_a_young_one_more() -> None:
    """Shape 1/2, mean 24 h: the scale is 24 h / gamma(3) = 12 h, H(x) = sqrt(x / 12 h). At the age of 48 h the hazard
    is 1 / (2 sqrt(12 h x 48 h)) = 1 / 48 h, so Daly's interval for about 48 h: 167 min."""
    half = AgeAware(shape=0.5, mtbf_ms=24 * HOUR)
    every = [half.at_age(age * HOUR).checkpoint_every_ms(claimed(), WRITES) / MINUTE for age in (0, 1, 48, 192)]
    assert every == sorted(every)
    assert every[0] < 117 < every[2]
    assert every[2] == pytest.approx(daly_interval_ms(5 * MINUTE, 48 * HOUR) / MINUTE, rel=0.02)
    interval_ms = every[0] * MINUTE
    hazard = math.sqrt(interval_ms / (12 * HOUR))  # at the age of nothing the interval solves its own equation
    assert interval_ms == pytest.approx(daly_interval_ms(5 * MINUTE, interval_ms / hazard), abs=2)


def test_the_age_of_an_instance_is_what_the_functions_on_aws_do_not_tell() -> None:
    assert AgeAware().needs == {"the age of the instance"}


# rebalance ----------------------------------------------------------------------------------------------------------
def test_on_rebalance_leaves_on_the_recommendation_where_on_notice_runs_on() -> None:
    assert OnRebalance().on_rebalance(True, WRITES) == CHECKPOINT
    assert OnNotice().on_rebalance(True, WRITES) == RUN_ON
    assert OnRebalance().on_rebalance(False, WRITES) == RUN_ON
    assert OnRebalance().on_notice(True, 2 * MINUTE, WRITES) == RELEASE  # five minutes do not fit into two
    assert OnRebalance().on_notice(True, 5 * MINUTE, WRITES) == CHECKPOINT
