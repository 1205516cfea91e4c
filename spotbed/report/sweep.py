"""The report of a sweep: what each key does, and which policy is cheapest where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spotbed.report.charts.rows import height_of
from spotbed.report.document import Bullets, Document, Grid, Paragraph, Section, Strong, Two
from spotbed.report.marks import Axis, Bars, Chart, Label, Panel, Table
from spotbed.report.metric_words import CUT, is_cut, shown_ends
from spotbed.report.palette import Style, policy_styles
from spotbed.report.words import duration, number, percent, plural, usd
from spotbed.scenario.models_search import size_of

if TYPE_CHECKING:
    import pandas as pd

_LEVELS = 4  # groups that a key with more values is cut into
_MOST_ROWS = 300  # of the table in the report; the rest is in summary.csv


def sweep_document(results: Mapping[str, Any], frame: pd.DataFrame, coverage: str) -> Document:
    """Everything that the report of a sweep says. `frame` is its data set."""
    labels = list(dict.fromkeys(frame["policy"]))
    styles = policy_styles(labels, results["baseline"])
    keys = _columns(results, frame)
    points = len(results["points"])
    return Document(
        title=str(results["scenario"]),
        kicker="spotbed sweep",
        subtitle=f"{plural(points, 'point')}, {plural(len(labels), 'policy', 'policies')}, {len(frame):,} runs",
        sections=[
            Section("answer", "Which policy is cheapest", (Bullets(tuple(_cheapest(results, labels))),)),
            Section("keys", "What each key does", (_tornado(frame, keys, labels, styles),)),
            Section("points", "Every point", (_grid(results),)),
            Section("unknown", "What this report does not know", (Paragraph((f"Intervals: {coverage}.",)),)),
        ],
        colors={label: style.color for label, style in styles.items()},
    )


def _columns(results: Mapping[str, Any], frame: pd.DataFrame) -> dict[str, str]:
    """Key -> its column."""
    columns = list(frame.columns)
    return dict(zip(results["keys"], columns[1 : 1 + len(results["keys"])], strict=True))


def _cheapest(results: Mapping[str, Any], labels: Sequence[str]) -> list[tuple[Any, ...]]:
    """At how many points each policy has the lowest mean cost (of equal ones each), and at how many of them it is
    below the baseline, whatever the number of policies."""
    first: dict[str, int] = dict.fromkeys(labels, 0)
    carried: dict[str, int] = dict.fromkeys(labels, 0)
    for point in results["points"]:
        lowest = min(each["metrics"]["cost_usd"]["mean"] for each in point["policies"])
        for best in point["policies"]:
            if best["metrics"]["cost_usd"]["mean"] > lowest:
                continue
            first[best["policy"]] += 1
            verdict = best["vs_baseline"].get("cost_usd", {}).get("verdict")
            carried[best["policy"]] += verdict == "lower"
    total = len(results["points"])
    ranked = sorted((label for label in labels if first[label]), key=lambda label: -first[label])
    return [
        (
            Label(label),
            " has the lowest mean cost at ",
            Strong(f"{first[label]} of {plural(total, 'point')}"),
            "; it is the baseline."
            if label == results["baseline"]
            else f"; at {carried[label]} of them it is below the baseline (95 %, for all policies of a point at once).",
        )
        for label in ranked
    ]


def _tornado(frame: pd.DataFrame, keys: Mapping[str, str], labels: Sequence[str], styles: Mapping[str, Style]) -> Chart:
    """How far the mean cost moves as one key moves, the others as they come."""
    rows, marks, ticks = [], [], []
    position = 0
    thin = 0.002 * float(frame["cost_usd"].mean())  # a bar of nothing is still seen
    for key, column in keys.items():
        for label in labels:
            own = frame[frame["policy"] == label]
            mean = float(own["cost_usd"].mean())
            levels = _levels(own, column)
            low, high = min(levels, key=lambda each: each[1]), max(levels, key=lambda each: each[1])
            ticks.append((float(position), f"{label}: {key}"))
            share = (high[1] - low[1]) / mean if mean else 0.0
            says = f"{label}: {usd(low[1])} at {key} {low[0]}, {usd(high[1])} at {high[0]}"
            bar = Bars(
                label, [position], [low[1]], [max(high[1] - low[1], thin)], styles[label].color, [says], listed=False
            )
            marks.append(bar)
            rows.append((key, label, low[0], low[1], high[0], high[1], share))
            position += 1
    widest = max(rows, key=lambda row: row[6])
    axis_y = Axis("", -0.6, position - 0.4, ticks=tuple(ticks), downwards=True)
    least, most = min(row[3] for row in rows), max(row[5] for row in rows)
    margin = 0.04 * (most - least) or 0.04 * most or 1.0
    axis_x = Axis("mean cost (USD)", least - margin, most + margin, money=True, decimals=2)
    panel = Panel(axis_x, axis_y, tuple(marks), height=height_of(position), legend=False)
    reading = (
        f"A bar reaches from the lowest to the highest mean cost over the values of one key, all others as they come. "
        f"Most of all {widest[0]} moves {widest[1]}: by {percent(widest[6])} of its mean."
    )
    columns = ("key", "policy", "cheapest at", "cost there (USD)", "dearest at", "cost there (USD)", "width / mean")
    return Chart(
        "tornado", "Mean cost as each key moves", reading, reading, (panel,), table=Table(columns, tuple(rows))
    )


def _levels(own: pd.DataFrame, column: str) -> list[tuple[str, float]]:
    """(value or span of values, mean cost) of a key; many numbers are cut into groups of equal size."""
    import pandas as pd

    size = size_of(own[column].iloc[0])
    if own[column].nunique() > 2 * _LEVELS and size is not None:
        sizes = own[column].map(size_of)
        cut = pd.qcut(sizes, _LEVELS, labels=False, duplicates="drop")
        groups = [own[cut == level] for level in range(int(cut.max()) + 1)]
        return [(_span(group, column, sizes), float(group["cost_usd"].mean())) for group in groups]
    return [(_shown(value), float(cost)) for value, cost in own.groupby(column, sort=False)["cost_usd"].mean().items()]


def _span(group: pd.DataFrame, column: str, sizes: pd.Series[Any]) -> str:
    ordered = group[column].loc[sizes.loc[group.index].sort_values().index]
    return f"{_shown(ordered.iloc[0])} to {_shown(ordered.iloc[-1])}"


def _grid(results: Mapping[str, Any]) -> Grid:
    rows = sweep_rows(results)
    columns = (*results["keys"], "policy", "cost", "against baseline", "makespan", "worlds")
    note = (f"The first {_MOST_ROWS} of {len(rows):,} rows; summary.csv has all.",) if len(rows) > _MOST_ROWS else ()
    if any_cut(results):
        note = (*note, f" {CUT}" if note else CUT)
    return Grid("points", columns, tuple(rows[:_MOST_ROWS]), note)


def any_cut(results: Mapping[str, Any]) -> bool:
    """Whether an interval of `sweep_rows` reaches below zero, where it is not shown."""
    metrics = [policy["metrics"] for point in results["points"] for policy in point["policies"]]
    return any(is_cut(each[name]["ci95"]) for each in metrics for name in ("cost_usd", "makespan_s"))


def sweep_rows(results: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """A row for each point and policy, for people."""
    return [
        (
            *(_shown(value) for value in point["values"].values()),
            Label(policy["policy"]),
            _cell(policy["metrics"]["cost_usd"], usd),
            _against(policy["vs_baseline"].get("cost_usd")),
            _cell(policy["metrics"]["makespan_s"], duration),
            str(policy["worlds"]),
        )
        for point in results["points"]
        for policy in point["policies"]
    ]


def _cell(summary: Mapping[str, Any], write: Any) -> Two:
    ends = summary["ci95"] and shown_ends(summary["ci95"])
    return Two(write(summary["mean"]), f"[{write(ends[0])}, {write(ends[1])}]" if ends else "")


def _against(pair: Mapping[str, Any] | None) -> Two:
    if pair is None:
        return Two("baseline")
    ends = pair["ratio_ci95"]
    ratio = "n/a" if pair["ratio"] is None else f"{pair['ratio']:.3f}"
    unsure = " not resolved" if pair["verdict"] == "not resolved" else ""
    return Two(ratio, (f"[{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "") + unsure)


def _shown(value: Any) -> str:
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
