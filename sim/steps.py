"""Step functions of time: how many instances EC2 has in a pool, as a trace tells it or as a renewal process draws it.

Each answers two questions, for any time of a world, however late: the value at a time, and when it next changes.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import gammaincinv

from sim.distributions import mean_s, quantile, sample_ms, to_ms
from sim.inputs import UNLIMITED, Dist, Float64, Int64
from sim.streams import Streams

_SPELLS_PER_BLOCK = 64


class Step(Protocol):
    """A step function of time (ms since the start of the world, >= 0)."""

    def at(self, at_ms: int) -> int:
        """The value at `at_ms`."""

    def next_after(self, after_ms: int) -> int | None:
        """When the value next changes, strictly after `after_ms`; None when it never does."""


class Held:
    """A finite step function: `values[i]` holds from `at_ms[i]`, the last one for ever, the first one also before."""

    def __init__(self, at_ms: npt.ArrayLike, values: npt.ArrayLike) -> None:
        times = np.asarray(at_ms, dtype=np.int64)
        held = np.asarray(values, dtype=np.int64)
        changes = np.r_[True, held[1:] != held[:-1]]
        self._at_ms: list[int] = times[changes].tolist()
        self._values: list[int] = held[changes].tolist()

    def at(self, at_ms: int) -> int:
        """The value at `at_ms`."""
        return self._values[max(0, bisect_right(self._at_ms, at_ms) - 1)]

    def next_after(self, after_ms: int) -> int | None:
        """The next change after `after_ms`. The first entry is where the function begins, not a change."""
        index = max(1, bisect_right(self._at_ms, after_ms))
        return self._at_ms[index] if index < len(self._at_ms) else None


class Cyclic:
    """A recording played in a loop: `values[i]` holds from `at_ms[i]` (at_ms[0] = 0) and `period_ms` starts it again.

    `offset_ms` is where in the recording the world begins.
    """

    def __init__(self, at_ms: npt.ArrayLike, values: npt.ArrayLike, period_ms: int, offset_ms: int = 0) -> None:
        held = np.asarray(values, dtype=np.int64)
        changes = held != np.roll(held, 1)  # at 0 too, when the recording ends on another value
        self._loop = Held(at_ms, held)
        self._changes: list[int] = np.asarray(at_ms, dtype=np.int64)[changes].tolist()
        self._period_ms = period_ms
        self._offset_ms = offset_ms

    def at(self, at_ms: int) -> int:
        """The value at `at_ms`."""
        return self._loop.at((at_ms + self._offset_ms) % self._period_ms)

    def next_after(self, after_ms: int) -> int | None:
        """When the value next changes; None only for a recording that never does."""
        if not self._changes:
            return None
        rounds, phase = divmod(after_ms + self._offset_ms, self._period_ms)
        index = bisect_right(self._changes, phase)
        if index == len(self._changes):
            rounds, index = rounds + 1, 0
        return self._changes[index] + rounds * self._period_ms - self._offset_ms


class Alternating:
    """An alternating renewal process: room without limit (`up`) and none (`down`) in turns, in its stationary state.

    At time 0 the pool is up with probability E[up] / (E[up] + E[down]), and the spell then running has the
    equilibrium residual distribution, so no time of the world is special (Cox, Renewal Theory, 1962). Spells are drawn
    by need, without an end; the n-th spell of a kind is the same whatever is asked, and in which order.
    """

    def __init__(self, up: Dist, down: Dist, streams: Streams, purpose: str) -> None:
        self._up, self._down, self._streams, self._purpose = up, down, streams, purpose
        which, rest = streams.per_entity(f"{purpose}/first", 0, 2).tolist()
        self._starts_up = which < mean_s(up) / (mean_s(up) + mean_s(down))
        first_ms = int(to_ms(residual_s(up if self._starts_up else down, rest)))
        self._changes = [max(1, first_ms)]
        self._drawn = 0

    def at(self, at_ms: int) -> int:
        """UNLIMITED or 0."""
        passed = self._changes_until(at_ms)
        return UNLIMITED if self._starts_up == (passed % 2 == 0) else 0

    def next_after(self, after_ms: int) -> int:
        """When the spell that holds at `after_ms` ends."""
        return self._changes[self._changes_until(after_ms)]

    def _changes_until(self, at_ms: int) -> int:
        while self._changes[-1] <= at_ms:
            self._draw()
        return bisect_right(self._changes, at_ms)

    def _draw(self) -> None:
        """Append one block of spells of both kinds."""
        spells = np.empty(2 * _SPELLS_PER_BLOCK, dtype=np.int64)
        for first, kind, dist in ((self._starts_up, "up", self._up), (not self._starts_up, "down", self._down)):
            uniforms = self._streams.per_entity(f"{self._purpose}/{kind}", self._drawn, _SPELLS_PER_BLOCK)
            spells[int(first) :: 2] = np.maximum(1, sample_ms(dist, uniforms))
        self._drawn += _SPELLS_PER_BLOCK
        self._changes.extend((self._changes[-1] + np.cumsum(spells)).tolist())


def residual_s(dist: Dist, u: npt.ArrayLike) -> Float64:
    """The equilibrium residual of a spell (what is left of it at a random time) in seconds, for each uniform of `u`.

    Its distribution function is the integral of the survival function up to x, over the mean. For a Weibull that is
    the regularised incomplete gamma function P(1/shape, (x/scale)^shape), inverted here.
    """
    uniforms = np.asarray(u, dtype=np.float64)
    if dist.kind == "weibull":
        shape, scale = dist.params["shape"], dist.params["scale"]
        return np.asarray(scale * gammaincinv(1.0 / shape, uniforms) ** (1.0 / shape), dtype=np.float64)
    if dist.kind == "exponential":
        return quantile(dist, uniforms)  # memoryless: what is left is as long as a new one
    if dist.kind == "constant":
        return dist.params["value"] * uniforms
    raise ValueError(f"spells that alternate are weibull, exponential or constant, not {dist.kind!r}")


def recorded_period_ms(at_ms: Int64, values: Int64 | Float64) -> int | None:
    """Where a recording ends: at its last entry if that repeats the value before it; otherwise it has no end (None)."""
    if len(at_ms) < 2 or values[-1] != values[-2]:
        return None
    return int(at_ms[-1])


def recorded(at_ms: Int64, values: Int64, offset_ms: int = 0, scale: float = 1.0) -> Step:
    """A recorded step function, begun at `offset_ms` of it; its times are multiplied by `scale`, the offset with them.

    One with an end (`recorded_period_ms`) starts again there; one without holds its last value for ever.
    """
    times = np.rint(at_ms * scale).astype(np.int64)
    last_of_time = np.r_[times[1:] != times[:-1], True]
    start_ms = round(offset_ms * scale)
    if recorded_period_ms(at_ms, values) is None:
        return Held(times[last_of_time] - start_ms, values[last_of_time])
    body = slice(None, -1)
    return Cyclic(times[body][last_of_time[body]], values[body][last_of_time[body]], int(times[-1]), start_ms)
