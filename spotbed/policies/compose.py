"""Composes a policy from a scenario's entry: a preset or a user's class, with any of its points replaced."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scheduler.policies.order.easy import CENTRAL_ONLY
from scheduler.policies.presets import DEFAULTS, PARTS, PRESETS
from scheduler.policy import NOTHING_NEEDED, POINTS, Policy
from scheduler.settings import Settings
from spotbed.errors import InputError, Problem
from spotbed.guard import guarded
from spotbed.policies.catalogue import name_of
from spotbed.policies.load import entry_point_classes, file_of, filled_points, is_path, load_class, source_of
from spotbed.policies.parameters import apply_parameters, parameter_names, shown_parameters
from spotbed.scenario.models_policies import Part, PolicyEntry
from spotbed.scenario.problems import shown, suggestion
from spotbed.sources import line_of

LEGACY = "legacy-2019"
# architecture -> the points that its machines ask a policy
ASKED: Mapping[str, tuple[str, ...]] = {"decoupled": POINTS, "central": POINTS, LEGACY: ("place",)}
ASKED_ON_A_CLUSTER = ("order", "retry")  # nothing is launched there, and nothing interrupted
_ITS_SETTINGS = "legacy."  # prefix of its keys in the services data


@dataclass(frozen=True, slots=True)
class Composed:
    """A policy as composed: the parts, what they are called, and what goes to the architecture's own settings."""

    label: str
    architecture: str
    parts: Mapping[str, Any]
    names: Mapping[str, str]
    services: Mapping[str, Any]  # parameters of `use` that are settings of its architecture, as written
    files: Mapping[str, str] = field(default_factory=dict)  # of parts that are not ours, as the scenario names them

    def policy(self, settings: Settings, *, watched: bool = False) -> Policy:
        """The policy with the settings of a world. What parts that are not ours raise is a PolicyFailure, and so it is,
        where they are `watched`, that they change what they are given."""
        parts = {point: guarded(part, self.files.get(point), watched=watched) for point, part in self.parts.items()}
        return Policy(**parts, settings=settings, architecture=self.architecture)

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
        """The hash of the composition, and of the files of classes that are not built in."""
        content = [self.described(), sorted(_origin(part) for part in self.parts.values())]
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def compose(entry: PolicyEntry, base_dir: Path, path: str = "policies", *, on_cluster: bool = False) -> Composed:
    """The policy of an entry, for pools or a fixed cluster. Raises InputError with all that is wrong with it."""
    base = _base(entry, base_dir, path)
    composed = replace(base, label=entry.label, architecture=entry.architecture or base.architecture)
    asked = ASKED_ON_A_CLUSTER if on_cluster else ASKED[composed.architecture]
    if on_cluster and composed.architecture != "central":
        raise InputError(_no_head(entry, composed, path))
    problems = list(_never_asked(entry, base, asked, "a cluster" if on_cluster else composed.architecture, path))
    parts, names, files = dict(composed.parts), dict(composed.names), dict(composed.files)
    services = _apply_with(entry, parts, composed.architecture, asked, path, problems)
    for point, part in entry.parts():
        made = _part(point, part, base_dir, f"{path}.{point}", problems)
        if made is not None:
            parts[point], names[point] = made, part.use
            files.pop(point, None)
            if is_path(part.use):
                files[point] = _shown_file(part.use, base_dir)
    composed = replace(composed, parts=parts, names=names, services=services, files=files)
    problems += _out_of_sight(entry, composed, path)
    if problems:
        raise InputError([problem for number, problem in enumerate(problems) if problem not in problems[:number]])
    return composed


def _shown_file(name: str, base_dir: Path) -> str:
    return str(base_dir / file_of(name))


def _base(entry: PolicyEntry, base_dir: Path, path: str) -> Composed:
    """The architecture, the parts and their names that `use` gives, defaults included."""
    use = entry.use
    _, architecture, filled = PRESETS.get(use or "", ("", "decoupled", {}))
    if LEGACY in (architecture, entry.architecture):
        filled = {**PRESETS[LEGACY][2], **filled}
    parts = {**DEFAULTS, **filled}
    names = {point: name_of(point, part) for point, part in parts.items()}
    if use is None or use in PRESETS:
        return Composed(entry.label, architecture, parts, names, {})
    kind, file = _class_of(use, base_dir, f"{path}.use")
    made = _instance(kind, file)
    points = filled_points(kind, file)
    parts.update(dict.fromkeys(points, made))
    names.update(dict.fromkeys(points, use))
    return Composed(entry.label, architecture, parts, names, {}, dict.fromkeys(points, file) if file else {})


