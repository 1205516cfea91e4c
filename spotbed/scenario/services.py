"""The values of `services` that a scenario replaces: text with units becomes the numbers that a preset takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from spotbed.errors import InputError, Problem
from spotbed.quantities import UnitError, parse_duration, parse_rate, parse_size
from spotbed.scenario.models_world import Services
from spotbed.scenario.problems import shown

if TYPE_CHECKING:
    from spotbed.services_preset import ServicesPreset


def _plain(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise UnitError(f"must be a number, not {shown(value)}", "Write it without a unit.")


def _size_per_second(value: object) -> float:
    text = str(value).strip()
    if not text.endswith("/s"):
        raise UnitError("must be a size per second", "Write it as 250 MiB/s.")
    return parse_size(text.removesuffix("/s"))


_READERS: Mapping[str, Callable[[object], float]] = {
    "duration": parse_duration,
    "rate_per_s": parse_rate,
    "gib": parse_size,
    "gib_per_s": _size_per_second,
    "probability": _plain,
    "count": _plain,
}


def service_values(services: Services) -> dict[str, float]:
    """What the scenario replaces, by dotted key, in the units of `ServicesPreset`: seconds, per second, GiB, counts.

    Raises InputError with a problem for each unknown key and each value that is none.
    """
    from spotbed.services_preset import ServicesPreset  # a scenario without overrides needs it only to run

    return values_of(services.overrides(), ServicesPreset.load(services.source))


def values_of(replaced: Mapping[str, object], preset: ServicesPreset) -> dict[str, float]:
    """The same for values as written, by dotted key."""
    values: dict[str, float] = {}
    problems: list[Problem] = []
    for key, written in replaced.items():
        try:
            values[key] = _READERS[preset.kind(key)](written)
        except UnitError as error:
            problems.append(Problem(f"{error.message}.", path=f"services.{key}", value=written, hint=error.hint))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    preset.with_overrides(values)
    return values
