"""How long jobs waited and how long they took in all, as cumulative shares by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from spotbed.report.charts.scales import duration_axis
from spotbed.report.data import RunData
from spotbed.report.marks import Axis, Cell, Chart, Line, Mark, Panel, Table
from spotbed.report.palette import BLUE, GREEN, OTHER, PURPLE, SKY, VERMILLION, Style
from spotbed.report.resample import Floats, thinned
from spotbed.report.words import percent

_MOST_CLASSES = 5
_LIMIT = 250
_TIMES = (("waiting_time", "wait"), ("turnaround_time", "flow time"))
_CLASS_COLORS = (BLUE, VERMILLION, GREEN, PURPLE, SKY)
_QUANTILES = (0.5, 0.9, 0.99)
_REST = "other classes"
_NOBODY = "No job ended well, so there is no wait or flow time to show."


def times_by_policy(runs: Mapping[str, RunData], styles: Mapping[str, Style]) -> Chart:
    """Per class one panel for the wait and one for the flow time, a line per policy (world 0)."""
    title = "Wait and flow time"
    groups = {label: by_class(run.jobs) for label, run in runs.items()}
    if not any(_ended_well(run.jobs) for run in runs.values()):
        return Chart("times", title, "", "", absent=_NOBODY)
    classes = _classes([frame for mine in groups.values() for frame in mine.values()])
    panels: list[Panel] = []
    for name in classes:
        for column, word in _TIMES:
            lines: list[Mark] = []
            for label, mine in groups.items():
                x, y = cumulative(mine.get(name), column)
                if len(x):
                    lines.append(Line(label, x, y, styles[label].color, styles[label].dash, steps=True))
            if lines:
                panels.append(_panel(f"{word}{_of(name)}", f"{word} (log scale)", lines, legend=False))
    return Chart(
        key="times",
        title=title,
        reading="Share of all submitted jobs of a class (world 0) that ended well within that flow time, or that wait. "
        "A line that stops below 100 % belongs to a policy under which jobs failed, stayed unfinished or were lost. "
        "Flow time: from submission to end. Wait: flow time minus the work itself. Less than a second counts as one.",
        alt="Cumulative distributions of wait and flow time for " + ", ".join(groups) + ".",
        panels=tuple(panels),
        across=2,
        legend=tuple((label, styles[label].color) for label in groups),
        table=_table({(label, name): mine[name] for label, mine in groups.items() for name in classes if name in mine}),
    )


def times_of_run(run: RunData, key: str) -> Chart:
    """The wait and the flow time of one run, a line per class."""
    title = "Wait and flow time"
    if not _ended_well(run.jobs):
        return Chart(key, title, "", "", absent=_NOBODY)
    groups = by_class(run.jobs)
    classes = _classes(list(groups.values()))
    colors = dict(zip(classes, [*_CLASS_COLORS, OTHER], strict=False))
    panels = []
    for column, word in _TIMES:
        lines: list[Mark] = []
        for name in classes:
            x, y = cumulative(groups.get(name), column)
            if len(x):
                lines.append(Line(name or "all jobs", x, y, colors[name], steps=True))
        if lines:
            panels.append(_panel(word, f"{word} (log scale)", lines, legend=len(classes) > 1))
    return Chart(
        key=key,
        title=title,
        reading="Share of all submitted jobs of a class that ended well within that flow time, or that wait. "
        "Wait: flow time minus the work itself.",
        alt=f"Cumulative distributions of wait and flow time for {len(classes)} classes.",
        panels=tuple(panels),
        across=2,
        table=_table({("", name): groups[name] for name in classes}),
    )


def by_class(jobs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Jobs by class; beyond five classes the smaller ones are taken together."""
    names = jobs["class"].fillna("").astype(str)
    counts = Counter(names)
    if len(counts) > _MOST_CLASSES:
        kept = {name for name, _ in counts.most_common(_MOST_CLASSES)}
        names = names.where(names.isin(kept), _REST)
    return {str(name): frame for name, frame in jobs.groupby(names, sort=False)}


def cumulative(jobs: pd.DataFrame | None, column: str) -> tuple[list[float], list[float]]:
    """Sorted seconds (at least 1) of the jobs that ended well, and the share of *all* jobs reached at each."""
    if jobs is None or jobs.empty:
        return [], []
    values = np.sort(_values(jobs, column))
    if not len(values):
        return [], []
    seconds = np.maximum(values, 1.0)
    share = np.arange(1, len(values) + 1) / len(jobs)
    places = thinned(seconds, _LIMIT)
    return seconds[places].tolist(), share[places].tolist()


def _values(jobs: pd.DataFrame, column: str) -> Floats:
    own = jobs.loc[jobs["status"].astype(str) == "done", column].dropna()
    return own.to_numpy(dtype=float)


def _ended_well(jobs: pd.DataFrame) -> bool:
    return bool((jobs["status"].astype(str) == "done").any())


def _classes(frames: Sequence[pd.DataFrame]) -> list[str]:
    sizes: Counter[str] = Counter()
    for frame in frames:
        names = frame["class"].fillna("").astype(str)
        sizes[str(names.iloc[0]) if names.nunique() == 1 else _REST] += len(frame)
    return [name for name, _ in sorted(sizes.items(), key=lambda entry: (entry[0] == _REST, -entry[1], entry[0]))][
        : _MOST_CLASSES + 1
    ]


def _of(name: str) -> str:
    return f", {name}" if name else ""


def _panel(title: str, axis_title: str, lines: list[Mark], *, legend: bool) -> Panel:
    seconds = [value for line in lines if isinstance(line, Line) for value in line.x]
    tens = tuple((share / 100, f"{share} %") for share in (0, 25, 50, 75, 100))
    shares = Axis("share of jobs", low=0.0, high=1.02, ticks=tens, decimals=3)
    return Panel(duration_axis(axis_title, seconds), shares, tuple(lines), title=title, height=280, legend=legend)


def _table(groups: Mapping[tuple[str, str], pd.DataFrame]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for (label, name), jobs in groups.items():
        done = int((jobs["status"].astype(str) == "done").sum())
        cells: list[Cell] = [*([label] if label else []), name or "all", len(jobs), percent(done / len(jobs))]
        for column, _ in _TIMES:
            values = _values(jobs, column)
            cells += [float(np.quantile(values, q)) / 3600 if len(values) else None for q in _QUANTILES]
        rows.append(tuple(cells))
    first = ("policy",) if any(label for label, _ in groups) else ()
    quantiles = tuple(f"{word} p{q * 100:.0f} (h)" for _, word in _TIMES for q in _QUANTILES)
    return Table((*first, "class", "jobs", "ended well", *quantiles), tuple(rows), note="Of the jobs that ended well.")
