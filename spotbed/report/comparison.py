"""The report of a comparison, section by section, in the order in which a reader asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spotbed.report.answer import answer, answer_in_time, legacy_sentences
from spotbed.report.charts.costs import cost_by_cause, usd_by_cause, waterfall
from spotbed.report.charts.deadlines import deadline_misses, has_deadlines
from spotbed.report.charts.paired import paired_differences
from spotbed.report.charts.queue import queue_depth
from spotbed.report.charts.times import times_by_policy
from spotbed.report.charts.trade_off import cost_against_makespan
from spotbed.report.charts.waste import wasted_work
from spotbed.report.comparison_tables import bill_grid, gate_grid, paired_grid, result_grid, risk_grid, settings_grid
from spotbed.report.data import ComparisonData
from spotbed.report.document import Block, Box, Document, Figures, Paragraph, Section, Tabs
from spotbed.report.estimates import against_baseline, estimate, labels, policies
from spotbed.report.findings import provenance_section, unknowns
from spotbed.report.one_run import run_blocks
from spotbed.report.palette import Style, policy_styles
from spotbed.report.standing import Standing, is_billed, standing
from spotbed.report.words import (
    count,
    duration,
    hours,
    is_known,
    percent,
    plural,
    usd,
)

_MOST_POINTS, _POINTS_OF_ALL = 800, 2000  # of a series of one run; of that series in all runs, to keep the page small


def comparison_document(data: ComparisonData) -> Document:
    """Everything that the report of a comparison says."""
    names = labels(data.results)
    styles = policy_styles(names, data.results.get("baseline"))
    worlds = data.replications
    title = str(data.results.get("scenario") or "Comparison")
    on = f"the same {count(worlds)} worlds" if worlds > 1 else "one and the same world"
    told = f"{plural(len(names), 'policy', 'policies')} on {on}"
    found = standing(data)
    sections = [
        _answer_section(data, found),
        _result_section(data, styles, found),
        _gate_section(data),
        _money_section(data, styles, found.best),
        _risk_section(data),
        _time_section(data, styles),
        _inside_section(data, styles, found.best),
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


def _answer_section(data: ComparisonData, found: Standing) -> Section:
    sentences = answer(data, found) if is_billed(data.results) else answer_in_time(data)
    words = tuple(piece for sentence in sentences for piece in (*sentence, " "))
    blocks: list[Block] = [Paragraph(words, lead=True)]
    glance = _glance(data, found) if is_billed(data.results) else []
    if glance:
        blocks.append(Figures(tuple(glance)))
    return Section("answer", "", tuple(blocks))


def _glance(data: ComparisonData, found: Standing) -> list[tuple[str, str, str]]:
    if found.best is None:
        return []
    own = next(policy for policy in policies(data.results) if policy.get("label") == found.best)
    cost, makespan = estimate(own, "cost_usd"), estimate(own, "makespan_s")
    items = [("Lowest mean cost", usd(cost.mean), found.best)]
    cheaper, slower = _against(own, "cost_usd"), _against(own, "makespan_s")
    if cheaper:
        items.append(("Against the baseline", cheaper, str(data.results.get("baseline"))))
    items.append(("Makespan", duration(makespan.mean), f"{slower} against the baseline" if slower else ""))
    missed, lost = estimate(own, "deadline_missed"), estimate(own, "jobs_lost")
    if is_known(missed.mean) and has_deadlines(data.runs):
        items.append(("Deadlines missed", count(missed.mean), "jobs per world, mean"))
    if is_known(lost.mean):
        items.append(("Jobs lost", count(lost.mean), "per world, mean"))
    return items


def _against(policy: Mapping[str, Any], metric: str) -> str:
    """The change against the baseline; where the interval of the difference holds zero that is said instead."""
    stated = against_baseline(policy, metric)
    ratio = stated.get("ratio")
    low, high = stated.get("diff_ci95") or (None, None)
    if not is_known(ratio):
        return ""
    if is_known(low) and is_known(high) and low <= 0 <= high and low < high:
        return "not resolved"
    return percent(ratio - 1) if ratio < 1 else f"+{percent(ratio - 1)}"


def _result_section(data: ComparisonData, styles: Mapping[str, Style], found: Standing) -> Section:
    blocks: list[Block] = [result_grid(data)]
    bounds = _bounds_line(data)
    if bounds:
        blocks.append(Paragraph((bounds,)))
    if len(policies(data.results)) > 1:
        blocks.append(paired_grid(data))
    if is_billed(data.results):
        blocks += [cost_against_makespan(data, styles, found), paired_differences(data, styles)]
    return Section("results", "How the policies compare", tuple(blocks))


def _bounds_line(data: ComparisonData) -> str:
    bounds = data.results.get("bounds") or {}
    cost, makespan = bounds.get("cost_usd"), bounds.get("makespan_s")
    parts = [f"cost less than {usd(cost)}"] if is_known(cost) else []
    parts += [f"end before {hours(makespan)}"] if is_known(makespan) else []
    mean = ", in the mean over the worlds," if data.replications > 1 else ""
    return f"Lower bounds: for this work no schedule can{mean} {' or '.join(parts)}." if parts else ""


def _gate_section(data: ComparisonData) -> Section:
    gates = data.results.get("gates") or []
    if not gates:
        return Section("gates", "Gates", ())
    failed = sum(not gate.get("passed") for gate in gates)
    passed = "The gate passed." if len(gates) == 1 else f"All {len(gates)} gates passed."
    told = f"{failed} of {plural(len(gates), 'gate')} failed." if failed else passed
    return Section("gates", "Gates", (Paragraph((told,)), gate_grid(data)))


def _money_section(data: ComparisonData, styles: Mapping[str, Style], best: str | None) -> Section:
    if not is_billed(data.results):
        return Section("money", "Where every dollar went", ())
    names = labels(data.results)
    blocks: list[Block] = [cost_by_cause(data)]
    bills = {label: own for label in names if len(own := data.bill[data.bill["policy"].astype(str) == label])}
    falls = {label: waterfall(bill, f"{names.index(label)}-waterfall") for label, bill in bills.items()}
    if falls:
        blocks.append(_tabs("bill", {label: (chart,) for label, chart in falls.items()}, styles, best))
    blocks.append(wasted_work(data.bill, names, "wasted-work"))
    if len(data.bill):
        blocks.append(bill_grid(data))
    return Section("money", "Where every dollar went", tuple(blocks))


def _tabs(key: str, blocks: Mapping[str, tuple[Block, ...]], styles: Mapping[str, Style], best: str | None) -> Tabs:
    """One tab per policy; the best policy's is open."""
    first = list(blocks).index(best) if best is not None and best in blocks else 0
    return Tabs(key, tuple((label, styles[label].color, mine) for label, mine in blocks.items()), first)


