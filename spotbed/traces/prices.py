"""Spot price histories, as `describe-spot-price-history` gives them: CSV or the AWS command line's JSON.

A history is a change point for each change of price, and in the years since 2017 one a day without a change; a price
holds until the next point of its series. Pools that use one file share one window of it: from the moment at which the
price of all of them is known to the last record of any.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sim.inputs import PricePath
from spotbed.errors import InputError, Problem
from spotbed.scenario.problems import shown, suggestion
from spotbed.traces.availability import is_json, parsed_json
from spotbed.traces.table import read_table, refuse
from spotbed.work.textfile import read_text

LINUX = "Linux/UNIX"  # AWS's name of the product
_MODELS = Path(__file__).parents[1] / "data" / "models.yaml"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_MS_PER_HOUR = 3_600_000
_REQUIRED = {
    "instance_type": ("InstanceType",),
    "az": ("AvailabilityZone", "availability_zone"),
    "timestamp_utc": ("Timestamp", "timestamp"),
    "usd_per_hour": ("SpotPrice", "spot_price", "price"),
}
_OPTIONAL = {"product": ("ProductDescription", "product_description")}
_KEYS = ("InstanceType", "AvailabilityZone", "Timestamp", "SpotPrice")
_LENIENT = "With --lenient the file is used as it is: sorted, the later of two equal times, prices held over holes."


class Series(NamedTuple):
    """Whose price: one instance type in one zone, for one product (operating system)."""

    instance_type: str
    az: str
    product: str = LINUX


@dataclass(frozen=True, slots=True)
class PriceHistory:
    """The prices of some pools over one common window, which `start` begins and `hours` long lasts.

    Each path ends with an entry that repeats the price before it: the end of the recording, where it starts again.
    `notes` says what was used although it is odd.
    """

    paths: Mapping[str, PricePath]
    start: datetime
    hours: float
    notes: tuple[str, ...] = ()


class _Record(NamedTuple):
    place: int  # line of a CSV file, index in a JSON list
    timestamp: str
    price: str


@dataclass(frozen=True, slots=True)
class _File:
    """The records of a history by series, as text, in the order of the file."""

    name: str
    is_json: bool
    has_product: bool
    series: Mapping[Series, list[_Record]]

    def problem(self, record: _Record, message: str, column: str, value: object, hint: str | None = None) -> Problem:
        if self.is_json:
            key = dict(zip(_REQUIRED, _KEYS, strict=True))[column]
            where = f"SpotPriceHistory[{record.place}].{key}"
            return Problem(message, self.name, path=where, value=value, hint=hint)
        return Problem(message, self.name, record.place, path=column, value=value, hint=hint)


def load_prices(
    path: Path, instance_type: str, az: str, product: str = LINUX, *, lenient: bool = False
) -> tuple[PricePath, datetime]:
    """One series of a history: its path, with times since its first record, and when that was (UTC)."""
    history = load_price_paths(path, {"one": Series(instance_type, az, product)}, lenient=lenient)
    return history.paths["one"], history.start


def load_price_paths(path: Path, wanted: Mapping[str, Series], *, lenient: bool = False) -> PriceHistory:
    """The prices of pools (by id) from one history, over the window that they have in common.

    Raises InputError with file, line or index and value: a type or zone that is not in the file, a price or a time
    that is none, times that neither rise nor fall throughout (AWS lists the newest first), equal times, and silence
    longer than AWS ever keeps. `lenient` lets the last three pass, as its name in the message says.
    """
    history = _read(path)
    points = {series: _points(history, series, lenient) for series in dict.fromkeys(wanted.values())}
    start_ms = max(int(times[0]) for times, _ in points.values())
    end_ms = max(int(times[-1]) for times, _ in points.values())
    ends = [hole for series in points for hole in _late_or_short(history, series, points)]
    if not lenient:
        refuse(ends)
    paths = {pool: _window(*points[series], start_ms, end_ms) for pool, series in wanted.items()}
    odd = len(ends) + sum(len(_odd(history, series)) for series in points) if lenient else 0
    note = f"{path.name}: {odd} prices that are out of order, come twice or stand at a hole are used as they are"
    hours = (end_ms - start_ms) / _MS_PER_HOUR
    return PriceHistory(paths, _EPOCH + start_ms * _MS, hours, (note,) if odd else ())


def read_price_history(path: Path, *, lenient: bool = False) -> dict[Series, PricePath]:
    """Every series of a history over its own span, in the order of their names."""
    history = _read(path)
    paths = {}
    for series in sorted(history.series):
        times, prices = _points(history, series, lenient)
        paths[series] = _window(times, prices, int(times[0]), int(times[-1]))
    return paths


@cache
def longest_silence_ms() -> int:
    """How long a series may have no record before that counts as a hole (data/models.yaml says why)."""
    import yaml

    models = yaml.safe_load(_MODELS.read_text(encoding="utf-8"))
    return int(models["price_history"]["longest_silence_h"]) * _MS_PER_HOUR


def _read(path: Path) -> _File:
    text = read_text(path)
    if not text.strip():
        raise InputError(Problem("is empty.", str(path)))
    rows, has_product = _json_rows(path, text) if is_json(text) else _csv_rows(path, text)
    series: dict[Series, list[_Record]] = {}
    for key, record in rows:
        series.setdefault(key, []).append(record)
    return _File(str(path), is_json(text), has_product, series)


def _csv_rows(path: Path, text: str) -> tuple[Iterable[tuple[Series, _Record]], bool]:
    table = read_table(path, text, _REQUIRED, _OPTIONAL)
    kinds, zones, times, prices = (table.columns[name] for name in _REQUIRED)
    products = table.columns.get("product") or [LINUX] * len(kinds)
    keys = map(Series, kinds, zones, products)
    return zip(keys, map(_Record, table.lines, times, prices), strict=True), "product" in table.columns


def _json_rows(path: Path, text: str) -> tuple[Iterable[tuple[Series, _Record]], bool]:
    content = parsed_json(path, text)
    entries = content.get("SpotPriceHistory") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        hint = suggestion("SpotPriceHistory", content) if isinstance(content, dict) else ""
        raise InputError(Problem("there is no list SpotPriceHistory.", str(path), hint=hint or None))
    if not entries:
        raise InputError(Problem("is empty.", str(path), path="SpotPriceHistory"))
    refuse([_bad_entry(path, index, entry) for index, entry in enumerate(entries) if _missing(entry)])
    rows = [
        (
            Series(entry["InstanceType"], entry["AvailabilityZone"], entry.get("ProductDescription", LINUX)),
            _Record(index, entry["Timestamp"], entry["SpotPrice"]),
        )
        for index, entry in enumerate(entries)
    ]
    return rows, any("ProductDescription" in entry for entry in entries)


def _missing(entry: object) -> list[str]:
    if not isinstance(entry, dict):
        return list(_KEYS)
    return [key for key in _KEYS if not isinstance(entry.get(key), str)]


def _bad_entry(path: Path, index: int, entry: object) -> Problem:
    missing = _missing(entry)
    hint = suggestion(missing[0], entry) if isinstance(entry, dict) else ""
    where = f"SpotPriceHistory[{index}]"
    return Problem(f"has no text {missing[0]!r}.", str(path), path=where, value=entry, hint=hint or None)


def _points(history: _File, series: Series, lenient: bool) -> tuple[list[int], list[float]]:
    """Times (ms since 1970, rising) and prices of one series."""
    records = _records(history, series)
    refuse([problem for record in records for problem in _unreadable(history, record)])
    records, times = _oldest_first(records)
    if not lenient:
        refuse(_odd(history, series))
    by_time = dict(sorted(zip(times, (float(record.price) for record in records), strict=True), key=_first))
    return list(by_time), list(by_time.values())


def _oldest_first(records: list[_Record]) -> tuple[list[_Record], list[int]]:
    """The records of a series and their times; AWS lists the newest first."""
    times = [_time_ms(record.timestamp) for record in records]
    return (records[::-1], times[::-1]) if len(times) > 1 and times[0] > times[-1] else (records, times)


def _odd(history: _File, series: Series) -> list[Problem]:
    """What is out of order in a series, comes twice, or stands at a hole."""
    return list(_disorder(history, series, *_oldest_first(_records(history, series))))


def _first(pair: tuple[int, float]) -> int:
    return pair[0]


def _records(history: _File, series: Series) -> list[_Record]:
    """The records of a series; an InputError says which part of its name the file does not have."""
    if not history.has_product and series.product != LINUX:
        message = f"has no product column, so it cannot tell the prices of {series.product!r}."
        raise InputError(Problem(message, history.name, path="product", value=series.product))
    if series in history.series:
        return history.series[series]
    known: Sequence[Series] = list(history.series)
    for part, value in zip(Series._fields, series, strict=True):
        narrower = [one for one in known if getattr(one, part) == value]
        if not narrower:
            word = {"instance_type": "type", "az": "zone", "product": "product"}[part]
            where = "" if part == "instance_type" else f" of {series.instance_type}"
            hint = suggestion(value, (getattr(one, part) for one in known))
            raise InputError(
                Problem(
                    f"has no prices{where} for {word} {shown(value)}.",
                    history.name,
                    path=part,
                    value=value,
                    hint=hint or None,
                )
            )
        known = narrower
    raise AssertionError(series)


def _unreadable(history: _File, record: _Record) -> Iterable[Problem]:
    if _time_ms(record.timestamp) < 0:
        message = f"{shown(record.timestamp)} is not a time such as 2021-03-02T01:46:11."
        yield history.problem(record, message, "timestamp_utc", record.timestamp)
    if not _is_price(record.price):
        message = f"{shown(record.price)} is not a price above 0."
        yield history.problem(record, message, "usd_per_hour", record.price)


def _time_ms(text: str) -> int:
    """Milliseconds since 1970; a time without a zone is UTC; -1 for what is no time."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return -1
    return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH) // _MS


