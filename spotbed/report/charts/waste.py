"""Instance time that was paid and did not count, by reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from spotbed.report.charts.rows import causes_in, height_of, policy_rows, stacked, word
from spotbed.report.marks import Axis, Chart, Mark, Note, Panel, Table
from spotbed.report.words import percent

_SECONDS_PER_HOUR = 3600.0


def wasted_work(bill: pd.DataFrame, policies: Sequence[str], key: str) -> Chart:
    """Hours per policy by cause; beside each bar the share of all paid time that was useful.

    `bill` has a column `policy`.
    """
    title = "Paid time that did not count"
    found = instance_hours(bill)
    spent = {label: found[label] for label in policies if label in found}
    if not spent:
        return Chart(key, title, "", "", absent="No instance time was billed.")
    causes = causes_in(spent, without="useful")
    wasted = {label: _wasted(mine) for label, mine in spent.items()}
    if not any(wasted.values()):
        return Chart(key, title, "", "", absent="Every paid second was useful work: there is nothing to split.")
    marks: list[Mark] = [*stacked(spent, causes, lambda value: f"{value:.1f} h")]
    for place, (label, value) in enumerate(wasted.items()):
        marks.append(Note(value, place, f"{percent(_goodput(spent[label]))} useful", shift=(6, 0)))
    time = Axis("instance hours", low=0.0, high=max(wasted.values()) * 1.02, unit="h")
    return Chart(
        key=key,
        title=title,
        reading="Instance hours (mean over worlds, if there are several). The figure beside a bar is the goodput: "
        "useful time over all paid time.",
        alt="Stacked bars of wasted instance hours: "
        + ", ".join(f"{label} {value:.1f} h" for label, value in wasted.items())
        + ".",
        panels=(Panel(time, policy_rows(list(spent)), tuple(marks), height=height_of(len(spent)), right=96),),
        table=_table(spent, causes),
    )


def _table(spent: Mapping[str, Mapping[str, float]], causes: Sequence[str]) -> Table:
    names = ("policy", "useful (h)", *(f"{word(cause)} (h)" for cause in causes), "goodput")
    return Table(
        names,
        tuple(
            (label, *(mine.get(cause, 0.0) for cause in ("useful", *causes)), percent(_goodput(mine)))
            for label, mine in spent.items()
        ),
    )


def instance_hours(bill: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Hours of instance time by policy and cause, from the EC2 lines of a bill."""
    items, units = bill["item"].astype(str), bill["unit"].astype(str)
    own = bill[items.isin(["ec2.spot", "ec2.on-demand"]) & (units == "instance-second")]
    found: dict[str, dict[str, float]] = {}
    for policy, cause, usage in own[["policy", "cause", "usage"]].itertuples(index=False):
        mine = found.setdefault(str(policy), {})
        mine[str(cause)] = mine.get(str(cause), 0.0) + float(usage) / _SECONDS_PER_HOUR
    return found


def _wasted(hours: Mapping[str, float]) -> float:
    return sum(value for cause, value in hours.items() if cause != "useful")


def _goodput(hours: Mapping[str, float]) -> float | None:
    total = sum(hours.values())
    return hours.get("useful", 0.0) / total if total > 0 else None
