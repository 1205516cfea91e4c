"""The fleet of one run, stacked by pool (cool colours Spot, warm ones on-demand) and by what its workers do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from spotbed.report.charts.scales import Clock, clock
from spotbed.report.charts.steps import steps_of
from spotbed.report.data import NO_JOURNAL, RunData
from spotbed.report.marks import Axis, Cell, Chart, Line, Mark, Panel, Stack, Table
from spotbed.report.palette import OTHER, PHASES, pool_colors
from spotbed.report.resample import Floats, on_common_grid, thinned

_MOST_POOLS = 9
_ROWS = 25


def pools_of(run: RunData) -> list[tuple[str, str]]:
    """The pools that a run used, with their purchase option: Spot first, then by name."""
    both = pd.concat([frame[["pool", "purchase_option"]].astype(str) for frame in (run.attempts, run.workers)])
    seen = dict(both.drop_duplicates().itertuples(index=False, name=None))
    for frame in (run.timeline, run.events, run.prices):
        for pool in frame["pool"].dropna().astype(str).unique():
            if pool and pool != "nan":
                seen.setdefault(pool, "")
    return sorted(seen.items(), key=lambda entry: (entry[1] == "on-demand", entry[0]))


def fleet(run: RunData, key: str, points: int = 800) -> Chart:
    """Workers by pool with the demand as a line; below, the same workers by phase."""
    title = "The fleet"
    if not run.kept_a_journal:
        return Chart(key, title, "", "", absent=NO_JOURNAL)
    series = {("workers", *place): steps for place, steps in steps_of(run.timeline, "workers").items()}
    if not series:
        return Chart(key, title, "", "", absent="No worker was ever requested in this run.")
    series |= {("demand", *place): steps for place, steps in steps_of(run.timeline, "demand").items()}
    end = max(float(times[-1]) for times, _ in series.values())
    times, values, exact = on_common_grid(series, end, points)
    by_pool, by_phase, demand = _added_up(values)
    unit = clock(end)
    x = unit.of(times.tolist())
    layers = _pool_layers(run, by_pool)
    phases = [(phase, color, by_phase[phase].tolist()) for phase, color in PHASES.items() if phase in by_phase]
    marks: list[Mark] = [Stack(x, layers)]
    if demand is not None:
        marks.append(Line("demand (jobs waiting or running)", x, demand.tolist(), "#7A838C", "dot", 1.4, steps=True))
    peak = float(sum(by_pool.values(), start=np.zeros(1)).max())
    own = "Every change is drawn." if exact else "Means over short intervals: there are too many changes to draw."
    return Chart(
        key=key,
        title=title,
        reading=f"Workers by pool, cool colours for Spot, warm ones for on-demand; then by what they do. {own}",
        alt=f"Workers over time by pool and by phase; at most {peak:.0f} at once.",
        panels=(
            Panel(unit.axis(end), _workers_axis(), tuple(marks), title="by pool", height=330),
            Panel(unit.axis(end), _workers_axis(), (Stack(x, phases),), title="by phase", height=240),
        ),
        table=_table(unit, x, layers, phases),
    )


def _workers_axis() -> Axis:
    return Axis("workers", low=0.0, decimals=1, unit="workers")


def _added_up(
    values: Mapping[tuple[str, str, str], Floats],
) -> tuple[dict[str, Floats], dict[str, Floats], Floats | None]:
    by_pool: dict[str, Floats] = defaultdict(lambda: np.zeros(1))
    by_phase: dict[str, Floats] = defaultdict(lambda: np.zeros(1))
    demand: Floats | None = None
    for (series, pool, phase), value in values.items():
        if series == "demand":
            demand = value if demand is None else demand + value
        else:
            by_pool[pool] = by_pool[pool] + value
            by_phase[phase] = by_phase[phase] + value
    return by_pool, by_phase, demand


def _pool_layers(run: RunData, by_pool: Mapping[str, Floats]) -> list[tuple[str, str, list[float]]]:
    purchases = dict(pools_of(run))
    colors = pool_colors(pools_of(run))
    greatest = sorted(by_pool, key=lambda pool: (-float(by_pool[pool].sum()), pool))[:_MOST_POOLS]
    order = [(pool, purchase) for pool, purchase in purchases.items() if pool in greatest]
    layers = [
        (f"{pool} ({purchase})" if purchase else pool, colors[pool], by_pool[pool].tolist()) for pool, purchase in order
    ]
    rest = [pool for pool in by_pool if pool not in greatest]
    if rest:
        layers.append((f"{len(rest)} other pools", OTHER, _sum(by_pool[pool] for pool in rest)))
    return layers


def _sum(values: Iterable[Floats]) -> list[float]:
    return [float(value) for value in np.sum(list(values), axis=0)]


def _table(
    unit: Clock, x: list[float], layers: list[tuple[str, str, list[float]]], phases: list[tuple[str, str, list[float]]]
) -> Table:
    columns = [*layers, *phases]
    rows: list[tuple[Cell, ...]] = [
        (x[place], *(values[place] for _, _, values in columns)) for place in thinned(x, _ROWS)
    ]
    names = (f"time ({unit.unit})", *(name for name, _, _ in columns))
    return Table(names, tuple(rows), note="A selection; timeline.csv holds all changes.")
