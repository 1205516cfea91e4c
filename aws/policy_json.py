"""A policy as the JSON that a plan carries, and that `aws.policy` reads where the functions run.

Each point names its class (`module:Class`) and all values of its fields, defaults included: what a later version of the
same class would take by default does not matter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from scheduler.policy import POINTS, Policy
from spotbed.errors import InputError, Problem

_PLAIN = (str, int, float, bool, type(None))
ModuleOf = Callable[[type], str]


def policy_document(policy: Policy, label: str, module_of: ModuleOf = lambda kind: kind.__module__) -> dict[str, Any]:
    """A policy as plain JSON values. `module_of` says where a class stands once it is packaged.

    Raises InputError for a parameter that JSON cannot carry.
    """
    return {
        "label": label,
        "architecture": policy.architecture,
        "points": {point: _part(getattr(policy, point), point, module_of) for point in POINTS},
        "settings": dataclasses.asdict(policy.settings),
    }


def _part(value: Any, place: str, module_of: ModuleOf) -> dict[str, Any]:
    kind = type(value)
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    parameters = {
        field.name: _value(getattr(value, field.name), f"{place}.{field.name}", module_of)
        for field in fields
        if field.init
    }
    return {"class": f"{module_of(kind)}:{kind.__qualname__}", "parameters": parameters}


def _value(value: Any, place: str, module_of: ModuleOf) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, tuple | list):
        return [_value(each, place, module_of) for each in value]
    if isinstance(value, Mapping) and "class" not in value:
        return {str(key): _value(each, f"{place}.{key}", module_of) for key, each in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _part(value, place, module_of)
    hint = "A parameter that is deployed is a number, text, true or false, or a list or mapping of them."
    raise InputError(Problem(f"is a {type(value).__name__}, which a plan cannot carry.", path=place, hint=hint))
