"""What the intervals are made with, and how often they were measured to cover the truth."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

BOOTSTRAP_T = "bootstrap-t"
STUDENT_T = "student-t"
RESAMPLES = 1999  # (RESAMPLES + 1) x 2.5 % is whole, so the quantiles are order statistics (Davison and Hinkley 1997)


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often, in `repetitions` samples of n worlds, the interval held the true value; 0.95 is meant."""

    case: str
    n: int
    method: str
    coverage: float
    too_low: float  # share of the repetitions in which the whole interval lay below the truth
    too_high: float
    repetitions: int
    resamples: int
    date: str


@lru_cache(maxsize=1)
def measured_coverage() -> tuple[Coverage, ...]:
    """The rows of `spotbed/data/coverage.csv`, which `python -m spotbed.stats.coverage` writes."""
    text = (files("spotbed") / "data" / "coverage.csv").read_text(encoding="utf-8")
    return tuple(_coverage(row) for row in csv.DictReader(text.splitlines()))


def _coverage(row: dict[str, str]) -> Coverage:
    return Coverage(
        case=row["case"],
        n=int(row["n"]),
        method=row["method"],
        coverage=float(row["coverage"]),
        too_low=float(row["too_low"]),
        too_high=float(row["too_high"]),
        repetitions=int(row["repetitions"]),
        resamples=int(row["resamples"]),
        date=row["date"],
    )


def method_text(n: int = 30) -> str:
    """One line for the report: the method of the intervals and its measured coverage at n worlds (an n of the file)."""
    rows = [row for row in measured_coverage() if row.n == n and not row.case.startswith("ratio")]
    if not rows:
        raise ValueError(f"no coverage was measured at n={n}")
    name = STUDENT_T
    if rows[0].method == BOOTSTRAP_T:
        name = f"{BOOTSTRAP_T}, {rows[0].resamples:,} resamples, no side shorter than Student's"
    shares = ", ".join(f"{row.case} {100 * row.coverage:.1f} %" for row in rows)
    return f"{name}; measured coverage at n={n}: {shares} ({rows[0].repetitions:,} repetitions, {rows[0].date})"
