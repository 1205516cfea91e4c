"""What a sweep leaves: the data set, a summary with intervals, the report, and where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from spotbed.files import MARK
from spotbed.metric_names import METRICS
from spotbed.results import adjust_for_policies
from spotbed.stats.method import method_text
from spotbed.stats.summary import paired, summarise, verdict
from spotbed.sweep import DATA, Plan, Request, column_name

if TYPE_CHECKING:
    import pandas as pd

    from spotbed.build import Blueprint

SCHEMA_VERSION = 1
JUDGED = ("cost_usd", "makespan_s")  # the metrics that have intervals in the summary


def write_sweep(plan: Plan, frame: pd.DataFrame, request: Request, folder: Path) -> dict[str, Any]:
    """Fill the folder of a sweep; returns its results."""
    from spotbed.api import write_json, write_parquet, write_table
    from spotbed.report.html import page
    from spotbed.report.markdown import write_document
    from spotbed.report.sweep import sweep_document

    assert plan.first is not None, "a sweep has a point"
    results = sweep_results(plan, frame, request)
    write_parquet(frame, folder / DATA)
    write_table(means(plan, frame), folder / "summary.csv")
    write_json(folder / "results.json", results)
    write_json(folder / MARK, _provenance(plan.first, plan, request))
    document = sweep_document(results, frame, method_text())
    (folder / "index.html").write_bytes(page(document))
    write_document(document, folder)
    return results


def sweep_results(plan: Plan, frame: pd.DataFrame, request: Request) -> dict[str, Any]:
    """For each point and policy: what it costs and how long it takes with intervals, and how it differs from the
    baseline on the same worlds."""
    assert plan.first is not None, "a sweep has a point"
    baseline = plan.first.scenario.baseline
    return {
        "schema_version": SCHEMA_VERSION,
        "scenario": plan.first.scenario.name,
        "design": request.design,
        "keys": list(plan.keys),
        "baseline": baseline,
        "points": [
            {
                "point": point.number,
                "values": dict(point.values),
                "policies": _policies(group, baseline),
            }
            for point, (_, group) in zip(plan.points, frame.groupby("point", sort=True), strict=True)
        ],
    }


def _policies(group: pd.DataFrame, baseline: str) -> list[dict[str, Any]]:
    by_policy = dict(list(group.groupby("policy", sort=False)))
    against = by_policy.get(baseline)
    policies = [_policy(label, rows, None if label == baseline else against) for label, rows in by_policy.items()]
    adjust_for_policies(policies)
    for policy in policies:
        for pair in policy["vs_baseline"].values():
            pair["verdict"] = verdict(pair).answer
    return policies


def _policy(label: Any, rows: pd.DataFrame, against: pd.DataFrame | None) -> dict[str, Any]:
    told: dict[str, Any] = {"policy": label, "worlds": len(rows), "metrics": {}, "vs_baseline": {}}
    for name in JUDGED:
        told["metrics"][name] = summarise(rows[name])
        if against is not None:
            told["vs_baseline"][name] = paired(rows[name], against[name])
    told["means"] = {metric.name: _mean(rows[metric.name]) for metric in METRICS}
    return told


def _mean(values: Any) -> float | None:
    mean = float(values.astype(float).mean())
    return mean if mean == mean else None


def means(plan: Plan, frame: pd.DataFrame) -> pd.DataFrame:
    """The mean of every metric and of every item of the bill, by point and policy."""
    names = [column_name(key) for key in plan.keys]
    grouped = frame.drop(columns=["unit", "world", "seed"]).groupby(["point", *names, "policy"], sort=False)
    table = grouped.mean().reset_index()
    table.insert(len(names) + 2, "worlds", grouped.size().to_numpy())
    return table


def _provenance(made: Blueprint, plan: Plan, request: Request) -> dict[str, Any]:
    from spotbed.provenance import of_scenario

    return of_scenario(
        made,
        {"seed": made.scenario.seed, "worlds": made.scenario.replications},
        overrides=list(request.overrides),
        design=request.design,
        points=len(plan.points),
        units=len(plan.items),
        policies={label: each.sha256 for label, each in made.composed.items()},
    )
