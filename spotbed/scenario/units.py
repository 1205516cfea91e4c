"""Quantities in the scenario's models: read from text as `spotbed.quantities` does, shown as text, told to editors."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from spotbed.quantities import (
    DURATION_PATTERN,
    MONEY_PATTERN,
    PRICE_PATTERN,
    RATE_PATTERN,
    SIZE_PATTERN,
    TIMESTAMP_PATTERN,
    UnitError,
    format_duration,
    format_money,
    format_price,
    format_rate,
    format_size,
    format_timestamp,
    parse_duration,
    parse_money,
    parse_price,
    parse_rate,
    parse_size,
    parse_timestamp,
)


def _quantity(
    parse: Callable[[object], Any], show: Callable[[Any], str], pattern: str, examples: list[str], what: str
) -> tuple[BeforeValidator, PlainSerializer, WithJsonSchema]:
    """What makes a float (or datetime) of a model a quantity: read from text, shown as text, described for editors."""

    remembered = lru_cache(maxsize=4096)(parse)  # the same few texts stand in a scenario again and again

    def read(value: object) -> Any:
        try:
            return remembered(value) if isinstance(value, str) else parse(value)
        except UnitError as error:
            raise PydanticCustomError("unit", "{text}", {"text": error.message, "hint": error.hint}) from None

    schema = {"type": "string", "pattern": pattern, "examples": examples, "description": what}
    return BeforeValidator(read), PlainSerializer(show, return_type=str, when_used="json"), WithJsonSchema(schema)


_DURATION = _quantity(parse_duration, format_duration, DURATION_PATTERN, ["45s", "90m", "1h30m", "2d"], "a duration")
_MONEY = _quantity(parse_money, format_money, MONEY_PATTERN, ["500 USD"], "an amount of money")
_PRICE = _quantity(parse_price, format_price, PRICE_PATTERN, ["0.97 USD/h"], "a price per hour")
_RATE = _quantity(parse_rate, format_rate, RATE_PATTERN, ["25/h", "3/s"], "a rate")
_SIZE = _quantity(parse_size, format_size, SIZE_PATTERN, ["8 GiB", "500 MB"], "a size")
_TIMESTAMP = _quantity(parse_timestamp, format_timestamp, TIMESTAMP_PATTERN, ["2026-03-02T08:00Z"], "a moment")

Duration = Annotated[float, Field(ge=0), *_DURATION]
"""Seconds, 0 or more."""
Span = Annotated[float, Field(gt=0), *_DURATION]
"""Seconds, more than 0."""
Money = Annotated[float, Field(gt=0), *_MONEY]
"""USD, more than 0."""
UsdPerHour = Annotated[float, Field(ge=0), *_PRICE]
"""USD per hour, 0 or more."""
Rate = Annotated[float, Field(gt=0), *_RATE]
"""Events per second, more than 0."""
Size = Annotated[float, Field(ge=0), *_SIZE]
"""GiB, 0 or more."""
Timestamp = Annotated[datetime, *_TIMESTAMP]
"""An aware datetime in UTC."""
