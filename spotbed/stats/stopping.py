"""How many worlds a wanted precision takes: run some, look, run more, up to a cap.

The rule of Law and Kelton (Simulation Modeling and Analysis, 9.4.1): stop when the half width of the interval, over
the mean, is at most g / (1 + g); then the mean is within g of the true one as surely as the interval covers it. Looking
again and again costs a little coverage, so no look is taken before 30 worlds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spotbed.stats.intervals import mean_interval

FIRST_WORLDS = 30
MOST_GROWTH = 2.0  # a look at few worlds misjudges how many it takes


@dataclass(frozen=True, slots=True)
class Precision:
    """What is wanted of every policy's mean: a relative precision (0.02 is 2 %), with a cap on the worlds."""

    relative: float
    at_most: int

    def __post_init__(self) -> None:
        if not 0.0 < self.relative < 1.0 or self.at_most < 2:
            raise ValueError(f"no precision to stop at: {self.relative} with at most {self.at_most} worlds")

    @property
    def first(self) -> int:
        """How many worlds are run before the first look."""
        return min(FIRST_WORLDS, self.at_most)


def relative_half_width(values: npt.ArrayLike) -> float:
    """The longer side of the mean's interval, over the mean; infinite if unknown. Undefined worlds are left out."""
    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if len(numbers) < 2:
        return math.inf
    found = mean_interval(numbers)
    if found.low is None or found.high is None:
        return math.inf
    half = max(found.high - found.estimate, found.estimate - found.low)
    return 0.0 if half == 0.0 else (half / abs(found.estimate) if found.estimate else math.inf)


def worlds_wanted(by_policy: Mapping[str, npt.ArrayLike], precision: Precision) -> int:
    """How many worlds to have run at the next look; as many as there are (by the longest) where it is enough."""
    count = max(len(np.asarray(values)) for values in by_policy.values())
    goal = precision.relative / (1.0 + precision.relative)
    widest = max(relative_half_width(values) for values in by_policy.values())
    if widest <= goal or count >= precision.at_most:
        return count
    growth = MOST_GROWTH if math.isinf(widest) else min(MOST_GROWTH, (widest / goal) ** 2)
    return min(precision.at_most, max(count + 1, math.ceil(count * growth)))
