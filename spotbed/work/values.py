"""Times, durations and sizes as batch systems print them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime

UNKNOWN = frozenset({"", "-", "unknown", "none", "n/a", "na", "nan", "null", "unlimited", "partition_limit", "invalid"})

LARGEST = 1e11  # of a number of a log: seconds in three thousand years

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WORDS = re.compile(
    r"(?:[a-z]{3},?\s+)?([a-z]{3})\s+(\d{1,2})\s+(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\s+(\d{4}))?(?:\s+[a-z])?"
)
_SLASHES = re.compile(r"(\d{4})/(\d{2})/(\d{2})[-T ](\d{2}:\d{2}(?::\d{2})?)")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?(?:e[+-]?\d+)?")
_ELAPSED = re.compile(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+(?:\.\d+)?)")
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)\s*(?:s|sec|seconds?|second\(s\))")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtpe])?(?:i?b|bytes?)?\s*([cn])?")
_GIB_OF: Mapping[str, float] = {"k": 2.0**-20, "m": 2.0**-10, "g": 1.0, "t": 2.0**10, "p": 2.0**20, "e": 2.0**30}


def is_unknown(text: str) -> bool:
    """Whether a batch system means that it has no value."""
    return text.strip().lower() in UNKNOWN


def parse_number(text: str) -> float:
    """A finite number. Raises ValueError."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]!r} is not a finite number")
    return value


def parse_moment(text: str) -> float | None:
    """Seconds since 1970 of a time as ISO 8601, seconds since 1970, 2026/03/02-08:00:00 or Mar 2 08:00:12 2026.

    None where the batch system has none. A time without a zone is taken as UTC. Raises ValueError.
    """
    stripped = text.strip()
    if is_unknown(stripped):
        return None
    if _NUMBER.fullmatch(stripped.lower()):
        return parse_number(stripped)
    slashes = _SLASHES.fullmatch(stripped)
    if slashes:
        year, month, day, clock = slashes.groups()
        return _epoch(datetime.fromisoformat(f"{year}-{month}-{day}T{clock}"))
    words = _WORDS.fullmatch(stripped.lower())
    if words:
        return _from_words(words)
    try:
        return _epoch(datetime.fromisoformat(stripped))
    except ValueError as error:
        if str(error).startswith("Invalid isoformat"):
            raise ValueError(f"{text[:40]!r} is not a time such as 2026-03-02T08:00:00") from None
        raise


def _from_words(words: re.Match[str]) -> float:
    month, day, hour, minute, second, year = words.groups()
    if month not in _MONTHS:
        raise ValueError(f"{month!r} is not a month")
    if year is None:
        raise ValueError("a time without its year; LSF prints it with LSB_DISPLAY_YEAR=Y")
    moment = datetime(
        int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second or 0), tzinfo=UTC
    )
    return moment.timestamp()


def _epoch(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def parse_elapsed(text: str) -> float | None:
    """Seconds of 1-02:03:04, 02:03:04, 03:04 (minutes first), 3600 or "3600 second(s)"; None if unknown."""
    stripped = text.strip().lower()
    if is_unknown(stripped):
        return None
    match = _ELAPSED.fullmatch(stripped)
    if match:
        days, hours, minutes, seconds = match.groups()
        return int(days or 0) * 86_400 + int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)
    named = _SECONDS.fullmatch(stripped)
    return parse_number(named.group(1) if named else stripped)


def parse_memory(text: str) -> tuple[float, str] | None:
    """(GiB, per) of 4000M, 4G, 3.2 Gbytes, 4Gc, 4Gn; per is "job", "cpu" (c) or "node" (n).

    A number without a unit is MiB, as in Slurm; None if unknown or 0, which asks for nothing. Raises ValueError.
    """
    stripped = text.strip().lower()
    if is_unknown(stripped) or stripped.startswith("?"):
        return None
    match = _SIZE.fullmatch(stripped)
    if not match:
        raise ValueError(f"{text!r} is not an amount of memory")
    number, unit, per = match.groups()
    gib = float(number) * _GIB_OF[unit or "m"]
    return (gib, {"c": "cpu", "n": "node", None: "job"}[per]) if gib else None
