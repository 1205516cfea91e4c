"""Quantities as people write them, and as the code wants them: seconds, USD, events per second, GiB, UTC.

`parse_*` turns text into a float (or an aware datetime) and raises `UnitError` with a hint; `format_*` turns it back,
so that `parse(format(x)) == x` for every x. A number without its unit is refused: 40 could be seconds, minutes or
hours, and a guess would be paid for. Standard library only: a job's message is read where nothing else is installed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

_NUMBER = r"\d+(?:\.\d+)?"
_SECONDS: Mapping[str, Fraction] = {
    "d": Fraction(86_400),
    "h": Fraction(3_600),
    "m": Fraction(60),
    "s": Fraction(1),
    "ms": Fraction(1, 1000),
}
_GIB = 2**30
_BYTES: Mapping[str, int] = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_LONGEST_S = 100 * 366 * 86_400
_SHORTEST_S = 0.001  # the clock's step
_LONGEST_TEXT = 1100  # the smallest float, written without an exponent, has 1,077 characters

# Each unit at most once, from the largest to the smallest; "m" is minutes unless an "s" follows.
_PARTS = (rf"(?:({_NUMBER})\s*{unit}{'(?!s)' if unit == 'm' else ''}\s*)?" for unit in _SECONDS)
DURATION_PATTERN = rf"^\s*(?=\d){''.join(_PARTS)}$"
MONEY_PATTERN = rf"^\s*({_NUMBER})\s*USD\s*$"
PRICE_PATTERN = rf"^\s*({_NUMBER})\s*USD\s*/\s*h\s*$"
RATE_PATTERN = rf"^\s*({_NUMBER})\s*/\s*([smhd])\s*$"
SIZE_PATTERN = rf"^\s*({_NUMBER})\s*({'|'.join(_BYTES)})\s*$"
TIMESTAMP_PATTERN = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?(?:Z|[+-]\d{2}:\d{2})$"


class UnitError(ValueError):
    """Text that is no such quantity: what is wrong, and how to write it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message}. {hint}")
        self.message = message
        self.hint = hint


def _match(pattern: str, value: object, what: str, hint: str, numbers: str) -> re.Match[str]:
    """The match of `pattern`, which is `what`; a bare number gets `numbers` as its hint, put in place of {0}."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise UnitError(f"{what} without a unit", numbers.format(f"{value:g}"))
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise UnitError(f"not {what}", hint)
    found = re.match(pattern, value, re.ASCII)
    if found is not None:
        return found
    bare = re.fullmatch(rf"\s*({_NUMBER})\s*", value, re.ASCII)
    if bare is not None:
        raise UnitError(f"{what} without a unit", numbers.format(bare[1]))
    if value.lstrip().startswith("-"):
        raise UnitError(f"{what} must not be negative", hint)
    raise UnitError(f"not {what}", hint)


def parse_duration(value: object) -> float:
    """Seconds of "45s", "1h30m", "1d 6h", "500ms"; m is minutes."""
    clock = re.fullmatch(r"(\d+):(\d\d)", value, re.ASCII) if isinstance(value, str) and len(value) < 20 else None
    hint = f"Write {clock[1]}h{clock[2]}m or {clock[1]}m{clock[2]}s." if clock else "Write it as 45s, 90m, 1h30m or 2d."
    found = _match(DURATION_PATTERN, value, "a duration", hint, "Write {0}s, {0}m or {0}h.")
    parts = zip(found.groups(), _SECONDS.values(), strict=True)
    seconds = float(sum((Fraction(number) * unit for number, unit in parts if number), Fraction(0)))
    if seconds > _LONGEST_S:
        raise UnitError("a duration of more than 100 years", hint)
    if 0 < seconds < _SHORTEST_S:
        raise UnitError("a duration shorter than 1ms, the step of the clock", "Write 0s or at least 1ms.")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest exact text, such as "1h30m"; parse_duration gives the same float back."""
    rest = Fraction(repr(seconds))
    if 0 < rest < 1 and (rest * 1000).denominator == 1:
        return f"{int(rest * 1000)}ms"
    text = ""
    for unit in ("d", "h", "m"):
        count, rest = divmod(rest, _SECONDS[unit])
        text += f"{count}{unit}" if count else ""
    return text + f"{_plain(rest)}s" if rest or not text else text


def _plain(number: Fraction) -> str:
    """Decimal text of a fraction whose denominator has only the factors 2 and 5, without an exponent."""
    digits = 0
    while (number * 10**digits).denominator != 1:
        digits += 1
    return format(Decimal((number * 10**digits).numerator).scaleb(-digits), "f")


def parse_money(value: object) -> float:
    """USD of "500 USD"."""
    hint = "Write it as 500 USD."
    return float(_match(MONEY_PATTERN, value, "an amount of money", hint, "Write {0} USD.")[1])


def format_money(usd: float) -> str:
    """Exact text, such as "500 USD"."""
    return f"{_plain(Fraction(repr(usd)))} USD"


def parse_price(value: object) -> float:
    """USD per hour of "0.97 USD/h"."""
    hint = "Write it as 0.97 USD/h."
    return float(_match(PRICE_PATTERN, value, "a price per hour", hint, "Write {0} USD/h.")[1])


def format_price(usd_per_hour: float) -> str:
    """Exact text, such as "0.97 USD/h"."""
    return f"{format_money(usd_per_hour)}/h"


def parse_rate(value: object) -> float:
    """Events per second of "25/h", "3/s" or "100/d"."""
    found = _match(RATE_PATTERN, value, "a rate", "Write it as 3/s, 25/h or 100/d.", "Write {0}/s, {0}/h or {0}/d.")
    return float(Fraction(found[1]) / _SECONDS[found[2]])


def format_rate(per_second: float) -> str:
    """The shortest exact text, such as "25/h"."""
    exact = Fraction(repr(per_second))
    candidates = []
    for unit in "smhd":
        count = float(exact * _SECONDS[unit])
        candidates += [f"{_plain(Fraction(repr(number)))}/{unit}" for number in (float(f"{count:.12g}"), count)]
    return min((text for text in candidates if parse_rate(text) == per_second), key=len)


def parse_size(value: object) -> float:
    """GiB of "8 GiB", "500 MB" or "16 GB" (1 GB = 10**9 bytes, 1 GiB = 2**30)."""
    found = _match(SIZE_PATTERN, value, "a size", "Write it as 8 GiB, 500 MB or 16 GB.", "Write {0} GiB or {0} GB.")
    return float(Fraction(found[1]) * _BYTES[found[2]] / _GIB)


def format_size(gib: float) -> str:
    """Exact text, such as "8 GiB" or "512 MiB"."""
    exact = Fraction(repr(gib))
    if 0 < exact < 1 and (exact * 1024).denominator == 1:
        return f"{int(exact * 1024)} MiB"
    return f"{_plain(exact)} GiB"


def parse_timestamp(value: object) -> datetime:
    """A moment in UTC of "2026-03-02T08:00Z"; the zone is required."""
    hint = "Write it with its zone, as 2026-03-02T08:00Z."
    if not isinstance(value, str) or not re.match(TIMESTAMP_PATTERN, value, re.ASCII):
        raise UnitError("not a moment", hint)
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UnitError(f"not a moment ({error})", hint) from None


def format_timestamp(moment: datetime) -> str:
    """ISO 8601 in UTC, such as "2026-03-02T08:00Z"."""
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="auto")
    return text.removesuffix(":00") + "Z" if moment.second == 0 and moment.microsecond == 0 else text + "Z"
