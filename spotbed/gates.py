"""Gates: rules that a policy's metrics must keep, such as `cost_usd.mean <= 0.6 * baseline`."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spotbed.metric_names import METRIC_BY_NAME, METRIC_NAMES

if TYPE_CHECKING:
    from spotbed.stats import Summary

STATS = ("mean", "p50", "p95")
FORM = "METRIC.STAT (<= | < | >= | >) NUMBER [* baseline]"
_OPERATORS = {"<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt}
_RULE = re.compile(r"\s*(?P<left>[^<>=!]*?)\s*(?P<op>[<>=!]+)\s*(?P<right>.*?)\s*")
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class Rule:
    """A metric's statistic against a number, which is a multiple of the baseline's where `relative`."""

    metric: str
    stat: str
    op: str
    number: float
    relative: bool

    def __str__(self) -> str:
        return f"{self.metric}.{self.stat} {self.op} {self.number:.15g}{' * baseline' if self.relative else ''}"


@dataclass(frozen=True, slots=True)
class Gate:
    """A rule and the labels of the policies that must keep it."""

    rule: Rule
    policies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GateResult:
    """How one policy stands to one rule.

    For a relative rule `value` is the ratio to the baseline and `limit` its multiple. `value` is None where there is
    none: the metric is undefined in some world, does not converge, or the baseline's is zero.
    """

    rule: Rule
    policy: str
    value: float | None
    limit: float
    passed: bool


def parse_rule(text: str) -> Rule:
    """Read a rule; ValueError says what is wrong with it and how it should look."""
    match = _RULE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a rule. A rule is {FORM}, such as 'cost_usd.mean <= 0.6 * baseline'.")
    if match["op"] not in _OPERATORS:
        raise ValueError(f"{match['op']!r} is not a comparison of rules. Use one of {', '.join(_OPERATORS)}.")
    metric, stat = _parse_left(match["left"])
    number, relative = _parse_right(match["right"], metric)
    return Rule(metric, stat, match["op"], number, relative)


def _parse_left(text: str) -> tuple[str, str]:
    metric, dot, stat = text.partition(".")
    if metric not in METRIC_BY_NAME:
        raise ValueError(f"{metric!r} is not a metric.{_did_you_mean(metric, METRIC_NAMES)}")
    if not dot:
        raise ValueError(f"{metric!r} needs a statistic: {', '.join(f'{metric}.{name}' for name in STATS)}.")
    if stat not in STATS:
        hint = _did_you_mean(stat, STATS) or f" Use one of {', '.join(STATS)}."
        raise ValueError(f"{stat!r} is not a statistic.{hint}")
    return metric, stat


def _parse_right(text: str, metric: str) -> tuple[float, bool]:
    factor, star, other = (part.strip() for part in text.partition("*"))
    if factor == "baseline":
        raise ValueError(f"{text!r}: the number stands first, as in '{other or 1} * baseline'.")
    if star and other != "baseline":
        raise ValueError(f"{other!r}: a rule compares with a number or with NUMBER * baseline.")
    if not _NUMBER.fullmatch(factor):
        raise ValueError(_not_a_number(factor, metric))
    number = float(factor)
    if not math.isfinite(number):
        raise ValueError(f"{factor!r} is too large for a number.")
    return number, bool(star)


def _not_a_number(text: str, metric: str) -> str:
    unit = METRIC_BY_NAME[metric].unit
    number = _NUMBER.match(text)
    if number is None:
        return f"{text!r} is not a number. A rule is {FORM}."
    if text[number.end() :].strip() == "baseline":
        return f"{text!r}: a multiple of the baseline is written '{number[0]} * baseline'."
    return f"{text!r} is not a plain number: {metric} is in {unit}, and a rule gives its number without the unit."


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def evaluate(
    rule: Rule, policy: str, summaries: Mapping[str, Summary], baseline: Mapping[str, Summary], worlds: int
) -> GateResult:
    """Whether `policy`, with these summaries by metric over `worlds` worlds, keeps the rule.

    A metric that is undefined in some world, or whose mean does not converge, never passes: its other worlds would
    speak for it.
    """
    value = _statistic(summaries[rule.metric], rule.stat, worlds)
    if value is None:
        return GateResult(rule, policy, None, rule.number, False)
    if not rule.relative:
        return GateResult(rule, policy, value, rule.number, _OPERATORS[rule.op](value, rule.number))
    reference = _statistic(baseline[rule.metric], rule.stat, worlds)
    if reference is None:
        return GateResult(rule, policy, None, rule.number, False)
    passed = _OPERATORS[rule.op](value, rule.number * reference)
    return GateResult(rule, policy, value / reference if reference else None, rule.number, passed)


def _statistic(summary: Summary, stat: str, worlds: int) -> float | None:
    if summary["n"] < worlds:
        return None
    value = {"mean": summary["mean"], "p50": summary["p50"], "p95": summary["p95"]}[stat]
    return value if value is not None and math.isfinite(value) else None
