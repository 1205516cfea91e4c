"""The results of a comparison as one JSON document: `results.json`, and what `compare -o json` prints."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spotbed.gates import Gate, GateResult, evaluate
from spotbed.metric_names import METRIC_NAMES, METRICS
from spotbed.report.standing import did_less
from spotbed.results_schema import BILL_COLUMNS, SCHEMA_VERSION, results_schema
from spotbed.results_table import ResultsTable, estimates_table, results_table
from spotbed.stats import Paired, Summary, holm, paired, summarise

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "PolicyWorlds",
    "ResultsTable",
    "adjust_for_policies",
    "build_results",
    "differing_settings",
    "estimates_table",
    "results_schema",
    "results_table",
]


@dataclass(frozen=True, slots=True)
class PolicyWorlds:
    """What one policy did in all worlds.

    `worlds`: one row per world (the same index under every policy), one column per metric of `METRIC_NAMES`, NaN where
    a metric is undefined. `bill`: item, cause, usage, unit, usd, each the mean over worlds. `does_not_converge`: metric
    -> why its mean means nothing (`spotbed.divergence`); its quantiles do, and are kept.
    """

    label: str
    architecture: str
    policy_sha256: str
    worlds: pd.DataFrame
    bill: pd.DataFrame
    does_not_converge: Mapping[str, str] = field(default_factory=dict)


def build_results(
    scenario_name: str,
    scenario_sha256: str,
    baseline: str,
    policies: Sequence[PolicyWorlds],
    bounds: Mapping[str, float | None],
    gates: Sequence[Gate],
    *,
    commitment_discount: float | None = None,
) -> dict[str, Any]:
    """Summaries, paired differences and gates of policies on the same worlds; `bounds` is by metric.

    `commitment_discount` is that of the scenario's own commitment; without one a typical one is taken from the data.
    """
    discount = typical_discount() if commitment_discount is None else commitment_discount
    by_label = {policy.label: policy for policy in policies}
    if len(by_label) != len(policies):
        raise ValueError(f"labels are not unique: {[policy.label for policy in policies]}")
    for policy in policies:
        _check_worlds(policy, by_label[baseline])
    summaries = {policy.label: _summaries(policy) for policy in policies}
    entries = [_policy(policy, summaries[policy.label], by_label[baseline], discount) for policy in policies]
    adjust_for_policies(entries)
    results = {
        "schema_version": SCHEMA_VERSION,
        "scenario": scenario_name,
        "scenario_sha256": scenario_sha256,
        "replications": len(by_label[baseline].worlds),
        "baseline": baseline,
        "policies": entries,
        "bounds": {metric: _number(value) for metric, value in bounds.items()},
        "gates": _gates(gates, summaries, baseline, len(by_label[baseline].worlds)),
    }
    _tell_regret(results)
    return results


def adjust_for_policies(entries: Sequence[Mapping[str, Any]]) -> None:
    """Holm's p-value of each metric, over all policies that are compared with the baseline."""
    for metric in METRIC_NAMES:
        pairs: list[MutableMapping[str, Any]] = [
            entry["vs_baseline"][metric] for entry in entries if metric in entry["vs_baseline"]
        ]
        known = [pair for pair in pairs if pair.get("p") is not None]
        for pair, adjusted in zip(known, holm([pair["p"] for pair in known]), strict=True):
            pair["p_holm"] = adjusted


def _tell_regret(results: dict[str, Any]) -> None:
    """How far above its bound a policy is, as a share; said only of those that did the whole work."""
    for entry in results["policies"]:
        means = {metric: entry["metrics"][metric]["mean"] for metric in results["bounds"]}
        regret = {
            metric: means[metric] / bound - 1.0
            for metric, bound in results["bounds"].items()
            if bound and means[metric] is not None
        }
        if regret and not did_less(results, entry["label"]):
            entry["regret"] = regret


