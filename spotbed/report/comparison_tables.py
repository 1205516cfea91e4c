"""The tables of a comparison: results with intervals, paired differences, gates, the bill, jobs at risk, settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from spotbed.report.charts.deadlines import has_deadlines
from spotbed.report.data import ComparisonData
from spotbed.report.document import Grid, Tone, Two
from spotbed.report.estimates import against_baseline, estimate, labels, policies
from spotbed.report.marks import Label
from spotbed.report.metric_words import CUT, called
from spotbed.report.standing import is_billed
from spotbed.report.words import (
    MINUS,
    NOTHING,
    TIMES,
    cents,
    count,
    fixed,
    in_unit,
    is_known,
    number,
    percent,
    time_unit,
    usd,
)

Writer = Callable[[float | None], str]

_RESULTS = (  # metric, how its numbers are written
    ("cost_usd", "usd"),
    ("makespan_s", "time"),
    ("flow_s", "time"),
    ("wait_s", "time"),
    ("bounded_slowdown", "number"),
    ("deadline_missed", "count"),
    ("interruptions", "count"),
    ("lost_work_s", "time"),
)
_OF_INSTANCES = ("cost_usd", "interruptions", "lost_work_s")  # which a fixed cluster does not have
_RISKS = (
    "jobs_submitted",
    "jobs_done",
    "jobs_failed",
    "jobs_unfinished",
    "jobs_lost",
    "duplicate_completions",
    "orphan_workers",
)
_FAULT_COLUMNS = {"jobs_lost", "duplicate_completions", "orphan_workers"}


def result_grid(data: ComparisonData) -> Grid:
    """Means over worlds with their intervals, one row per policy."""
    shown = [
        entry
        for entry in _RESULTS
        if any(is_known(estimate(policy, entry[0]).mean) for policy in policies(data.results))
    ]
    if not is_billed(data.results):
        shown = [entry for entry in shown if entry[0] not in _OF_INSTANCES]
    if data.runs and not has_deadlines(data.runs):
        shown = [entry for entry in shown if entry[0] != "deadline_missed"]
    writers = {metric: _writer(data, metric, style) for metric, style in shown}
    rows = [
        (_name(policy, data), *(_estimate_cell(policy, metric, write) for metric, write in writers.items()))
        for policy in policies(data.results)
    ]
    worlds = data.replications
    note = "Mean over worlds, and below it the 95 % interval of the mean." if worlds > 1 else "One world: no interval."
    if any(estimate(policy, metric).is_cut for policy in policies(data.results) for metric in writers):
        note += f" {CUT}"
    return Grid("results", ("Policy", *(called(metric) for metric, _ in shown)), tuple(rows), (note,))


def _name(policy: Mapping[str, Any], data: ComparisonData) -> Label | Two:
    label = str(policy.get("label"))
    return Two(Label(label), "baseline") if label == data.results.get("baseline") else Label(label)


def _writer(data: ComparisonData, metric: str, style: str) -> Writer:
    """How the numbers of a metric are written; times all in one unit, so that they can be compared at a glance."""
    if style == "time":
        unit = time_unit(estimate(policy, metric).mean for policy in policies(data.results))
        return lambda seconds: in_unit(seconds, unit)
    return {"usd": usd, "count": count, "number": number}[style]


def _estimate_cell(policy: Mapping[str, Any], metric: str, write: Writer) -> Two:
    found = estimate(policy, metric)
    if not is_known(found.mean):
        return Two("n/a")
    return Two(write(found.mean), _ends(found.low, found.high, write) if found.has_interval else "")


def _ends(low: float | None, high: float | None, write: Writer, sign: str = "") -> str:
    """An interval without its unit, which stands above it; counts with as many decimals at both ends."""
    if write is count and is_known(low) and is_known(high):
        size = max(abs(low), abs(high))
        decimals = 0 if size in (0, 1) or size >= 1000 else 1 if size >= 10 else 2

        def write(value: float | None) -> str:
            return fixed(value, decimals)

    return f"{_bare(low, write, sign)} to {_bare(high, write, sign)}"


def _bare(value: float | None, write: Writer, sign: str) -> str:
    text = (_signed(value, write) if sign else write(value)).replace("$", "")
    return text.rsplit(" ", 1)[0]


def paired_grid(data: ComparisonData) -> Grid:
    """Differences to the baseline in the same worlds, with their intervals."""
    baseline = str(data.results.get("baseline"))
    first = ("cost_usd", "usd") if is_billed(data.results) else ("bounded_slowdown", "number")
    shown = [first, ("makespan_s", "time"), ("flow_s", "time"), ("deadline_missed", "count")]
    if data.runs and not has_deadlines(data.runs):
        shown = shown[:-1]
    writers = {metric: _writer(data, metric, style) for metric, style in shown}
    rows = []
    for policy in policies(data.results):
        label = str(policy.get("label"))
        if label != baseline:
            own = [_paired_cells(policy, metric, write) for metric, write in writers.items()]
            rows.append((Label(label), *(cell for cells in own for cell in cells)))
    columns = [column for metric, _ in shown for column in (f"{called(metric)}: difference", "Ratio")]
    note = f"Each policy minus {baseline} in the same world"
    if data.replications > 1:
        note += "; below, the 95 % interval of the mean difference. Won: the share of the worlds in which it is lower"
    return Grid("paired", ("Policy", *columns), tuple(rows), (f"{note}.",))


def _paired_cells(policy: Mapping[str, Any], metric: str, write: Writer) -> tuple[Two, Two]:
    stated = against_baseline(policy, metric)
    mean, ends = stated.get("diff_mean"), stated.get("diff_ci95") or (None, None)
    low, high = ends
    tone: Tone = ""
    interval = ""
    if is_known(low) and is_known(high):
        tone = "good" if high < 0 else "bad" if low > 0 else ""
        interval = _ends(low, high, write, sign="+")
    ratio, won = stated.get("ratio"), stated.get("win_share")
    times = f"{TIMES} {ratio:.3f}" if is_known(ratio) and ratio < 10 else f"{TIMES} {number(ratio)}"
    return Two(_signed(mean, write), interval, tone), Two(times, f"won {percent(won)}" if is_known(won) else "")


def _signed(value: float | None, write: Writer) -> str:
    if not is_known(value):
        return write(value)
    text = write(abs(value))
    return text if not any(digit in text for digit in "123456789") else f"{MINUS if value < 0 else '+'}{text}"


def gate_grid(data: ComparisonData) -> Grid:
    """Every gate with its value and its limit."""
    rows = [
        (
            Two("\u2713 passed", tone="good") if gate.get("passed") else Two("\u2717 failed", tone="bad"),
            str(gate.get("rule")),
            Label(str(gate.get("policy"))),
            number(gate.get("value")),
            number(gate.get("limit")),
        )
        for gate in data.results.get("gates") or []
    ]
    note = "Of a rule relative to the baseline, value and limit are ratios."
    return Grid("gates", ("", "Rule", "Policy", "Value", "Limit"), tuple(rows), (note,))


def bill_grid(data: ComparisonData) -> Grid:
    """One row per item and cause, one column per policy; the dearest items first."""
    names = labels(data.results)
    lines: dict[tuple[str, str], dict[str, float]] = {}
    for policy, item, cause, dollars in data.bill[["policy", "item", "cause", "usd"]].itertuples(index=False):
        mine = lines.setdefault((str(item), str(cause)), {})
        mine[str(policy)] = mine.get(str(policy), 0.0) + float(dollars)
    items = {item: sum(sum(mine.values()) for (other, _), mine in lines.items() if other == item) for item, _ in lines}
    order = sorted(lines, key=lambda line: (-items[line[0]], line[0], -sum(lines[line].values())))
    totals = {label: sum(mine.get(label, 0.0) for mine in lines.values()) for label in names}
    rows: list[tuple[str | Two, ...]]
    rows = [
        (
            item,
            cause,
            *(cents(lines[item, cause][label]) if label in lines[item, cause] else NOTHING for label in names),
        )
        for item, cause in order
    ]
    rows.append((Two("Total"), "", *(Two(cents(totals[label])) for label in names)))
    note = ("USD per world, mean. Every line is metered usage times a dated price; bill.csv holds the usage.",)
    return Grid(
        "bill", ("Item", "Cause", *(Label(label) for label in names)), tuple(rows), note, "The bill, line by line"
    )


def risk_grid(data: ComparisonData) -> Grid:
    """What became of the jobs, and what the faults that no policy of ours may have amount to."""
    rows = [
        (_name(policy, data), *(_risk_cell(policy, metric) for metric in _RISKS)) for policy in policies(data.results)
    ]
    columns = ("Policy", *map(called, _RISKS))
    return Grid("risk", columns, tuple(rows), ("Jobs, and workers, per world (mean).",))


def _risk_cell(policy: Mapping[str, Any], metric: str) -> Two:
    mean = estimate(policy, metric).mean
    return Two(count(mean), tone="bad" if metric in _FAULT_COLUMNS and (mean or 0) > 0 else "")


def settings_grid(data: ComparisonData) -> Grid:
    """The settings in which the policies differ."""
    columns = list(dict.fromkeys(str(name) for row in data.differing for name in row))
    cells = [tuple(_setting(row.get(column)) for column in columns) for row in data.differing]
    known = set(labels(data.results))
    heads = tuple(Label(column) if column in known else column.capitalize() for column in columns)
    return Grid("settings", heads, tuple(cells), ("Everything else is the same for all policies.",))


def _setting(value: Any) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, int | float) else str(value)
