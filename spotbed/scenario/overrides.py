"""`--set a.b=1`, and the same for sweeps: change a key by its dotted path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spotbed.errors import InputError, Problem
from spotbed.scenario.models_policies import default_label
from spotbed.scenario.problems import printable, shown, suggestion
from spotbed.scenario.yaml_positions import Document, Keys, parse_document

_NAMING = ("id", "name", "label")  # the keys by which an entry of a list may be chosen


def apply_overrides(document: Document, overrides: Sequence[str]) -> Document:
    """The document with `key=value` texts applied in order. Raises InputError with all that cannot be applied."""
    data = document.data
    changed: list[tuple[Keys, str]] = []
    problems: list[Problem] = []
    for text in overrides:
        try:
            steps, value = _read(text)
            data, path = changed_data(data, steps, value)
            changed.append((path, text))
        except InputError as error:
            problems += [_told(problem, text) for problem in error.problems]
    if problems:
        raise InputError(problems)
    return Document(document.file, document.root, data, document.problems, changed)


def _told(problem: Problem, text: str) -> Problem:
    return Problem(problem.message, f"--set {printable(text)}", path=problem.path, value=text, hint=problem.hint)


def _read(text: str) -> tuple[list[str], Any]:
    key, equals, written = text.partition("=")
    if not equals or not key.strip():
        raise InputError(Problem("not key=value.", hint="Write it as --set workload.jobs=100."))
    return key.strip().split("."), parse_value(written)


def parse_value(text: str) -> Any:
    """The value of YAML text such as `45s`, `3`, `[a, b]`; of nothing, None. Raises InputError."""
    if not text.strip():
        return None
    return parse_document(text, "value").data


def changed_data(data: Any, steps: Sequence[str], value: Any) -> tuple[Any, Keys]:
    """`data` with `value` at the path, and the path as keys and indices. `data` itself stays as it is.

    A value of None removes the key. A step into a list is an index, or the id, name or label of an entry.
    Raises InputError.
    """
    return _changed(data, list(steps), value, ())


def _changed(data: Any, steps: list[str], value: Any, path: Keys) -> tuple[Any, Keys]:
    if not steps:
        return value, path
    step, rest = steps[0], steps[1:]
    if isinstance(data, list):
        index = _index(data, step, path)
        inner, full = _changed(data[index], rest, value, (*path, index))
        return [*data[:index], inner, *data[index + 1 :]], full
    if not isinstance(data, dict):
        where = ".".join(map(str, path))
        hint = "A path ends at a single value."
        raise InputError(Problem(f"has no keys: it is {shown(data)}.", path=where, hint=hint))
    inner, full = _changed(data.get(step, {}) if rest else None, rest, value, (*path, step))
    if inner is None:
        return {key: kept for key, kept in data.items() if key != step}, full
    return {**data, step: inner}, full


def _index(data: list[Any], step: str, path: Keys) -> int:
    if step.isdecimal() and len(step) < 10 and int(step) < len(data):
        return int(step)
    named: dict[str, int] = {
        name: index for index, entry in reversed(list(enumerate(data))) for name in _names_of(entry)
    }
    if step in named:
        return named[step]
    message = f"has no entry {shown(step)}: it has {len(data)}, counted from 0."
    raise InputError(Problem(message, path=".".join(map(str, path)), hint=suggestion(step, named) or None))


def _names_of(entry: Any) -> list[str]:
    """By what an entry of a list may be chosen: its id, name or label, or the label that a policy has by default."""
    if not isinstance(entry, dict):
        return []
    names = [str(entry[key]) for key in _NAMING if key in entry]
    return names or ([default_label(entry["use"])] if isinstance(entry.get("use"), str) else [])
