"""One row per policy: the axis, and bars stacked by cause on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from spotbed.report.marks import Axis, Bars
from spotbed.report.palette import CAUSE_WORDS, CAUSES, OTHER

ByCause = Mapping[str, Mapping[str, float]]  # policy -> cause -> amount


def policy_rows(names: Sequence[str]) -> Axis:
    """An axis with one row per name, the first at the top."""
    return Axis("", low=-0.6, high=len(names) - 0.4, ticks=tuple(enumerate(names)), downwards=True)


def causes_in(amounts: ByCause, *, without: str | None = None) -> list[str]:
    """The causes that occur, in the order of the palette; unknown ones last."""
    seen = {cause for mine in amounts.values() for cause in mine if cause != without}
    return [cause for cause in CAUSES if cause in seen] + sorted(seen - set(CAUSES))


def word(cause: str) -> str:
    """How a cause is called in a report."""
    return CAUSE_WORDS.get(cause, cause)


def stacked(amounts: ByCause, causes: Sequence[str], write: Callable[[float], str]) -> list[Bars]:
    """One set of bars per cause, each starting where the one before it ends."""
    level = dict.fromkeys(amounts, 0.0)
    places = [float(place) for place in range(len(amounts))]
    bars: list[Bars] = []
    for cause in causes:
        values = {label: mine.get(cause, 0.0) for label, mine in amounts.items()}
        says = [f"{label}: {word(cause)} {write(value)}" for label, value in values.items()]
        color = CAUSES.get(cause, OTHER)
        bars.append(Bars(word(cause), places, list(level.values()), list(values.values()), color, says, 0.62))
        level = {label: level[label] + value for label, value in values.items()}
    return bars


def height_of(rows: int) -> int:
    """Pixels for a panel with this many rows and a legend."""
    return 70 + 44 * rows
