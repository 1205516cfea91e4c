"""Intervals of quantiles by order statistics: exact for any continuous distribution, and conservative.

Of n independent values, the number below the q-quantile is binomial(n, q); so the j-th and k-th smallest enclose it
with a probability that does not depend on the distribution (David and Nagaraja, Order Statistics, 2003, ch. 7).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spotbed.stats.intervals import TAIL


def quantile_interval(values: npt.ArrayLike, q: float) -> tuple[float | None, float | None]:
    """The ends of a 95 % interval of the q-quantile (0 < q < 1) of finite `values`.

    An end is None where so few values cannot give it: of 30 values, none is above the 95 % quantile surely enough.
    """
    if not 0.0 < q < 1.0:
        raise ValueError(f"a quantile lies between 0 and 1: {q}")
    from scipy.special import bdtr

    ordered = np.sort(np.asarray(values, dtype=np.float64))
    count = len(ordered)
    below = bdtr(np.arange(count + 1, dtype=np.float64), count, q)  # P(at most k values are below the quantile)
    low = int(np.searchsorted(below, TAIL, side="right"))  # the largest j with P(fewer than j below) <= 2.5 %
    high = int(np.searchsorted(below, 1.0 - TAIL))  # the smallest k with P(more than k below) <= 2.5 %
    return (
        float(ordered[low - 1]) if 0 < low <= count else None,
        float(ordered[high]) if high < count else None,
    )