def differing_settings(policies: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of the settings of policies (by label, nested), those that are not the same in all: path -> label -> value.

    A setting that a policy does not have is None there.
    """
    flat = {label: dict(_flattened(settings, "")) for label, settings in policies.items()}
    paths = dict.fromkeys(path for settings in flat.values() for path in settings)
    by_path = {path: {label: settings.get(path) for label, settings in flat.items()} for path in paths}
    return {path: values for path, values in by_path.items() if not _all_equal(list(values.values()))}


def _all_equal(values: Sequence[Any]) -> bool:
    return all(value == values[0] for value in values)


def _flattened(settings: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in settings.items():
        nested = isinstance(value, Mapping) and value
        pairs.extend(_flattened(value, f"{prefix}{key}.") if nested else [(f"{prefix}{key}", value)])
    return pairs


def _check_worlds(policy: PolicyWorlds, baseline: PolicyWorlds) -> None:
    if set(policy.worlds.columns) != set(METRIC_NAMES):
        wrong = sorted(set(policy.worlds.columns) ^ set(METRIC_NAMES))
        raise ValueError(f"{policy.label}: these columns are missing or are no metrics: {wrong}")
    if not policy.worlds.index.equals(baseline.worlds.index):
        raise ValueError(f"{policy.label} was not run on the worlds of {baseline.label}")


def _summaries(policy: PolicyWorlds) -> dict[str, Summary]:
    summaries = {metric: summarise(policy.worlds[metric].to_numpy(dtype=float)) for metric in METRIC_NAMES}
    for metric in policy.does_not_converge:
        summaries[metric]["mean"] = summaries[metric]["ci95"] = None
    return summaries


def _policy(
    policy: PolicyWorlds, summaries: Mapping[str, Summary], baseline: PolicyWorlds, discount: float
) -> dict[str, Any]:
    compared = {} if policy is baseline else {metric: _paired(metric, policy, baseline) for metric in METRIC_NAMES}
    entry = {
        "label": policy.label,
        "architecture": policy.architecture,
        "policy_sha256": policy.policy_sha256,
        "metrics": summaries,
        "bill": [dict(zip(BILL_COLUMNS, line, strict=True)) for line in _bill_lines(policy.bill)],
        "vs_baseline": compared,
    }
    saving = _saving(policy, summaries["cost_usd"]["mean"], discount)
    if saving:
        entry["saving"] = saving
    if policy.does_not_converge:
        entry["does_not_converge"] = dict(policy.does_not_converge)
    return entry


def _saving(policy: PolicyWorlds, cost_usd: float | None, discount: float) -> dict[str, float]:
    """What the policy saves against its useful instance time on demand, at list price and with a commitment."""
    if "list_usd" not in policy.bill.columns or cost_usd is None:
        return {}
    listed = float(policy.bill.loc[policy.bill["cause"] == "useful", "list_usd"].sum())
    if listed <= 0:
        return {}
    committed = listed * (1 - discount)
    return {
        "list_usd": listed,
        "of_list": 1 - cost_usd / listed,
        "of_commitment": 1 - cost_usd / committed,
        "discount": discount,
    }


def typical_discount() -> float:
    """The discount of the commitment in `spotbed/data/commitment.csv`."""
    import csv
    from importlib.resources import files

    text = (files("spotbed") / "data" / "commitment.csv").read_text(encoding="utf-8")
    row = next(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    return float(row["discount"])


_LOWER_IS_BETTER = {metric.name: metric.lower_is_better for metric in METRICS}


def _paired(metric: str, policy: PolicyWorlds, baseline: PolicyWorlds) -> Paired:
    """Nothing but the share of worlds won is said of a mean that does not converge."""
    ours, theirs = (side.worlds[metric].to_numpy(dtype=float) for side in (policy, baseline))
    pair = paired(ours, theirs, lower_is_better=_LOWER_IS_BETTER[metric])
    if metric in policy.does_not_converge or metric in baseline.does_not_converge:
        return {**pair, "diff_mean": None, "diff_ci95": None, "ratio": None, "ratio_ci95": None, "p": None}
    return pair


def _bill_lines(bill: pd.DataFrame) -> list[tuple[str, str, float, str, float]]:
    columns = (bill[name] for name in BILL_COLUMNS)
    return [
        (str(item), str(cause), float(usage), str(unit), float(usd))
        for item, cause, usage, unit, usd in zip(*columns, strict=True)
    ]


def _gates(
    gates: Sequence[Gate], summaries: Mapping[str, Mapping[str, Summary]], baseline: str, worlds: int
) -> list[dict[str, Any]]:
    results = [
        evaluate(gate.rule, label, summaries[label], summaries[baseline], worlds)
        for gate in gates
        for label in gate.policies
    ]
    return [_gate(result) for result in results]


def _gate(result: GateResult) -> dict[str, Any]:
    return {
        "rule": str(result.rule),
        "policy": result.policy,
        "value": _number(result.value),
        "limit": result.limit,
        "passed": result.passed,
    }


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
