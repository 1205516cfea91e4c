"""What a parameter in `search.space` is in the scenario."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from spotbed.scenario.models_policies import POINTS, PolicyEntry, default_label

_OF_A_PART = ("use", "with")


def label_in(entry: Any) -> str | None:
    """The label of a policy as it is written: a name or a mapping."""
    if isinstance(entry, str):
        return default_label(entry)
    if not isinstance(entry, Mapping):
        return None
    label = entry.get("label") or (default_label(entry["use"]) if isinstance(entry.get("use"), str) else None)
    return str(label) if label is not None else None


def path_of(policies: Sequence[Any], label: str, key: str) -> tuple[list[str], str]:
    """The dotted path that a parameter of the policy has, and the overrides without which it would lead nowhere: a name
    that stands for a mapping is written as one. Raises KeyError for a label that no policy has.

    `place.max_share` is the parameter of what fills the point: of the part that the entry gives, or of its `use`. A
    name alone is a parameter of `use`. Anything else is the path of a key of the entry.
    """
    number = next((number for number, entry in enumerate(policies) if label_in(entry) == label), None)
    if number is None:
        raise KeyError(label)
    entry, place = policies[number], f"policies.{number}"
    first: list[str] = []
    if isinstance(entry, str):
        first, entry = [f"{place}={json.dumps({'use': entry})}"], {"use": entry}
    step, _, rest = key.partition(".")
    if step in POINTS and rest and rest.partition(".")[0] not in _OF_A_PART:
        part = entry.get(step)
        if isinstance(part, str):
            first.append(f"{place}.{step}={json.dumps({'use': part})}")
        return first, f"{place}.with.{rest}" if part is None else f"{place}.{step}.with.{rest}"
    return first, f"{place}.{key}" if step in PolicyEntry.keys() else f"{place}.with.{key}"  # noqa: SIM118 a method
