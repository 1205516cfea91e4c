"""The reference of all keys as Markdown, made of the JSON Schema. `python -m spotbed.scenario.reference` prints it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from spotbed.scenario.models_base import DEFAULTS
from spotbed.scenario.schema import QUANTITIES, scenario_schema

Schema = Mapping[str, Any]
_KINDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}


def reference() -> str:
    """A table for each mapping of a scenario, in the order in which the keys lead to it."""
    schema = scenario_schema()
    traits = schema["$defs"]["JobTraits"]["properties"]
    sections = ["## The keys of a scenario", "", *_table(schema)]
    for name in _reachable(schema):
        part = schema["$defs"][name]
        sections += ["", f"### {name}", "", *_body(name, part, traits)]
    return "\n".join([*sections, "", *_sources()]) + "\n"


def _sources() -> list[str]:
    """Where the defaults that are model parameters come from."""
    rows = ["## Where defaults come from", "", "| key | default | source | range |", "|---|---|---|---|"]
    for key, entry in DEFAULTS.items():
        rows.append(f"| `{key}` | `{_flow(entry['value'])}` | {_escape(entry['source'])} | {entry.get('range', '')} |")
    return rows


def _body(name: str, part: Schema, traits: Schema) -> list[str]:
    if "properties" not in part:
        return [f"{_kind(part)}."]
    said = [_tag(part) + part["description"], ""]
    own = part["properties"]
    if name != "JobTraits" and traits.keys() <= own.keys():
        said += ["All keys of [JobTraits](#jobtraits), and:", ""]
        own = {key: value for key, value in own.items() if key not in traits}
    return [*said, *_table({**part, "properties": own})]


def _reachable(schema: Schema) -> list[str]:
    """The definitions that are mappings, each after the first that refers to it."""
    found: list[str] = []
    waiting = [*_references(schema["properties"]), "JobTraits"]
    while waiting:
        name = waiting.pop(0)
        if name in QUANTITIES or name in found:
            continue
        found.append(name)
        waiting = [*_references(schema["$defs"][name]), *waiting]
    return found


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        if "$ref" in part:
            yield part["$ref"].rpartition("/")[2]
        for inner in part.values():
            yield from _references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _references(inner)


def _tag(part: Schema) -> str:
    """`source: swf`. or `dist: weibull`. where that tells the mapping from its alternatives."""
    tags = ((key, part["properties"].get(key, {}).get("const")) for key in ("source", "dist"))
    return next((f"`{key}: {constant}`. " for key, constant in tags if constant is not None), "")


def _table(part: Schema) -> list[str]:
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    required = set(part.get("required", ()))
    for key, value in part.get("properties", {}).items():
        if "const" in value and key in {"source", "dist"}:
            continue
        default = "required" if key in required else _default(value)
        rows.append(f"| `{key}` | {_kind(value)} | {default} | {_escape(value.get('description', ''))} |")
    return rows if len(rows) > 2 else ["No further keys."]


def _default(value: Schema) -> str:
    default = value.get("default")
    if default is None or default in ("", [], {}):
        return ""
    return f"`{default if isinstance(default, str) else _flow(default)}`"


def _flow(value: Any) -> str:
    """A default as YAML in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
    return value if isinstance(value, str) else json.dumps(value)


def _kind(value: Schema) -> str:
    """What may stand there, in words."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"{name}, as `{QUANTITIES[name][1][0]}`" if name in QUANTITIES else f"[{name}](#{name.lower()})"
    choices = [*value.get("anyOf", ()), *value.get("oneOf", ())]
    if choices:
        return " or ".join(dict.fromkeys(_kind(choice) for choice in choices if choice.get("type") != "null"))
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value["enum"])
    if value.get("type") == "array":
        return f"list of {_kind(value['items'])}" if value.get("items") else "list"
    if value.get("type") == "object":
        inner = next(iter(value.get("patternProperties", {}).values()), value.get("additionalProperties"))
        return f"mapping of names to {_kind(inner)}" if inner and inner is not True else "mapping"
    return _KINDS.get(value.get("type", ""), "anything") + _bounds(value)


def _bounds(value: Schema) -> str:
    marks = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    said = [f"{mark} {value[key]:g}" for key, mark in marks if key in value and abs(value[key]) < 1e9]
    return f" {', '.join(said)}" if said else ""


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference())
