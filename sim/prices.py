"""Money over a price that changes: exact integrals of piecewise constant prices.

A float is a whole number divided by a power of two, and times are whole milliseconds, so the integral of a price path
is a whole number over a known denominator. It is kept as such (Python integers have no limit) and divided once at the
end: an integral is correctly rounded, and the parts of an interval add up to the whole however late in the world it
lies. Sums of floats would lose about 1e-16 of everything billed *before* the interval.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise

import numpy as np

from sim.inputs import Float64, Int64, PricePath

MS_PER_HOUR = 3_600_000


class PriceMeter:
    """The integral of one price path, prepared once and asked often. The last price of the path holds for ever."""

    def __init__(self, path: PricePath) -> None:
        self._at_ms: list[int] = path.at_ms.tolist()
        self._usd_per_hour: list[float] = path.usd_per_hour.tolist()
        _check(self._at_ms, self._usd_per_hour)
        ratios = [price.as_integer_ratio() for price in self._usd_per_hour]
        denominator = max(below for _, below in ratios)  # all are powers of two, so the largest is a common one
        self._rate: list[int] = [above * (denominator // below) for above, below in ratios]
        self._divisor: int = denominator * MS_PER_HOUR
        self._until: list[int] = [0]
        for index in range(len(self._rate) - 1):
            spent = self._rate[index] * (self._at_ms[index + 1] - self._at_ms[index])
            self._until.append(self._until[-1] + spent)

    def usd_per_hour_at(self, at_ms: int) -> float:
        """The price that holds at `at_ms` >= 0."""
        return self._usd_per_hour[bisect_right(self._at_ms, at_ms) - 1]

    def cumulative_usd(self, at_ms: int) -> float:
        """What one instance costs from the start of the world until `at_ms` >= 0."""
        return self.integral_usd(0, at_ms)

    def integral_usd(self, from_ms: int, to_ms: int) -> float:
        """What one instance costs in [from_ms, to_ms), 0 <= from_ms <= to_ms."""
        if not 0 <= from_ms <= to_ms:
            raise ValueError(f"an interval must lie within the world: [{from_ms}, {to_ms}) ms")
        first, last = bisect_right(self._at_ms, from_ms) - 1, bisect_right(self._at_ms, to_ms) - 1
        if first == last:
            return self._usd_per_hour[first] * (to_ms - from_ms) / MS_PER_HOUR
        return (self._spent(last, to_ms) - self._spent(first, from_ms)) / self._divisor

    def integrals_usd(self, from_ms: Int64, to_ms: Int64) -> Float64:
        """`integral_usd` of many intervals (arrays of equal length n; shape of the result: n), the same to the bit."""
        start, end = np.asarray(from_ms, dtype=np.int64), np.asarray(to_ms, dtype=np.int64)
        if np.any((start < 0) | (start > end)):
            raise ValueError("an interval must lie within the world and end after it starts")
        first = np.searchsorted(self._at_ms, start, side="right") - 1
        across = np.searchsorted(self._at_ms, end, side="right") - 1 != first
        usd: Float64 = np.asarray(self._usd_per_hour)[first] * (end - start) / MS_PER_HOUR
        pairs = zip(start[across].tolist(), end[across].tolist(), strict=True)
        usd[across] = [self.integral_usd(one, other) for one, other in pairs]
        return usd

    def mean_usd_per_hour(self, from_ms: int, to_ms: int) -> float:
        """The time average of the price over [from_ms, to_ms); at a single moment, the price then."""
        if from_ms == to_ms:
            return self.usd_per_hour_at(from_ms)
        return self.integral_usd(from_ms, to_ms) * MS_PER_HOUR / (to_ms - from_ms)

    def _spent(self, index: int, at_ms: int) -> int:
        """The integral from 0 to `at_ms`, at which the price `index` holds, in units of 1 / _divisor USD."""
        return self._until[index] + self._rate[index] * (at_ms - self._at_ms[index])


def _check(at_ms: list[int], usd_per_hour: list[float]) -> None:
    if not at_ms or len(at_ms) != len(usd_per_hour):
        raise ValueError(f"a price path needs one price for each time, not {len(usd_per_hour)} for {len(at_ms)}")
    if at_ms[0] != 0 or any(later <= earlier for earlier, later in pairwise(at_ms)):
        raise ValueError("the times of a price path start at 0 and rise")


def constant_price(usd_per_hour: float) -> PricePath:
    """The path of a price that never changes."""
    return PricePath(np.zeros(1, dtype=np.int64), np.array([usd_per_hour], dtype=np.float64))


def integral_usd(path: PricePath, from_ms: int, to_ms: int) -> float:
    """What one instance costs in [from_ms, to_ms). For many intervals of one path keep a `PriceMeter`."""
    return PriceMeter(path).integral_usd(from_ms, to_ms)


def mean_usd_per_hour(path: PricePath, from_ms: int, to_ms: int) -> float:
    """The time average of a price over [from_ms, to_ms)."""
    return PriceMeter(path).mean_usd_per_hour(from_ms, to_ms)
