"""Which worker ran what and when: a Gantt chart while it can be read, a heat map beyond."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from spotbed.report.charts.scales import Clock, clock
from spotbed.report.data import NO_JOURNAL, RunData
from spotbed.report.marks import Axis, Bars, Cell, Chart, Heat, Mark, Panel, Table
from spotbed.report.palette import ENDS, OTHER
from spotbed.report.resample import Floats
from spotbed.report.words import duration

MOST_BARS = 200
_ROWS, _COLUMNS = 48, 120
_MOST_NAMES = 24


@dataclass(frozen=True, slots=True)
class _Life:
    """When a worker was there, and where it stands in the chart."""

    row: int
    start_s: float
    ready_s: float
    end_s: float


def attempts(run: RunData, key: str) -> Chart:
    """Bars per attempt on rows per worker up to 200 attempts; else the share of busy time of groups of workers."""
    title = "Attempts by worker"
    if not run.kept_a_journal:
        return Chart(key, title, "", "", absent=NO_JOURNAL)
    frame = run.attempts[run.attempts["start_s"].notna()]
    if frame.empty:
        return Chart(key, title, "", "", absent="No attempt was ever started in this run.")
    end = float(max(frame["end_s"].max(), frame["start_s"].max()))
    frame = frame.assign(end_s=frame["end_s"].fillna(end), worker=frame["worker"].astype(str))
    lives = _lives(run, frame, end)
    unit = clock(end)
    causes = Counter(frame["cause"].astype(str))
    told = ", ".join(f"{number} {cause}" for cause, number in causes.most_common())
    drawn = _gantt if len(frame) <= MOST_BARS else _heat
    panel, reading = drawn(frame, lives, unit, end)
    return Chart(
        key=key,
        title=title,
        reading=reading,
        alt=f"{len(frame)} attempts on {len(lives)} workers by how they ended: {told}.",
        panels=(panel,),
        table=_table(frame, causes),
    )


def _lives(run: RunData, frame: pd.DataFrame, end: float) -> dict[str, _Life]:
    """Workers in the order in which they were requested; one without a row in workers.csv is known by its attempts."""
    spans = {
        str(worker): (float(first), float(first), float(last))
        for worker, first, last in frame.groupby("worker")
        .agg(first=("start_s", "min"), last=("end_s", "max"))
        .itertuples()
    }
    known = run.workers[["worker", "requested_s", "launched_s", "ready_s", "ended_s"]]
    for worker, requested, launched, ready, ended in known.itertuples(index=False):
        start = launched if pd.notna(launched) else requested
        stop = float(ended) if pd.notna(ended) else end
        if pd.notna(start):
            spans[str(worker)] = (float(start), float(ready) if pd.notna(ready) else stop, stop)
    ordered = sorted(spans.items(), key=lambda entry: (entry[1][0], entry[0]))
    return {worker: _Life(row, *span) for row, (worker, span) in enumerate(ordered)}


def _gantt(frame: pd.DataFrame, lives: Mapping[str, _Life], unit: Clock, end: float) -> tuple[Panel, str]:
    marks: list[Mark] = [*_life_bars(lives, unit)]
    for cause in [*ENDS, *sorted(set(frame["cause"].astype(str)) - set(ENDS))]:
        own = frame[frame["cause"].astype(str) == cause]
        if own.empty:
            continue
        rows = [float(lives[worker].row) for worker in own["worker"]]
        spans = list(zip(own["start_s"].tolist(), own["end_s"].tolist(), strict=True))
        says = [
            f"{job}, attempt {number:.0f} on {worker}: {cause} after {duration(stop - start)}"
            for job, number, worker, (start, stop) in zip(
                own["job_id"], own["attempt"], own["worker"], spans, strict=True
            )
        ]
        starts, lengths = unit.of([start for start, _ in spans]), unit.of([stop - start for start, stop in spans])
        marks.append(Bars(cause, rows, starts, lengths, ENDS.get(cause, OTHER), says, 0.72))
    last = max(end, max(life.end_s for life in lives.values()))
    height = int(min(90 + 14 * len(lives), 620))
    panel = Panel(unit.axis(last), _worker_axis(lives), tuple(marks), height=height)
    return panel, "One row per worker in the order of request. Pale: booting; paler: up without an attempt."


def _life_bars(lives: Mapping[str, _Life], unit: Clock) -> list[Bars]:
    rows = [float(life.row) for life in lives.values()]
    boot = [max(life.ready_s - life.start_s, 0.0) for life in lives.values()]
    up = [max(life.end_s - max(life.ready_s, life.start_s), 0.0) for life in lives.values()]
    starts = unit.of([life.start_s for life in lives.values()])
    ready = unit.of([max(life.ready_s, life.start_s) for life in lives.values()])
    booted = [f"{worker}: booted in {duration(span)}" for worker, span in zip(lives, boot, strict=True)]
    stayed = [f"{worker}: up for {duration(span)}" for worker, span in zip(lives, up, strict=True)]
    return [
        Bars("up", rows, ready, unit.of(up), "#E3E7EB", stayed, 0.72),
        Bars("booting", rows, starts, unit.of(boot), "#C3CBD2", booted, 0.72),
    ]


def _worker_axis(lives: Mapping[str, _Life]) -> Axis:
    """Workers downwards; by name while there are few."""
    names = tuple((float(life.row), worker) for worker, life in lives.items()) if len(lives) <= _MOST_NAMES else ()
    title = "" if names else "worker, in order of request"
    return Axis(title, low=-0.6, high=len(lives) - 0.4, ticks=names, downwards=True, decimals=0)


def _heat(frame: pd.DataFrame, lives: Mapping[str, _Life], unit: Clock, end: float) -> tuple[Panel, str]:
    group = math.ceil(len(lives) / _ROWS)
    rows = math.ceil(len(lives) / group)
    edges = np.linspace(0.0, end, _COLUMNS + 1)
    busy = np.zeros((rows, _COLUMNS))
    workers = frame["worker"].map({worker: life.row for worker, life in lives.items()}).to_numpy(dtype=int) // group
    for row in range(rows):
        own = frame[workers == row]
        busy[row] = _overlap(own["start_s"].to_numpy(dtype=float), own["end_s"].to_numpy(dtype=float), edges)
    sizes = np.array([min(group, len(lives) - row * group) for row in range(rows)], dtype=float)
    share = busy / (sizes[:, None] * np.diff(edges))
    y_edges = [row * group - 0.5 for row in range(rows)] + [len(lives) - 0.5]
    heat = Heat(unit.of(edges.tolist()), y_edges, share.tolist(), "share busy", 1.0)
    panel = Panel(unit.axis(end), _worker_axis(lives), (heat,), height=420, legend=False)
    each = "worker" if group == 1 else f"{group} workers"
    return (
        panel,
        f"More than {MOST_BARS} attempts: each row is {each} in the order of request, dark where they are busy.",
    )


def _overlap(start: Floats, end: Floats, edges: Floats) -> Floats:
    """Seconds of [start, end) that fall between the edges, added over all pairs."""
    size = len(edges) - 1
    begun = np.clip(edges[None, :] - start[:, None], 0.0, (end - start)[:, None])
    return np.asarray(np.diff(begun, axis=1).sum(axis=0)) if len(start) else np.zeros(size)


def _table(frame: pd.DataFrame, causes: Mapping[str, int]) -> Table:
    spans_s = (frame["end_s"] - frame["start_s"]).groupby(frame["cause"].astype(str)).sum()
    rows: list[tuple[Cell, ...]] = [
        (cause, number, float(spans_s[cause]) / 3600, *_lost(frame, cause)) for cause, number in causes.items()
    ]
    names = ("ended", "attempts", "time (h)", "lost work (h)", "cost (USD)")
    return Table(names, tuple(rows), note="attempts.csv holds every attempt.")


def _lost(frame: pd.DataFrame, cause: str) -> Sequence[float]:
    own = frame[frame["cause"].astype(str) == cause]
    return float(own["lost_s"].sum()) / 3600, float(own["cost_usd"].sum())
