"""Quantities: what people write becomes seconds, USD, GiB, and comes back as the same number."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotbed import quantities

finite = st.floats(min_value=0, max_value=1e15, allow_subnormal=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45s", 45),
        ("90m", 5400),
        ("1h30m", 5400),
        ("1d 6h", 108_000),
        ("2m", 120),
        ("500ms", 0.5),
        ("1m500ms", 60.5),
        ("0s", 0),
        ("1.5h", 5400),
        ("5 s", 5),
        ("0.1s", 0.1),
        ("36500d", 36_500 * 86_400),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert quantities.parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        (40, "a duration without a unit", "Write 40s, 40m or 40h."),
        (0.5, "a duration without a unit", "Write 0.5s, 0.5m or 0.5h."),
        ("40", "a duration without a unit", "Write 40s, 40m or 40h."),
        ("1:30", "not a duration", "Write 1h30m or 1m30s."),
        ("-5m", "a duration must not be negative", "Write it as 45s, 90m, 1h30m or 2d."),
        ("30m1h", "not a duration", "Write it as 45s, 90m, 1h30m or 2d."),
        ("1h1h", "not a duration", "Write it as 45s, 90m, 1h30m or 2d."),
        ("90 min", "not a duration", "Write it as 45s, 90m, 1h30m or 2d."),
        ("", "not a duration", "Write it as 45s, 90m, 1h30m or 2d."),
        ("٤s", "not a duration", "Write it as 45s, 90m, 1h30m or 2d."),
        (True, "not a duration", "Write it as 45s, 90m, 1h30m or 2d."),
        (None, "not a duration", "Write it as 45s, 90m, 1h30m or 2d."),
        ("40000d", "a duration of more than 100 years", "Write it as 45s, 90m, 1h30m or 2d."),
        ("0.1ms", "a duration shorter than 1ms, the step of the clock", "Write 0s or at least 1ms."),
    ],
)
def test_bad_durations(value: object, message: str, hint: str) -> None:
    with pytest.raises(quantities.UnitError) as caught:
        quantities.parse_duration(value)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (quantities.parse_money, "500 USD", 500.0),
        (quantities.parse_money, "0.5USD", 0.5),
        (quantities.parse_price, "0.97 USD/h", 0.97),
        (quantities.parse_rate, "25/h", 25 / 3600),
        (quantities.parse_rate, "3/s", 3.0),
        (quantities.parse_rate, "100/d", 100 / 86_400),
        (quantities.parse_size, "8 GiB", 8.0),
        (quantities.parse_size, "512 MiB", 0.5),
        (quantities.parse_size, "500 MB", 500e6 / 2**30),
        (quantities.parse_size, "16 GB", 16e9 / 2**30),
        (quantities.parse_timestamp, "2026-03-02T08:00Z", datetime(2026, 3, 2, 8, tzinfo=UTC)),
        (quantities.parse_timestamp, "2026-03-02T08:00+02:00", datetime(2026, 3, 2, 6, tzinfo=UTC)),
    ],
)
def test_other_units(parse: Callable[[object], object], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "value", "message"),
    [
        (quantities.parse_money, 500, "an amount of money without a unit"),
        (quantities.parse_money, "500 EUR", "not an amount of money"),
        (quantities.parse_money, "-1 USD", "an amount of money must not be negative"),
        (quantities.parse_price, "0.97 USD", "not a price per hour"),
        (quantities.parse_price, 0.97, "a price per hour without a unit"),
        (quantities.parse_rate, 25, "a rate without a unit"),
        (quantities.parse_rate, "25/week", "not a rate"),
        (quantities.parse_size, 8, "a size without a unit"),
        (quantities.parse_size, "8 gb", "not a size"),
        (quantities.parse_timestamp, "2026-03-02", "not a moment"),
        (quantities.parse_timestamp, "2026-03-02T08:00", "not a moment"),
        (quantities.parse_timestamp, "2026-13-02T08:00Z", "not a moment"),
        (quantities.parse_timestamp, 5, "not a moment"),
    ],
)
def test_other_bad_units(parse: Callable[[object], object], value: object, message: str) -> None:
    with pytest.raises(quantities.UnitError) as caught:
        parse(value)
    assert caught.value.message.startswith(message)


@given(st.floats(min_value=0.001, max_value=3e9) | st.just(0.0))
def test_durations_come_back(seconds: float) -> None:
    assert quantities.parse_duration(quantities.format_duration(seconds)) == seconds


@given(finite)
def test_amounts_come_back(value: float) -> None:
    assert quantities.parse_money(quantities.format_money(value)) == value
    assert quantities.parse_price(quantities.format_price(value)) == value
    assert quantities.parse_rate(quantities.format_rate(value)) == value
    assert quantities.parse_size(quantities.format_size(value)) == value


@given(st.datetimes(min_value=datetime(1900, 1, 2), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis wants it naive
def test_moments_come_back(moment: datetime) -> None:
    assert quantities.parse_timestamp(quantities.format_timestamp(moment)) == moment


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (quantities.format_duration, 5400.0, "1h30m"),
        (quantities.format_duration, 86_400.0, "1d"),
        (quantities.format_duration, 0.25, "250ms"),
        (quantities.format_duration, 61.5, "1m1.5s"),
        (quantities.format_duration, 0.0, "0s"),
        (quantities.format_rate, 100 / 86_400, "100/d"),
        (quantities.format_rate, 25 / 3600, "25/h"),
        (quantities.format_size, 0.5, "512 MiB"),
        (quantities.format_size, 8.0, "8 GiB"),
        (quantities.format_price, 0.97, "0.97 USD/h"),
        (quantities.format_timestamp, datetime(2026, 3, 2, 8, tzinfo=UTC), "2026-03-02T08:00Z"),
    ],
)
def test_people_read(show: Callable[[Any], str], value: object, text: str) -> None:
    assert show(value) == text


@given(st.text(max_size=20))
def test_random_text_is_a_number_or_a_unit_error(text: str) -> None:
    parsers: list[Callable[[object], object]] = [
        quantities.parse_duration,
        quantities.parse_money,
        quantities.parse_price,
        quantities.parse_rate,
        quantities.parse_size,
        quantities.parse_timestamp,
    ]
    for parse in parsers:
        with contextlib.suppress(quantities.UnitError):
            assert isinstance(parse(text), float | datetime)
