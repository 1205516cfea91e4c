"""Step functions on a common grid, so that long series stay small without inventing values."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)


def value_at(times: Floats, values: Floats, at: Floats) -> Floats:
    """The step function (times, values) at the times `at`; zero before its first time. `times` ascend."""
    if len(times) == 0:
        return np.zeros(len(at))
    place = np.searchsorted(times, at, side="right") - 1
    held: Floats = np.where(place >= 0, values[np.maximum(place, 0)], 0.0)
    return held


def mean_between(times: Floats, values: Floats, edges: Floats) -> Floats:
    """The time-weighted mean of the step function in each interval of `edges`; zero before its first time."""
    if len(times) == 0:
        return np.zeros(len(edges) - 1)
    widths = np.diff(times, append=max(float(times[-1]), float(edges[-1])))
    area = np.concatenate([[0.0], np.cumsum(values * widths)])
    knots = np.append(times, max(float(times[-1]), float(edges[-1])))
    integral = np.interp(edges, knots, area, left=0.0)
    mean: Floats = np.diff(integral) / np.diff(edges)
    return mean


def on_common_grid(
    series: Mapping[Key, tuple[Floats, Floats]], end: float, limit: int
) -> tuple[Floats, dict[Key, Floats], bool]:
    """All step functions on one grid of at most `limit` times from 0 to `end`.

    Returns (times, values by key, exact). Exact: the grid holds every change. Otherwise each value is the mean over
    the interval that starts at its time.
    """
    changes = [times for times, _ in series.values()]
    union = np.unique(np.concatenate([[0.0], *changes]) if changes else np.zeros(1))
    union = union[(union >= 0) & (union <= end)]
    if len(union) < limit:
        grid = np.append(union, end) if end > union[-1] else union
        return grid, {name: value_at(times, values, grid) for name, (times, values) in series.items()}, True
    edges = np.linspace(0.0, end, limit)
    means = {name: mean_between(times, values, edges) for name, (times, values) in series.items()}
    return edges, {name: np.append(mean, mean[-1]) for name, mean in means.items()}, False


def thinned(x: Sequence[float] | Floats, limit: int) -> list[int]:
    """Places of at most `limit` points, evenly chosen, both ends kept."""
    size = len(x)
    if size <= limit:
        return list(range(size))
    return sorted({round(place) for place in np.linspace(0, size - 1, limit)})
