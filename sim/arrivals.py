"""When jobs are submitted: integer milliseconds from the start of the world, sorted.

Arrival k is a function of the world's streams and k alone, so it is the same for any horizon and any number of jobs.
Arrivals end with the number asked for or at the horizon, whichever comes first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sim.inputs import NEVER_MS, Float64, Int64
from sim.streams import Streams

DAY_S = 86_400.0
PURPOSE = "arrival"
ArrivalKind = Literal["poisson", "periodic", "burst", "daily", "at-once"]

_BLOCK = 1 << 14
_TABLE_POINTS = 4096
_NEWTON_STEPS = 3


@dataclass(frozen=True, slots=True)
class Arrivals:
    """How jobs come.

    poisson {rate_per_s} | periodic {every_s}: one at 0, then one each period | burst {size, every_s}: `size` at once at
    0, then each period | at-once: all at 0 | daily {rate_per_s, peak_hour, ratio}: a Poisson process whose rate follows
    a cosine over the day, with mean `rate_per_s`, its maximum at `peak_hour` (0 to 24) and maximum / minimum = `ratio`.
    `starts_hour` is the hour of the day at the start of the world.
    """

    kind: ArrivalKind
    rate_per_s: float = 0.0
    every_s: float = 0.0
    size: int = 1
    peak_hour: float = 0.0
    ratio: float = 1.0
    starts_hour: float = 0.0


def arrival_ms(
    arrivals: Arrivals, streams: Streams, *, jobs: int | None = None, horizon_ms: int | None = None
) -> Int64:
    """Submission times: at most `jobs` of them, all before `horizon_ms`. One of the two must be given."""
    if jobs is None and (horizon_ms is None or arrivals.kind == "at-once"):
        raise ValueError(f"{arrivals.kind} arrivals never end: give a number of jobs")
    if arrivals.kind == "at-once":
        return np.zeros(jobs or 0, dtype=np.int64)
    if arrivals.kind in ("poisson", "daily"):
        return _random(arrivals, streams, jobs, horizon_ms)
    if arrivals.kind == "periodic":
        return _regular(arrivals.every_s, 1, jobs, horizon_ms)
    if arrivals.kind == "burst":
        return _regular(arrivals.every_s, arrivals.size, jobs, horizon_ms)
    raise ValueError(f"unknown arrivals {arrivals.kind!r}")


def _regular(every_s: float, size: int, jobs: int | None, horizon_ms: int | None) -> Int64:
    if every_s <= 0 or size < 1:
        raise ValueError(f"a period must be positive and a burst hold a job, not {every_s!r} s and {size!r}")
    count = NEVER_MS if jobs is None else jobs
    if horizon_ms is not None:
        count = min(count, size * math.ceil(horizon_ms / (every_s * 1000.0)))
    times: Int64 = np.rint(np.arange(count) // size * (every_s * 1000.0)).astype(np.int64)
    return times


def _random(arrivals: Arrivals, streams: Streams, jobs: int | None, horizon_ms: int | None) -> Int64:
    """A Poisson process with a rate that may vary: unit-rate arrivals, mapped through the inverse of the mean count."""
    if arrivals.rate_per_s <= 0:
        raise ValueError(f"a rate must be positive, not {arrivals.rate_per_s!r} per second")
    blocks: list[Int64] = []
    done, reached = 0, 0.0
    while jobs is None or done < jobs:
        count = _BLOCK if jobs is None else min(_BLOCK, jobs - done)
        gaps = -np.log1p(-streams.per_entity(PURPOSE, done, count))
        gaps[0] += reached  # a running sum from left to right: the same to the last bit for any block size
        counts = np.cumsum(gaps)
        done, reached = done + count, float(counts[-1])
        blocks.append(np.rint(_times_s(arrivals, counts) * 1000.0).astype(np.int64))
        if horizon_ms is not None and blocks[-1][-1] >= horizon_ms:
            break
    times = np.concatenate(blocks) if blocks else np.empty(0, dtype=np.int64)
    return times if horizon_ms is None else times[: np.searchsorted(times, horizon_ms)]


def _times_s(arrivals: Arrivals, counts: Float64) -> Float64:
    if arrivals.kind == "poisson":
        return counts / arrivals.rate_per_s
    return daily_times_s(arrivals, counts)


def daily_count(arrivals: Arrivals, at_s: Float64) -> Float64:
    """The expected number of daily arrivals in [0, at_s), the integral of the rate."""
    turn = 2.0 * math.pi / DAY_S
    start_s = (arrivals.starts_hour - arrivals.peak_hour) * 3600.0
    wave = np.sin(turn * (at_s + start_s)) - math.sin(turn * start_s)
    return arrivals.rate_per_s * (at_s + _swing(arrivals) * wave / turn)


def daily_times_s(arrivals: Arrivals, counts: Float64) -> Float64:
    """The inverse of `daily_count`: a table of one day gives the cell, Newton's method the digits."""
    per_day = arrivals.rate_per_s * DAY_S
    days, rest = np.divmod(counts, per_day)
    grid_s = np.linspace(0.0, DAY_S, _TABLE_POINTS + 1)
    table = daily_count(arrivals, grid_s)
    cell = np.clip(np.searchsorted(table, rest, side="right") - 1, 0, _TABLE_POINTS - 1)
    low_s, high_s = grid_s[cell], grid_s[cell + 1]
    at_s = low_s + (high_s - low_s) * (rest - table[cell]) / (table[cell + 1] - table[cell])
    for _ in range(_NEWTON_STEPS):
        step = (daily_count(arrivals, at_s) - rest) / _daily_rate(arrivals, at_s)
        at_s = np.clip(at_s - step, low_s, high_s)
    return days * DAY_S + at_s


def _swing(arrivals: Arrivals) -> float:
    if arrivals.ratio < 1:
        raise ValueError(f"the ratio of the highest to the lowest rate is at least 1, not {arrivals.ratio!r}")
    return (arrivals.ratio - 1.0) / (arrivals.ratio + 1.0)


def _daily_rate(arrivals: Arrivals, at_s: Float64) -> Float64:
    phase = 2.0 * math.pi / DAY_S * (at_s + (arrivals.starts_hour - arrivals.peak_hour) * 3600.0)
    return arrivals.rate_per_s * (1.0 + _swing(arrivals) * np.cos(phase))
