"""From a file to a scenario, or to all that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from spotbed.errors import InputError, Problem
from spotbed.scenario.check import check_data, lookups
from spotbed.scenario.models import Scenario
from spotbed.scenario.models_base import Reading
from spotbed.scenario.overrides import apply_overrides
from spotbed.scenario.problems import is_error, render, render_all
from spotbed.scenario.translate import Translator
from spotbed.scenario.yaml_positions import read_document

__all__ = ["load_scenario", "render", "render_all", "validate"]

_MOST_TOLD = 200


def load_scenario(path: str | Path, overrides: Sequence[str] = ()) -> Scenario:
    """The scenario in a file, with `key=value` texts applied (as --set takes them).

    Times are in seconds, sizes in GiB, money in USD. Raises InputError with every error there is; warnings are in
    `Scenario.warnings`.
    """
    scenario, problems = _read(Path(path), overrides)
    errors = [problem for problem in problems if is_error(problem)]
    if errors or scenario is None:
        raise InputError(errors)
    return scenario


def validate(path: str | Path, overrides: Sequence[str] = ()) -> list[Problem]:
    """All that is wrong or odd with a file, in the order of its lines; warnings are instances of `Caution`."""
    try:
        _, problems = _read(Path(path), overrides)
    except InputError as error:
        problems = error.problems
    return problems


def _read(path: Path, overrides: Sequence[str]) -> tuple[Scenario | None, list[Problem]]:
    document = read_document(path)
    if not isinstance(document.data, dict):
        kind = "a list" if isinstance(document.data, list) else "a single value"
        hint = "Start with `workload:`, `capacity:` and `policies:`; `spotbed init DIR` writes an example."
        raise InputError([*document.problems, document.problem(f"must be a mapping, not {kind}.", (), hint=hint)])
    document = apply_overrides(document, overrides)
    document.data = {"name": _name_of(path), **document.data}
    reading = Reading(path.parent, lookups())
    problems = list(document.problems)
    scenario = None
    try:
        scenario = Scenario.model_validate(document.data, context=reading)
    except ValidationError as error:
        problems += Translator(document, reading).problems(error)
    problems += check_data(document, scenario, problems, path.parent)
    problems.sort(key=_place)
    errors = [problem for problem in problems if is_error(problem)]
    warnings = [problem for problem in problems if not is_error(problem)][:_MOST_TOLD]
    if scenario is not None:
        scenario.attach(path, document, warnings)
    if len(errors) > _MOST_TOLD:
        errors[_MOST_TOLD:] = [Problem(f"{len(errors) - _MOST_TOLD} more errors are not shown.", str(path))]
    return scenario, sorted([*errors, *warnings], key=_place)


def _place(problem: Problem) -> tuple[bool, int, int]:
    return (problem.line is None, problem.line or 0, problem.column or 0)


def _name_of(path: Path) -> str:
    """The file's name without its ending, as far as it can be the name of a folder."""
    return re.sub(r"[^A-Za-z0-9._+-]", "-", path.stem).lstrip(".+-")[:100] or "scenario"
