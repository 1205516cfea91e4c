"""Results as tables: a row per policy with a few words below it, for people, and a row per estimate, for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spotbed.gates import parse_rule
from spotbed.metric_names import METRIC_BY_NAME
from spotbed.report.metric_words import CUT, is_cut, shown_ends
from spotbed.report.standing import did_less, is_billed
from spotbed.report.words import (
    count,
    duration,
    fixed,
    in_unit,
    listed,
    number,
    percent,
    plural,
    time_unit,
    usd,
    usd_like,
)
from spotbed.stats import method_text, verdict

DIVERGES = "does not converge"
NOT_DONE = "not done"
COUNTS = {"deadline_missed": "deadlines missed", "interruptions": "interruptions"}  # columns, where a policy has any
UNDONE = {"jobs_lost": "lost", "jobs_failed": "failed", "jobs_unfinished": "unfinished"}  # and never done
HARM = {"duplicate_completions": "done twice", "orphan_workers": "orphan workers left behind"}
FEW_WORLDS = "One world: what differs may be its weather. More worlds (--replications) give intervals."
_ESTIMATES = ("mean", "ci95", "p50", "p95", "n")
_DIFFERENCES = ("diff_mean", "diff_ci95", "ratio", "ratio_ci95", "win_share")


@dataclass(frozen=True, slots=True)
class ResultsTable:
    """Rows of plain values (text, numbers, None) under named columns, and lines that stand below them."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    notes: Sequence[str] = field(default=())


@dataclass(frozen=True, slots=True)
class _Aim:
    """What policies are first compared by: the bill, or the slowdown where nothing is billed."""

    metric: str
    column: str
    won: str

    @property
    def judged(self) -> tuple[str, ...]:
        """The metrics of which it is said what the worlds do not resolve."""
        return (self.metric, "makespan_s", "deadline_missed")


_COST = _Aim("cost_usd", "cost", "cheaper in")
_SLOWDOWN = _Aim("bounded_slowdown", "bounded slowdown", "lower in")


def results_table(results: Mapping[str, Any]) -> ResultsTable:
    """For people: one row per policy; below it bounds, gates, and what the worlds did not resolve."""
    policies = results["policies"]
    aim = _COST if is_billed(results) else _SLOWDOWN
    dearest = max((policy["metrics"]["cost_usd"]["mean"] or 0.0 for policy in policies), default=0.0)
    counts = [name for name in COUNTS if any(policy["metrics"][name]["mean"] for policy in policies)]
    known = (COUNTS[name] for name in counts)
    columns = ("policy", aim.column, "against baseline", "makespan", "wait", *known, NOT_DONE, aim.won)
    unit = _makespan_unit(policies)
    rows = [_row(policy, aim, counts, dearest, unit) for policy in policies]
    return ResultsTable(columns, rows, _notes(results, aim))


def _makespan_unit(policies: Sequence[Mapping[str, Any]]) -> str:
    return time_unit(policy["metrics"]["makespan_s"]["mean"] for policy in policies)


def estimates_table(results: Mapping[str, Any]) -> ResultsTable:
    """For programs: one row per policy and metric with the numbers of the results, in the metric's unit."""
    columns = ["policy", "metric", "unit", *_named(_ESTIMATES), *_named(_DIFFERENCES)]
    rows = [
        [
            *(policy["label"], metric, METRIC_BY_NAME[metric].unit),
            *_numbers(summary, _ESTIMATES),
            *_numbers(policy["vs_baseline"].get(metric, {}), _DIFFERENCES),
        ]
        for policy in results["policies"]
        for metric, summary in policy["metrics"].items()
    ]
    return ResultsTable(columns, rows)


def _named(keys: Sequence[str]) -> list[str]:
    """An interval takes two columns."""
    return [name for key in keys for name in ([f"{key}_low", f"{key}_high"] if key.endswith("ci95") else [key])]


def _numbers(values: Mapping[str, Any], keys: Sequence[str]) -> list[float | None]:
    pairs = [values.get(key) or (None, None) if key.endswith("ci95") else (values.get(key),) for key in keys]
    return [value for pair in pairs for value in pair]


def _row(policy: Mapping[str, Any], aim: _Aim, counts: Sequence[str], dearest: float, unit: str) -> list[str]:
    metrics, diverging = policy["metrics"], policy.get("does_not_converge", {})

    def cell(metric: str, text: Any) -> str:
        return DIVERGES if metric in diverging else str(text(metrics[metric]["mean"]))

    def amount(value: float | None) -> str:
        return usd_like(value, dearest) if aim is _COST else fixed(value)

    return [
        policy["label"],
        cell(aim.metric, amount) + _interval(_shown(metrics[aim.metric]["ci95"]), amount),
        _against_baseline(policy["vs_baseline"].get(aim.metric)),
        cell("makespan_s", lambda mean: in_unit(mean, unit)),
        cell("wait_s", duration),
        *(cell(metric, count) for metric in counts),
        count(sum(metrics[metric]["mean"] or 0.0 for metric in UNDONE)),
        _won(policy["vs_baseline"].get(aim.metric)),
    ]


def _shown(ends: Sequence[float] | None) -> list[float] | None:
    return None if ends is None else shown_ends(ends)


def _interval(ends: Sequence[float] | None, text: Any) -> str:
    return "" if ends is None else f" [{text(ends[0])}, {text(ends[1])}]"


def _against_baseline(pair: Any) -> str:
    if pair is None:
        return "baseline"
    if pair["ratio"] is None:
        return "n/a"
    unresolved = " not resolved" if pair["n"] > 1 and verdict(pair).answer == "not resolved" else ""
    return f"{pair['ratio']:.3f}" + _interval(pair["ratio_ci95"], lambda end: f"{end:.3f}") + unresolved


