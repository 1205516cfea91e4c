"""The models of `sweep` and `search`: values to try, by the dotted path of a key."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field, Tag, model_validator

from spotbed.quantities import UnitError, format_duration, parse_duration
from spotbed.scenario.models_base import Name, Section, Several, Text, one_or_each, refuse

_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(\D.*?)\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Scale:
    """The numbers between the ends of a range, and how each is written in a scenario."""

    low: float
    high: float
    write: Callable[[float], Any]
    whole: bool = False


class Range(Section):
    """Every value between two."""

    from_: Any = Field(alias="from", description="the least: a number, or a quantity with its unit")
    to: Any = Field(description="the greatest, in the same unit or another duration")
    log: bool = Field(False, description="whether every factor counts the same, and not every difference")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        scale = self.scale
        if scale.low >= scale.high:
            raise refuse("must be greater than `from`", "A single value is a list of one: [45s].", "to")
        if self.log and scale.low <= 0:
            raise refuse("must be above 0 with `log: true`", "", "from")
        return self

    @property
    def scale(self) -> Scale:
        """The range as numbers. Raises a validator's error for ends that have no numbers between them."""
        low, high = self.from_, self.to
        if _is_number(low) and _is_number(high):
            whole = isinstance(low, int) and isinstance(high, int)
            return Scale(float(low), float(high), round if whole else _decimal, whole)
        if isinstance(low, str) and isinstance(high, str):
            return _durations(low, high) or _quantities(low, high)
        raise refuse("has ends of two kinds", "Write two numbers, or two quantities: {from: 15s, to: 3m}.", "to")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _durations(low: str, high: str) -> Scale | None:
    try:
        ends = parse_duration(low), parse_duration(high)
    except UnitError:
        return None
    return Scale(*ends, lambda seconds: format_duration(round(seconds, 3)))


def _quantities(low: str, high: str) -> Scale:
    """Numbers with the same unit, whichever it is: the key that they are for refuses one it does not know."""
    first, last = _QUANTITY.fullmatch(low), _QUANTITY.fullmatch(high)
    if first is None or last is None or first[2] != last[2]:
        raise refuse("has ends of two kinds", "Write two numbers, or two quantities of one unit.", "to")
    return Scale(float(first[1]), float(last[1]), lambda number: f"{_plain(number)} {first[2]}")


def _decimal(number: float) -> float:
    """Without the last bits, which mean nothing and read badly: 0.6, not 0.6000000000000001."""
    return float(f"{number:.12g}")


def _plain(number: float) -> str:
    return f"{number:.6f}".rstrip("0").rstrip(".")


Listed = Annotated[Several[Any], Field(min_length=1, max_length=1000), Tag("list")]
Values = Annotated[Listed | Annotated[Range, Tag("range")], one_or_each("list", "range")]
Sweep = dict[Text, Values]
OBJECTIVES = ("cost_usd", "makespan_s")


class Search(Section):
    """The parameters of a policy that `spotbed search` chooses."""

    policy: Name = Field(description="label of the policy that is tuned")
    space: Annotated[dict[Text, Values], Field(min_length=1, max_length=100)] = Field(
        description="values to try, by parameter: `place.max_share`, `order`, or the dotted path of a key of the entry"
    )
    objectives: Annotated[Several[Name], Field(min_length=1, max_length=5)] = Field(
        OBJECTIVES, validate_default=False, description="metrics to make good, all at once"
    )


def size_of(value: Any) -> float | None:
    """How large a value is among others of its kind: a number, seconds, or a quantity's number; None for any other."""
    if _is_number(value):
        return float(value)
    if not isinstance(value, str):
        return None
    try:
        return parse_duration(value)
    except UnitError:
        found = _QUANTITY.fullmatch(value)
        return float(found[1]) if found else None


def tried(values: Any) -> list[tuple[str | int, Any]]:
    """The values to try by which all of them are checked, each with its place: all of a list, the ends of a range."""
    if isinstance(values, Range):
        return [("from", values.from_), ("to", values.to)]
    return list(enumerate(values))
