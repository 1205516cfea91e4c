"""Reading the results of a comparison: estimates with their intervals, and paired differences between two policies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from spotbed.report.metric_words import is_cut, shown_ends
from spotbed.stats import holm, paired, verdict
from spotbed.stats.summary import Paired

LEGACY = "legacy-2019"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over worlds; the interval (95 %) is None with a single world, the mean where it does not converge."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    p50: float | None = None
    p95: float | None = None
    is_cut: bool = False  # the interval reaches below zero, where it is not shown

    @property
    def has_interval(self) -> bool:
        """Whether both ends are known."""
        return self.low is not None and self.high is not None


@dataclass(frozen=True, slots=True)
class Difference:
    """Policy minus other, world by world. `answer` is what the interval carries: lower, higher or not resolved."""

    mean: float
    low: float | None  # of the 95 % interval; None with one world
    high: float | None
    below: float  # share of the worlds in which the policy is lower
    worlds: int
    answer: str
    more_worlds: int | None  # about how many would resolve it, where that can be said


def policies(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The policies of a results object, in its order."""
    return [policy for policy in results.get("policies") or [] if isinstance(policy, dict)]


def labels(results: Mapping[str, Any]) -> list[str]:
    """Their labels."""
    return [str(policy.get("label")) for policy in policies(results)]


def estimate(policy: Mapping[str, Any], metric: str) -> Estimate:
    """The estimate of one metric, its interval as it is shown; empty if the results do not have it."""
    found = (policy.get("metrics") or {}).get(metric) or {}
    low, high = _pair(found.get("ci95"))
    cut = low is not None and high is not None and is_cut((low, high))
    if low is not None and high is not None:
        low, high = shown_ends((low, high))
    mean, p50, p95 = (_number(found.get(name)) for name in ("mean", "p50", "p95"))
    return Estimate(mean, low, high, p50, p95, cut)


def against_baseline(policy: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """`diff_mean`, `diff_ci95`, `ratio`, `win_share` of one metric; empty for the baseline itself."""
    found = (policy.get("vs_baseline") or {}).get(metric)
    return found if isinstance(found, dict) else {}


def by_world(worlds: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row per world, one column per policy; worlds that a policy did not finish are left out."""
    if metric not in worlds.columns or worlds.empty:
        return pd.DataFrame()
    table = worlds.pivot_table(index="world", columns="policy", values=metric, aggfunc="first", observed=True)
    return table.replace([np.inf, -np.inf], np.nan)


def difference(
    worlds: pd.DataFrame, policy: str, other: str, metric: str, among: Sequence[str] = ()
) -> Difference | None:
    """`policy` minus `other` over the worlds in which both are defined; None if there is no such world.

    `among`: all policies that `policy` is compared with, `other` included; what is said holds for all of them at once
    (Holm).
    """
    table = by_world(worlds, metric)
    if policy not in table.columns or other not in table.columns:
        return None
    pair = _pair_of(table, policy, other)
    if pair["diff_mean"] is None or pair["win_share"] is None:
        return None
    if len(among) > 1:
        p = {label: _pair_of(table, policy, label).get("p") for label in among if label in table.columns}
        known = {label: value for label, value in p.items() if value is not None}
        adjusted = dict(zip(known, holm(list(known.values())), strict=True))
        pair["p_holm"] = adjusted.get(other)
    low, high = pair["diff_ci95"] or (None, None)
    answer, more_worlds = verdict(pair)
    return Difference(pair["diff_mean"], low, high, pair["win_share"], pair["n"], answer, more_worlds)


def _pair_of(table: pd.DataFrame, policy: str, other: str) -> Paired:
    return paired(table[policy].to_numpy(dtype=float), table[other].to_numpy(dtype=float))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _pair(value: Any) -> tuple[float | None, float | None]:
    if isinstance(value, list | tuple) and len(value) == 2:
        return _number(value[0]), _number(value[1])
    return None, None
