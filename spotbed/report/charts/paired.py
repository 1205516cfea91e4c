"""The difference to the baseline in each world: what common random numbers buy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spotbed.report.charts.scales import across, room
from spotbed.report.data import ComparisonData
from spotbed.report.estimates import Difference, by_world, difference, labels
from spotbed.report.marks import Axis, Cell, Chart, Mark, Panel, Points, Region, Rule, Table
from spotbed.report.palette import RULE, Style
from spotbed.report.resample import thinned
from spotbed.report.words import percent, usd

_LIMIT = 400


def paired_differences(data: ComparisonData, styles: Mapping[str, Style]) -> Chart:
    """One panel per policy: the cost difference of every world, sorted, with the mean and its interval."""
    title = "Cost difference to the baseline, world by world"
    baseline = data.results.get("baseline")
    others = [label for label in labels(data.results) if label != baseline]
    if not baseline or not others:
        return Chart("paired", title, "", "", absent="There is only one policy: nothing to compare it with.")
    table = by_world(data.worlds, "cost_usd")
    if len(table) < 2 or baseline not in table.columns:
        return Chart("paired", title, "", "", absent="With a single world there are no differences to spread out.")
    values = {label: sorted((table[label] - table[baseline]).dropna()) for label in others if label in table.columns}
    values = {label: mine for label, mine in values.items() if mine}
    if not values:
        return Chart("paired", title, "", "", absent="No world was finished by a policy and by the baseline.")
    found = {label: difference(data.worlds, label, str(baseline), "cost_usd") for label in values}
    panels = tuple(_panel(label, mine, found[label], styles[label]) for label, mine in values.items())
    return Chart(
        key="paired",
        title=title,
        reading=f"Each dot is one world: the policy's cost minus that of {baseline} on the same jobs and the same "
        "weather, sorted. Line and strip: the mean and its 95 % interval. Below zero the policy is cheaper. "
        "Each panel has its own scale.",
        alt="Paired cost differences: " + "; ".join(f"{label} {_told(found[label])}" for label in values) + ".",
        panels=panels,
        across=across(len(panels)),
        table=_table(values, found),
    )


def _told(found: Difference | None) -> str:
    if found is None:
        return "has no difference"
    return f"differs by {usd(found.mean)} on average and is cheaper in {percent(found.below)} of the worlds"


def _panel(label: str, values: Sequence[float], found: Difference | None, style: Style) -> Panel:
    places = thinned(values, _LIMIT)
    title = label
    marks: list[Mark] = [Rule("y", 0.0, "", RULE, "solid")]
    if found is not None:
        if found.low is not None and found.high is not None:
            marks.append(Region("y", found.low, found.high, style.color, 0.2))
        marks.append(Rule("y", found.mean, "", style.color))
        title = f"{label}: {'+' if found.mean > 0 else ''}{usd(found.mean)} on average"
    x, y = [float(place + 1) for place in places], [float(values[place]) for place in places]
    says = [f"{label}: {usd(value)}" for value in y]
    marks.append(Points(label, x, y, style.color, says, style.symbol, 7))
    ends = room([0.0, *values])
    ranks = Axis("worlds, sorted", low=0.0, high=len(values) + 1.0, decimals=0)
    return Panel(
        ranks, Axis("difference (USD)", *ends, money=True), tuple(marks), title=title, height=270, legend=False
    )


def _table(values: Mapping[str, Sequence[float]], found: Mapping[str, Difference | None]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for label, mine in values.items():
        own = found[label]
        if own is not None:
            ends = (own.low, own.high)
            rows.append((label, len(mine), own.mean, *ends, float(mine[0]), float(mine[-1]), percent(own.below)))
    names = ("policy", "worlds", "mean (USD)", "from", "to", "least (USD)", "greatest (USD)", "worlds won")
    return Table(names, tuple(rows), note="From and to: the 95 % interval of the mean. worlds.csv holds every world.")
