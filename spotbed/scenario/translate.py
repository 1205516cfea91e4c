"""From pydantic's errors to problems with a path, a place and a hint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from spotbed.errors import Problem
from spotbed.scenario.models_base import Reading
from spotbed.scenario.problems import shown, suggestion
from spotbed.scenario.yaml_positions import Document, Keys

_KINDS: Mapping[str, tuple[str, str | None]] = {
    "int_type": ("must be a whole number", None),
    "int_from_float": ("must be a whole number", None),
    "int_parsing_size": ("is too large", None),
    "float_type": ("must be a number", None),
    "finite_number": ("must be a finite number", None),
    "string_type": ("must be text", None),
    "bool_type": ("must be true or false", None),
    "tuple_type": ("must be a list", "Write [a, b], or one `- item` a line."),
    "dict_type": ("must be a mapping", "Write {key: value}, or one `key: value` a line."),
    "model_type": ("must be a mapping", "Write {key: value}, or one `key: value` a line."),
    "string_too_short": ("must not be empty", None),
}
_NAME = "A name has letters, digits and any of ._+-@: in it."
_ABSENT, _UNKNOWN = "is missing.", "unknown key."
_BOUNDS = {
    "greater_than": ("must be above", "gt"),
    "greater_than_equal": ("must be at least", "ge"),
    "less_than": ("must be below", "lt"),
    "less_than_equal": ("must be at most", "le"),
}


class Translator:
    """Knows the document, so that each error finds its place in it."""

    def __init__(self, document: Document, reading: Reading) -> None:
        self.document = document
        self.reading = reading

    def problems(self, error: ValidationError) -> list[Problem]:
        """One problem for each error that says something of its own."""
        errors = error.errors(include_url=False)
        problems = [self._problem(details) for details in errors if not _follows(details)]
        meant = {problem.hint for problem in problems if problem.message == _UNKNOWN}
        return [problem for problem in problems if not (problem.message == _ABSENT and _meant(problem) in meant)]

    def _problem(self, error: ErrorDetails) -> Problem:
        path, absent = self._path(error["loc"], error["type"])
        message, hint, key = self._say(error, path, absent)
        if key:
            path = (*path, key)
        of_key = error["type"] == "extra_forbidden"
        return self.document.problem(message, path, hint=hint or None, value=error["input"], of_key=of_key)

    def _path(self, loc: Sequence[str | int], kind: str) -> tuple[Keys, str]:
        """The keys of the file in `loc`, which also names members of unions; and the key that is missing, if one is."""
        value: Any = self.document.data
        path: list[str | int] = []
        for step in loc[:-1] if kind == "missing" else loc:
            if isinstance(value, Mapping) and step in value:
                value = value[str(step)]
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                continue
            path.append(step)
        return tuple(path), str(loc[-1]) if kind == "missing" else ""

    def _say(self, error: ErrorDetails, path: Keys, absent: str) -> tuple[str, str, str]:
        """Message, hint, and the key below `path` that it is about."""
        kind, context, value = error["type"], error.get("ctx", {}), error["input"]
        if kind in {"unit", "refused"}:
            return f"{context['text']}.", context["hint"], context.get("key", "")
        if kind == "missing":
            return _ABSENT, _EXAMPLES.get(absent, ""), absent
        if kind == "extra_forbidden":
            return _UNKNOWN, suggestion(path[-1], self._keys_at(path[:-1])), ""
        if value is None:
            return "has no value.", "Give it one, or remove the line: then the default holds.", ""
        if kind.startswith("union_tag"):
            return self._union(error, value)
        if kind == "literal_error":
            choices = [part.strip("'") for part in context["expected"].replace(" or ", ", ").split(", ")]
            return f"{shown(value)} is not known.", suggestion(value, choices), ""
        if kind in _BOUNDS:
            words, bound = _BOUNDS[kind]
            limit = context[bound]
            return f"{words} {limit if isinstance(limit, int) else format(limit, 'g')}, not {shown(value)}.", "", ""
        if kind == "string_pattern_mismatch":
            return f"{shown(value)} is no name.", _NAME, ""
        if kind.startswith("too_"):
            return _length(kind, context), "", ""
        message, hint = _KINDS.get(kind, (error["msg"], None))
        return f"{message}, not {_named(value)}.", hint or _conversion(kind, value), ""

    def _keys_at(self, path: Keys) -> list[str]:
        container = self.document.data
        for step in path:
            container = container[step]
        model = self.reading.model_of.get(id(container))
        return model.keys() if model else []

    def _union(self, error: ErrorDetails, value: Any) -> tuple[str, str, str]:
        context = error["ctx"]
        key = str(context["discriminator"]).removesuffix("()")
        if not isinstance(value, Mapping):
            return f"must be a mapping with `{key}`, not {_named(value)}.", "", ""
        if value.get(key) is None:
            return (_ABSENT if key not in value else "has no value."), f"Say `{key}: ...`.", key
        choices = [part.strip("'") for part in context["expected_tags"].split(", ")]
        return f"{shown(value[key])} is not known.", suggestion(value[key], choices), key


_EXAMPLES = {
    "workload": "Say what the jobs are: `workload: {source: synthetic, jobs: 100, classes: [{runtime: 40m}]}`.",
    "capacity": "Say what they may run on: `capacity: {pools: [{instance_type: c6i.xlarge}]}`.",
    "policies": "Say what to compare: `policies: [on-demand-only, spot-diversified]`.",
    "instance_type": "Such as `instance_type: c6i.xlarge`.",
    "runtime": "Such as `runtime: 40m` or `runtime: {dist: lognormal, median: 40m, p95: 4h}`.",
}


def _follows(error: ErrorDetails) -> bool:
    """Whether it only follows from other errors: entries that are wrong do not count for pydantic."""
    return error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"]


def _meant(problem: Problem) -> str:
    """The hint that an unknown key beside it has, if that key was meant."""
    return f"Did you mean '{str(problem.path).rpartition('.')[2]}'?"


def _length(kind: str, context: Mapping[str, Any]) -> str:
    if kind == "too_short":
        return f"must have at least {context['min_length']}."
    return f"must have at most {context['max_length']}, not {context['actual_length'] or 'more'}."


def _named(value: Any) -> str:
    """What a value is, in the words of YAML."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return f"the text {shown(value)}" if isinstance(value, str) else shown(value)


def _conversion(kind: str, value: Any) -> str:
    """How the same value would be written rightly."""
    if kind == "string_type" and isinstance(value, int | float):
        return f'Put it in quotes: "{shown(value)}".'
    if kind == "bool_type" and str(value).lower() in {"yes", "on", "y", "1"}:
        return "Write true."
    if kind == "bool_type" and str(value).lower() in {"no", "off", "n", "0"}:
        return "Write false."
    return ""