def _risk_section(data: ComparisonData) -> Section:
    blocks: list[Block] = [risk_grid(data)]
    faults = legacy_sentences(data, usd_by_cause(data))
    if faults:
        blocks.append(Box("What the 2019 scheduler would have cost you", tuple(faults), "warning"))
    return Section("risk", "Jobs at risk", tuple(blocks))


def _time_section(data: ComparisonData, styles: Mapping[str, Style]) -> Section:
    blocks: list[Block] = [queue_depth(data, styles)]
    if data.runs:
        blocks.append(times_by_policy(data.runs, styles))
    blocks.append(deadline_misses(data, styles))
    return Section("time", "What the jobs felt", tuple(blocks))


def _inside_section(data: ComparisonData, styles: Mapping[str, Style], best: str | None) -> Section:
    points = min(_MOST_POINTS, _POINTS_OF_ALL // max(len(data.runs), 1))
    inside = {
        label: tuple(run_blocks(run, f"{place}-", styles[label].color, points))
        for place, (label, run) in enumerate(data.runs.items())
    }
    if not inside:
        return Section("inside", "Inside one world", ())
    lead = Paragraph(("World 0 of the comparison, policy by policy: the same jobs and the same weather in each.",))
    return Section("inside", "Inside one world", (lead, _tabs("policy", inside, styles, best)))


def _settings_section(data: ComparisonData) -> Section:
    blocks = (settings_grid(data),) if data.differing else ()
    return Section("settings", "What differs between the policies", blocks)
