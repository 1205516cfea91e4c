"""Axes that several charts share: time in the unit that fits its length, durations on a log scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from spotbed.report.marks import Axis

_DURATIONS = (
    (1, "1 s"),
    (10, "10 s"),
    (60, "1 min"),
    (600, "10 min"),
    (3600, "1 h"),
    (21_600, "6 h"),
    (86_400, "1 d"),
    (604_800, "1 w"),
    (2_592_000, "30 d"),
    (31_536_000, "1 y"),
)


@dataclass(frozen=True, slots=True)
class Clock:
    """The unit in which a span of time is drawn."""

    unit_s: float
    unit: str

    def axis(self, end_s: float, title: str = "time since the start") -> Axis:
        """A time axis from 0 to `end_s` seconds."""
        return Axis(f"{title} ({self.unit})", low=0.0, high=max(end_s / self.unit_s, 1e-9), unit=self.unit, decimals=2)

    def of(self, seconds: Sequence[float]) -> list[float]:
        """Seconds in this unit."""
        return [value / self.unit_s for value in seconds]


def clock(span_s: float) -> Clock:
    """Minutes below three hours, hours up to four days, then days."""
    if span_s < 10_800:
        return Clock(60.0, "min")
    return Clock(3600.0, "h") if span_s <= 345_600 else Clock(86_400.0, "d")


def duration_axis(title: str, values: Sequence[float]) -> Axis:
    """A log axis for durations in seconds between the least (at least 1 s) and the greatest of `values`."""
    finite = [max(value, 1.0) for value in values if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (1.0, 60.0)
    floor = max((at for at, _ in _DURATIONS if at <= low), default=1)
    return Axis(
        title, low=floor * 0.9, high=max(high * 1.15, floor * 2), log=True, ticks=_DURATIONS, decimals=0, unit="s"
    )


def room(values: Sequence[float], share: float = 0.08, *, floor: float | None = None) -> tuple[float, float]:
    """Ends of an axis that leave `share` of the span free on both sides, but do not cross `floor` if values do not."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    span = high - low or abs(high) or 1.0
    ends = low - share * span, high + share * span
    return (max(ends[0], floor), ends[1]) if floor is not None and low >= floor else ends


def across(panels: int) -> int:
    """How many panels stand beside each other: at most three, and no single one in the last row if two rows do."""
    return 2 if panels == 4 else min(panels, 3)
