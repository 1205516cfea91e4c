"""Where a long run has warmed up: MSER-5.

White, Cobb and Spratt, "A comparison of five steady-state truncation heuristics for simulation" (Winter Simulation
Conference 2000): of all truncations in the first half, take the one whose remaining batch means of five have the least
squared standard error. For steady-state questions only; cost and deadlines are asked of runs that drain.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spotbed.stats.intervals import ROUNDING

BATCH = 5
LEAST_BATCHES = 10


class WarmUp(NamedTuple):
    """How many observations to leave out, and the mean of the others.

    `settled` is False where the least error lies at the end of what was searched: the run is too short to tell.
    """

    truncate: int
    mean: float
    settled: bool


def mser5(observations: npt.ArrayLike) -> WarmUp:
    """The truncation of a series of at least fifty finite observations, in the order of time. Raises ValueError."""
    values = np.asarray(observations, dtype=np.float64)
    batches = len(values) // BATCH
    if batches < LEAST_BATCHES or not np.isfinite(values).all():
        raise ValueError(f"MSER-5 needs at least {BATCH * LEAST_BATCHES} finite observations, not {len(values)}")
    means = values[: batches * BATCH].reshape(batches, BATCH).mean(axis=1)
    left = np.arange(batches, 0, -1, dtype=np.float64)  # batches that are left after each truncation
    centred = means - means.mean()
    sums, squares = (np.cumsum(each[::-1])[::-1] for each in (centred, centred**2))
    spread = squares - sums**2 / left
    error = np.where(spread > ROUNDING * squares[0], spread, 0.0) / left**2
    searched = batches // 2 + 1
    best = int(np.argmin(error[:searched]))
    return WarmUp(best * BATCH, float(values[best * BATCH :].mean()), best < searched - 1)
