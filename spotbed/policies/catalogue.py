"""Which policies there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scheduler.policies.presets import PARTS, PRESETS
from spotbed.policies.about import hindrance, source_told, summary_of
from spotbed.policies.load import entry_point_classes, filled_points
from spotbed.policies.parameters import shown_parameters

BUILT_IN = "built-in"
ON_AWS = "decoupled"  # the architecture that runs there


@dataclass(frozen=True, slots=True)
class PolicyInfo:
    """A policy or a part of one, as `policy list` shows it."""

    name: str
    point: str  # "policy" for a whole one
    summary: str
    parameters: dict[str, Any]
    source: str  # the paper or page that it comes from, empty if none is cited
    origin: str  # "built-in", or the module of an installed distribution
    hindrance: str  # why it cannot be deployed, empty if it can

    @property
    def deployable(self) -> bool:
        """Whether the fleet on AWS can observe and perform all that it needs."""
        return not self.hindrance


def name_of(point: str, part: object) -> str:
    """What scenarios call a built-in part."""
    return next((name for name, kind in PARTS[point].items() if type(part) is kind), type(part).__name__)


def known() -> list[PolicyInfo]:
    """All built-in policies and parts, and those of installed distributions."""
    infos = [_whole(name, *preset) for name, preset in PRESETS.items()]
    for point, kinds in PARTS.items():
        infos += [_info(name, point, kind, BUILT_IN) for name, kind in kinds.items()]
    for name, kind in entry_point_classes().items():
        infos.append(_info(name, ", ".join(filled_points(kind)), kind, kind.__module__))
    return infos


def _info(name: str, point: str, kind: type, origin: str) -> PolicyInfo:
    part = kind()
    return PolicyInfo(name, point, summary_of(kind), shown_parameters(part), source_told(kind), origin, hindrance(part))


def _whole(name: str, summary: str, architecture: str, filled: Mapping[str, object]) -> PolicyInfo:
    """A preset: where it is from and what hinders it, its parts say."""
    parts = ", ".join(f"{point} {name_of(point, part)}" for point, part in filled.items())
    against = [f"{architecture!r} is not what runs on AWS"] if architecture != ON_AWS else []
    against += [hindrance(part) for part in filled.values()]
    return PolicyInfo(
        name, "policy", summary, {}, f"see {parts}" if parts else "", BUILT_IN, "; ".join(filter(None, against))
    )
