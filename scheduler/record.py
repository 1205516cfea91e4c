"""`@record`: a frozen, slotted dataclass that costs no more than a plain one.

Every state, event and command of the core is a record, and a simulated job takes fifteen of them. The dataclass
machinery writes a frozen instance through `object.__setattr__`: 0.63 us for six fields on CPython 3.11, and 0.13 us
without. So a record is frozen for the type checker always, and at run time after `guard()`, which is called by the
tests and wherever a policy of a user takes part: there, whatever writes to a record fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import MISSING, FrozenInstanceError, dataclass, fields
from typing import Any, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")
_RECORDS: list[type[Any]] = []
_GUARDED: list[bool] = []


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """Make `cls` a slotted dataclass whose instances nobody changes. Defaults must be immutable values."""
    bases = [base for base in cls.__mro__ if base in _RECORDS]
    _call_frozen(bases, False)  # to `dataclass`, which lets only one kind inherit from the other
    made = dataclass(slots=True, unsafe_hash=True)(cls)
    _call_frozen([*bases, made], True)
    for name, method in (("__getstate__", _state), ("__setstate__", _restore)):
        setattr(made, name, method)
    _RECORDS.append(made)
    if _GUARDED:
        _freeze(made)
    return made


def _call_frozen(classes: Iterable[type[Any]], answer: bool) -> None:
    for each in classes:
        each.__dataclass_params__.frozen = answer


def guard() -> None:
    """From now on, to change a record raises FrozenInstanceError."""
    if not _GUARDED:
        _GUARDED.append(True)
        for cls in _RECORDS:
            _freeze(cls)


def _freeze(cls: type[Any]) -> None:
    """Its own constructor comes first: it needs the slots of the fields, and a class may inherit what refuses."""
    for name, method in (("__init__", _init_by_descriptors(cls)), ("__setattr__", _refuse), ("__delattr__", _refuse)):
        setattr(cls, name, method)


def _state(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in fields(self)]


def _restore(self: Any, state: list[Any]) -> None:
    for field, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)


def _refuse(self: object, name: str, *_: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot change field {name!r} of a record: make another with dataclasses.replace")


def _init_by_descriptors(cls: type[Any]) -> Callable[..., None]:
    """The constructor of a class whose fields cannot be assigned: it calls the slots' own descriptors."""
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
    if hasattr(cls, "__post_init__"):
        body.append(" self.__post_init__()")
    source = f"def __init__(self, {', '.join(parameters)}):\n" + "\n".join(body or [" pass"])
    exec(source, scope)  # noqa: S102 the technique of dataclasses itself, on names of fields only
    init: Callable[..., None] = scope["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init
