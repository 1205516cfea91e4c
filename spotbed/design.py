"""Which points of a sweep or a search are run: the full product of lists, or a sample of lists and ranges."""

from __future__ import annotations

import itertools
import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from spotbed.errors import InputError, Problem
from spotbed.scenario.models_search import Range

Design = Literal["product", "lhs", "sobol"]
MOST_POINTS = 100_000


@dataclass(frozen=True)
class Point:
    """One value for each key, as a scenario would have it."""

    number: int
    values: Mapping[str, Any]

    @property
    def overrides(self) -> list[str]:
        """What --set would be given."""
        return [override(key, value) for key, value in self.values.items()]


def override(key: str, value: Any) -> str:
    """`key=value` as --set takes it. Nothing removes the key."""
    return f"{key}=" if value is None else f"{key}={json.dumps(value, ensure_ascii=False)}"


def points_of(swept: Mapping[str, Any], design: Design, points: int | None, seed: int) -> list[Point]:
    """The points, in an order that the same request always gives. Raises InputError for a request that has none.

    The product has every combination of the lists, the last key changing fastest. A Latin hypercube (McKay, Beckman and
    Conover 1979) and a scrambled Sobol sequence (Owen 1998), both of scipy.stats.qmc, have `points` points: they take
    ranges, and of lists each entry equally often. The first points of a Sobol sequence stay when more are asked for.
    """
    if not swept:
        hint = "Add one, such as: sweep: {checkpoint.write: [15s, 45s, 3m]}."
        raise InputError(Problem("the scenario has no `sweep`.", hint=hint))
    if design == "product":
        return _product(swept, points)
    if points is None:
        raise InputError(Problem("how many points?", f"--design {design}", hint="Add --points, such as --points 64."))
    return [
        Point(number, {key: at(values, share) for (key, values), share in zip(swept.items(), row, strict=True)})
        for number, row in enumerate(_sample(design, len(swept), points, seed))
    ]


def _product(swept: Mapping[str, Any], points: int | None) -> list[Point]:
    if points is not None:
        hint = "Leave it out, or choose --design lhs or --design sobol."
        raise InputError(Problem("has no effect on a full product.", f"--points {points}", hint=hint))
    ranges = [key for key, values in swept.items() if isinstance(values, Range)]
    if ranges:
        hint = "Choose --design lhs or --design sobol with --points N, or write a list of values."
        raise InputError(Problem("a range has no full product.", path=f"sweep.{ranges[0]}", hint=hint))
    count = math.prod(len(values) for values in swept.values())
    if count > MOST_POINTS:
        hint = "Choose --design sobol with --points N."
        raise InputError(Problem(f"has {count:,} points, more than {MOST_POINTS:,}.", path="sweep", hint=hint))
    rows = itertools.product(*swept.values())
    return [Point(number, dict(zip(swept, row, strict=True))) for number, row in enumerate(rows)]


def _sample(design: Design, keys: int, points: int, seed: int) -> Any:
    from scipy.stats import qmc

    kind = qmc.LatinHypercube if design == "lhs" else qmc.Sobol
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The balance properties of Sobol' points")
        return kind(keys, rng=seed).random(points)


def at(values: Any, share: float) -> Any:
    """The value of a list or a range at a share of it, between 0 and 1."""
    if not isinstance(values, Range):
        return values[min(int(share * len(values)), len(values) - 1)]
    scale = values.scale
    if scale.whole and not values.log:
        return scale.write(scale.low + math.floor(min(share, 1 - 1e-12) * (scale.high - scale.low + 1)))
    if values.log:
        return scale.write(min(scale.high, scale.low * (scale.high / scale.low) ** share))
    return scale.write(scale.low + share * (scale.high - scale.low))
