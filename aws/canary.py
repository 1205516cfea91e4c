"""Whether a new version may stay: the decision of a canary, from what was counted while it took a tenth of the work.

The alarms of aws/templates/scheduler.yaml decide the same, one number each: `WATCHES` is what both share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from aws.render import Limits

Action = Literal["keep", "roll back", "wait"]
MINUTES = 10  # of the canary: DeploymentPreference Canary10Percent10Minutes
# Jobs done before a version is kept, or found too expensive. With 30 and no failure the rate of failures is below 10 %
# with 95 % confidence (the rule of three: 3 / n); a mean of fewer costs says little, since they are skewed.
FEWEST_JOBS = 30
_S = 1000


@dataclass(frozen=True)
class Watch:
    """One number that is watched: its field in `Window`, the alarm on it, its limit (of `Limits`; else 0), and over how
    many seconds, how often in a row, it must be above."""

    field: str
    alarm: str
    limit: str
    period_s: int
    periods: int
    what: str


WATCHES = (
    Watch("duplicate_completions", "DuplicateCompletions", "", 60, 1, "jobs were completed twice"),
    Watch("lost_jobs", "LostJobs", "", 60, 1, "jobs are lost"),
    Watch("dead_letters", "DeadLetters", "dead_letters", 300, 1, "jobs were given up within five minutes"),
    Watch("cost_per_job_usd", "CostPerJob", "cost_per_job_usd", 300, 2, "USD a job cost"),
    Watch("deadline_misses", "DeadlineMisses", "deadline_misses", 3600, 1, "deadlines were missed within an hour"),
)
_COST = "cost_per_job_usd"


@dataclass(frozen=True)
class Window:
    """What was counted since the canary began. Of dead letters and deadlines the most in any window of their alarm."""

    seconds: float
    jobs_done: int = 0
    duplicate_completions: int = 0
    lost_jobs: int = 0
    dead_letters: int = 0
    deadline_misses: int = 0
    cost_usd: float = 0.0

    @property
    def cost_per_job_usd(self) -> float:
        """Of jobs done; 0 before there is one."""
        return self.cost_usd / self.jobs_done if self.jobs_done else 0.0


@dataclass(frozen=True)
class Decision:
    """What to do, and why. `reasons` says what is above its limit, or what is not known yet."""

    action: Action
    reasons: Sequence[str] = ()


def decide(limits: Limits, window: Window) -> Decision:
    """Roll back at the first sign of what must not be; keep when enough has been seen; else wait."""
    broken = tuple(_broken(limits, window))
    if broken:
        return Decision("roll back", broken)
    missing = tuple(_missing(window))
    return Decision("wait", missing) if missing else Decision("keep")


def limit_of(watch: Watch, limits: Limits) -> float:
    """Above what the number must not be."""
    return float(getattr(limits, watch.limit)) if watch.limit else 0.0


def _broken(limits: Limits, window: Window) -> Iterator[str]:
    for watch in WATCHES:
        value, most = getattr(window, watch.field), limit_of(watch, limits)
        known = watch.field != _COST or window.jobs_done >= FEWEST_JOBS
        if known and value > most:
            yield f"{value:.6g} {watch.what}: at most {most:.6g}"


def _missing(window: Window) -> Iterator[str]:
    if window.jobs_done < FEWEST_JOBS:
        yield f"{window.jobs_done} jobs are done: {FEWEST_JOBS} say enough"
    if window.seconds < MINUTES * 60:
        yield f"{window.seconds:.0f} s have passed: the canary takes {MINUTES} minutes"


def most_within(times_ms: Sequence[int], alarm: str) -> int:
    """The most of these moments in any window of that alarm."""
    span_ms = next(watch.period_s for watch in WATCHES if watch.alarm == alarm) * _S
    times, first, most = sorted(times_ms), 0, 0
    for last, at_ms in enumerate(times):
        while at_ms - times[first] >= span_ms:
            first += 1
        most = max(most, last - first + 1)
    return most