def _class_of(name: str, base_dir: Path, path: str) -> tuple[type, str | None]:
    """A class that is not built in, and its file as the scenario names it. Raises InputError at `path`."""
    if is_path(name):
        try:
            return load_class(name, base_dir), _shown_file(name, base_dir)
        except InputError as error:
            raise InputError([each if each.file else replace(each, path=path) for each in error.problems]) from error
    installed = entry_point_classes()
    if name in installed:
        return installed[name], None
    hint = suggestion(name, [*PRESETS, *installed])
    raise InputError(Problem(f"unknown policy {shown(name)}.", path=path, value=name, hint=hint))


def _part(point: str, part: Part, base_dir: Path, path: str, problems: list[Problem]) -> Any:
    """The part that fills a point, or None and problems."""
    try:
        kind, file = _kind_of(point, part.use, base_dir, f"{path}.use")
        made = _instance(kind, file)
    except InputError as error:
        problems += error.problems
        return None
    return apply_parameters(made, part.with_, f"{path}.with", problems)


def _kind_of(point: str, name: str, base_dir: Path, path: str) -> tuple[type, str | None]:
    builtin = PARTS[point]
    if name in builtin:
        return builtin[name], None
    if not is_path(name):
        hint = suggestion(name, builtin)
        raise InputError(Problem(f"unknown {point} policy {shown(name)}.", path=path, value=name, hint=hint))
    kind, file = _class_of(name, base_dir, path)
    if point not in filled_points(kind, file):
        raise InputError(Problem(f"{kind.__name__} does not fill {point!r}.", path=path, value=name))
    return kind, file


def _instance(kind: type, file: str | None) -> Any:
    try:
        return kind()
    except Exception as error:
        hint = "Every parameter of a policy needs a default."
        message = f"{kind.__name__} cannot be made: {type(error).__name__}: {error}."
        raise InputError(Problem(message, file, line_of(kind), value=kind.__name__, hint=hint)) from error


# parameters ---------------------------------------------------------------------------------------------------------
def _apply_with(
    entry: PolicyEntry,
    parts: dict[str, Any],
    architecture: str,
    asked: Collection[str],
    path: str,
    problems: list[Problem],
) -> dict[str, Any]:
    """Give the parameters of `use` to the parts that have them; what is left are the architecture's settings."""
    replaced = {point for point, _ in entry.parts()}
    open_points = [point for point in asked if point not in replaced]
    left = dict(entry.with_)
    for point in open_points:
        names = parameter_names(type(parts[point]))
        own = {name: value for name, value in entry.with_.items() if name in names}
        if own:
            parts[point] = apply_parameters(parts[point], own, f"{path}.with", problems)
        left = {name: value for name, value in left.items() if name not in own}
    if architecture == LEGACY:
        return _legacy_settings(left, f"{path}.with", problems)
    known = {name for point in open_points for name in parameter_names(type(parts[point]))}
    problems += [_left_over(name, entry, replaced, parts, known, f"{path}.with") for name in left]
    return {}


def _left_over(
    name: str,
    entry: PolicyEntry,
    replaced: Collection[str],
    parts: Mapping[str, Any],
    known: Collection[str],
    path: str,
) -> Problem:
    """A parameter that no part takes: of a part that was replaced, or of none."""
    point = next((point for point in replaced if name in parameter_names(type(parts[point]))), None)
    if point is None:
        message, hint = f"{shown(name)} is no parameter of {shown(entry.use)}.", suggestion(name, known)
    else:
        message = f"{shown(name)} has no effect: the entry fills {point!r} itself."
        hint = f"Give it to what fills the point: `{point}: {{use: ..., with: {{...}}}}`."
    return Problem(message, path=f"{path}.{name}", value=name, hint=hint)


