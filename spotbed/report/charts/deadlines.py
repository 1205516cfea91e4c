"""Jobs that were not done by their deadline: per policy over worlds, and how late in one run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from spotbed.report.charts.rows import height_of, policy_rows
from spotbed.report.charts.scales import clock
from spotbed.report.data import ComparisonData, RunData
from spotbed.report.estimates import by_world, estimate, policies
from spotbed.report.marks import Axis, Cell, Chart, Columns, Mark, Note, Panel, Points, Rule, Table
from spotbed.report.metric_words import CUT
from spotbed.report.palette import RULE, Style
from spotbed.report.words import count, is_known, percent, plural

_BINS = 40
_DOTS = 1200
_NO_DEADLINES = "No job has a deadline."


def has_deadlines(runs: Mapping[str, RunData]) -> bool:
    """Whether any job of any run has one."""
    return any(bool(run.jobs["deadline"].notna().any()) for run in runs.values())


def deadline_misses(data: ComparisonData, styles: Mapping[str, Style]) -> Chart:
    """Mean misses per world with the interval, and every world as a dot."""
    title = "Deadlines missed"
    found = {str(policy["label"]): estimate(policy, "deadline_missed") for policy in policies(data.results)}
    known = {label: missed for label, missed in found.items() if is_known(missed.mean)}
    if data.runs and not has_deadlines(data.runs):
        return Chart("deadlines", title, "", "", absent=_NO_DEADLINES)
    if not any(missed.mean for missed in known.values()):
        return Chart("deadlines", title, "", "", absent="No policy missed a deadline in any world.")
    worlds = by_world(data.worlds, "deadline_missed")
    worlds_told = "Large: mean over worlds with its 95 % interval. Small: single worlds. "
    most = max(1.0, *(value for each in known.values() for value in (each.mean or 0.0, each.high or 0.0)))
    most = max(most, float(worlds[list(known)].max().max())) if len(worlds) else most
    marks: list[Mark] = []
    for row, (label, missed) in enumerate(known.items()):
        color = styles[label].color
        if label in worlds.columns and len(worlds) > 1:
            values = worlds[label].dropna().iloc[: _DOTS // len(known)].tolist()
            rows = [row + 0.2 + 0.1 * (place % 3) for place in range(len(values))]  # below the mean
            says = [f"{label}, one world: {count(value)}" for value in values]
            marks.append(Points("", values, rows, color, says, size=5, faint=True, listed=False))
        interval = ([missed.low or 0.0], [missed.high or 0.0]) if missed.has_interval else None
        says = [f"{label}: {count(missed.mean)} on average"]
        marks.append(
            Points(label, [missed.mean or 0.0], [row], color, says, styles[label].symbol, 12, x_interval=interval)
        )
        marks.append(Note(missed.mean or 0.0, row, count(missed.mean), "center", shift=(0, 15)))
    return Chart(
        key="deadlines",
        title=title,
        reading=f"{worlds_told if len(worlds) > 1 else ''}Jobs that failed count as missed."
        f"{f' {CUT}' if any(missed.is_cut for missed in known.values()) else ''}",
        alt="Deadlines missed per world: "
        + ", ".join(f"{label} {count(missed.mean)}" for label, missed in known.items())
        + ".",
        panels=(
            Panel(
                Axis("jobs per world", low=-0.02 * most, high=1.06 * most, unit="jobs", decimals=1),
                policy_rows(list(known)),
                tuple(marks),
                height=height_of(len(known)),
                legend=False,
            ),
        ),
        table=Table(
            ("policy", "mean (jobs)", "from", "to", "median", "p95"),
            tuple((label, each.mean, each.low, each.high, each.p50, each.p95) for label, each in known.items()),
            note="From and to: the 95 % interval of the mean.",
        ),
    )


def lateness(run: RunData, key: str, color: str) -> Chart:
    """How long before (left) or after (right) its deadline each job of one run ended."""
    title = "Ends against deadlines"
    jobs = run.jobs[run.jobs["deadline"].notna()]
    if jobs.empty:
        return Chart(key, title, "", "", absent=_NO_DEADLINES)
    done = jobs[(jobs["status"].astype(str) == "done") & jobs["finish_time"].notna()]
    late = (done["finish_time"] - done["deadline"]).to_numpy(dtype=float)
    never = len(jobs) - len(done)
    missed = int((late > 0).sum()) + never
    told = f"{count(missed)} of {plural(len(jobs), 'job')} with a deadline missed it ({percent(missed / len(jobs))})"
    if len(late) == 0:
        return Chart(key, title, "", "", absent=f"{told}; none of them ended well, so there is no lateness to draw.")
    unit = clock(float(np.abs(late).max()))
    heights, edges = _histogram(late / unit.unit_s)
    says = [
        f"{number:.0f} jobs ended {low:.1f} to {high:.1f} {unit.unit} after their deadline"
        for number, low, high in zip(heights, edges, edges[1:], strict=False)
    ]
    marks = (Columns("jobs", edges, heights, color, says), Rule("x", 0.0, " deadline", RULE))
    tail = f" {plural(never, 'job')} of them never ended well." if never else ""
    time = Axis(f"end minus deadline ({unit.unit})", unit=unit.unit)
    return Chart(
        key=key,
        title=title,
        reading=f"{told}.{tail} Left of the line: in time.",
        alt=f"Histogram of end minus deadline; {told}.",
        panels=(Panel(time, Axis("jobs", low=0.0, decimals=0), marks, height=240, legend=False),),
        table=_table(jobs),
    )


def _histogram(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[list[float], list[float]]:
    """Heights and edges; zero is an edge, so that no bar holds both early and late jobs."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    width = (high - low) / _BINS or 1.0
    first, last = int(np.floor(low / width)), int(np.ceil(high / width))
    edges = np.arange(first, max(last, first + 1) + 1) * width
    heights, _ = np.histogram(values, edges)
    return heights.astype(float).tolist(), edges.tolist()


def _table(jobs: pd.DataFrame) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, own in jobs.groupby(jobs["class"].fillna("").astype(str), sort=True):
        in_time = (own["status"].astype(str) == "done") & (own["finish_time"] <= own["deadline"])
        missed = int((~in_time).sum())
        rows.append((str(name) or "all", len(own), missed, percent(missed / len(own))))
    return Table(("class", "jobs with a deadline", "missed", "share"), tuple(rows))
