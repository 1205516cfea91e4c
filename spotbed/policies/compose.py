"""Composes a policy from a scenario's entry: a preset or a user's class, with any of its points replaced."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scheduler.policies.presets import DEFAULTS, PARTS, PRESETS
from scheduler.policy import POINTS, Policy
from scheduler.settings import Settings
from spotbed.errors import InputError, Problem
from spotbed.policies.load import entry_point_classes, filled_points, is_path, load_class
from spotbed.policies.parameters import apply_parameters, parameter_names, shown_parameters
from spotbed.scenario.models_policies import Part, PolicyEntry
from spotbed.scenario.problems import shown, suggestion


@dataclass(frozen=True, slots=True)
class Composed:
    """A policy as composed: the parts, what they are called, and what goes to the architecture's own settings."""

    label: str
    architecture: str
    parts: Mapping[str, Any]
    names: Mapping[str, str]
    services: Mapping[str, Any]  # parameters of `use` that are settings of its architecture, as written

    def policy(self, settings: Settings) -> Policy:
        """The policy with the settings of a world."""
        return Policy(**self.parts, settings=settings, architecture=self.architecture)

    def described(self) -> dict[str, Any]:
        """All its settings, for tables and for the hash."""
        parts = {point: {"use": self.names[point], **shown_parameters(self.parts[point])} for point in POINTS}
        return {
            "architecture": self.architecture,
            **parts,
            **({"services": dict(self.services)} if self.services else {}),
        }

    @property
    def sha256(self) -> str:
        """The hash of the composition, and of the source of classes that are not built in."""
        content = [self.described(), sorted(_source_of(part) for part in self.parts.values())]
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def compose(entry: PolicyEntry, base_dir: Path, path: str = "policies") -> Composed:
    """The policy of an entry. Raises InputError with all that is wrong with it."""
    problems: list[Problem] = []
    architecture, parts, names = _base(entry, base_dir, path)
    services = _apply_with(entry, parts, architecture, path, problems)
    for point, part in entry.parts():
        made = _part(point, part, base_dir, f"{path}.{point}", problems)
        if made is not None:
            parts[point], names[point] = made, part.use
    if entry.architecture is not None:
        architecture = entry.architecture
    if problems:
        raise InputError(problems)
    return Composed(entry.label, architecture, parts, names, services)


def _base(entry: PolicyEntry, base_dir: Path, path: str) -> tuple[str, dict[str, Any], dict[str, str]]:
    """The architecture, the parts and their names that `use` gives, defaults included."""
    parts = dict(DEFAULTS)
    names = {point: _name_of(point, part) for point, part in parts.items()}
    if entry.use is None:
        return "decoupled", parts, names
    if entry.use in PRESETS:
        _, architecture, filled = PRESETS[entry.use]
        parts.update(filled)
        return architecture, parts, {point: _name_of(point, part) for point, part in parts.items()}
    kind = _class_of(entry.use, base_dir, path)
    made = _instance(kind, path)
    for point in filled_points(kind):
        parts[point], names[point] = made, entry.use
    return "decoupled", parts, names


def _class_of(name: str, base_dir: Path, path: str) -> type:
    if is_path(name):
        return load_class(name, base_dir)
    installed = entry_point_classes()
    if name in installed:
        return installed[name]
    hint = suggestion(name, [*PRESETS, *installed])
    raise InputError(Problem(f"unknown policy {shown(name)}.", path=f"{path}.use", value=name, hint=hint))


def _part(point: str, part: Part, base_dir: Path, path: str, problems: list[Problem]) -> Any:
    builtin = PARTS[point]
    try:
        if part.use in builtin:
            kind = builtin[part.use]
        elif is_path(part.use):
            kind = load_class(part.use, base_dir)
            if point not in filled_points(kind):
                raise InputError(Problem(f"{kind.__name__} has not the methods of {point!r}.", path=path))
        else:
            raise InputError(
                Problem(
                    f"unknown {point} policy {shown(part.use)}.",
                    path=path,
                    value=part.use,
                    hint=suggestion(part.use, list(builtin)) or f"It is one of {', '.join(builtin)}.",
                )
            )
        return apply_parameters(_instance(kind, path), part.with_, path, problems)
    except InputError as error:
        problems.extend(error.problems)
        return None


def _apply_with(
    entry: PolicyEntry, parts: dict[str, Any], architecture: str, path: str, problems: list[Problem]
) -> dict[str, Any]:
    """Give the parameters of `use` to the parts that have them; the rest to the architecture's settings."""
    replaced = {point for point, _ in entry.parts()}
    left = dict(entry.with_)
    for point, part in parts.items():
        own = {name: left[name] for name in parameter_names(type(part)) if name in left}
        if own and point not in replaced:
            parts[point] = apply_parameters(part, own, f"{path}.with", problems)
            for name in own:
                if name not in _shared_names(parts, point):
                    left.pop(name)
    if architecture == "legacy-2019":
        return _legacy_settings(left, path, problems)
    for name in left:
        if not any(name in parameter_names(type(part)) for part in parts.values()):
            known = [key for part in parts.values() for key in parameter_names(type(part))]
            problems.append(
                Problem(
                    f"{shown(name)} is no parameter of {shown(entry.use)}.",
                    path=f"{path}.with",
                    value=name,
                    hint=suggestion(name, known),
                )
            )
    return {}


def _shared_names(parts: Mapping[str, Any], after: str) -> set[str]:
    """Parameters that a later point has too: a class of the user's may fill several points."""
    later = list(POINTS)[list(POINTS).index(after) + 1 :]
    return {name for point in later for name in parameter_names(type(parts[point]))}


def _legacy_settings(left: Mapping[str, Any], path: str, problems: list[Problem]) -> dict[str, Any]:
    from spotbed.services_preset import ServicesPreset

    prefix = "legacy."
    known = [key.removeprefix(prefix) for key in ServicesPreset.load().settings if key.startswith(prefix)]
    for name in left:
        if name not in known:
            text, hint = f"{shown(name)} is no parameter of legacy-2019.", suggestion(name, known)
            problems.append(Problem(text, path=f"{path}.with", value=name, hint=hint))
    return {f"{prefix}{name}": value for name, value in left.items() if name in known}


def _instance(kind: type, path: str) -> Any:
    try:
        return kind()
    except TypeError as error:
        hint = "Every parameter of a policy needs a default."
        raise InputError(Problem(f"{kind.__name__} cannot be made: {error}.", path=path, hint=hint)) from error


def _name_of(point: str, part: object) -> str:
    """What scenarios call a built-in part."""
    return next((name for name, kind in PARTS[point].items() if type(part) is kind), type(part).__name__)


def _source_of(part: object) -> str:
    kind = type(part)
    if kind.__module__.startswith("scheduler."):
        return f"{kind.__module__}.{kind.__qualname__}"
    import inspect

    return inspect.getsource(kind)


def with_point(composed: Composed, point: str, part: object, name: str) -> Composed:
    """The composition with one part replaced."""
    return replace(composed, parts={**composed.parts, point: part}, names={**composed.names, point: name})
