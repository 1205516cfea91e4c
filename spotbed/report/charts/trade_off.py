"""Cost against makespan: what a saving costs in time, how sure both are, and what no schedule can beat."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd

from spotbed.report.charts.scales import room
from spotbed.report.data import ComparisonData
from spotbed.report.estimates import Estimate, by_world, estimate, policies
from spotbed.report.marks import Axis, Cell, Chart, Mark, Note, Panel, Points, Region, Rule, Table
from spotbed.report.palette import RULE, Style
from spotbed.report.words import hours, is_known, usd

_HOUR_S = 3600.0
_DOTS = 1200  # worlds drawn in all
_Anchor = Literal["left", "right", "center"]
_PLACES: tuple[tuple[_Anchor, float, float], ...] = (
    ("left", 9, 13),
    ("left", 9, -13),
    ("right", -9, 13),
    ("right", -9, -13),
    ("left", 12, 0),
    ("right", -12, 0),
    ("center", 0, 18),
    ("center", 0, -18),
)
_WIDTH, _HEIGHT = 420.0, 320.0  # of the plotting area in pixels, about: narrow, so that labels stay apart on a phone


def cost_against_makespan(data: ComparisonData, styles: Mapping[str, Style]) -> Chart:
    """Means with intervals in both directions, the worlds behind them, the bounds as lines."""
    title = "Cost against makespan"
    found = {
        str(policy["label"]): (estimate(policy, "makespan_s"), estimate(policy, "cost_usd"))
        for policy in policies(data.results)
    }
    shown = {label: pair for label, pair in found.items() if is_known(pair[0].mean) and is_known(pair[1].mean)}
    if not shown:
        return Chart("cost-makespan", title, "", "", absent="No policy has both a mean cost and a mean makespan.")
    bounds = _bounds(data)
    dots = _worlds(data, list(shown))
    x_ends, y_ends = _ends(shown, dots, bounds)
    marks: list[Mark] = [*_bound_marks(bounds, x_ends[0], y_ends[0])]
    for label, (x, y) in dots.items():
        marks.append(
            Points("", x, y, styles[label].color, [f"{label}, one world"] * len(x), size=5, faint=True, listed=False)
        )
    marks += [_mean(label, *pair, styles[label]) for label, pair in shown.items()]
    marks += _names({label: (_h(pair[0].mean), _d(pair[1].mean)) for label, pair in shown.items()}, x_ends, y_ends)
    return Chart(
        key="cost-makespan",
        title=title,
        reading=_reading(bool(dots), bool(bounds)),
        alt="Mean cost and makespan: "
        + "; ".join(f"{label} {usd(pair[1].mean)} and {hours(pair[0].mean)}" for label, pair in shown.items())
        + ".",
        panels=(
            Panel(
                Axis("makespan (h)", *x_ends, unit="h"),
                Axis("cost per world (USD)", *y_ends, money=True, decimals=2),
                tuple(marks),
                height=420,
                legend=False,
            ),
        ),
        table=_table(shown),
    )


def _reading(many: bool, bounded: bool) -> str:
    worlds = " Large: the mean over worlds with its 95 % interval in both directions. Small: single worlds."
    grey = " Grey: no schedule can get there (lower bounds)."
    return f"Down is cheaper, left is faster.{worlds if many else ''}{grey if bounded else ''}"


def _h(seconds: float | None) -> float:
    return math.nan if seconds is None else seconds / _HOUR_S


def _d(dollars: float | None) -> float:
    return math.nan if dollars is None else dollars


def _bounds(data: ComparisonData) -> dict[str, float]:
    bounds = data.results.get("bounds") or {}
    known = {name: bounds.get(name) for name in ("makespan_s", "cost_usd")}
    return {name: float(value) for name, value in known.items() if isinstance(value, int | float) and is_known(value)}


def _worlds(data: ComparisonData, shown: Sequence[str]) -> dict[str, tuple[list[float], list[float]]]:
    cost, makespan = by_world(data.worlds, "cost_usd"), by_world(data.worlds, "makespan_s")
    dots: dict[str, tuple[list[float], list[float]]] = {}
    for label in shown:
        if label not in cost.columns or label not in makespan.columns or len(cost) < 2:
            continue
        both = pd.DataFrame({"cost": cost[label], "makespan": makespan[label] / _HOUR_S}).dropna()
        both = both.iloc[: max(2, _DOTS // len(shown))]
        dots[label] = (both["makespan"].tolist(), both["cost"].tolist())
    return dots


def _ends(
    shown: Mapping[str, tuple[Estimate, Estimate]],
    dots: Mapping[str, tuple[list[float], list[float]]],
    bounds: Mapping[str, float],
) -> tuple[tuple[float, float], tuple[float, float]]:
    x = [_h(value) for pair in shown.values() for value in (pair[0].mean, pair[0].low, pair[0].high)]
    y = [_d(value) for pair in shown.values() for value in (pair[1].mean, pair[1].low, pair[1].high)]
    x += [value for mine in dots.values() for value in mine[0]] + [_h(bounds.get("makespan_s"))]
    y += [value for mine in dots.values() for value in mine[1]] + [_d(bounds.get("cost_usd"))]
    return room(x, 0.13, floor=0.0), room(y, 0.12, floor=0.0)


def _bound_marks(bounds: Mapping[str, float], x_low: float, y_low: float) -> list[Mark]:
    marks: list[Mark] = []
    if "makespan_s" in bounds:
        at = bounds["makespan_s"] / _HOUR_S
        marks += [Region("x", x_low, at, RULE, 0.14), Rule("x", at, f" no faster than {at:.1f} h", RULE)]
    if "cost_usd" in bounds:
        at = bounds["cost_usd"]
        marks += [Region("y", y_low, at, RULE, 0.14), Rule("y", at, f"no cheaper than {usd(at)}", RULE)]
    return marks


def _mean(label: str, makespan: Estimate, cost: Estimate, style: Style) -> Points:
    says = f"{label}: {usd(cost.mean)} [{usd(cost.low)} to {usd(cost.high)}], {hours(makespan.mean)}"
    return Points(
        label,
        [_h(makespan.mean)],
        [_d(cost.mean)],
        style.color,
        [says],
        style.symbol,
        13,
        x_interval=([_h(makespan.low)], [_h(makespan.high)]) if makespan.has_interval else None,
        y_interval=([_d(cost.low)], [_d(cost.high)]) if cost.has_interval else None,
    )


def _names(
    at: Mapping[str, tuple[float, float]], x_ends: tuple[float, float], y_ends: tuple[float, float]
) -> list[Mark]:
    """Names beside the means, each where it covers neither another name nor another mean, if there is such a place."""
    pixels = {
        label: (
            (x - x_ends[0]) / (x_ends[1] - x_ends[0]) * _WIDTH,
            (y - y_ends[0]) / (y_ends[1] - y_ends[0]) * _HEIGHT,
        )
        for label, (x, y) in at.items()
    }
    taken = [(x - 8, y - 8, x + 8, y + 8) for x, y in pixels.values()]
    notes: list[Mark] = []
    for label, (x, y) in pixels.items():
        boxes = [(place, _box(x, y, place, min(len(label), 34))) for place in _PLACES]
        place, box = min(boxes, key=lambda entry: _badness(entry[1], taken, (x, y)))
        taken.append(box)
        notes.append(Note(*at[label], label, place[0], shift=(place[1], place[2])))
    return notes


_Box = tuple[float, float, float, float]


def _box(x: float, y: float, place: tuple[_Anchor, float, float], letters: int) -> _Box:
    anchor, right, up = place
    width = 7.0 * letters
    left = x + right - {"left": 0.0, "center": width / 2, "right": width}[anchor]
    return left, y + up - 8, left + width, y + up + 8


def _badness(box: _Box, taken: Sequence[_Box], own: tuple[float, float]) -> float:
    covered = sum(
        max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
        * max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
        for other in taken
        if other[:2] != (own[0] - 8, own[1] - 8)
    )
    outside = max(0.0, -box[0]) + max(0.0, box[2] - _WIDTH) + max(0.0, -box[1]) + max(0.0, box[3] - _HEIGHT)
    return covered + 20 * outside


def _table(shown: Mapping[str, tuple[Estimate, Estimate]]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (label, cost.mean, cost.low, cost.high, _hours(makespan.mean), _hours(makespan.low), _hours(makespan.high))
        for label, (makespan, cost) in shown.items()
    ]
    names = ("policy", "cost (USD)", "cost from", "cost to", "makespan (h)", "makespan from", "makespan to")
    return Table(names, tuple(rows), note="From and to: the 95 % interval of the mean.")


def _hours(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / _HOUR_S
