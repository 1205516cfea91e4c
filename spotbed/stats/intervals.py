"""95 % intervals by the bootstrap-t, or by Student's t where there is too little to resample.

The bootstrap-t (Efron and Tibshirani 1993, ch. 12; Hall 1988) takes the quantiles of (estimate* - estimate) / se* over
resamples in place of Student's. It follows the skewness of costs and waits, where Student's interval and the BCa
interval of 30 worlds cover too seldom. A sample of 30 shows less skewness than there is, so no side is made shorter
than Student's: alone, the bootstrap-t of a lognormal covers a point less (docs/statistics.md has what was measured).

The resamples depend on the number of worlds only. So an interval needs no seed, is the same in any process and order
of calls, scales exactly with its data, and that of a - b is the mirror image of that of b - a.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spotbed.stats.method import BOOTSTRAP_T, RESAMPLES, STUDENT_T

Array = npt.NDArray[np.float64]
Statistic = Callable[..., tuple[Array, Array]]  # columns of shape (..., n) -> estimate and its standard error, (...)

LEAST_FOR_BOOTSTRAP = 11  # below, the resamples of a skewed sample make limits that are many times too far
MOST_FOR_BOOTSTRAP = 1000  # above, the skewness of a mean has worn off, and n x RESAMPLES numbers are too many
TAIL = 0.025
MOST_WITHOUT_SPREAD = 0.01  # of the resamples; beyond it their quantiles say little (values nearly all equal)
ROUNDING = 1e-12  # a spread below this share of the values is rounding, not spread


class Interval(NamedTuple):
    """An estimate, the ends of its 95 % interval (None: one world, no interval), and the method that gave them."""

    estimate: float
    low: float | None
    high: float | None
    method: str


def mean_interval(values: npt.ArrayLike) -> Interval:
    """The mean of finite `values` (shape n, n >= 1, one per world) with its interval."""
    return interval(_mean, np.asarray(values, dtype=np.float64))


def log_ratio_interval(candidate: Array, baseline: Array) -> Interval:
    """log(mean candidate / mean baseline) over the same n worlds; both means must be positive."""
    return interval(_log_ratio, candidate, baseline)


def block_bootstrap_ci(values: npt.ArrayLike, blocks: Sequence[object] | npt.NDArray[np.generic]) -> Interval:
    """The mean of `values` that are dependent inside a block and not across blocks, such as overlapping trace windows.

    `blocks[i]` names the block of `values[i]` (for windows: a stretch of time, long beside them). Whole blocks are
    resampled, so the interval is that of as many observations as there are blocks. Undefined values are left out.
    """
    numbers = np.asarray(values, dtype=np.float64)
    names = np.asarray(blocks)
    if numbers.shape != names.shape:
        raise ValueError(f"values and blocks differ in shape: {numbers.shape} and {names.shape}")
    kept = np.isfinite(numbers)
    _, member = np.unique(names[kept], return_inverse=True)
    sums, counts = np.bincount(member, weights=numbers[kept]), np.bincount(member)
    return interval(_mean_of_blocks, sums.astype(np.float64), counts.astype(np.float64))


def interval(statistic: Statistic, *columns: Array) -> Interval:
    """The 95 % interval of a smooth function of means over n worlds; `columns` are resampled together."""
    worlds = len(columns[0])
    if worlds == 0:
        raise ValueError("an interval needs at least one value")
    if worlds == 1:
        return Interval(float(_estimate(statistic, columns)), None, None, "none")
    estimate, error = (float(number) for number in statistic(*columns))
    student = student_quantile(worlds - 1)
    if LEAST_FOR_BOOTSTRAP <= worlds <= MOST_FOR_BOOTSTRAP and error > 0.0:
        quantiles = _resampled_quantiles(statistic, columns, estimate)
        if quantiles is not None:
            below, above = min(quantiles[0], -student), max(quantiles[1], student)
            return Interval(estimate, estimate - above * error, estimate - below * error, BOOTSTRAP_T)
    return Interval(estimate, estimate - student * error, estimate + student * error, STUDENT_T)


def student_quantile(degrees: int) -> float:
    """The 97.5 % quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 1.0 - TAIL))


def _estimate(statistic: Statistic, columns: tuple[Array, ...]) -> Array:
    """The estimate alone, for one world: two copies of it have the same estimate and an error of zero."""
    return statistic(*(np.repeat(column, 2) for column in columns))[0]


def _resampled_quantiles(
    statistic: Statistic, columns: tuple[Array, ...], estimate: float
) -> tuple[float, float] | None:
    """The 2.5 % and 97.5 % quantiles of the studentised resamples; None when too many of these have no spread."""
    index = _resamples(len(columns[0]))
    with np.errstate(divide="ignore", invalid="ignore"):
        estimates, errors = statistic(*(column[index] for column in columns))
        studentised = (estimates - estimate) / errors
    usable = np.isfinite(studentised)
    if np.count_nonzero(~usable) > MOST_WITHOUT_SPREAD * RESAMPLES:
        return None
    ordered = np.sort(studentised[usable])
    rank = round(TAIL * (len(ordered) + 1))
    return float(ordered[rank - 1]), float(ordered[-rank])


@lru_cache(maxsize=4)
def _resamples(worlds: int) -> npt.NDArray[np.intp]:
    """Which worlds each resample draws, shape (RESAMPLES, worlds)."""
    generator = np.random.Generator(np.random.Philox(key=worlds))
    return generator.integers(0, worlds, size=(RESAMPLES, worlds), dtype=np.intp)


def _mean(values: Array) -> tuple[Array, Array]:
    return values.mean(axis=-1), _standard_error(values, np.abs(values).max(axis=-1))


def _log_ratio(candidate: Array, baseline: Array) -> tuple[Array, Array]:
    above, below = candidate.mean(axis=-1), baseline.mean(axis=-1)
    influence = candidate / above[..., None] - baseline / below[..., None]
    return np.log(above / below), _standard_error(influence, np.ones_like(above))


def _mean_of_blocks(sums: Array, counts: Array) -> tuple[Array, Array]:
    mean = sums.sum(axis=-1) / counts.sum(axis=-1)
    size = counts.mean(axis=-1)
    influence = (sums - mean[..., None] * counts) / size[..., None]
    return mean, _standard_error(influence, np.abs(sums).max(axis=-1) / size)


def _standard_error(influence: Array, scale: Array) -> Array:
    """Of a mean with these influence values (..., n); a spread that is only rounding at `scale` counts as none."""
    spread = influence.std(axis=-1, ddof=1)
    error: Array = np.where(spread > ROUNDING * scale, spread, 0.0) / np.sqrt(influence.shape[-1])
    return error
