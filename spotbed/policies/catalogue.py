"""Which policies there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scheduler.observation import SOURCES
from scheduler.policies.presets import PARTS, PRESETS
from scheduler.policy import NOTHING_NEEDED
from spotbed.policies.load import entry_point_classes, filled_points
from spotbed.policies.parameters import shown_parameters


@dataclass(frozen=True, slots=True)
class PolicyInfo:
    """A policy or a part of one, as `policy list` shows it."""

    name: str
    point: str  # "policy" for a whole one
    summary: str
    parameters: dict[str, Any]
    source: str
    deployable: bool


def deployable(part: object) -> bool:
    """Whether the fleet on AWS can observe all that the part needs."""
    needs = getattr(part, "needs", NOTHING_NEEDED)
    return all(need in SOURCES and SOURCES[need].aws is not None for need in needs)


def known() -> list[PolicyInfo]:
    """All built-in policies and parts, and those of installed distributions."""
    infos = [
        PolicyInfo(name, "policy", summary, {}, "built-in", all(deployable(part) for part in filled.values()))
        for name, (summary, _, filled) in PRESETS.items()
    ]
    for point, kinds in PARTS.items():
        infos += [_info(name, point, kind, "built-in") for name, kind in kinds.items()]
    for name, kind in entry_point_classes().items():
        infos.append(_info(name, ", ".join(filled_points(kind)), kind, kind.__module__))
    return infos


def _info(name: str, point: str, kind: type, source: str) -> PolicyInfo:
    part = kind()
    summary = " ".join((kind.__doc__ or "").split()).split(". ")[0].rstrip(".")
    return PolicyInfo(name, point, summary, shown_parameters(part), source, deployable(part))
