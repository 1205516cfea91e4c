"""From finished worlds to results: summaries, bounds, findings, and what rests on assumptions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sim.inputs import Work
from spotbed.build import Blueprint
from spotbed.comparison import Finished, mean_bill, settings_by_label
from spotbed.divergence import MEANINGLESS_METRICS, find_divergence, lifetime_of
from spotbed.gates import Gate, parse_rule
from spotbed.limits import limits_told
from spotbed.metric_names import METRIC_NAMES
from spotbed.report.standing import ENOUGH_WORK
from spotbed.results import PolicyWorlds, build_results, differing_settings
from spotbed.scenario.models_policies import Gate as GateModel

if TYPE_CHECKING:
    import pandas as pd

_GRID = 200  # points of the queue-depth band
_MOST_FOR_BOUNDS = 10  # worlds for which bounds are computed; the table shows their mean


def results_of(
    made: Blueprint, finished: Finished, baseline: str, labels: Sequence[str], gates: Sequence[GateModel]
) -> dict[str, Any]:
    """The contract's results of finished worlds."""
    divergence = {label: _divergence(made, label) for label in labels}
    policies = [
        PolicyWorlds(
            label,
            made.composed[label].architecture,
            made.composed[label].sha256,
            _worlds(finished, label),
            mean_bill(finished.results[label]),
            dict.fromkeys(MEANINGLESS_METRICS, divergence[label][0]) if divergence[label] else {},
        )
        for label in labels
    ]
    rules = [Gate(parse_rule(gate.rule), tuple(label for label in gate.for_ if label in labels)) for gate in gates]
    name, digest = made.scenario.name, made.scenario.sha256
    discount = max((each.discount for each in made.scenario.costs.commitments), default=None)
    found = bounds(made, finished, labels)
    return build_results(name, digest, baseline, policies, found, rules, commitment_discount=discount)


def _worlds(finished: Finished, label: str) -> pd.DataFrame:
    import pandas as pd

    results = finished.results[label]
    rows = [result.metrics for result in results]
    return pd.DataFrame(rows, index=[result.world for result in results], columns=list(METRIC_NAMES))


def bounds(made: Blueprint, finished: Finished, labels: Sequence[str]) -> dict[str, float | None]:
    """Lower bounds on cost and makespan, the mean over the first worlds, for the jobs done under every policy."""
    from spotbed.bounds import cluster_makespan_bound_s, cost_bound_usd, makespan_bound_s

    worlds = range(min(made.scenario.replications, len(finished.results[labels[0]]), _MOST_FOR_BOUNDS))
    slots, cluster = made.scenario.capacity.slots_per_instance, made.scenario.capacity.cluster
    discount = max((each.discount for each in made.scenario.costs.commitments), default=0.0)
    cost, makespan = [], []
    for world in worlds:
        inputs, _ = made.world(finished.results[labels[0]][world].world, made.composed[labels[0]])
        done = _done_by_all(finished, labels, world)
        if cluster is not None:
            makespan.append(cluster_makespan_bound_s(inputs.work, cluster.slots, done=done))
            continue
        refunded = max(finished.results[label][world].refunded_usd for label in labels)
        makespan.append(makespan_bound_s(inputs.work, inputs.pools, done=done, slots_per_instance=slots))
        cost.append(
            cost_bound_usd(
                inputs.work,
                inputs.pools,
                done=done,
                slots_per_instance=slots,
                on_demand_discount=discount,
                refunded_usd=refunded,
            )
        )
    return {
        "cost_usd": float(np.mean(cost)) if cost else None,
        "makespan_s": float(np.mean(makespan)) if makespan else None,
    }


def _done_by_all(finished: Finished, labels: Sequence[str], world: int) -> npt.NDArray[np.bool_]:
    """The jobs that every policy did which did nearly as many as the best: a bound for what a policy that loses jobs
    has done would say little of the others, and the longest are what it loses first."""
    masks = [np.frombuffer(finished.results[label][world].done, dtype=np.bool_) for label in labels]
    most = max(int(mask.sum()) for mask in masks)
    full = [mask for mask in masks if mask.sum() >= ENOUGH_WORK * most]
    return np.asarray(np.logical_and.reduce(full))


