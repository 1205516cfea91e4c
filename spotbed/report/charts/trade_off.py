"""Cost against makespan: what a saving costs in time, how sure both are, and what no schedule can beat."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from spotbed.report.charts.placing import names_beside
from spotbed.report.charts.scales import room
from spotbed.report.data import ComparisonData
from spotbed.report.estimates import Estimate, by_world, estimate, policies
from spotbed.report.marks import Axis, Cell, Chart, Mark, Panel, Points, Region, Rule, Table
from spotbed.report.metric_words import CUT
from spotbed.report.palette import RULE, Style
from spotbed.report.standing import Standing
from spotbed.report.words import hours, is_known, listed, usd

_HOUR_S = 3600.0
_DOTS = 1200  # worlds drawn in all
_CORNER = 0.3  # of the width or the height of the whole panel
Means = Mapping[str, tuple[Estimate, Estimate]]  # makespan, cost
Dots = dict[str, tuple[list[float], list[float]]]  # hours, dollars
Ends = tuple[tuple[float, float], tuple[float, float]]


def cost_against_makespan(data: ComparisonData, styles: Mapping[str, Style], ranked: Standing) -> Chart:
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
    cut = any(each.is_cut for pair in shown.values() for each in pair)
    ends = _ends(shown, dots, bounds)
    apart = {*ranked.less_work, str(data.results.get("baseline"))}
    close = _close_up({label: pair for label, pair in shown.items() if label not in apart}, ends)
    panels = [_panel(shown, dots, bounds, styles, ends, unnamed=close)]
    if close:
        panels.append(_panel(close, dots, bounds, styles, _ends(close, {}, {}), f"close up: {listed(list(close))}"))
    return Chart(
        key="cost-makespan",
        title=title,
        reading=_reading(bool(dots), bool(bounds), bool(close), cut=cut),
        alt="Mean cost and makespan: "
        + "; ".join(f"{label} {usd(pair[1].mean)} and {hours(pair[0].mean)}" for label, pair in shown.items())
        + ".",
        panels=tuple(panels),
        table=_table(shown),
    )


def _close_up(close: Means, whole: Ends) -> Means:
    """The policies that did comparable work, without the baseline, if the others push them into a corner."""
    if len(close) < 2:
        return {}
    crowded = any(
        high - low < _CORNER * (end - start)
        for (low, high), (start, end) in zip(_ends(close, {}, {}), whole, strict=True)
    )
    return close if crowded else {}


def _panel(
    shown: Means,
    dots: Dots,
    bounds: Mapping[str, float],
    styles: Mapping[str, Style],
    ends: Ends,
    title: str = "",
    unnamed: Collection[str] = (),
) -> Panel:
    x_ends, y_ends = ends
    marks: list[Mark] = [*_bound_marks(bounds, x_ends, y_ends)]
    for label, (x, y) in dots.items():
        inside = [
            (right, up)
            for right, up in zip(x, y, strict=True)
            if x_ends[0] <= right <= x_ends[1] and y_ends[0] <= up <= y_ends[1]
        ]
        if label in shown and inside:
            says = [f"{label}, one world"] * len(inside)
            right, up = ([pair[axis] for pair in inside] for axis in (0, 1))
            marks.append(Points("", right, up, styles[label].color, says, size=5, faint=True, listed=False))
    marks += [_mean(label, *pair, styles[label]) for label, pair in shown.items()]
    middles = {label: (_h(pair[0].mean), _d(pair[1].mean)) for label, pair in shown.items() if label not in unnamed}
    marks += names_beside(middles, x_ends, y_ends)
    makespan = Axis("makespan (h)", *x_ends, unit="h")
    cost = Axis("cost per world (USD)", *y_ends, money=True, decimals=2)
    return Panel(makespan, cost, tuple(marks), title=title, height=340 if title else 420, legend=False)


def _reading(many: bool, bounded: bool, crowded: bool, *, cut: bool) -> str:
    worlds = " Large: the mean over worlds with its 95 % interval in both directions. Small: single worlds."
    own = " A single world has bounds of its own, and may lie there." if many else ""
    grey = f" Grey: no schedule can get there{' in the mean' if many else ''} (lower bounds).{own}"
    below = " Policies that stand too close to be named are shown close up below."
    told = f"{worlds if many else ''}{grey if bounded else ''}{below if crowded else ''}"
    return f"Down is cheaper, left is faster.{told}{f' {CUT}' if cut else ''}"


def _h(seconds: float | None) -> float:
    return math.nan if seconds is None else seconds / _HOUR_S


def _d(dollars: float | None) -> float:
    return math.nan if dollars is None else dollars


def _bounds(data: ComparisonData) -> dict[str, float]:
    bounds = data.results.get("bounds") or {}
    known = {name: bounds.get(name) for name in ("makespan_s", "cost_usd")}
    return {name: float(value) for name, value in known.items() if isinstance(value, int | float) and is_known(value)}


def _worlds(data: ComparisonData, shown: Sequence[str]) -> Dots:
    cost, makespan = by_world(data.worlds, "cost_usd"), by_world(data.worlds, "makespan_s")
    dots: Dots = {}
    for label in shown:
        if label not in cost.columns or label not in makespan.columns or len(cost) < 2:
            continue
        both = pd.DataFrame({"cost": cost[label], "makespan": makespan[label] / _HOUR_S}).dropna()
        both = both.iloc[: max(2, _DOTS // len(shown))]
        dots[label] = (both["makespan"].tolist(), both["cost"].tolist())
    return dots


def _ends(shown: Means, dots: Dots, bounds: Mapping[str, float]) -> Ends:
    x = [_h(value) for pair in shown.values() for value in (pair[0].mean, pair[0].low, pair[0].high)]
    y = [_d(value) for pair in shown.values() for value in (pair[1].mean, pair[1].low, pair[1].high)]
    x += [value for mine in dots.values() for value in mine[0]] + [_h(bounds.get("makespan_s"))]
    y += [value for mine in dots.values() for value in mine[1]] + [_d(bounds.get("cost_usd"))]
    return room(x, 0.13, floor=0.0), room(y, 0.12, floor=0.0)


def _bound_marks(bounds: Mapping[str, float], x_ends: tuple[float, float], y_ends: tuple[float, float]) -> list[Mark]:
    marks: list[Mark] = []
    fastest, cheapest = bounds.get("makespan_s", -math.inf) / _HOUR_S, bounds.get("cost_usd", -math.inf)
    if fastest >= x_ends[0]:
        marks += [
            Region("x", x_ends[0], fastest, RULE, 0.14),
            Rule("x", fastest, f" no faster than {fastest:.1f} h", RULE),
        ]
    if cheapest >= y_ends[0]:
        marks += [
            Region("y", y_ends[0], cheapest, RULE, 0.14),
            Rule("y", cheapest, f"no cheaper than {usd(cheapest)}", RULE),
        ]
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


def _table(shown: Means) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (label, cost.mean, cost.low, cost.high, _hours(makespan.mean), _hours(makespan.low), _hours(makespan.high))
        for label, (makespan, cost) in shown.items()
    ]
    names = ("policy", "cost (USD)", "cost from", "cost to", "makespan (h)", "makespan from", "makespan to")
    return Table(names, tuple(rows), note="From and to: the 95 % interval of the mean.")


def _hours(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / _HOUR_S
