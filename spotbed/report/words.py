"""Numbers as people read them. Every function takes None or NaN and says "n/a"."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeGuard

NOT_AVAILABLE = "n/a"
MINUS, TIMES, NOTHING = "\u2212", "\u00d7", "\u2013"  # NOTHING stands in a cell that is empty on purpose


def is_known(value: float | None) -> TypeGuard[float]:
    """Whether there is a finite number."""
    return value is not None and math.isfinite(value)


def usd(value: float | None) -> str:
    """Dollars with the digits that matter: $1,284 · $438 · $43.80 · $0.049 · $0.000025."""
    return usd_like(value, 0.0 if value is None else value)


def usd_like(value: float | None, scale: float) -> str:
    """Dollars with the decimals that a value of size `scale` gets, so that a mean and its interval look alike."""
    if value is None or not math.isfinite(value):
        return NOT_AVAILABLE
    return _dollars(value, _decimals(abs(scale)))


def cents(value: float | None) -> str:
    """Dollars to the cent, and in full what is smaller: the columns of a bill."""
    if value is None or not math.isfinite(value) or 0 < abs(value) < 0.005:
        return usd(value)
    return _dollars(value, 2)


def _dollars(value: float, decimals: int) -> str:
    return f"{MINUS if round(value, decimals) < 0 else ''}${abs(value):,.{decimals}f}"


def _decimals(size: float) -> int:
    if size >= 100:
        return 0
    return 2 if size >= 1 or size == 0 else min(1 - math.floor(math.log10(size)), 9)


def number(value: float | None) -> str:
    """A plain number: whole ones whole, others to four digits."""
    if value is None or not math.isfinite(value):
        return NOT_AVAILABLE
    sign, size = (MINUS if value < 0 else ""), abs(value)
    if size == int(size) and size < 1e15:
        return f"{sign}{int(size):,}"
    if size >= 1000:
        return f"{sign}{size:,.0f}"
    if size >= 1e-4:
        return sign + f"{size:.4g}"
    return f"{sign}{size:.2e}"


def fixed(value: float | None, decimals: int = 2) -> str:
    """A plain number with as many decimals: 92.58 · 14,805.20."""
    return NOT_AVAILABLE if not is_known(value) else f"{MINUS if value < 0 else ''}{abs(value):,.{decimals}f}"


def count(value: float | None) -> str:
    """How many on average: 0 · 3.2 · 0.03 · 1,000."""
    if value is None or not math.isfinite(value):
        return NOT_AVAILABLE
    sign, size = (MINUS if value < 0 else ""), abs(value)
    if size == int(size) or size >= 1000:
        return f"{sign}{size:,.0f}"
    return sign + (f"{size:.1f}".removesuffix(".0") if size >= 0.1 else f"{size:.2g}")


def percent(share: float | None) -> str:
    """A share of one as per cent: 34.1 % · 66 % · 0.03 %."""
    if share is None or not math.isfinite(share):
        return NOT_AVAILABLE
    value = abs(share) * 100
    decimals = 0 if value >= 1000 else 1 if value >= 1 else 2
    text = _bare(f"{value:,.{decimals}f}") if round(value, decimals) else "0"
    return f"{MINUS if share < 0 and text != '0' else ''}{text} %"


def _bare(text: str) -> str:
    """Without zeros that end a decimal part."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def hours(seconds: float | None) -> str:
    """Seconds as hours, two decimals below ten: 33.2 h · 1.25 h."""
    if seconds is None or not math.isfinite(seconds):
        return NOT_AVAILABLE
    value = abs(seconds) / 3600
    text = f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return f"{MINUS if seconds < 0 and text != '0.00' else ''}{text} h"


def time_unit(seconds: Iterable[float | None]) -> str:
    """The unit, h, min or s, in which times stand under each other: that of the one in their middle."""
    known = sorted(abs(each) for each in seconds if is_known(each) and each)
    middle = known[len(known) // 2] if known else 0.0
    return "h" if middle >= 3600 else "min" if middle >= 120 else "s"


def in_unit(seconds: float | None, unit: str) -> str:
    """Seconds in a unit that was chosen for many: 1.25 h · 12.3 min · 54.7 s."""
    if unit == "h" or not is_known(seconds):
        return hours(seconds)
    return f"{fixed(seconds / (60 if unit == 'min' else 1), 1)} {unit}"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that a person would choose: 45 s · 12 min · 33.2 h · 5.3 d."""
    if seconds is None or not math.isfinite(seconds):
        return NOT_AVAILABLE
    size, sign = abs(seconds), MINUS if seconds < 0 else ""
    for limit, unit_s, unit in ((120, 1, "s"), (5400, 60, "min"), (259_200, 3600, "h")):
        if size < limit:
            return f"{sign}{_short(size / unit_s)} {unit}"
    return f"{sign}{_short(size / 86_400)} d"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}".removesuffix(".0")


def plural(value: float, one: str, many: str | None = None) -> str:
    """`1 world`, `30 worlds`."""
    return f"{count(value)} {one if value == 1 else many or one + 's'}"


def listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`; empty for none."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def one_line(text: str, most: int = 200) -> str:
    """Text without line breaks, cut to `most` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else f"{line[: most - 1]}\u2026"
