"""Does a job's expected completion diverge on Spot? A job that must start again after an interruption may never end.

Every attempt is taken to start on a new instance with a fresh lifetime X. Without checkpoints a job of work T that
pays R for each restart is expected to need E[min(X, T)] / P(X > T) + R P(X <= T) / P(X > T): with Poisson
interruptions of rate 1/M that is (M + R)(e^(T/M) - 1). With them it is the renewal recursion of
`expected_with_checkpoints_s`, which is Daly's formula (2006) where lifetimes are exponential.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sim.distributions import quantile_function
from sim.inputs import Dist, Float64, Interruptions, Work

MS_PER_S = 1000.0
MOST_SEGMENTS = 400  # between checkpoints; of more, the mean time of one is the same and is multiplied
MEANINGLESS_METRICS = (  # whose mean over worlds says nothing when a policy's jobs are not expected to end
    *("cost_usd", "makespan_s", "flow_s", "wait_s", "bounded_slowdown"),
    *("attempts", "interruptions", "lost_work_s", "spot_worker_s"),
)


class Lifetime(Protocol):
    """How long an instance lives, from the start of an attempt to its interruption; seconds."""

    def survival(self, at_s: Float64) -> Float64:
        """P(X > at_s)."""

    def mean_until(self, at_s: Float64) -> Float64:
        """E[min(X, at_s)]."""


@dataclass(frozen=True, slots=True)
class WeibullLifetime:
    """P(X > t) = exp(-(t / scale)^shape); shape 1 is exponential with mean `scale_s`, that is Poisson interruptions."""

    shape: float
    scale_s: float

    def survival(self, at_s: Float64) -> Float64:
        """P(X > at_s)."""
        return np.asarray(np.exp(-np.power(at_s / self.scale_s, self.shape)), dtype=np.float64)

    def mean_until(self, at_s: Float64) -> Float64:
        """E[min(X, at_s)]: the integral of the survival, an incomplete gamma function."""
        from scipy.special import gammainc

        share = gammainc(1.0 / self.shape, np.power(at_s / self.scale_s, self.shape))
        return np.asarray(self.scale_s * math.gamma(1.0 + 1.0 / self.shape) * share, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class EmpiricalLifetime:
    """A step function: the survival is `survival_after[i]` from `times_s[i]` on and 1 before the first time.

    What survives the last observation is taken to live on: the mean is then too small rather than too large.
    """

    times_s: Float64
    survival_after: Float64

    def survival(self, at_s: Float64) -> Float64:
        """P(X > at_s)."""
        survival: Float64 = self._steps()[np.searchsorted(self.times_s, at_s, side="right")]
        return survival

    def mean_until(self, at_s: Float64) -> Float64:
        """E[min(X, at_s)]: the area under the steps."""
        steps, starts = self._steps(), np.concatenate([[0.0], self.times_s])
        area = np.concatenate([[0.0], np.cumsum(np.diff(starts) * steps[:-1])])
        reached = np.searchsorted(self.times_s, at_s, side="right")
        mean: Float64 = area[reached] + (at_s - starts[reached]) * steps[reached]
        return mean

    def _steps(self) -> Float64:
        return np.concatenate([[1.0], self.survival_after])


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Progress is written every `interval_s` of work, which takes `write_s`."""

    interval_s: float
    write_s: float


@dataclass(frozen=True, slots=True)
class Limits:
    """Beyond which an expected completion counts as diverging (`spotbed/data/divergence.csv`)."""

    slowdown: float  # expected completion / work
    attempt_success: float  # chance that a single attempt (or the way to its next checkpoint) is not interrupted


@dataclass(frozen=True, slots=True)
class Finding:
    """Jobs of a class that are not expected to end; `message` is for the report."""

    job_class: str
    jobs: int
    message: str


