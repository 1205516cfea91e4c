"""Where every dollar went: a waterfall for one policy, bars by cause for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from spotbed.report.charts.rows import causes_in, height_of, policy_rows, stacked, word
from spotbed.report.charts.scales import room
from spotbed.report.data import ComparisonData
from spotbed.report.estimates import labels
from spotbed.report.marks import Axis, Bars, Chart, Mark, Note, Panel, Table
from spotbed.report.words import percent, usd

_BY_ITEM = {  # where an item's first word leads, whatever its cause
    "ebs": "Storage (EBS)",
    "s3": "Network and staging",
    "network": "Network and staging",
    "stepfunctions": "Control plane",
    "lambda": "Control plane",
    "sqs": "Control plane",
    "dynamodb": "Control plane",
    "eventbridge": "Control plane",
    "cloudwatch": "Control plane",
    "ssm": "Control plane",
    "autoscaling": "Control plane",
    "fixed": "Fixed lines",
    "penalty": "Penalties",
}
_BY_CAUSE = {  # of instance time
    "useful": "Useful work",
    "lost": "Work done again",
    "failed": "Failed attempts",
    "checkpoint": "Checkpoints",
    "boot": "Boot",
    "idle": "Idle",
    "minimum": "Minimum charge",
}
_ORDER = (
    *("Work done again", "Failed attempts", "Checkpoints", "Storage (EBS)", "Network and staging", "Control plane"),
    *("Head node", "Idle", "Boot", "Minimum charge", "Fixed lines", "Penalties", "Other"),
)
_TOTAL, _SAVING, _COSTING = "#5B6773", "#2F8F6B", "#C8553D"


def step_of(item: str, cause: str) -> str:
    """The step of the waterfall that a line of the bill belongs to."""
    if item == "ec2.head-node":
        return "Head node"
    family = item.split(".", 1)[0]
    if family == "ec2":
        return _BY_CAUSE.get(cause, "Other")
    return _BY_ITEM.get(family, "Other")


def waterfall_steps(bill: pd.DataFrame) -> list[tuple[str, float]]:
    """(name, dollars) from the useful work to the last surcharge; they add up to the bill.

    With a column `list_usd` the first two are the list price of the useful work and the Spot discount on it.
    """
    steps = [
        step_of(item, cause) for item, cause in zip(bill["item"].astype(str), bill["cause"].astype(str), strict=True)
    ]
    sums = bill["usd"].astype(float).groupby(pd.Series(steps, index=bill.index)).sum()
    useful = float(sums.get("Useful work", 0.0))
    first = [("Useful work, as paid", useful)]
    listed = _list_price(bill, steps)
    if listed is not None:
        first = [("Useful work at list price", listed)]
        first += [("Spot discount", useful - listed)] if useful != listed else []
    return first + [(name, float(sums[name])) for name in _ORDER if name in sums.index and sums[name] != 0]


def _list_price(bill: pd.DataFrame, steps: Sequence[str]) -> float | None:
    if "list_usd" not in bill.columns:
        return None
    useful = bill["list_usd"].astype(float)[[step == "Useful work" for step in steps]].dropna()
    return float(useful.sum()) if len(useful) else None


def waterfall(bill: pd.DataFrame, key: str) -> Chart:
    """From the list price of the work to the total of one policy, one bar per step."""
    title = "From list price to the bill"
    total = float(bill["usd"].astype(float).sum()) if len(bill) else 0.0
    if total == 0:
        return Chart(key, title, "", "", absent="Nothing was billed: no instance was launched.")
    steps = waterfall_steps(bill)
    bars = _floating(steps, total)
    low, high = room([0.0, *(start + max(length, 0) for _, start, length, _ in bars)], 0.02, floor=0.0)
    marks = _waterfall_marks(bars, total)
    names = [name for name, *_ in bars]
    rows = Axis("", low=-0.6, high=len(bars) - 0.4, ticks=tuple(enumerate(names)), downwards=True)
    first = steps[0][1]
    return Chart(
        key=key,
        title=title,
        reading=_reading(steps, total),
        alt=f"Waterfall from {usd(first)} ({steps[0][0].lower()}) to a total of {usd(total)}.",
        panels=(
            Panel(Axis("USD", low, high, money=True), rows, marks, height=70 + 34 * len(bars), legend=False, right=76),
        ),
        table=Table(
            ("step", "USD", "share of the total"),
            (*((name, value, percent(value / total)) for name, value in steps), ("Total", total, percent(1.0))),
        ),
    )


def _floating(steps: Sequence[tuple[str, float]], total: float) -> list[tuple[str, float, float, str]]:
    """(name, start, length, colour) of each bar; saving is green, surcharge red, the ends are dark."""
    bars = [(steps[0][0], 0.0, steps[0][1], _TOTAL)]
    level = steps[0][1]
    for name, value in steps[1:]:
        bars.append((name, level, value, _SAVING if value < 0 else _COSTING))
        level += value
    return [*bars, ("Total", 0.0, total, _TOTAL)]


def _waterfall_marks(bars: Sequence[tuple[str, float, float, str]], total: float) -> tuple[Mark, ...]:
    marks: list[Mark] = []
    for place, (name, start, length, color) in enumerate(bars):
        share = f"{percent(length / total)} of the total"
        marks.append(Bars(name, [place], [start], [length], color, [f"{name}: {usd(length)}, {share}"], 0.62, False))
        text = usd(length)
        signed = f"+{text}" if color == _COSTING else text
        marks.append(Note(max(start, start + length), place, signed, shift=(6, 0)))
    return tuple(marks)


def _reading(steps: Sequence[tuple[str, float]], total: float) -> str:
    if steps[0][0] != "Useful work at list price":
        return f"Each bar adds to the one above it; the total is {usd(total)}."
    saved = 1 - total / steps[0][1] if steps[0][1] else 0.0
    word = "less" if saved >= 0 else "more"
    return (
        f"The work that counted would cost {usd(steps[0][1])} on demand at list price with no overhead at all; "
        f"the whole bill is {percent(abs(saved))} {word}. Green lowers the bill, red raises it."
    )


def cost_by_cause(data: ComparisonData) -> Chart:
    """Stacked bars of the mean bill by cause, one per policy."""
    title = "The bill by cause"
    amounts = usd_by_cause(data)
    if not any(value for mine in amounts.values() for value in mine.values()):
        return Chart("cost-by-cause", title, "", "", absent="No policy has a bill.")
    causes = causes_in(amounts)
    totals = {label: sum(mine.values()) for label, mine in amounts.items()}
    marks: list[Mark] = [*stacked(amounts, causes, usd)]
    marks += [Note(total, place, usd(total), shift=(6, 0)) for place, total in enumerate(totals.values())]
    dollars = Axis("USD per world", low=0.0, high=max(totals.values()) * 1.02, money=True)
    return Chart(
        key="cost-by-cause",
        title=title,
        reading="Mean over worlds. Every dollar has one cause; the causes add up to the total.",
        alt="Stacked bars of cost by cause: "
        + ", ".join(f"{label} {usd(total)}" for label, total in totals.items())
        + ".",
        panels=(Panel(dollars, policy_rows(list(amounts)), tuple(marks), height=height_of(len(amounts)), right=76),),
        table=Table(
            ("policy", *(f"{word(cause)} (USD)" for cause in causes), "total (USD)"),
            tuple(
                (label, *(mine.get(cause, 0.0) for cause in causes), totals[label]) for label, mine in amounts.items()
            ),
        ),
    )


def usd_by_cause(data: ComparisonData) -> dict[str, dict[str, float]]:
    """Dollars by policy, in the order of the results, and by cause."""
    amounts: dict[str, dict[str, float]] = {label: {} for label in labels(data.results)}
    for policy, cause, dollars in data.bill[["policy", "cause", "usd"]].itertuples(index=False):
        mine = amounts.get(str(policy))
        if mine is not None:
            mine[str(cause)] = mine.get(str(cause), 0.0) + float(dollars)
    return {label: mine for label, mine in amounts.items() if mine}