def _is_price(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False


def _disorder(history: _File, series: Series, records: list[_Record], times: list[int]) -> Iterable[Problem]:
    for record, time, before in zip(records[1:], times[1:], times, strict=False):
        message = None
        if time < before:
            message = f"{record.timestamp} is out of order in {_named(series)}."
        elif time == before:
            message = f"{record.timestamp} comes twice in {_named(series)}."
        elif time - before > longest_silence_ms():
            hours = (time - before) / _MS_PER_HOUR
            message = f"before it {_named(series)} has a hole of {hours:.0f} h; AWS records a price at least daily."
        if message:
            yield history.problem(record, message, "timestamp_utc", record.timestamp, _LENIENT)


def _late_or_short(
    history: _File, series: Series, points: Mapping[Series, tuple[list[int], list[float]]]
) -> Iterable[Problem]:
    """A hole at either end: a series that starts long after the others, or ends long before them."""
    times = points[series][0]
    late_ms = times[0] - min(other[0] for other, _ in points.values())
    short_ms = max(other[-1] for other, _ in points.values()) - times[-1]
    records = history.series[series]
    for hole_ms, word, where in ((late_ms, "begins", 0), (short_ms, "ends", -1)):
        if hole_ms > longest_silence_ms():
            side = "after" if word == "begins" else "before"
            message = f"{_named(series)} {word} {hole_ms / _MS_PER_HOUR:.0f} h {side} the other pools' prices."
            yield history.problem(records[where], message, "timestamp_utc", records[where].timestamp, _LENIENT)


def _named(series: Series) -> str:
    return f"{series.instance_type} {series.az}"


def _window(times: list[int], prices: list[float], start_ms: int, end_ms: int) -> PricePath:
    """The prices in [start_ms, end_ms), times since start_ms, and the mark of the end."""
    at_ms, usd = np.array(times, dtype=np.int64), np.array(prices, dtype=np.float64)
    first = max(0, int(np.searchsorted(at_ms, start_ms, side="right")) - 1)
    last = max(first + 1, int(np.searchsorted(at_ms, end_ms, side="left")))
    inside = slice(first, last)
    at_ms, usd = np.maximum(at_ms[inside] - start_ms, 0), usd[inside]
    if end_ms == start_ms:
        return PricePath(at_ms, usd)
    return PricePath(np.r_[at_ms, end_ms - start_ms], np.r_[usd, usd[-1]])
