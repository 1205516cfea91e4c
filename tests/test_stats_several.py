"""Many policies at once, selection, stopping, quantiles, warm-up: known answers, and how often they are right."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from spotbed.stats import against_baseline, dunnett_p, holm, mean_interval, quantile_interval
from spotbed.stats.bca import bca_interval
from spotbed.stats.selection import select
from spotbed.stats.several import _largest_t_p, paired_p
from spotbed.stats.steady import mser5
from spotbed.stats.stopping import Precision, relative_half_width, worlds_wanted

NAN = math.nan


# Holm, Dunnett ------------------------------------------------------------------------------------------------------
def test_holm_by_hand() -> None:
    """.005 x 4, .01 x 3, .03 x 2, and .04 x 1 which may not be below the one before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_holm_lies_between_no_correction_and_bonferroni(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for raw, value in zip(p_values, adjusted, strict=True):
        assert raw <= value <= min(1.0, len(p_values) * raw) or value == pytest.approx(max(adjusted[: len(adjusted)]))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_the_p_value_of_pairs_is_that_of_a_t_test() -> None:
    values = np.random.default_rng(1).normal(0.3, 1, 25)
    assert paired_p(values) == pytest.approx(scipy_stats.ttest_1samp(values, 0).pvalue)
    assert math.isnan(paired_p([1.0]))
    assert paired_p([2.0] * 6) == pytest.approx(2 / 64)
    assert paired_p([0.0] * 6) == 1.0


def worlds_of(seed: int, shifts: dict[str, float], worlds: int = 30) -> dict[str, np.ndarray]:
    """Policies on the same worlds: a large common part, and a small one of each policy's own."""
    rng = np.random.default_rng(seed)
    common = 3 * rng.normal(size=worlds)
    return {label: common + shift + 0.3 * rng.normal(size=worlds) for label, shift in shifts.items()}


@pytest.mark.parametrize(("judge", "sets"), [(against_baseline, 200), (dunnett_p, 30)])
def test_of_ten_equal_policies_one_in_twenty_comparisons_is_called_different_without_correction(
    judge: Callable[..., dict[str, float]], sets: int
) -> None:
    """With it, in one of twenty *sets* of comparisons any is; and a real difference is still found."""
    any_raw, any_adjusted = 0, 0
    labels = {"base": 0.0, **{f"p{number}": 0.0 for number in range(9)}}
    for seed in range(sets):
        worlds = worlds_of(seed, labels)
        any_raw += any(paired_p(worlds[label] - worlds["base"]) < 0.05 for label in labels if label != "base")
        any_adjusted += min(judge(worlds, "base").values()) < 0.05
    assert any_raw > 0.2 * sets
    assert any_adjusted <= scipy_stats.binom.ppf(0.999, sets, 0.05)
    found = judge(worlds_of(1, {**labels, "p3": -1.0}), "base")
    assert found["p3"] < 0.001
    assert "base" not in found


def test_dunnett_of_one_candidate_is_the_paired_t_test() -> None:
    """At any number of worlds: the degrees of freedom are those of the pairs."""
    for worlds in (2, 4, 30):
        drawn = worlds_of(5, {"base": 0.0, "other": 0.3}, worlds)
        assert dunnett_p(drawn, "base")["other"] == pytest.approx(paired_p(drawn["other"] - drawn["base"]), abs=5e-4)


def test_dunnett_gives_the_critical_values_of_the_published_table() -> None:
    """Dunnett (Biometrics 20, 1964), two-sided 5 %: 2.57 for 2 treatments and 10 degrees; 2.47 for 3 and 30."""
    assert _largest_t_p(2.57, 1.0, 2, 10) == pytest.approx(0.05, abs=0.0005)
    assert _largest_t_p(2.47, 1.0, 3, 30) == pytest.approx(0.05, abs=0.0008)


def test_dunnett_is_right_with_four_worlds_too() -> None:
    """With k(n - 1) degrees of freedom it called one of two equal policies different in 9 % of the sets."""
    sets = 600
    for labels in (("base", "a"), ("base", "a", "b")):
        equal = dict.fromkeys(labels, 0.0)
        called = sum(min(dunnett_p(worlds_of(seed, equal, 4), "base").values()) < 0.05 for seed in range(sets))
        low, high = scipy_stats.binom.ppf((0.001, 0.999), sets, 0.05)
        assert low <= called <= high


def test_dunnett_without_spread_is_certain() -> None:
    flat = {"base": [1.0] * 3, "same": [1.0] * 3, "other": [2.0] * 3}
    assert dunnett_p(flat, "base") == {"same": 1.0, "other": 0.0}


def test_an_undefined_comparison_does_not_count() -> None:
    worlds = {"base": [1.0, 2.0, 3.0], "never": [NAN, NAN, NAN], "better": [0.5, 1.4, 2.6]}
    found = against_baseline(worlds, "base")
    assert math.isnan(found["never"])
    assert found["better"] == pytest.approx(paired_p([-0.5, -0.6, -0.4]))


# selection ----------------------------------------------------------------------------------------------------------
def drawer(seed: int, best_by: float, labels: list[str]) -> Callable[[str, int], float]:
    """Costs on common worlds: the first policy is lower by `best_by`."""
    rng = np.random.default_rng(seed)
    common, own = rng.normal(size=3_000), rng.normal(size=(len(labels), 3_000))
    place = {label: number for number, label in enumerate(labels)}
    return lambda label, world: float(
        100 + (0 if place[label] == 0 else best_by) + 5 * common[world] + own[place[label], world]
    )


def test_kn_selects_the_best_as_often_as_it_promises() -> None:
    """The least favourable case: all others are exactly the indifference apart."""
    labels = [f"p{number}" for number in range(5)]
    chosen = [select(labels, drawer(seed, 0.5, labels), 0.5) for seed in range(300)]
    right = sum(found.best == "p0" for found in chosen)
    assert right >= scipy_stats.binom.ppf(0.001, 300, 0.95)
    assert all(found.resolved for found in chosen)


def test_kn_stops_early_where_one_is_far_better_and_drops_the_others_on_the_way() -> None:
    labels = ["a", "b", "c"]
    far = select(labels, drawer(1, 20.0, labels), 0.5)
    assert far.best == "a"
    assert max(far.worlds.values()) <= 12
    near = select(labels, drawer(1, 0.5, labels), 0.5)
    assert max(near.worlds.values()) > max(far.worlds.values())
    assert min(near.worlds.values()) < max(near.worlds.values())


def test_kn_says_who_is_left_when_the_worlds_run_out() -> None:
    labels = ["a", "b"]
    cut = select(labels, drawer(3, 0.0, labels), 0.001, at_most=15)
    assert not cut.resolved
    assert cut.left == ("a", "b")
    assert set(cut.worlds.values()) == {15}
    assert select(["only"], lambda label, world: 1.0, 0.1).best == "only"
    with pytest.raises(ValueError, match="delta"):
        select(labels, drawer(3, 0.0, labels), 0.0)


# precision ----------------------------------------------------------------------------------------------------------
def test_stopping_asks_for_as_many_worlds_as_the_spread_takes() -> None:
    """Half width 1.96 x 20 / sqrt(n) of a mean of 100: 2 % / 1.02 is reached at about 400 worlds."""
    precision, values = Precision(0.02, 2_000), 100 + 20 * np.random.default_rng(2).normal(size=2_000)
    count = precision.first
    looks = [count]
    while (wanted := worlds_wanted({"a": values[:count]}, precision)) > count:
        assert wanted <= 2 * count
        count = wanted
        looks.append(count)
    assert 300 < count < 560
    assert relative_half_width(values[:count]) <= 0.02 / 1.02
    assert relative_half_width(values[: looks[-2]]) > 0.02 / 1.02


def test_stopping_keeps_to_its_cap_and_to_the_widest_policy() -> None:
    wide = 100 + 50 * np.random.default_rng(1).normal(size=30)
    exact = np.full(30, 7.0)
    assert worlds_wanted({"a": wide, "b": exact}, Precision(0.02, 40)) == 40
    assert worlds_wanted({"a": wide}, Precision(0.02, 30)) == 30
    assert worlds_wanted({"b": exact}, Precision(0.02, 40)) == 30
    assert relative_half_width([1.0]) == math.inf
    assert relative_half_width([1.0, NAN]) == math.inf
    assert relative_half_width([0.0, 0.0]) == 0.0
    with pytest.raises(ValueError, match="at most 1"):
        Precision(0.02, 1)


# quantiles ----------------------------------------------------------------------------------------------------------
def test_the_interval_of_a_median_is_that_of_the_tables() -> None:
    """The 10th and 21st of 30 (Conover, Practical Nonparametric Statistics): 95.7 %."""
    assert quantile_interval(range(1, 31), 0.5) == (10.0, 21.0)
    assert quantile_interval([3.0, 1.0, 2.0], 0.5) == (None, None)


def test_a_far_quantile_of_few_values_has_no_upper_end() -> None:
    assert quantile_interval(range(1, 31), 0.95) == (26.0, None)
    assert quantile_interval(range(1, 201), 0.95)[1] is not None
    with pytest.raises(ValueError, match="between"):
        quantile_interval([1.0], 1.0)


@pytest.mark.parametrize(("count", "q"), [(30, 0.5), (100, 0.5), (200, 0.95)])
def test_the_ranks_cover_at_least_95_percent_and_no_narrower_ones_would(count: int, q: float) -> None:
    low, high = quantile_interval(range(1, count + 1), q)
    assert low is not None
    assert high is not None
    cdf = scipy_stats.binom(count, q).cdf
    assert cdf(low - 1) <= 0.025 < cdf(low)
    assert 1 - cdf(high - 1) <= 0.025 < 1 - cdf(high - 2)


# steady state -------------------------------------------------------------------------------------------------------
def test_mser5_leaves_the_warm_up_out() -> None:
    rng, time = np.random.default_rng(1), np.arange(2_000)
    found = mser5(rng.normal(size=2_000) + 10 * np.exp(-time / 100))
    assert 150 <= found.truncate <= 500
    assert found.truncate % 5 == 0
    assert abs(found.mean) < 0.15
    assert found.settled


def test_mser5_by_hand() -> None:
    """A step at observation 20 of 100: four batches of five go, and the others have no error at all."""
    found = mser5([9.0] * 20 + [2.0] * 80)
    assert found == (20, 2.0, True)
    assert mser5([5.0] * 60) == (0, 5.0, True)


def test_mser5_says_that_a_series_that_still_drifts_has_not_settled() -> None:
    assert not mser5(np.exp(-np.arange(200) / 60)).settled
    with pytest.raises(ValueError, match="at least 50"):
        mser5([1.0] * 49)


# BCa, to compare with -----------------------------------------------------------------------------------------------
def test_bca_covers_a_skewed_mean_less_often_than_the_interval_in_use() -> None:
    rng, held = np.random.default_rng(4), np.zeros(2)
    for _ in range(500):
        values = np.exp(0.8 * rng.normal(size=30))
        for place, made in enumerate((mean_interval, bca_interval)):
            _, low, high, _ = made(values)
            held[place] += low <= math.exp(0.32) <= high
    assert held[1] < held[0]
    assert held[1] / 500 < 0.94
