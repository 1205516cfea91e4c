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

from spotbed.stats.intervals import Array


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
    """Dunnett's p-value of each policy against the baseline, all at once, by scipy.

    What the worlds have in common is taken out first: each policy's number less the mean of its world over policies,
    with the variance that this takes away put back. Needs two policies and two worlds.
    """
    from scipy.stats import dunnett

    table = np.array([np.asarray(values, dtype=np.float64) for values in worlds.values()])
    labels = list(worlds)
    clean = table[:, np.isfinite(table).all(axis=0)]
    residual = _without_worlds(clean)
    control = residual[labels.index(baseline)]
    others = [index for index, label in enumerate(labels) if label != baseline]
    generator = np.random.default_rng(0)  # its multivariate t is integrated by sampling
    found = dunnett(*(residual[index] for index in others), control=control, rng=generator)
    return {labels[index]: float(p) for index, p in zip(others, found.pvalue, strict=True)}


def _without_worlds(table: Array) -> Array:
    """(policies, worlds): the effects of worlds taken out, scaled so that the spread is that of one policy's error.

    The residuals of k policies have (k - 1)/k of the error's variance in each world.
    """
    policies = len(table)
    means = table.mean(axis=1, keepdims=True)
    residual = table - means - (table - means).mean(axis=0, keepdims=True)
    scaled: Array = means + residual * math.sqrt(policies / (policies - 1))
    return scaled
