"""How many jobs wait: a band over worlds for each policy, a line for one run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from spotbed.report.charts.scales import Clock, across, clock
from spotbed.report.charts.steps import steps_of
from spotbed.report.data import NO_JOURNAL, ComparisonData, RunData
from spotbed.report.estimates import labels
from spotbed.report.marks import Axis, Band, Cell, Chart, Line, Mark, Panel, Table
from spotbed.report.palette import FAINT, Style
from spotbed.report.resample import on_common_grid, thinned

_LIMIT = 300
_ROWS = 25


def queue_depth(data: ComparisonData, styles: Mapping[str, Style]) -> Chart:
    """One panel per policy, as long as its longest world; the other policies' medians stand behind in grey."""
    title = "Jobs waiting over time"
    frames = {label: _of_policy(data.queue_depth, label) for label in labels(data.results)}
    frames = {label: frame for label, frame in frames.items() if not frame.empty}
    if not frames:
        return Chart("queue-depth", title, "", "", absent="No queue depth was recorded for this comparison.")
    end = max(float(frame["at_s"].max()) for frame in frames.values())
    top = max(float(frame[["p50", "p90"]].max().max()) for frame in frames.values())
    unit = clock(end)
    panels = tuple(_panel(label, frames, styles, unit, top) for label in frames)
    return Chart(
        key="queue-depth",
        title=title,
        reading="Line: median over worlds. Band: 10th to 90th percentile. Grey: the medians of the other policies. "
        "Each panel ends with the longest world of its policy; all share the scale of jobs.",
        alt=f"Queue depth over {end / unit.unit_s:.0f} {unit.unit} for {len(frames)} policies; {_peaks(frames)}.",
        panels=panels,
        across=across(len(panels)),
        table=_table(frames, unit),
    )


def _of_policy(frame: pd.DataFrame, label: str) -> pd.DataFrame:
    own = frame[frame["policy"].astype(str) == label].sort_values("at_s")
    return own.iloc[thinned(own["at_s"].to_numpy(dtype=float), _LIMIT)]


def _peaks(frames: Mapping[str, pd.DataFrame]) -> str:
    return ", ".join(f"{label} peaks at a median of {frame['p50'].max():.0f}" for label, frame in frames.items())


def _panel(
    label: str, frames: Mapping[str, pd.DataFrame], styles: Mapping[str, Style], unit: Clock, top: float
) -> Panel:
    end = float(frames[label]["at_s"].max())
    marks: list[Mark] = [
        Line(other, unit.of(frame["at_s"].tolist()), frame["p50"].tolist(), FAINT, width=1.0, listed=False)
        for other, frame in ((other, frame[frame["at_s"] <= end]) for other, frame in frames.items())
        if other != label
    ]
    own, color = frames[label], styles[label].color
    x = unit.of(own["at_s"].tolist())
    marks.append(Band("p10 to p90", x, own["p10"].tolist(), own["p90"].tolist(), color))
    marks.append(Line(label, x, own["p50"].tolist(), color))
    waiting = Axis("jobs waiting", low=0.0, high=max(top * 1.05, 1.0), decimals=0, unit="jobs")
    return Panel(unit.axis(end), waiting, tuple(marks), title=label, height=240, legend=False)


def _table(frames: Mapping[str, pd.DataFrame], unit: Clock) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for label, frame in frames.items():
        shown = frame.iloc[thinned(frame["at_s"].to_numpy(dtype=float), _ROWS)]
        rows += [
            (label, at / unit.unit_s, low, middle, high)
            for at, low, middle, high in shown[["at_s", "p10", "p50", "p90"]].itertuples(index=False)
        ]
    names = ("policy", f"time ({unit.unit})", "p10 (jobs)", "median (jobs)", "p90 (jobs)")
    return Table(names, tuple(rows), note="A selection; queue_depth.csv holds all moments.")


def run_queue(run: RunData, key: str, color: str) -> Chart:
    """Waiting jobs of one run."""
    title = "Jobs waiting"
    if not run.kept_a_journal:
        return Chart(key, title, "", "", absent=NO_JOURNAL)
    series = steps_of(run.timeline, "queue_depth")
    if not series:
        return Chart(key, title, "", "", absent="The timeline of this run holds no queue depth.")
    end = max(float(times[-1]) for times, _ in series.values())
    times, values, exact = on_common_grid(series, end, 1500)
    depth = np.sum(list(values.values()), axis=0).tolist()
    unit = clock(end)
    x = unit.of(times.tolist())
    peak = max(depth)
    places = thinned(x, _ROWS)
    waiting = Axis("jobs waiting", low=0.0, high=max(peak * 1.05, 1.0), decimals=0, unit="jobs")
    return Chart(
        key=key,
        title=title,
        reading="Every change of the queue."
        if exact
        else "Means over short intervals: there are too many changes to draw.",
        alt=f"Queue depth over time, peak {peak:.0f} jobs.",
        panels=(
            Panel(unit.axis(end), waiting, (Line("waiting", x, depth, color, steps=True),), height=220, legend=False),
        ),
        table=Table(
            (f"time ({unit.unit})", "jobs waiting"),
            tuple((x[place], depth[place]) for place in places),
            note="A selection; timeline.csv holds all changes.",
        ),
    )