def _won(pair: Mapping[str, Any] | None) -> str:
    if pair is None or pair["diff_mean"] is None:
        return ""
    return f"{round(pair['win_share'] * pair['n'])} of {pair['n']}"


def _notes(results: Mapping[str, Any], aim: _Aim) -> list[str]:
    gates = [_gate_line(gate, results) for gate in results["gates"]]
    diverging = [
        f"{policy['label']}: {message}"
        for policy in results["policies"]
        for message in dict.fromkeys(policy.get("does_not_converge", {}).values())
    ]
    notes = [*_bound_lines(results), *_saving_lines(results), *_harm_lines(results), *gates, *diverging]
    if results["replications"] < 2:
        return [*notes, FEW_WORLDS]
    intervals = f"[ ]: 95 % interval of the mean over {plural(results['replications'], 'world')}; {method_text()}."
    if any(is_cut(policy["metrics"][aim.metric]["ci95"]) for policy in results["policies"]):
        intervals += f" {CUT}"
    return [*notes, *_unresolved_lines(results, aim), intervals]


def _bound_lines(results: Mapping[str, Any]) -> list[str]:
    bounds = {metric: value for metric, value in results["bounds"].items() if value is not None}
    if not bounds:
        return []
    unit = _makespan_unit(results["policies"])
    told = [
        f"{_name(each)} {usd(value) if each == 'cost_usd' else in_unit(value, unit)}" for each, value in bounds.items()
    ]
    return [
        f"No policy that does all this work can be below: {', '.join(told)}.{_nearest(results, bounds.get('cost_usd'))}"
    ]


def _saving_lines(results: Mapping[str, Any]) -> list[str]:
    savings = {policy["label"]: policy["saving"] for policy in results["policies"] if "saving" in policy}
    if not savings:
        return []
    discount = percent(next(iter(savings.values()))["discount"])
    listed = ", ".join(
        f"{label} {percent(saving['of_list'])} ({percent(saving['of_commitment'])})"
        for label, saving in savings.items()
    )
    return [f"Saved against the useful work on demand at list price (with a commitment at {discount} off): {listed}."]


def _harm_lines(results: Mapping[str, Any]) -> list[str]:
    """What became of the jobs that a policy did not get done, and what it did twice or left behind."""
    lines = []
    for policy in results["policies"]:
        means = {name: policy["metrics"][name]["mean"] or 0.0 for name in ("jobs_submitted", *UNDONE, *HARM)}
        told = [f"{count(means[name])} {word}" for name, word in {**UNDONE, **HARM}.items() if means[name]]
        if told:
            lines.append(f"{policy['label']}: of {plural(means['jobs_submitted'], 'job')} a world, {listed(told)}.")
    return lines


def _nearest(results: Mapping[str, Any], bound: float | None) -> str:
    costs = {policy["label"]: policy["metrics"]["cost_usd"]["mean"] for policy in results["policies"]}
    known = {label: cost for label, cost in costs.items() if cost is not None and not did_less(results, label)}
    if not bound or not known:
        return ""
    label = min(known, key=lambda name: known[name])
    return f" The cheapest that does, {label}, is {percent(known[label] / bound - 1.0)} above it."


def _gate_line(gate: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    value = "no value in some world" if gate["value"] is None else number(gate["value"])
    near = ", but the interval holds the limit" if _holds(_interval_of(gate, results), gate["limit"]) else ""
    return f"gate {'passed' if gate['passed'] else 'FAILED'}: {gate['rule']} for {gate['policy']}: {value}{near}"


def _interval_of(gate: Mapping[str, Any], results: Mapping[str, Any]) -> Sequence[float] | None:
    """The interval of a gate's value; only means have one."""
    rule = parse_rule(gate["rule"])
    policy = next(policy for policy in results["policies"] if policy["label"] == gate["policy"])
    if rule.stat != "mean":
        return None
    ends: Sequence[float] | None = (
        policy["vs_baseline"].get(rule.metric, {}).get("ratio_ci95")
        if rule.relative
        else policy["metrics"][rule.metric]["ci95"]
    )
    return ends


def _holds(ends: Sequence[float] | None, limit: float) -> bool:
    return ends is not None and ends[0] < limit < ends[1]


def _unresolved_lines(results: Mapping[str, Any], aim: _Aim) -> list[str]:
    lines = [
        _unresolved_line(policy["label"], metric, policy["vs_baseline"][metric], results["baseline"])
        for policy in results["policies"]
        for metric in aim.judged
        if metric in policy["vs_baseline"] and metric not in policy.get("does_not_converge", {})
    ]
    return [line for line in lines if line]


def _unresolved_line(label: str, metric: str, pair: Any, baseline: str) -> str:
    answer, more = verdict(pair)
    if answer != "not resolved" or not pair["diff_mean"]:
        return ""
    enough = (
        f"about {plural(more, 'more world')} would tell" if more else "no number of worlds that can be run will tell"
    )
    interval = _interval(pair["diff_ci95"], lambda end: _with_unit(metric, end))
    several = " for all policies at once" if pair["diff_ci95"] and not _holds(pair["diff_ci95"], 0.0) else ""
    return (
        f"{label}: {_name(metric)} not resolved against {baseline}{several}, "
        f"difference {_with_unit(metric, pair['diff_mean'])}{interval}; {enough}."
    )


def _name(metric: str) -> str:
    plain = metric.rsplit("_", 1)[0] if METRIC_BY_NAME[metric].unit in ("s", "USD") else metric.replace("_", " ")
    return COUNTS.get(metric, plain)


def _with_unit(metric: str, value: float) -> str:
    return {"s": duration, "USD": usd}.get(METRIC_BY_NAME[metric].unit, fixed)(value)
