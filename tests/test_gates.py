"""Rules of gates: what they read, what they say of a mistake, and when they pass."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotbed.gates import STATS, Rule, evaluate, parse_rule
from spotbed.metric_names import METRIC_NAMES
from spotbed.stats import Summary, summarise


def summary_of(mean: float | None, *, p95: float = 0.0, n: int = 30) -> dict[str, Summary]:
    return {"cost_usd": Summary(mean=mean, ci95=None, p50=mean, p95=p95, n=n)}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("cost_usd.mean <= 0.6 * baseline", Rule("cost_usd", "mean", "<=", 0.6, True)),
        ("deadline_missed.p95 <= 20", Rule("deadline_missed", "p95", "<=", 20.0, False)),
        ("  wait_s.p50<1.5e3 ", Rule("wait_s", "p50", "<", 1500.0, False)),
        ("jobs_done.mean>=.99*baseline", Rule("jobs_done", "mean", ">=", 0.99, True)),
        ("makespan_s.mean > 0", Rule("makespan_s", "mean", ">", 0.0, False)),
    ],
)
def test_rules_are_read(text: str, rule: Rule) -> None:
    assert parse_rule(text) == rule


@given(
    st.sampled_from(METRIC_NAMES),
    st.sampled_from(STATS),
    st.sampled_from(["<=", "<", ">=", ">"]),
    st.floats(-1e12, 1e12).map(lambda number: float(f"{number:.15g}")),
    st.booleans(),
)
def test_a_rule_is_read_back_from_what_it_prints(
    metric: str, stat: str, op: str, number: float, relative: bool
) -> None:
    rule = Rule(metric, stat, op, number, relative)
    assert parse_rule(str(rule)) == rule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a rule. A rule is METRIC.STAT"),
        ("cost_usd.mean", "is not a rule"),
        ("cost_usd.mean = 3", "'=' is not a comparison of rules. Use one of <=, <, >=, >."),
        ("cost_usd.mean == 3", "'==' is not a comparison"),
        ("cost.mean <= 3", "'cost' is not a metric. Did you mean 'cost_usd'?"),
        ("zzz.mean <= 3", "'zzz' is not a metric."),
        ("cost_usd <= 3", "'cost_usd' needs a statistic: cost_usd.mean, cost_usd.p50, cost_usd.p95."),
        ("cost_usd.average <= 3", "'average' is not a statistic. Use one of mean, p50, p95."),
        ("cost_usd.p59 <= 3", "'p59' is not a statistic. Did you mean 'p95'?"),
        ("makespan_s.mean <= 12h", "'12h' is not a plain number: makespan_s is in s, and a rule gives its number"),
        ("cost_usd.mean <= $5", "'$5' is not a number. A rule is METRIC.STAT"),
        ("cost_usd.mean <= baseline", "the number stands first, as in '1 * baseline'"),
        ("cost_usd.mean <= baseline * 0.6", "the number stands first, as in '0.6 * baseline'"),
        ("cost_usd.mean <= 0.6 baseline", "a multiple of the baseline is written '0.6 * baseline'"),
        ("cost_usd.mean <= 0.6 * basline", "'basline': a rule compares with a number or with NUMBER * baseline"),
        ("cost_usd.mean <= 1e999", "'1e999' is too large"),
        ("cost_usd.mean <= nan", "'nan' is not a number"),
    ],
)
def test_a_mistake_in_a_rule_is_explained(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_rule(text)


@pytest.mark.parametrize(("op", "passed"), [("<=", True), ("<", False), (">=", True), (">", False)])
def test_the_limit_itself(op: str, passed: bool) -> None:
    result = evaluate(Rule("cost_usd", "mean", op, 5.0, False), "p", summary_of(5.0), {}, 30)
    assert (result.value, result.limit, result.passed) == (5.0, 5.0, passed)


def test_a_relative_rule_tells_the_ratio() -> None:
    result = evaluate(parse_rule("cost_usd.mean <= 0.6 * baseline"), "p", summary_of(438.0), summary_of(1284.0), 30)
    assert (result.policy, result.limit, result.passed) == ("p", 0.6, True)
    assert result.value == pytest.approx(0.341, abs=5e-4)
    assert not evaluate(
        parse_rule("cost_usd.mean < 0.3 * baseline"), "p", summary_of(438.0), summary_of(1284.0), 30
    ).passed


def test_the_statistic_that_is_asked_for_counts() -> None:
    result = evaluate(parse_rule("cost_usd.p95 <= 8"), "p", summary_of(5.0, p95=9.0), {}, 30)
    assert (result.value, result.passed) == (9.0, False)


def test_a_baseline_of_zero_has_no_ratio_but_can_be_compared_with() -> None:
    rule = parse_rule("cost_usd.mean <= 1 * baseline")
    equal, above = (evaluate(rule, "p", summary_of(mean), summary_of(0.0), 30) for mean in (0.0, 1.0))
    assert (equal.value, equal.passed) == (None, True)
    assert (above.value, above.passed) == (None, False)


@pytest.mark.parametrize("op", ["<=", ">="])
def test_what_is_undefined_never_passes(op: str) -> None:
    plain, relative = Rule("cost_usd", "mean", op, 5.0, False), Rule("cost_usd", "mean", op, 5.0, True)
    somewhere = {"cost_usd": summarise([5.0] * 29 + [None])}
    everywhere = {"cost_usd": summarise([None] * 30)}
    diverging = summary_of(None)
    for summaries in (somewhere, everywhere, diverging):
        assert evaluate(plain, "p", summaries, {}, 30).passed is False
        assert evaluate(plain, "p", summaries, {}, 30).value is None
        assert evaluate(relative, "p", summary_of(5.0), summaries, 30).passed is False
