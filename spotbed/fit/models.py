"""Distributions of durations, fitted by maximum likelihood under right censoring.

A duration that was cut off (its owner stopped the instance, the recording ended) counts by its survival probability.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.inputs import Float64

Parameters = Mapping[str, float]
Bools = npt.NDArray[np.bool_]
_MODELS = Path(__file__).parents[1] / "data" / "models.yaml"


@dataclass(frozen=True, slots=True)
class Family:
    """One family of models: how to fit it, its distribution function, and how many parameters it has."""

    fit: Callable[[Float64, Bools], tuple[Parameters, float]]  # durations and events -> parameters, log-likelihood
    cdf: Callable[[Parameters, Float64], Float64]
    parameters: int


@cache
def convention(name: str) -> float:
    """A number that fitting goes by, from the section `fit` of data/models.yaml, which says why."""
    import yaml

    return float(yaml.safe_load(_MODELS.read_text(encoding="utf-8"))["fit"][name])


def _fit_exponential(duration_s: Float64, event: Bools) -> tuple[Parameters, float]:
    events, exposure_s = int(event.sum()), float(duration_s.sum())
    mean_s = exposure_s / events
    return {"mean_s": mean_s}, -events * np.log(mean_s) - events


def _exponential_cdf(parameters: Parameters, at_s: Float64) -> Float64:
    return -np.expm1(-at_s / parameters["mean_s"])


def _fit_weibull(duration_s: Float64, event: Bools) -> tuple[Parameters, float]:
    from scipy import stats

    shape, scale_s, likelihood = _fit_scipy(stats.weibull_min, duration_s, event)
    return {"shape": shape, "scale_s": scale_s}, likelihood


def _weibull_cdf(parameters: Parameters, at_s: Float64) -> Float64:
    return -np.expm1(-((at_s / parameters["scale_s"]) ** parameters["shape"]))


def _fit_lognormal(duration_s: Float64, event: Bools) -> tuple[Parameters, float]:
    from scipy import stats

    sigma, median_s, likelihood = _fit_scipy(stats.lognorm, duration_s, event)
    return {"median_s": median_s, "sigma": sigma}, likelihood


def _lognormal_cdf(parameters: Parameters, at_s: Float64) -> Float64:
    from scipy.special import ndtr

    with np.errstate(divide="ignore"):  # the logarithm of 0 is where the function is 0
        return np.asarray(ndtr(np.log(at_s / parameters["median_s"]) / parameters["sigma"]), dtype=np.float64)


def _fit_scipy(family: Any, duration_s: Float64, event: Bools) -> tuple[float, float, float]:
    """Shape, scale and log-likelihood of a two-parameter family of scipy, located at 0."""
    from scipy.stats import CensoredData

    data = CensoredData(uncensored=duration_s[event], right=duration_s[~event])
    shape, _, scale = family.fit(data, floc=0)
    likelihood = family.logpdf(duration_s[event], shape, 0, scale).sum()
    likelihood += family.logsf(duration_s[~event], shape, 0, scale).sum()
    return float(shape), float(scale), float(likelihood)


def _fit_bathtub(duration_s: Float64, event: Bools) -> tuple[Parameters, float]:
    """F(t) = A (1 - exp(-t / t1) + exp((t - b) / t2)): early losses, a quiet middle, and a rush before a deadline.

    Kadupitiya, Jadhao and Sharma, "Modeling the temporally constrained preemptions of transient cloud VMs" (HPDC
    2020) fit it to Google's preemptible VMs, which live 24 h at most, by least squares; here it is by censored maximum
    likelihood. The share q of losses within the follow-up stands in for b while searching: F stays below 1 there
    exactly when A (1 - exp(-end / t1)) < q < 1, which makes the search free of constraints. t2 has a least value: an
    ever shorter rush that meets the last loss alone would be ever more likely.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    end_s, shortest_rush = float(duration_s.max()), convention("bathtub_shortest_rush")
    died, alive = duration_s[event] / end_s, duration_s[~event] / end_s

    def unpacked(z: Float64) -> Float64:
        share, early, late = expit(z[0]), np.exp(z[1]), shortest_rush + np.exp(z[2])
        least = share * -np.expm1(-1.0 / early)
        lost = least + (1.0 - least) * expit(z[3])
        return np.array([share, early, late, 1.0 - late * np.log(lost / share + np.expm1(-1.0 / early))])

    def loss(z: Float64) -> float:
        share, early, late, deadline = unpacked(z)
        density = share * (np.exp(-died / early) / early + np.exp((died - deadline) / late) / late)
        survival = 1.0 - share * (-np.expm1(-alive / early) + np.exp((alive - deadline) / late))
        total = -np.log(density).sum() - np.log(survival).sum()
        return float(total) if np.isfinite(total) else np.inf

    starts = [np.array([0.0, np.log(early), np.log(late), 2.0]) for early in (0.02, 0.1) for late in (0.01, 0.05)]
    with np.errstate(all="ignore"):  # steps into the impossible are infinitely bad, which is how the search knows
        found = [
            minimize(loss, start, method="Nelder-Mead", options={"maxfev": 5000, "xatol": 1e-6, "fatol": 1e-7})
            for start in starts
        ]
    best = min(found, key=lambda one: float(one.fun))
    share, early_s, late_s, deadline_s = (unpacked(best.x) * [1.0, end_s, end_s, end_s]).tolist()
    parameters = {"share": share, "early_s": early_s, "late_s": late_s, "deadline_s": deadline_s}
    return parameters, -float(best.fun) - int(event.sum()) * float(np.log(end_s))


def _bathtub_cdf(parameters: Parameters, at_s: Float64) -> Float64:
    early = -np.expm1(-at_s / parameters["early_s"])
    # Beyond the end of life the exponential grows without limit; 1 / share is where F reaches 1.
    late = np.exp(np.minimum((at_s - parameters["deadline_s"]) / parameters["late_s"], 700.0))
    return np.minimum(parameters["share"] * (early + late), 1.0)


FAMILIES: Mapping[str, Family] = {
    "exponential": Family(_fit_exponential, _exponential_cdf, 1),
    "weibull": Family(_fit_weibull, _weibull_cdf, 2),
    "lognormal": Family(_fit_lognormal, _lognormal_cdf, 2),
    "bathtub": Family(_fit_bathtub, _bathtub_cdf, 4),
}
