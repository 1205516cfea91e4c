"""The BCa interval of a mean (Efron 1987), by scipy: only to compare with; docs/statistics.md says what it covers."""

from __future__ import annotations

from spotbed.stats.intervals import Array, Interval
from spotbed.stats.method import RESAMPLES

BCA = "bca"


def bca_interval(values: Array) -> Interval:
    """95 % of the mean of n >= 2 values that are not all equal."""
    import numpy as np
    from scipy.stats import bootstrap

    found = bootstrap(
        (values,), np.mean, vectorized=True, n_resamples=RESAMPLES, method="BCa", rng=np.random.default_rng(len(values))
    )
    low, high = found.confidence_interval
    return Interval(float(values.mean()), float(low), float(high), BCA)
