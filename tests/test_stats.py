"""Intervals: their measured coverage, their invariances, and what they say of degenerate samples."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from spotbed.stats import block_bootstrap_ci, mean_interval, method_text, paired, summarise, verdict
from spotbed.stats import coverage as coverage_module
from spotbed.stats.coverage import CASES, measure
from spotbed.stats.intervals import LEAST_FOR_BOOTSTRAP, MOST_FOR_BOOTSTRAP, student_quantile
from spotbed.stats.method import BOOTSTRAP_T, RESAMPLES, STUDENT_T, measured_coverage
from spotbed.stats.summary import Paired

NOTHING = {"mean": None, "ci95": None, "p50": None, "p95": None, "n": 0, "p50_ci95": None, "p95_ci95": None}
MEANS = [case for case in CASES if not case.name.startswith("ratio")]


def skewed(worlds: int, seed: int = 0) -> np.ndarray:
    return np.exp(0.8 * np.random.default_rng(seed).normal(size=worlds))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_small_measurement_agrees_with_the_coverage_on_file(case: coverage_module.Case) -> None:
    on_file = next(row for row in measured_coverage() if (row.case, row.n) == (case.name, 30))
    again = measure(case, worlds=30, repetitions=400, seed=2_026, date="")
    low, high = scipy_stats.binom.ppf([0.001, 0.999], 400, on_file.coverage) / 400
    assert low <= again.coverage <= high
    assert again.method == on_file.method == BOOTSTRAP_T


def test_the_coverage_on_file_is_within_two_points_of_what_is_meant_at_30_worlds() -> None:
    rows = [row for row in measured_coverage() if row.n == 30]
    assert {row.case for row in rows} == {case.name for case in CASES}
    assert all(0.93 <= row.coverage <= 0.97 and row.repetitions >= 10_000 for row in rows)
    assert all(row.coverage == pytest.approx(1 - row.too_low - row.too_high) for row in measured_coverage())


def test_the_bootstrap_covers_a_skewed_case_more_often_than_student_would() -> None:
    generator, truth, misses = np.random.default_rng(3), math.exp(0.32), np.zeros(2)
    for _ in range(600):
        values = np.exp(0.8 * generator.normal(size=30))
        half = student_quantile(29) * values.std(ddof=1) / math.sqrt(30)
        _, low, high, _ = mean_interval(values)
        misses += [abs(values.mean() - truth) > half, not low <= truth <= high]
    assert misses[1] < 0.8 * misses[0]


@pytest.mark.parametrize("case", MEANS, ids=lambda case: case.name)
def test_coverage_over_2000_repetitions_lies_between_93_and_97_percent(case: coverage_module.Case) -> None:
    assert 0.93 <= measure(case, worlds=30, repetitions=2000, seed=1, date="").coverage <= 0.97


def test_the_coverage_command_writes_what_the_report_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coverage_module.main(["--repetitions", "20", "--sizes", "5", "30", "--out", str(tmp_path / "coverage.csv")])
    with (tmp_path / "coverage.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["n"]) for row in rows] == [(case.name, n) for case in CASES for n in ("5", "30")]
    assert {row["method"] for row in rows if row["n"] == "5"} == {STUDENT_T}
    assert len(capsys.readouterr().out.splitlines()) == len(rows)


def test_the_method_is_told_with_its_measured_coverage() -> None:
    by_case = {row.case: row for row in measured_coverage() if row.n == 30}
    text = method_text()
    assert text.startswith(f"bootstrap-t, {RESAMPLES:,} resamples, no side shorter than Student's; measured coverage ")
    assert f"lognormal(0.8) {100 * by_case['lognormal(0.8)'].coverage:.1f} %" in text
    assert by_case["normal"].date in text
    assert method_text(5).startswith("student-t; measured coverage at n=5")
    with pytest.raises(ValueError, match="n=31"):
        method_text(31)


@pytest.mark.parametrize("worlds", [2, 5, LEAST_FOR_BOOTSTRAP - 1, MOST_FOR_BOOTSTRAP + 1])
def test_few_and_very_many_worlds_get_the_interval_of_student(worlds: int) -> None:
    values = skewed(worlds)
    low, high = scipy_stats.t.interval(0.95, worlds - 1, values.mean(), scipy_stats.sem(values))
    assert mean_interval(values) == pytest.approx((values.mean(), low, high, STUDENT_T))


def test_bootstrap_quantiles_are_those_of_a_plain_loop() -> None:
    values = skewed(17)
    index = np.random.Generator(np.random.Philox(key=17)).integers(0, 17, size=(RESAMPLES, 17))
    error = values.std(ddof=1) / math.sqrt(17)
    studentised = sorted(
        (values[row].mean() - values.mean()) / (values[row].std(ddof=1) / math.sqrt(17)) for row in index
    )
    student = scipy_stats.t.ppf(0.975, 16)
    assert studentised[1949] < student < -studentised[49]  # so each rule decides one side
    _, low, high, method = mean_interval(values)
    assert method == BOOTSTRAP_T
    assert low == pytest.approx(values.mean() - student * error, rel=1e-12)
    assert high == pytest.approx(values.mean() - studentised[49] * error, rel=1e-12)


def test_an_interval_leans_to_the_long_tail() -> None:
    mean, low, high, _ = mean_interval(skewed(30))
    assert high - mean > 1.2 * (mean - low)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=40), st.sampled_from([0.5, 2.0, 1024.0]))
def test_an_interval_scales_and_mirrors_with_its_data(values: list[int], factor: float) -> None:
    numbers = np.array(values, dtype=float)
    mean, low, high, method = mean_interval(numbers)
    assert mean_interval(factor * numbers) == pytest.approx((factor * mean, factor * low, factor * high, method))
    mirrored = mean_interval(-numbers)
    assert mirrored == pytest.approx((-mean, -high, -low, method))
    assert low <= mean + 1e-9
    assert mean <= high + 1e-9


def test_the_difference_the_other_way_round_is_the_mirror_image() -> None:
    ours, theirs = skewed(30, 1), 2 * skewed(30, 2)
    one, other = paired(ours, theirs), paired(theirs, ours)
    assert one["diff_ci95"] == pytest.approx([-end for end in reversed(other["diff_ci95"])])
    assert one["ratio_ci95"] == pytest.approx([1 / end for end in reversed(other["ratio_ci95"])])


def test_a_summary_leaves_undefined_worlds_out() -> None:
    assert summarise([1.0, None, 3.0, math.nan, math.inf]) == summarise([1.0, 3.0])
    assert summarise([None, math.nan]) == NOTHING
    assert summarise([]) == summarise([None])


def test_a_summary_of_one_world_has_no_interval() -> None:
    assert summarise([5.0]) == {**NOTHING, "mean": 5.0, "p50": 5.0, "p95": 5.0, "n": 1}


def test_several_comparisons_need_a_clearer_difference() -> None:
    """The interval alone says lower; adjusted for five policies it does not; the worlds asked for are Bonferroni's."""
    pair = pair_of(-1.0, -1.9, -0.1, 30)
    assert verdict(pair) == ("lower", None)
    assert verdict({**pair, "p": 0.02, "p_holm": 0.04}) == ("lower", None)
    answer, more = verdict({**pair, "p": 0.02, "p_holm": 0.1})
    assert answer == "not resolved"
    spread = 0.9 * math.sqrt(30) / scipy_stats.t.ppf(0.975, 29)
    needed = next(n for n in range(2, 999) if scipy_stats.t.ppf(1 - 0.005, n - 1) * spread / math.sqrt(n) < 1.0)
    assert more == needed - 30
    same = paired([1.0] * 6, [2.0] * 6)
    assert same["p"] == pytest.approx(1 / 32)
    assert verdict({**same, "p_holm": 5 / 32}) == ("not resolved", 3)  # 2 x .5^9 x 5 < .05


