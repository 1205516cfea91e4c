"""Durations drawn by inverse transform: exactly one uniform for each draw, so a draw is a function of its uniform.

Parameters and results are in seconds. A quantile function F^-1 is monotone in u: that is what makes worlds comparable
(a larger uniform is a longer runtime under any parameters) and what the antithetic and stratified schemes need.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from sim.inputs import NEVER_MS, Dist, Float64, Int64

QuantileFunction = Callable[[Float64], Float64]

_P95_OF_NORMAL = float(ndtri(0.95))
_LARGEST_UNIFORM = 1.0 - 2.0**-53  # u = 1 would be an infinite draw


def _constant(value: float) -> QuantileFunction:
    return lambda u: np.full(np.shape(u), value, dtype=np.float64)


def _exponential(mean: float) -> QuantileFunction:
    return lambda u: -mean * np.log1p(-u)


def _lognormal(median: float, p95: float) -> QuantileFunction:
    mu, sigma = math.log(median), lognormal_sigma(median, p95)
    return lambda u: np.exp(mu + sigma * _ndtri(u))


def _weibull(shape: float, scale: float) -> QuantileFunction:
    return lambda u: scale * (-np.log1p(-u)) ** (1.0 / shape)


def _uniform(low: float, high: float) -> QuantileFunction:
    return lambda u: low + (high - low) * u


def _empirical(values: tuple[float, ...]) -> QuantileFunction:
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    last = len(ordered) - 1
    # The smallest x with F(x) >= u, where F steps by 1/n at each value.
    return lambda u: ordered[np.clip(np.ceil(u * len(ordered)).astype(np.int64) - 1, 0, last)]


_BY_KIND: Mapping[str, Callable[..., QuantileFunction]] = {
    "constant": _constant,
    "exponential": _exponential,
    "lognormal": _lognormal,
    "weibull": _weibull,
    "uniform": _uniform,
}


def _ndtri(u: Float64) -> Float64:
    # A uniform of exactly 0 (chance 2^-53) would be minus infinity.
    normal: Float64 = ndtri(np.maximum(u, 2.0**-54))
    return normal


def lognormal_sigma(median: float, p95: float) -> float:
    """The sigma of ln X of a lognormal with this median and 95th percentile (same unit, 0 < median <= p95)."""
    if not 0 < median <= p95:
        raise ValueError(f"lognormal needs 0 < median <= p95, not median {median!r} and p95 {p95!r}")
    return math.log(p95 / median) / _P95_OF_NORMAL


def quantile_function(dist: Dist) -> QuantileFunction:
    """F^-1 of `dist`: uniforms in [0, 1) of any shape -> seconds of that shape. Prepare it once, call it per block."""
    if dist.kind == "empirical":
        if not dist.values:
            raise ValueError("an empirical distribution needs at least one value")
        return _empirical(dist.values)
    if dist.kind not in _BY_KIND:
        raise ValueError(f"unknown distribution {dist.kind!r}; one of {[*_BY_KIND, 'empirical']}")
    return _BY_KIND[dist.kind](**dist.params)


def quantile(dist: Dist, u: npt.ArrayLike) -> Float64:
    """One draw in seconds for each uniform of `u` (any shape; values in [0, 1])."""
    uniforms = np.minimum(np.asarray(u, dtype=np.float64), _LARGEST_UNIFORM)
    return quantile_function(dist)(uniforms)


def quantile_s(dist: Dist, p: float) -> float:
    """The p-quantile in seconds, 0 <= p < 1."""
    return float(quantile(dist, p))


def mean_s(dist: Dist) -> float:
    """The mean in seconds, in closed form."""
    if dist.kind == "empirical":
        return math.fsum(dist.values) / len(dist.values)
    parameter = dist.params
    if dist.kind == "constant":
        return parameter["value"]
    if dist.kind == "exponential":
        return parameter["mean"]
    if dist.kind == "lognormal":
        return parameter["median"] * math.exp(lognormal_sigma(parameter["median"], parameter["p95"]) ** 2 / 2)
    if dist.kind == "weibull":
        return parameter["scale"] * math.gamma(1 + 1 / parameter["shape"])
    if dist.kind == "uniform":
        return (parameter["low"] + parameter["high"]) / 2
    raise ValueError(f"unknown distribution {dist.kind!r}; one of {[*_BY_KIND, 'empirical']}")


def to_ms(seconds: npt.ArrayLike) -> Int64:
    """Seconds, rounded to whole milliseconds and kept within [0, NEVER_MS]."""
    milliseconds = np.rint(np.asarray(seconds, dtype=np.float64) * 1000.0)
    return np.clip(milliseconds, 0.0, float(NEVER_MS)).astype(np.int64)


def sample_ms(dist: Dist, u: npt.ArrayLike) -> Int64:
    """One draw in whole milliseconds for each uniform of `u`."""
    return to_ms(quantile(dist, u))
