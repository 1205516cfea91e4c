"""The report of one run: one policy in one world. A comparison shows the same blocks for each of its policies."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from spotbed.report.charts.attempts import attempts
from spotbed.report.charts.costs import waterfall
from spotbed.report.charts.deadlines import lateness
from spotbed.report.charts.fleet import fleet
from spotbed.report.charts.interruptions import interruptions
from spotbed.report.charts.observed import observed
from spotbed.report.charts.queue import run_queue
from spotbed.report.charts.times import times_of_run
from spotbed.report.charts.waste import wasted_work
from spotbed.report.data import RunData
from spotbed.report.document import Block, Document, Figures, Grid, Paragraph, Section, Strong, Two, Words
from spotbed.report.findings import provenance_section, unknowns
from spotbed.report.marks import Chart, Label
from spotbed.report.palette import BLUE
from spotbed.report.words import cents, count, duration, is_known, plural, usd

_BAD_ENDS = (
    ("failed", "failed"),
    ("unfinished", "stayed unfinished"),
    ("lost", "was lost"),
    ("cancelled", "was cancelled"),
)
_BAD_ENDS_MANY = {"was lost": "were lost", "was cancelled": "were cancelled"}


def run_blocks(run: RunData, prefix: str, color: str, points: int = 800) -> list[Block]:
    """The charts that look inside one world, with at most `points` points in a series of the fleet.

    `prefix` keeps their names apart from those of other runs.
    """
    of_instances = [
        fleet(run, f"{prefix}fleet", points),
        interruptions(run, f"{prefix}interruptions"),
        attempts(run, f"{prefix}attempts"),
    ]
    charts: list[Chart | None] = [
        *(of_instances if not _on_a_cluster(run) else [run_queue(run, f"{prefix}queue", color)]),
        lateness(run, f"{prefix}lateness", color),
        observed(run, f"{prefix}observed"),
    ]
    return [chart for chart in charts if chart is not None]


def _on_a_cluster(run: RunData) -> bool:
    """Whether jobs ran without any instance: on a fixed cluster."""
    return run.workers.empty and len(run.attempts) > 0


def run_document(run: RunData) -> Document:
    """Everything that the report of one run says."""
    scenario = str(run.results.get("scenario") or run.provenance.get("scenario") or "")
    own = run.bill.assign(policy=run.label)
    money: list[Block] = [waterfall(run.bill, "waterfall"), wasted_work(own, [run.label], "wasted-work")]
    if len(run.bill):
        money.append(_bill_grid(run))
    felt: list[Block] = [times_of_run(run, "times")]
    if not _on_a_cluster(run):
        felt.insert(0, run_queue(run, "queue-depth", BLUE))
    sections = [
        Section("answer", "", (Paragraph(_summary(run), lead=True), Figures(tuple(_glance(run))))),
        Section("money", "The bill", tuple(money) if not _on_a_cluster(run) else ()),
        Section("inside", "What happened", (*run_blocks(run, "", BLUE), *felt)),
        unknowns([], run.notes, []),
        provenance_section(run.provenance, run.results),
    ]
    return Document(
        title=run.label,
        kicker="spotbed run",
        subtitle=f"{scenario} — one policy in one world" if scenario else "One policy in one world",
        sections=[section for section in sections if section.blocks],
        colors={run.label: BLUE},
    )


def _summary(run: RunData) -> Words:
    total = _total(run)
    ends = Counter(run.jobs["status"].astype(str))
    span = _makespan(run)
    ended = f" in {duration(span)}" if is_known(span) else ""
    first: Words = (
        Label(run.label),
        f" got {count(ends['done'])} of {plural(len(run.jobs), 'job')} done{ended}",
        *((". ",) if _on_a_cluster(run) else (" for ", Strong(usd(total)), ". ")),
    )
    bad = [f"{plural(ends[status], 'job')} {_verb(verb, ends[status])}" for status, verb in _BAD_ENDS if ends[status]]
    interrupted = float(run.jobs["interruptions"].sum())
    second = f"{', '.join(bad)}. " if bad else "No job failed or was lost. " if len(run.jobs) else ""
    third = f"{plural(interrupted, 'attempt')} {'was' if interrupted == 1 else 'were'} interrupted"
    lost = float(run.jobs["lost_work_s"].sum())
    return (
        *first,
        second,
        f"{third}, {duration(lost)} of work done again." if interrupted else "Nothing was interrupted.",
    )


def _verb(verb: str, number: int) -> str:
    return _BAD_ENDS_MANY.get(verb, verb) if number != 1 else verb


def _total(run: RunData) -> float:
    return float(run.bill["usd"].astype(float).sum()) if len(run.bill) else 0.0


def _makespan(run: RunData) -> float | None:
    ends = run.jobs["finish_time"].dropna()
    return float(ends.max() - run.jobs["submission_time"].min()) if len(ends) else None


def _glance(run: RunData) -> list[tuple[str, str, str]]:
    done = int((run.jobs["status"].astype(str) == "done").sum())
    total = _total(run)
    items = [("Cost", usd(total), f"{usd(total / done)} per job done" if done else "")]
    if _on_a_cluster(run):
        items.clear()
    items.append(("Makespan", duration(_makespan(run)), "from the first submission to the last end"))
    items.append(("Jobs done", count(done), f"of {count(len(run.jobs))}"))
    where = "on the cluster" if _on_a_cluster(run) else f"on {plural(len(run.workers), 'worker')}"
    items.append(("Attempts", count(len(run.attempts)), where))
    return items


def _bill_grid(run: RunData) -> Grid:
    total = _total(run)
    lines = run.bill[["item", "cause", "usage", "unit", "usd"]].sort_values("usd", ascending=False, kind="stable")
    rows: list[tuple[str | Two, ...]] = [
        (
            str(item),
            str(cause),
            _usage(usage),
            str(unit),
            cents(dollars),
        )
        for item, cause, usage, unit, dollars in lines.itertuples(index=False)
    ]
    rows.append((Two("Total"), "", "", "", Two(cents(total))))
    return Grid("bill", ("Item", "Cause", "Usage", "Unit", "USD"), tuple(rows), (), "Every line of the bill")


def _usage(value: float) -> str:
    return f"{value:,.0f}" if not pd.isna(value) and abs(value) >= 100 else f"{value:,.4g}"