def test_quantiles_have_intervals_where_there_are_worlds_enough() -> None:
    summary = summarise(range(1, 31))
    assert (summary["p50_ci95"], summary["p95_ci95"]) == ([10.0, 21.0], [26.0, None])


def test_quantiles_interpolate() -> None:
    summary = summarise(range(101))
    assert (summary["p50"], summary["p95"], summary["n"]) == (50.0, 95.0, 101)


@pytest.mark.parametrize("worlds", [2, 30])
def test_equal_values_have_an_interval_of_no_width(worlds: int) -> None:
    assert summarise([0.1] * worlds)["ci95"] == pytest.approx([0.1, 0.1], abs=1e-15)


def test_one_world_that_stands_out_falls_back_to_student() -> None:
    values = np.zeros(30)
    values[7] = 3.0  # most resamples have no spread or one such world: their quantiles would be infinite
    low, high = scipy_stats.t.interval(0.95, 29, 0.1, scipy_stats.sem(values))
    assert mean_interval(values) == pytest.approx((0.1, low, high, STUDENT_T))


def test_pairing_takes_out_what_the_worlds_have_in_common() -> None:
    worlds = 100 * skewed(30)
    baseline = worlds + np.random.default_rng(5).normal(size=30)
    pair = paired(0.5 * worlds, baseline)
    ratio = 0.5 * worlds.mean() / baseline.mean()
    assert pair["diff_mean"] == pytest.approx((0.5 * worlds - baseline).mean())
    assert pair["ratio"] == pytest.approx(ratio)
    assert pair["ratio_ci95"][0] < ratio < pair["ratio_ci95"][1]
    assert pair["ratio_ci95"][1] - pair["ratio_ci95"][0] < 0.01  # unpaired, it would be 60 times as wide
    assert (pair["win_share"], pair["n"]) == (1.0, 30)


