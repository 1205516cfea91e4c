"""A policy as the plan carries it: which class fills each point, with which parameters, under which settings."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from scheduler.policy import POINTS, Policy
from scheduler.settings import Settings
from spotbed.guard import guarded
from spotbed.sources import source_file


def policy_from(spec: Mapping[str, Any]) -> Policy:
    """The policy of {"points": {point: {"class": "module:Class", "parameters": {…}}}, "settings": {…}}.

    Raises ImportError, AttributeError or TypeError when the package does not hold what the plan says.
    """
    points = {point: _part(spec["points"][point]) for point in POINTS}
    return Policy(**points, settings=Settings(**spec.get("settings", {})))


def guarded_from(spec: Mapping[str, Any]) -> Policy:
    """The policy as a function asks it: a user's own part through the guard of a simulation, so that what it raises or
    answers wrongly is an error that says where, and reaches no table."""
    policy = policy_from(spec)
    parts = {point: getattr(policy, point) for point in POINTS}
    return replace(policy, **{point: guarded(part, source_file(type(part))) for point, part in parts.items()})


def _part(given: Mapping[str, Any]) -> Any:
    module, _, name = given["class"].partition(":")
    parameters = {key: _value(value) for key, value in given.get("parameters", {}).items()}
    return getattr(importlib.import_module(module), name)(**parameters)


def _value(value: Any) -> Any:
    """A parameter; a mapping with a class is a part itself (`base` of a fallback)."""
    if isinstance(value, Mapping) and "class" in value:
        return _part(value)
    return tuple(value) if isinstance(value, list) else value
