"""Parameters of policies as scenarios write them: `target: 1h` fills the field `target_ms`, `share: 0.5` plain ones."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from scheduler.policy import CHECKPOINT, RELEASE, RUN_ON
from spotbed.errors import Problem
from spotbed.quantities import UnitError, format_duration, parse_duration
from spotbed.scenario.problems import shown, suggestion

_MS = "_ms"
# parameters of built-in parts: the words that they may be, and (least, most, whether the least itself is too small)
_WORDS: Mapping[str, tuple[str, ...]] = {
    "purchase": ("spot", "on-demand", "any"),
    "available": ("launches", "now"),
    "candidates": ("fcfs", "sjbf"),
    "correction": ("request", "steps"),
    "rebalance": (RUN_ON, CHECKPOINT, RELEASE),
    "strategy": ("price-capacity-optimized", "capacity-optimized", "lowest-price"),
}
_BOUNDS: Mapping[str, tuple[float, float, bool]] = {
    "points_per_hour": (0, math.inf, True),
    "risk_weight": (0, math.inf, False),
    "prior_hours": (0, math.inf, True),
    "max_share_per_pool": (0, 1, True),
    "on_demand_floor": (0, 1, False),
    "after_interruptions": (0, math.inf, False),
    "max_workers": (1, math.inf, False),
    "target": (0, math.inf, True),
    "every": (0, math.inf, True),
    "mtbf": (0, math.inf, True),
    "slack_factor": (0, math.inf, False),
    "share": (0, 1, False),
    "price_ratio": (1, math.inf, True),
    "slices": (1, 10_000, False),
    "zones": (2, 1_000, False),
    "wait": (0, math.inf, True),
    "shape": (0, 10, True),
    "capacity": (1, math.inf, False),
    "retry_cost": (0, math.inf, False),
    "timeout_cost": (0, math.inf, False),
    "alike": (1, math.inf, False),
    "after": (1, math.inf, False),
    "first": (2, 100, False),
    "quantum": (0, math.inf, True),
    "half_life": (0, math.inf, True),
    "recent": (0, math.inf, True),
    "least": (1, math.inf, False),
    "most": (1, math.inf, False),
}


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
    """The part with the given parameters; what is wrong with them is added to `problems`, at `path` + its name."""
    kind = type(part)
    names = parameter_names(kind)
    changes = {}
    for name, value in given.items():
        field = names.get(name)
        if field is None:
            hint = suggestion(name, names) if names else f"{kind.__name__} takes none."
            message = f"{shown(name)} is no parameter of {kind.__name__}."
            problems.append(Problem(message, path=f"{path}.{name}", value=name, hint=hint))
            continue
        try:
            changes[field.name] = _value(field, value, getattr(part, field.name))
            _refuse_impossible(kind, name, field, value, changes[field.name])
        except UnitError as error:
            problems.append(Problem(f"{error.message}.", path=f"{path}.{name}", value=value, hint=error.hint))
    if not changes:
        return part
    try:
        return dataclasses.replace(part, **changes)
    except Exception as error:  # noqa: BLE001 a user's class may refuse values as it likes
        problems.append(Problem(f"{kind.__name__} refuses its parameters: {error}.", path=path))
        return part


def _value(field: dataclasses.Field[Any], value: Any, before: Any) -> Any:
    if field.name.endswith(_MS):
        return round(parse_duration(value) * 1000)
    if isinstance(before, bool):
        if not isinstance(value, bool):
            raise UnitError(f"must be true or false, not {shown(value)}", "")
        return value
    if isinstance(before, (int, float)):
        return _number(value, type(before))
    if isinstance(before, str) and not isinstance(value, str):
        raise UnitError(f"must be text, not {shown(value)}", "")
    if isinstance(before, tuple) and isinstance(value, list | tuple):
        return _as_tuple(value)
    if dataclasses.is_dataclass(before) or isinstance(before, tuple):
        raise UnitError("cannot be set by a parameter", "Write a class of your own for it.")
    return value


def _as_tuple(value: Any) -> Any:
    """Lists, and lists in them, as the tuples that a frozen policy holds."""
    return tuple(map(_as_tuple, value)) if isinstance(value, list | tuple) else value


def _number(value: Any, kind: type) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UnitError(f"must be a number, not {shown(value)}", "")
    if kind is int and value != int(value):
        raise UnitError(f"must be a whole number, not {shown(value)}", "")
    return int(value) if kind is int else float(value)


def _refuse_impossible(kind: type, name: str, field: dataclasses.Field[Any], written: Any, value: Any) -> None:
    """A value that a parameter of ours cannot have, also where a user's class inherits it."""
    owner = next((base for base in kind.__mro__ if field.name in vars(base).get("__annotations__", {})), kind)
    if not owner.__module__.startswith("scheduler."):
        return
    if name in _WORDS and value not in _WORDS[name]:
        raise UnitError(f"{shown(value)} is not known", suggestion(value, _WORDS[name]))
    bounds = _BOUNDS.get(name)
    if bounds is None:
        return
    low, high, open_below = bounds
    if value < low or value > high or (open_below and value == low):
        least = f"above {low:g}" if open_below else f"at least {low:g}"
        most = f" and at most {high:g}" if math.isfinite(high) else ""
        raise UnitError(f"must be {least}{most}, not {shown(written)}", "")
