"""Parameters of policies as scenarios write them: `target: 1h` fills the field `target_ms`, `share: 0.5` plain ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from spotbed.errors import Problem
from spotbed.scenario.problems import shown, suggestion
from spotbed.scenario.units import UnitError, format_duration, parse_duration

_MS = "_ms"


def parameter_names(kind: type) -> dict[str, dataclasses.Field[Any]]:
    """The parameters of a policy class by the names that scenarios use."""
    if not dataclasses.is_dataclass(kind):
        return {}
    return {field.name.removesuffix(_MS): field for field in dataclasses.fields(kind)}


def shown_parameters(part: object) -> dict[str, Any]:
    """The parameters of a policy as a scenario would write them."""
    if not dataclasses.is_dataclass(part):
        return {}
    values: dict[str, Any] = {}
    for name, field in parameter_names(type(part)).items():
        value = getattr(part, field.name)
        if dataclasses.is_dataclass(value):
            values[name] = {"use": type(value).__name__, **shown_parameters(value)}
        else:
            values[name] = format_duration(value / 1000) if field.name.endswith(_MS) else value
    return values


def apply_parameters(part: Any, given: Mapping[str, Any], path: str, problems: list[Problem]) -> Any:
    """The part with the given parameters; what is wrong with them is added to `problems`."""
    names = parameter_names(type(part))
    changes = {}
    for name, value in given.items():
        field = names.get(name)
        if field is None:
            hint = suggestion(name, list(names)) if names else f"{type(part).__name__} takes none."
            problems.append(Problem(f"{shown(name)} is no parameter of {type(part).__name__}.", path=path, hint=hint))
            continue
        try:
            changes[field.name] = _value(field, value, getattr(part, field.name))
        except UnitError as error:
            problems.append(Problem(f"{error.message}.", path=f"{path}.{name}", value=value, hint=error.hint))
    try:
        return dataclasses.replace(part, **changes)
    except (TypeError, ValueError) as error:  # a user's class may refuse values
        problems.append(Problem(f"{type(part).__name__} refuses its parameters: {error}.", path=path))
        return part


def _value(field: dataclasses.Field[Any], value: Any, before: Any) -> Any:
    if field.name.endswith(_MS):
        return round(parse_duration(value) * 1000)
    if isinstance(before, bool):
        if not isinstance(value, bool):
            raise UnitError(f"must be true or false, not {shown(value)}", "")
        return value
    if isinstance(before, (int, float)):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise UnitError(f"must be a number, not {shown(value)}", "")
        return type(before)(value) if isinstance(before, float) or float(value).is_integer() else value
    if isinstance(before, str) and not isinstance(value, str):
        raise UnitError(f"must be text, not {shown(value)}", "")
    if dataclasses.is_dataclass(before):
        raise UnitError("cannot be set by a parameter", "Write a class of your own for it.")
    return value
