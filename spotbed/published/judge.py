"""Ours beside theirs: the difference, what was accepted, and whether it holds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from spotbed.published.table import Target

ROUNDING = 1e-9
ERRORS = 3.0  # of ours that a precise target may be away
_NOTHING = 1e-6  # a share below which two numbers are called equal


class Measured(NamedTuple):
    """What we found: the value, its 95 % interval or its standard error where there is one."""

    value: float
    low: float | None = None
    high: float | None = None
    error: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A target with our number. `passed` is None where it was not run (`skipped` says why) or is only reported."""

    target: Target
    measured: Measured | None
    passed: bool | None
    skipped: str = ""

    @property
    def difference(self) -> float | None:
        """Ours minus theirs, in the target's unit."""
        if self.measured is None or self.target.published is None:
            return None
        return self.measured.value - self.target.published

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON and for the store that docs/validation.md is made from."""
        found = self.measured
        return {
            "source": self.target.source,
            "cell": self.target.cell,
            "unit": self.target.unit,
            "published": self.target.published,
            "ours": None if found is None else found.value,
            "low": None if found is None else found.low,
            "high": None if found is None else found.high,
            "standard_error": None if found is None else found.error,
            "difference": self.difference,
            "accepted": accepted(self.target),
            "passed": self.passed,
            "skipped": self.skipped,
        }


def judge(target: Target, measured: Measured) -> Result:
    """Whether `measured` is what the target accepts."""
    if target.rule == "reported" or target.published is None:
        return Result(target, measured, None)
    apart, tolerance = measured.value - target.published, target.tolerance
    if target.rule == "errors":
        passed = measured.error is not None and abs(apart) <= tolerance * measured.error + ROUNDING
    elif target.rule == "precise":
        half = math.inf if measured.error is None else ERRORS * measured.error
        passed = abs(apart) <= half + ROUNDING and max(abs(apart), half) <= tolerance * abs(target.published) + ROUNDING
    else:
        passed = {
            "relative": abs(apart) <= tolerance * abs(target.published) * (1 + ROUNDING),
            "absolute": abs(apart) <= tolerance + ROUNDING,
            "decimals": round(measured.value, int(tolerance)) == round(target.published, int(tolerance)),
            "below": apart <= tolerance,
            "above": apart >= -tolerance,
        }[target.rule]
    return Result(target, measured, bool(passed))


def accepted(target: Target) -> str:
    """The rule in words."""
    tolerance = target.tolerance
    if target.rule == "relative" and tolerance < _NOTHING:
        return "equal"
    return {
        "relative": f"± {100 * tolerance:g} %",
        "absolute": f"± {tolerance:g} {target.unit}".rstrip(),
        "decimals": f"equal to {tolerance:g} decimals" if tolerance else "equal",
        "below": f"not above{_by(tolerance)}",
        "above": f"not below{_by(tolerance)}",
        "errors": f"± {tolerance:g} standard errors",
        "precise": f"± {100 * tolerance:g} % and {ERRORS:g} errors, these ≤ {100 * tolerance:g} %",
        "reported": "reported",
    }[target.rule]


def _by(tolerance: float) -> str:
    return f" by more than {tolerance:g}" if tolerance > _NOTHING else ""