def _legacy_settings(left: Mapping[str, Any], path: str, problems: list[Problem]) -> dict[str, Any]:
    """The settings of the machine of 2019, checked as the services data that they are."""
    from spotbed.scenario.services import values_of
    from spotbed.services_preset import ServicesPreset

    preset = ServicesPreset.load()
    known = {key.removeprefix(_ITS_SETTINGS) for key in preset.settings if key.startswith(_ITS_SETTINGS)}
    for name in left:
        if name not in known:
            text, hint = f"{shown(name)} is no parameter of {LEGACY}.", suggestion(name, known)
            problems.append(Problem(text, path=f"{path}.{name}", value=name, hint=hint))
    settings = {f"{_ITS_SETTINGS}{name}": value for name, value in left.items() if name in known}
    try:
        values_of(settings, preset)
    except InputError as error:
        problems += [replace(each, path=_below(path, each)) for each in error.problems]
    return settings


def _below(path: str, problem: Problem) -> str:
    """services.legacy.poll as policies.1.with.poll."""
    return f"{path}.{(problem.path or '').removeprefix(f'services.{_ITS_SETTINGS}')}"


# what has no effect -------------------------------------------------------------------------------------------------
def _never_asked(
    entry: PolicyEntry, base: Composed, asked: Collection[str], where: str, path: str
) -> Iterator[Problem]:
    """Points that the entry fills, or its `use`, and that nothing asks for `where` it is to run."""
    only = f"{where} asks a policy only for {' and '.join(asked)}"
    for point, _ in entry.parts():
        if point not in asked:
            yield Problem(f"has no effect: {only}.", path=f"{path}.{point}", hint="Remove it.")
    if where == base.architecture and not base.files:
        return
    filled = [point for point in _filled(entry, base) if point not in asked]
    if filled:
        message = f"{shown(entry.use)} fills {', '.join(filled)}, which has no effect: {only}."
        yield Problem(message, path=f"{path}.use", value=entry.use)


def _no_head(entry: PolicyEntry, composed: Composed, path: str) -> Problem:
    message = f"{composed.architecture} does not run on a cluster: one head node runs it."
    where = "use" if entry.use is not None and entry.architecture is None else "architecture"
    return Problem(message, path=f"{path}.{where}", value=composed.architecture, hint="Add `architecture: central`.")


def _filled(entry: PolicyEntry, base: Composed) -> Collection[str]:
    """The points that `use` fills itself."""
    if entry.use is not None and entry.use in PRESETS:
        return PRESETS[entry.use][2]
    return [point for point, name in base.names.items() if name == entry.use]


def _out_of_sight(entry: PolicyEntry, composed: Composed, path: str) -> Iterator[Problem]:
    """An order that needs the whole queue, where nothing sees it; or that ranks only, where nothing asks it."""
    order = composed.parts["order"]
    if composed.architecture != "decoupled" and hasattr(order, "rank") and not hasattr(order, "select"):
        message = f"{shown(composed.names['order'])} ranks what a worker claims: in {composed.architecture} none does."
        where = f"{path}.order" if entry.order is not None else f"{path}.use"
        yield Problem(message, path=where, hint="Take another order, or the decoupled architecture.")
        return
    if composed.architecture == "central" or not sees_the_queue(composed.parts["order"]):
        return
    where = f"{path}.order" if entry.order is not None else f"{path}.use"
    message = f"{shown(composed.names['order'])} needs the whole queue in one place: {composed.architecture} has none."
    yield Problem(message, path=where, hint="Add `architecture: central`, or take another order.")


def sees_the_queue(order: object) -> bool:
    """Whether an order, or its class, needs the whole queue in one place."""
    needs = getattr(order, "needs", NOTHING_NEEDED)
    if hasattr(order, "rank"):
        return False  # it ranks the first of the index, too
    declared = isinstance(needs, frozenset) and bool(needs & CENTRAL_ONLY)
    return declared or hasattr(order, "select") or hasattr(order, "reserve")


# names and origins --------------------------------------------------------------------------------------------------
def _origin(part: object) -> str:
    kind = type(part)
    if kind.__module__.startswith("scheduler."):
        return f"{kind.__module__}.{kind.__qualname__}"
    return f"{kind.__qualname__} {hashlib.sha256(source_of(kind)).hexdigest()}"
