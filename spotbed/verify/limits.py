"""How far a run may lie from the same run played again: data, with reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).parent.parent / "data" / "verify_limits.yaml"


@dataclass(frozen=True)
class Scale:
    """By what allowances grow: the stack's tick, instances, the whole bill, and how much slower a slow start is."""

    tick_s: float
    instances: int
    total_usd: float
    tail_s: float = 0.0


@dataclass(frozen=True)
class Limit:
    """How far apart two values may be: the sum of all that is given."""

    relative: float = 0.0
    ticks: float = 0.0
    instance_ticks: float = 0.0
    count: float = 0.0
    of_total: float = 0.0
    s: float = 0.0
    tails: float = 0.0
    why: str = ""

    def allowance(self, played: float, scale: Scale) -> float:
        """The largest difference to `played` that passes."""
        ticks = self.ticks + self.instance_ticks * scale.instances
        fixed = self.count + self.s + self.of_total * scale.total_usd + self.tails * scale.tail_s
        return self.relative * abs(played) + ticks * scale.tick_s + fixed


@dataclass(frozen=True)
class Limits:
    """Limits of metrics by name, of a line of the bill, and of what a journal must agree with itself in."""

    metrics: Mapping[str, Limit]
    bill: Limit
    jobs: Limit
    timers: Limit
    ticks: Limit


@cache
def load_limits() -> Limits:
    """The limits of the data file."""
    document: dict[str, Any] = yaml.safe_load(_FILE.read_text("utf-8"))
    metrics = {name: Limit(**given) for name, given in document["metrics"].items()}
    checks = (Limit(**document["checks"][name]) for name in ("jobs", "timers", "ticks"))
    return Limits(metrics, Limit(**document["bill"]["line"]), *checks)