@lru_cache(maxsize=1)
def load_limits() -> Limits:
    """The limits that spotbed ships."""
    text = (files("spotbed") / "data" / "divergence.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    values = {row["name"]: float(row["value"]) for row in rows}
    return Limits(slowdown=values["slowdown_limit"], attempt_success=values["attempt_success_least"])


def lifetime_of(interruptions: Interruptions) -> Lifetime | None:
    """The lifetimes that a scenario's interruptions imply; None if there are none or they are not of that kind.

    A pool's up-spell stands for the lifetime of the instances in it. Traces and prices have no lifetimes of their own.
    """
    if interruptions.source == "exponential":
        return WeibullLifetime(1.0, interruptions.mean_ms / MS_PER_S)
    if interruptions.source == "weibull" and interruptions.up is not None and interruptions.up.kind == "weibull":
        return WeibullLifetime(interruptions.up.params["shape"], interruptions.up.params["scale"])
    if interruptions.lifetimes_ms is not None and interruptions.survival is not None:
        return EmpiricalLifetime(interruptions.lifetimes_ms / MS_PER_S, interruptions.survival)
    return None


def expected_completion_s(
    work_s: npt.ArrayLike, lifetime: Lifetime, *, restart_s: float = 0.0, restart_is_exposed: bool = False
) -> Float64:
    """Expected time (seconds, shape of `work_s`) to end jobs that start from nothing after each interruption.

    Each restart costs `restart_s`, during which an interruption may come if `restart_is_exposed`. Infinite where no
    attempt can last.
    """
    work = np.asarray(work_s, dtype=np.float64)
    again = work + restart_s if restart_is_exposed else work
    lost = 0.0 if restart_is_exposed else restart_s * (1.0 - lifetime.survival(work))
    with np.errstate(divide="ignore", over="ignore"):
        restarted: Float64 = (lifetime.mean_until(again) + lost) / lifetime.survival(again)
    if not restart_is_exposed:
        return restarted
    interrupted = 1.0 - lifetime.survival(work)
    return lifetime.mean_until(work) + np.where(interrupted > 0.0, interrupted * restarted, 0.0)


def expected_with_checkpoints_s(
    work_s: float, lifetime: Lifetime, checkpoints: Checkpoints, *, restart_s: float = 0.0
) -> float:
    """Expected time (seconds) of a job that resumes from its last checkpoint, on a new instance, after `restart_s`.

    Interruptions may also come while it writes or restarts. The work is cut into equal segments of at most the
    interval, each of which ends with a write. W(k), expected from a restart with k segments left, is
    E[min(X, R + k l)] + sum over j of P(interrupted in segment j) W(k - j), solved for W(k); the first attempt, which
    does not restart, adds the same terms with R = 0. Exponential lifetimes give Daly's formula.
    """
    segments = max(1, math.ceil(work_s / checkpoints.interval_s - 1e-9))
    length = work_s / segments + checkpoints.write_s
    followed = min(segments, MOST_SEGMENTS)
    ends = length * np.arange(followed + 1, dtype=np.float64)
    restarting = lifetime.survival(restart_s + ends)
    if restarting[1] <= 0.0:
        return math.inf
    spent = lifetime.mean_until(restart_s + ends)
    ending_in = restarting[:-1] - restarting[1:]  # P(interrupted in segment j), before a checkpoint for j = 0
    expected = np.zeros(followed + 1)
    for left in range(1, followed + 1):
        carried = float(ending_in[1:left] @ expected[left - 1 : 0 : -1])
        expected[left] = (spent[left] + carried) / restarting[1]
    fresh = lifetime.survival(ends)
    first = float(lifetime.mean_until(ends[-1:])[0]) + float((fresh[:-1] - fresh[1:]) @ expected[:0:-1])
    return first + (segments - followed) * float(expected[-1] - expected[-2] if followed > 1 else 0.0)


def diverges(expected_s: npt.ArrayLike, work_s: npt.ArrayLike, attempt_success: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether an expected completion is beyond the limits, given the chance that one attempt succeeds; elementwise."""
    limits = load_limits()
    too_slow = np.asarray(expected_s) > limits.slowdown * np.asarray(work_s)
    return too_slow | (np.asarray(attempt_success) < limits.attempt_success)


def class_mean_diverges(
    runtime: Dist, lifetime: Lifetime, *, draws: int, restart_s: float = 0.0, timeout_s: float = math.inf
) -> bool:
    """Whether the mean completion over jobs of this runtime, without checkpoints, is infinite or rests on a few draws.

    The mean of e^((T / scale)^shape) over Weibull or exponential runtimes of the same shape is infinite when these are
    at least as long as the lifetimes (exponential: interruption rate >= 1 / mean runtime). For every other unbounded
    runtime the question is whether the longest of `draws` jobs (the 1 - 1/draws quantile) diverges: a lognormal's mean
    is always infinite in theory, and finite in any world whose jobs are short. An attempt is cut at `timeout_s`.
    """
    if math.isinf(timeout_s) and _same_tail(runtime, lifetime):
        return True
    longest = min(float(quantile_function(runtime)(np.asarray([1.0 - 1.0 / draws]))[0]), timeout_s)
    work = np.asarray([longest])
    return bool(diverges(expected_completion_s(work, lifetime, restart_s=restart_s), work, lifetime.survival(work))[0])


def _same_tail(runtime: Dist, lifetime: Lifetime) -> bool:
    if not isinstance(lifetime, WeibullLifetime) or runtime.kind not in ("exponential", "weibull"):
        return False
    shape = runtime.params.get("shape", 1.0)
    scale = runtime.params["mean"] if runtime.kind == "exponential" else runtime.params["scale"]
    return shape == lifetime.shape and scale >= lifetime.scale_s


def class_finding(
    name: str,
    runtime: Dist,
    lifetime: Lifetime,
    *,
    draws: int,
    restart_s: float = 0.0,
    timeout_s: float = math.inf,
) -> Finding | None:
    """What the report says of a class whose mean completion diverges (see `class_mean_diverges`); None otherwise."""
    if not class_mean_diverges(runtime, lifetime, draws=draws, restart_s=restart_s, timeout_s=timeout_s):
        return None
    return Finding(
        name,
        draws,
        f"expected completion does not converge: jobs of class {name} ({runtime.kind} runtime) start again after each "
        "interruption, and the mean over them is infinite or set by the longest few",
    )


def find_divergence(
    work: Work, lifetime: Lifetime, *, restart_s: float, checkpoints: Mapping[str, Checkpoints] | None = None
) -> list[Finding]:
    """The classes of `work` with jobs that are not expected to end, were they to run on such instances only.

    `checkpoints` is by name of class; jobs of the other classes start again from nothing after each interruption.
    """
    by_class = checkpoints or {}
    return [
        finding
        for k, job_class in enumerate(work.classes)
        if (runtime_s := work.runtime_ms[work.klass == k] / MS_PER_S).size
        if (finding := _finding(job_class.name, runtime_s, lifetime, restart_s, by_class.get(job_class.name)))
    ]


def _finding(
    name: str, runtime_s: Float64, lifetime: Lifetime, restart_s: float, checkpoints: Checkpoints | None
) -> Finding | None:
    longest = float(runtime_s.max())
    if checkpoints is None:
        expected = expected_completion_s(runtime_s, lifetime, restart_s=restart_s)
        jobs = int(diverges(expected, runtime_s, lifetime.survival(runtime_s)).sum())
        return (
            Finding(name, jobs, _message(name, jobs, len(runtime_s), longest, float(expected.max()))) if jobs else None
        )
    stretch = np.asarray([min(checkpoints.interval_s, longest) + checkpoints.write_s + restart_s])
    slowest = expected_with_checkpoints_s(longest, lifetime, checkpoints, restart_s=restart_s)
    if not diverges(slowest, longest, lifetime.survival(stretch))[0]:
        return None
    jobs = int((runtime_s >= min(checkpoints.interval_s, longest)).sum())  # all these have the same way to go at least
    return Finding(name, jobs, _message(name, jobs, len(runtime_s), longest, slowest))


def _message(name: str, jobs: int, of: int, longest_s: float, expected_s: float) -> str:
    ends = "never" if math.isinf(expected_s) else f"in {expected_s / 3600.0:.3g} h"
    return (
        f"expected completion does not converge: {jobs} of {of} jobs of class {name} are interrupted before they get "
        f"on; the longest, {longest_s / 3600.0:.3g} h of work, is expected to end {ends}"
    )