def test_the_interval_of_the_ratio_is_a_paired_student_interval_on_the_log_where_worlds_are_few() -> None:
    ours, theirs = np.array([1.0, 2.0, 4.0]), np.array([2.0, 3.0, 4.0])
    influence = ours / ours.mean() - theirs / theirs.mean()
    half = scipy_stats.t.ppf(0.975, 2) * influence.std(ddof=1) / math.sqrt(3)
    ratio = ours.mean() / theirs.mean()
    assert paired(ours, theirs)["ratio_ci95"] == pytest.approx([ratio * math.exp(-half), ratio * math.exp(half)])


def test_worlds_undefined_on_either_side_are_left_out_of_a_pair() -> None:
    assert paired([1, None, 3, 4], [2, 5, None, 6]) == paired([1, 4], [2, 6])
    assert paired([None], [1.0])["n"] == 0
    with pytest.raises(ValueError, match="3 and 2"):
        paired([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="shape"):
        summarise([[1.0, 2.0]])


def test_a_proportional_policy_has_an_exact_ratio() -> None:
    baseline = skewed(30)
    pair = paired(0.25 * baseline, baseline)
    assert pair["ratio"] == pytest.approx(0.25, rel=1e-14)
    assert pair["ratio_ci95"] == pytest.approx([0.25, 0.25], rel=1e-14)


@pytest.mark.parametrize(
    ("candidate", "baseline", "ratio"),
    [([0.0] * 12, [0.0] * 12, None), ([1.0] * 12, [0.0] * 12, None), ([0, 0], [1, 2], 0.0)],
)
def test_a_ratio_with_zeros(candidate: list[float], baseline: list[float], ratio: float | None) -> None:
    pair = paired(candidate, baseline)
    assert pair["ratio"] == ratio
    assert pair["ratio_ci95"] is None


def test_ties_are_not_won_and_some_metrics_have_no_winner() -> None:
    assert paired([1, 2, 3, 5], [1, 3, 4, 4])["win_share"] == 0.5
    assert paired([1, 2, 3, 5], [1, 3, 4, 4], lower_is_better=False)["win_share"] == 0.25
    assert paired([1, 2], [2, 3], lower_is_better=None)["win_share"] is None


def pair_of(difference: float, low: float, high: float, worlds: int) -> Paired:
    return Paired(diff_mean=difference, diff_ci95=[low, high], ratio=None, ratio_ci95=None, win_share=None, n=worlds)


def test_a_verdict_is_what_the_interval_carries() -> None:
    assert verdict(pair_of(-5, -6, -4, 30)) == ("lower", None)
    assert verdict(pair_of(5, 4, 6, 30)) == ("higher", None)
    assert verdict(pair_of(-1, -3, 1, 30)).answer == "not resolved"
    assert verdict(paired([1.0], [2.0])) == ("not resolved", None)
    assert verdict(paired([None], [2.0])) == ("not resolved", None)


@given(st.floats(0.05, 5), st.floats(1.01, 20), st.integers(2, 60))
@settings(max_examples=60, deadline=None)
def test_the_worlds_asked_for_are_just_enough(difference: float, widening: float, worlds: int) -> None:
    half = widening * difference
    spread = half * math.sqrt(worlds) / scipy_stats.t.ppf(0.975, worlds - 1)
    answer, more = verdict(pair_of(-difference, -difference - half, -difference + half, worlds))
    needed = worlds + more
    widths = [scipy_stats.t.ppf(0.975, n - 1) * spread / math.sqrt(n) for n in (needed - 1, needed)]
    assert answer == "not resolved"
    assert widths[1] < difference <= widths[0] * (1 + 1e-12)


def test_the_half_width_that_counts_is_the_one_towards_zero() -> None:
    near_zero = verdict(pair_of(1.0, -0.5, 1.1, 30))
    mirrored = verdict(pair_of(-1.0, -1.1, 0.5, 30))
    assert near_zero == mirrored
    assert 30 < near_zero.more_worlds < 45  # (1.5 / 1)^2 = 2.25 times as many


def test_a_difference_lost_in_noise_asks_for_no_number_of_worlds() -> None:
    assert verdict(pair_of(1e-6, -1, 1, 30)) == ("not resolved", None)


def test_without_spread_the_sign_test_decides() -> None:
    assert verdict(paired([1.0] * 5, [2.0] * 5)) == ("not resolved", 1)
    assert verdict(paired([1.0] * 6, [2.0] * 6)) == ("lower", None)
    assert verdict(paired([3.0] * 6, [2.0] * 6)) == ("higher", None)
    assert verdict(paired([2.0] * 30, [2.0] * 30)) == ("not resolved", None)


def test_blocks_of_one_are_worlds() -> None:
    values = skewed(30)
    assert block_bootstrap_ci(values, range(30)) == pytest.approx(mean_interval(values))


def test_copies_inside_a_block_add_nothing() -> None:
    values = skewed(20)
    copied = block_bootstrap_ci(np.repeat(values, 5), np.repeat(np.arange(20), 5))
    assert copied == pytest.approx(mean_interval(values))


def test_a_block_weighs_as_many_values_as_it_has() -> None:
    interval = block_bootstrap_ci([1.0, 1.0, 1.0, 5.0, math.nan], ["a", "a", "a", "b", "b"])
    assert interval.estimate == 2.0
    assert interval.method == STUDENT_T
    with pytest.raises(ValueError, match="shape"):
        block_bootstrap_ci([1.0], ["a", "b"])
    with pytest.raises(ValueError, match="at least one"):
        block_bootstrap_ci([math.nan], ["a"])


def test_blocks_cover_dependent_values_where_single_values_would_not() -> None:
    generator, held = np.random.default_rng(11), np.zeros(2)
    for _ in range(300):
        values = np.repeat(generator.normal(size=25), 8) + 0.3 * generator.normal(size=200)
        single, blocked = mean_interval(values), block_bootstrap_ci(values, np.repeat(np.arange(25), 8))
        held += [single.low <= 0 <= single.high, blocked.low <= 0 <= blocked.high]
    assert held[0] < 200  # of 300: the values look like 200 independent ones and are 25
    low, high = scipy_stats.binom.ppf([0.001, 0.999], 300, 0.95)
    assert low <= held[1] <= high
