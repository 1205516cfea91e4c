"""The report of a comparison, section by section, in the order in which a reader asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spotbed.report.answer import Standing, answer, legacy_sentences, standing
from spotbed.report.charts.costs import cost_by_cause, usd_by_cause
from spotbed.report.charts.deadlines import deadline_misses, has_deadlines
from spotbed.report.charts.paired import paired_differences
from spotbed.report.charts.queue import queue_depth
from spotbed.report.charts.times import times_by_policy
from spotbed.report.charts.trade_off import cost_against_makespan
from spotbed.report.charts.waste import wasted_work
from spotbed.report.data import ComparisonData
from spotbed.report.document import Block, Box, Document, Figures, Grid, Paragraph, Section, Tabs, Tone, Two
from spotbed.report.estimates import against_baseline, estimate, labels, policies
from spotbed.report.findings import provenance_section, unknowns
from spotbed.report.marks import Label
from spotbed.report.one_run import run_blocks
from spotbed.report.palette import Style, policy_styles
from spotbed.report.words import (
    MINUS,
    NOTHING,
    TIMES,
    count,
    duration,
    hours,
    is_known,
    number,
    percent,
    plural,
    usd,
    usd_like,
)

_RESULTS = (  # metric, column, how its numbers are written
    ("cost_usd", "Cost", "usd"),
    ("makespan_s", "Makespan", "hours"),
    ("flow_s", "Flow time", "hours"),
    ("wait_s", "Wait", "hours"),
    ("bounded_slowdown", "Bounded slowdown", "number"),
    ("deadline_missed", "Deadlines missed", "count"),
    ("interruptions", "Interruptions", "count"),
    ("lost_work_s", "Lost work", "hours"),
)
_RISKS = (
    ("jobs_submitted", "Submitted"),
    ("jobs_done", "Done"),
    ("jobs_failed", "Failed"),
    ("jobs_unfinished", "Unfinished"),
    ("jobs_lost", "Lost"),
    ("duplicate_completions", "Completed twice"),
    ("orphan_workers", "Orphan workers"),
)
_FAULT_COLUMNS = {"jobs_lost", "duplicate_completions", "orphan_workers"}


def comparison_document(data: ComparisonData) -> Document:
    """Everything that the report of a comparison says."""
    names = labels(data.results)
    styles = policy_styles(names, data.results.get("baseline"))
    worlds = int(data.results.get("replications") or 1)
    title = str(data.results.get("scenario") or "Comparison")
    told = f"{plural(len(names), 'policy', 'policies')} on the same {plural(worlds, 'world')}"
    sections = [
        _answer_section(data),
        _result_section(data, styles),
        _gate_section(data),
        _money_section(data),
        _risk_section(data),
        _time_section(data, styles),
        _inside_section(data, styles),
        _settings_section(data),
        unknowns(data.findings, data.notes, data.assumed, data.coverage),
        provenance_section(data.provenance, data.results),
    ]
    return Document(
        title=title,
        kicker="spotbed comparison",
        subtitle=f"{data.description} — {told}" if data.description else told,
        sections=[section for section in sections if section.blocks],
        colors={label: style.color for label, style in styles.items()},
    )


def _answer_section(data: ComparisonData) -> Section:
    words = tuple(piece for sentence in answer(data) for piece in (*sentence, " "))
    blocks: list[Block] = [Paragraph(words, lead=True)]
    glance = _glance(data, standing(data))
    if glance:
        blocks.append(Figures(tuple(glance)))
    return Section("answer", "", tuple(blocks))


def _glance(data: ComparisonData, found: Standing) -> list[tuple[str, str, str]]:
    if found.best is None:
        return []
    own = next(policy for policy in policies(data.results) if policy.get("label") == found.best)
    cost, makespan = estimate(own, "cost_usd"), estimate(own, "makespan_s")
    items = [("Lowest mean cost", usd(cost.mean), found.best)]
    stated = against_baseline(own, "cost_usd")
    ratio = stated.get("ratio")
    if is_known(ratio):
        items.append(("Against the baseline", _change(ratio - 1), str(data.results.get("baseline"))))
    slower = against_baseline(own, "makespan_s").get("ratio")
    beside = f"{_change(slower - 1)} against the baseline" if is_known(slower) else ""
    items.append(("Makespan", duration(makespan.mean), beside))
    missed, lost = estimate(own, "deadline_missed"), estimate(own, "jobs_lost")
    if is_known(missed.mean) and has_deadlines(data.runs):
        items.append(("Deadlines missed", count(missed.mean), "jobs per world, mean"))
    if is_known(lost.mean):
        items.append(("Jobs lost", count(lost.mean), "per world, mean"))
    return items


def _change(share: float) -> str:
    return percent(share) if share < 0 else f"+{percent(share)}"


def _result_section(data: ComparisonData, styles: Mapping[str, Style]) -> Section:
    blocks: list[Block] = [_result_grid(data)]
    bounds = _bounds_line(data)
    if bounds:
        blocks.append(Paragraph((bounds,)))
    if len(policies(data.results)) > 1:
        blocks.append(_paired_grid(data))
    blocks += [cost_against_makespan(data, styles), paired_differences(data, styles)]
    return Section("results", "How the policies compare", tuple(blocks))


def _result_grid(data: ComparisonData) -> Grid:
    shown = [
        entry
        for entry in _RESULTS
        if any(is_known(estimate(policy, entry[0]).mean) for policy in policies(data.results))
    ]
    if data.runs and not has_deadlines(data.runs):
        shown = [entry for entry in shown if entry[0] != "deadline_missed"]
    rows = [
        (_name(policy, data), *(_estimate_cell(policy, metric, style) for metric, _, style in shown))
        for policy in policies(data.results)
    ]
    worlds = int(data.results.get("replications") or 1)
    note = "Mean over worlds, and below it the 95 % interval of the mean." if worlds > 1 else "One world: no interval."
    return Grid("results", ("Policy", *(column for _, column, _ in shown)), tuple(rows), (note,))


def _name(policy: Mapping[str, Any], data: ComparisonData) -> Label | Two:
    label = str(policy.get("label"))
    return Two(Label(label), "baseline") if label == data.results.get("baseline") else Label(label)


def _estimate_cell(policy: Mapping[str, Any], metric: str, style: str) -> Two:
    found = estimate(policy, metric)
    if not is_known(found.mean):
        return Two("n/a")
    return Two(
        _written(found.mean, style),
        f"{_bare(found.low, style)} to {_bare(found.high, style)}" if found.has_interval else "",
    )


def _written(value: float | None, style: str) -> str:
    return {"usd": usd, "hours": hours, "count": count, "number": number}[style](value)


def _bare(value: float | None, style: str) -> str:
    """A number without its unit, which stands above it."""
    return _written(value, style).removesuffix(" h").replace("$", "")


def _bounds_line(data: ComparisonData) -> str:
    bounds = data.results.get("bounds") or {}
    cost, makespan = bounds.get("cost_usd"), bounds.get("makespan_s")
    parts = [f"cost less than {usd(cost)}"] if is_known(cost) else []
    parts += [f"end before {hours(makespan)}"] if is_known(makespan) else []
    return f"Lower bounds: for this work no schedule can {' or '.join(parts)}." if parts else ""


def _paired_grid(data: ComparisonData) -> Grid:
    baseline = str(data.results.get("baseline"))
    shown = [("cost_usd", "usd"), ("makespan_s", "hours"), ("flow_s", "hours"), ("deadline_missed", "count")]
    if data.runs and not has_deadlines(data.runs):
        shown = shown[:-1]
    rows = []
    for policy in policies(data.results):
        label = str(policy.get("label"))
        if label != baseline:
            own = [_paired_cells(policy, metric, style) for metric, style in shown]
            rows.append((Label(label), *(cell for cells in own for cell in cells)))
    names = {"cost_usd": "Cost", "makespan_s": "Makespan", "flow_s": "Flow time", "deadline_missed": "Deadlines missed"}
    columns = [column for metric, _ in shown for column in (f"{names[metric]}: difference", "Ratio")]
    note = (
        f"Each policy minus {baseline} in the same world; below, the 95 % interval of the mean difference. "
        "Won: the share of the worlds in which it is lower."
    )
    return Grid("paired", ("Policy", *columns), tuple(rows), (note,))


def _paired_cells(policy: Mapping[str, Any], metric: str, style: str) -> tuple[Two, Two]:
    stated = against_baseline(policy, metric)
    mean, ends = stated.get("diff_mean"), stated.get("diff_ci95") or (None, None)
    low, high = ends
    tone: Tone = ""
    interval = ""
    if is_known(low) and is_known(high):
        tone = "good" if high < 0 else "bad" if low > 0 else ""
        interval = f"{_bare_signed(low, style)} to {_bare_signed(high, style)}"
    ratio, won = stated.get("ratio"), stated.get("win_share")
    times = f"{TIMES} {ratio:.3f}" if is_known(ratio) else "n/a"
    return Two(_signed(mean, style), interval, tone), Two(times, f"won {percent(won)}" if is_known(won) else "")


def _signed(value: float | None, style: str) -> str:
    if not is_known(value) or value is None:
        return "n/a"
    text = _written(abs(value), style)
    return text if value == 0 else f"{MINUS if value < 0 else '+'}{text}"


def _bare_signed(value: float | None, style: str) -> str:
    return _signed(value, style).removesuffix(" h").replace("$", "")


def _gate_section(data: ComparisonData) -> Section:
    gates = data.results.get("gates") or []
    if not gates:
        return Section("gates", "Gates", ())
    rows = [
        (
            Two("✓ passed", tone="good") if gate.get("passed") else Two("✗ failed", tone="bad"),
            str(gate.get("rule")),
            Label(str(gate.get("policy"))),
            number(gate.get("value")),
            number(gate.get("limit")),
        )
        for gate in gates
    ]
    failed = sum(not gate.get("passed") for gate in gates)
    told = (
        f"{plural(failed, 'gate')} of {len(gates)} failed." if failed else f"All {plural(len(gates), 'gate')} passed."
    )
    note = "Of a rule relative to the baseline, value and limit are ratios."
    return Section(
        "gates",
        "Gates",
        (Paragraph((told,)), Grid("gates", ("", "Rule", "Policy", "Value", "Limit"), tuple(rows), (note,))),
    )


def _money_section(data: ComparisonData) -> Section:
    blocks: list[Block] = [cost_by_cause(data), wasted_work(data.bill, labels(data.results), "wasted-work")]
    if len(data.bill):
        blocks.append(_bill_grid(data))
    return Section("money", "Where every dollar went", tuple(blocks))


def _bill_grid(data: ComparisonData) -> Grid:
    """One row per item and cause, one column per policy; the dearest items first."""
    names = labels(data.results)
    lines: dict[tuple[str, str], dict[str, float]] = {}
    for policy, item, cause, dollars in data.bill[["policy", "item", "cause", "usd"]].itertuples(index=False):
        mine = lines.setdefault((str(item), str(cause)), {})
        mine[str(policy)] = mine.get(str(policy), 0.0) + float(dollars)
    items = {item: sum(sum(mine.values()) for (other, _), mine in lines.items() if other == item) for item, _ in lines}
    order = sorted(lines, key=lambda line: (-items[line[0]], line[0], -sum(lines[line].values())))
    totals = {label: sum(mine.get(label, 0.0) for mine in lines.values()) for label in names}
    scale = max(totals.values(), default=1.0)
    rows: list[tuple[str | Two, ...]]
    rows = [(item, cause, *(_money(lines[item, cause].get(label), scale) for label in names)) for item, cause in order]
    rows.append((Two("Total"), "", *(Two(usd_like(totals[label], scale)) for label in names)))
    note = ("USD per world, mean. Every line is metered usage times a dated price; bill.csv holds the usage.",)
    return Grid(
        "bill", ("Item", "Cause", *(Label(label) for label in names)), tuple(rows), note, "The bill, line by line"
    )


def _money(value: float | None, scale: float) -> str:
    if not value:
        return NOTHING
    return usd_like(value, min(scale, 999.0)) if abs(value) >= 0.005 else usd(value)


def _risk_section(data: ComparisonData) -> Section:
    rows = [
        (_name(policy, data), *(_risk_cell(policy, metric) for metric, _ in _RISKS))
        for policy in policies(data.results)
    ]
    blocks: list[Block] = [
        Grid(
            "risk",
            ("Policy", *(column for _, column in _RISKS)),
            tuple(rows),
            ("Jobs, and workers, per world (mean).",),
        )
    ]
    faults = legacy_sentences(data, usd_by_cause(data))
    if faults:
        blocks.append(Box("What the 2019 scheduler would have cost you", tuple(faults), "warning"))
    return Section("risk", "Jobs at risk", tuple(blocks))


def _risk_cell(policy: Mapping[str, Any], metric: str) -> Two:
    mean = estimate(policy, metric).mean
    return Two(count(mean), tone="bad" if metric in _FAULT_COLUMNS and (mean or 0) > 0 else "")


def _time_section(data: ComparisonData, styles: Mapping[str, Style]) -> Section:
    blocks: list[Block] = [queue_depth(data, styles)]
    if data.runs:
        blocks.append(times_by_policy(data.runs, styles))
    blocks.append(deadline_misses(data, styles))
    return Section("time", "What the jobs felt", tuple(blocks))


def _inside_section(data: ComparisonData, styles: Mapping[str, Style]) -> Section:
    items = [
        (label, styles[label].color, tuple(run_blocks(run, f"{place}-", styles[label].color)))
        for place, (label, run) in enumerate(data.runs.items())
    ]
    if not items:
        return Section("inside", "", ())
    lead = Paragraph(("World 0 of the comparison, policy by policy: the same jobs and the same weather in each.",))
    best = standing(data).best
    first = list(data.runs).index(best) if best in data.runs else 0
    return Section("inside", "Inside one world", (lead, Tabs("policy", tuple(items), first)))


def _settings_section(data: ComparisonData) -> Section:
    rows = data.differing
    if not rows:
        return Section("settings", "", ())
    columns = list(dict.fromkeys(str(name) for row in rows for name in row))
    cells = [tuple(_setting(row.get(column)) for column in columns) for row in rows]
    known = set(labels(data.results))
    heads = tuple(Label(column) if column in known else column.capitalize() for column in columns)
    note = ("Everything else is the same for all policies.",)
    return Section("settings", "What differs between the policies", (Grid("settings", heads, tuple(cells), note),))


def _setting(value: Any) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, int | float) else str(value)