def _divergence(made: Blueprint, label: str) -> list[str]:
    """What makes the mean of a policy meaningless: jobs that are not expected to end on Spot. A policy that may turn to
    on-demand ends them there."""
    composed = made.composed[label]
    place, protect = composed.parts["place"], composed.parts["protect"]
    on_spot_only = getattr(place, "purchase", "spot") == "spot" and not getattr(place, "on_demand_floor", 0)
    if type(place).__name__ not in ("LowestPrice", "PriceCapacityOptimized", "Diversified") or not on_spot_only:
        return []
    lifetime = lifetime_of(made.market.interruptions) if not made.scenario.capacity.cluster else None
    if lifetime is None or composed.parts["move"].moves:
        return []
    inputs, _ = made.world(0, composed)
    restart_s = made.scenario.checkpoint.startup
    keeps = (
        composed.names["protect"] != "none"
        or protect.on_notice(True, 1 << 40, made.policy(composed).settings) != "run-on"
    )
    unsaved = {klass.name for klass in inputs.work.classes if not (klass.checkpointable and keeps)}
    return [finding.message for finding in find_divergence(_only(inputs.work, unsaved), lifetime, restart_s=restart_s)]


def _only(work: Work, names: set[str]) -> Work:
    """The work of some classes."""
    from dataclasses import replace

    wanted = [number for number, klass in enumerate(work.classes) if klass.name in names]
    keep = np.isin(work.klass, wanted)
    columns = ("klass", "submit_ms", "runtime_ms", "estimate_ms", "slots", "outcome_u", "string_u")
    return replace(work, ids=None, after={}, user=None, **{name: getattr(work, name)[keep] for name in columns})


def findings_of(made: Blueprint, finished: Finished, labels: Sequence[str]) -> list[str]:
    """What the reader of the report must know: divergence, limits that bit, models that stand for AWS's code."""
    found = [f"{label}: {text}" for label in labels for text in _divergence(made, label)]
    found += limits_told(made, finished, labels)
    placed = {made.composed[label].names["place"] for label in labels} if made.scenario.capacity.pools else set()
    if "price-capacity-optimized" in placed:
        found.append("price-capacity-optimized is our rule for AWS's unpublished strategy of that name: modelled")
    return found


def assumed_values(made: Blueprint, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Values without a public source that the result rests on, with their ranges."""
    architectures = {made.composed[label].architecture for label in labels}
    rows = [
        {"key": each.key, "value": each.value, "low": each.low, "high": each.high, "unit": each.unit, "why": each.why}
        for each in made.preset.assumed()
        if not each.key.startswith("legacy.") or "legacy-2019" in architectures
    ]
    rows += [
        {
            "key": line.item,
            "value": line.usd,
            "low": line.low,
            "high": line.high,
            "unit": f"USD per {line.per:g} {line.unit}",
            "why": line.note,
        }
        for line in made.book.assumed()
        if line.item != "ec2.head-node" or "central" in architectures
    ]
    return rows


def differing_rows(made: Blueprint, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Only the settings that differ: one row a setting, one column a policy."""
    differing = differing_settings(settings_by_label(made, labels))
    return [{"setting": path, **values} for path, values in differing.items()]


def queue_band(finished: Finished, labels: Sequence[str]) -> pd.DataFrame:
    """The depth of the queue over time: p10, p50 and p90 over worlds, on a common grid."""
    import pandas as pd

    frames = []
    for label in labels:
        samples = [np.asarray(result.samples, dtype=float) for result in finished.results[label] if result.samples]
        if not samples:
            continue
        end_ms = max(each[-1, 0] for each in samples)
        grid = np.linspace(0, end_ms, _GRID)
        depth = [_at(each[:, 0], each[:, 1], grid) for each in samples]
        p10, p50, p90 = np.percentile(depth, (10, 50, 90), axis=0)
        frames.append(pd.DataFrame({"policy": label, "at_s": grid / 1000, "p10": p10, "p50": p50, "p90": p90}))
    if not frames:
        return pd.DataFrame(columns=["policy", "at_s", "p10", "p50", "p90"])
    return pd.concat(frames, ignore_index=True)


def _at(times: np.ndarray, values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """A step function on a grid; zero after its end."""
    position = np.searchsorted(times, grid, side="right") - 1
    depth = values[np.maximum(position, 0)]
    return np.where(grid > times[-1], 0.0, depth)
