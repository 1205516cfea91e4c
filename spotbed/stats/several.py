"""Many policies compared at once: Holm's correction, and Dunnett's comparison with a baseline.

Of twenty true zeros, one interval of 95 % misses on average. Holm (1979) keeps the chance of any false finding among
all comparisons at 5 %, whatever their dependence. Dunnett (1955) is sharper where the errors are normal and alike: it
knows that all comparisons share the baseline.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from spotbed.stats.intervals import ROUNDING


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for their number, in the order given (Holm, Scand. J. Statist. 6, 1979).

    Sorted, the k-th smallest of m is multiplied by m - k + 1, and none is below the one before it; at most 1.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, least = [1.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = least
    return adjusted


def paired_p(difference: npt.ArrayLike) -> float:
    """The p-value of "the mean of these paired differences is zero": two-sided, Student's t. NaN for fewer than two.

    Differences without any spread are decided by the sign test, as in `verdict`.
    """
    values = np.asarray(difference, dtype=np.float64)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return math.nan
    spread = float(values.std(ddof=1))
    if spread <= 1e-12 * float(np.abs(values).max()):
        return 1.0 if float(values[0]) == 0.0 else min(1.0, 2.0 * 0.5 ** len(values))
    from scipy.special import stdtr

    return float(2.0 * stdtr(len(values) - 1, -abs(float(values.mean())) / spread * math.sqrt(len(values))))


def against_baseline(worlds: Mapping[str, npt.ArrayLike], baseline: str) -> dict[str, float]:
    """Holm's p-value of each policy's mean against the baseline's, paired by world; `worlds` has one row per policy."""
    table = {label: np.asarray(values, dtype=np.float64) for label, values in worlds.items()}
    others = [label for label in table if label != baseline]
    known = {label: paired_p(table[label] - table[baseline]) for label in others}
    defined = [label for label in others if not math.isnan(known[label])]
    adjusted = dict(zip(defined, holm([known[label] for label in defined]), strict=True))
    return {label: adjusted.get(label, math.nan) for label in others}


def dunnett_p(worlds: Mapping[str, npt.ArrayLike], baseline: str) -> dict[str, float]:
    """Dunnett's p-value of each policy against the baseline, all at once; two-sided. Needs two policies and two worlds.

    What a world does to all policies is taken out first. That leaves (k - 1)(n - 1) degrees of freedom of k policies in
    n worlds, not the k(n - 1) of independent samples, by which tests of few worlds call too much different. Differences
    from one baseline have a correlation of 1/2. One without any spread has p = 0, or 1 if there is no difference.
    """
    labels = list(worlds)
    table = np.array([np.asarray(values, dtype=np.float64) for values in worlds.values()])
    clean = table[:, np.isfinite(table).all(axis=0)]
    policies, count = clean.shape
    means = clean.mean(axis=1, keepdims=True)
    residual = clean - means - (clean - means).mean(axis=0, keepdims=True)
    degrees = (policies - 1) * (count - 1)
    error = math.sqrt(float((residual**2).sum()) / degrees * 2 / count)
    if error <= ROUNDING * float(np.abs(clean).max()):
        error = 0.0
    apart = np.abs(means[:, 0] - means[labels.index(baseline), 0])
    return {
        label: _largest_t_p(float(difference), error, policies - 1, degrees)
        for label, difference in zip(labels, apart, strict=True)
        if label != baseline
    }


def _largest_t_p(difference: float, error: float, comparisons: int, degrees: int) -> float:
    """P(the largest |t| of so many comparisons with one baseline is at least difference / error)."""
    from scipy.stats import multivariate_t

    if error == 0.0:
        return 1.0 if difference == 0.0 else 0.0
    limit = np.full(comparisons, difference / error)
    shape = np.full((comparisons, comparisons), 0.5) + 0.5 * np.eye(comparisons)
    generator = np.random.default_rng(0)  # the multivariate t is integrated by sampling
    inside = multivariate_t(shape=shape, df=degrees).cdf(limit, lower_limit=-limit, random_state=generator)
    return float(np.clip(1.0 - inside, 0.0, 1.0))
