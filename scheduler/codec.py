"""One versioned codec between records and plain JSON values: states, events and commands, nested ones included.

{"v": 1, "is": "JobClaimed", ...fields}; a nested record is the same without the version. Tuples become lists and come
back as tuples. A field with a default may be missing, so that records can grow; an unknown name, an unknown field and
any other missing field are a `CodecError`.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from scheduler import commands, events, fleet, job_record, legacy, observation, settings, worker

VERSION = 1
_MODULES = (commands, events, fleet, job_record, legacy, observation, settings, worker)
RECORDS: dict[str, type] = {
    name: value
    for module in _MODULES
    for name, value in vars(module).items()
    if isinstance(value, type) and is_dataclass(value) and value.__module__ == module.__name__
}


class CodecError(ValueError):
    """The value is no record of this version."""


def encode(record: Any) -> dict[str, Any]:
    """A record as JSON values, with the codec's version."""
    return {"v": VERSION, **_encoded(record)}


def decode(value: dict[str, Any]) -> Any:
    """The record that `encode` was given. Raises CodecError."""
    version = value.get("v")
    if version != VERSION:
        raise CodecError(f"version {version!r}, not {VERSION}")
    return _decoded({key: inner for key, inner in value.items() if key != "v"})


def _encoded(value: Any) -> Any:
    if is_dataclass(value):
        name = type(value).__name__
        if RECORDS.get(name) is not type(value):
            raise CodecError(f"{name} is no record")
        return {"is": name, **{field.name: _encoded(getattr(value, field.name)) for field in fields(value)}}
    if isinstance(value, (tuple, list)):
        return [_encoded(inner) for inner in value]
    return value


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decoded(inner) for inner in value)
    if not isinstance(value, dict):
        return value
    name = value.get("is")
    kind = RECORDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise CodecError(f"unknown record {name!r}")
    given = {key: _decoded(inner) for key, inner in value.items() if key != "is"}
    known = {field.name: field for field in fields(kind)}
    unknown = given.keys() - known.keys()
    missing = {name for name, field in known.items() if field.default is MISSING} - given.keys()
    if unknown or missing:
        raise CodecError(f"{kind.__name__}: unknown fields {sorted(unknown)}, missing fields {sorted(missing)}")
    return kind(**given)
