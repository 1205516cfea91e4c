"""The best of many policies with an indifference zone: the KN procedure, fully sequential.

Kim and Nelson, "A fully sequential procedure for indifference-zone selection in simulation" (ACM TOMACS 11, 2001):
with probability of at least `confidence` the policy that is selected has the lowest mean, if that is lower than all
others by the indifference `delta` or more; else one within `delta` of the lowest. Common random numbers are allowed:
the variances are those of the differences. Assumes that differences over worlds are about normal and independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

FIRST_WORLDS = 10  # n0: to estimate the variances of the differences


@dataclass(frozen=True, slots=True)
class Selection:
    """Who was selected; who else was left when the worlds had run out; how many worlds each was run for."""

    best: str
    left: tuple[str, ...]
    worlds: dict[str, int]

    @property
    def resolved(self) -> bool:
        """Whether one alone is left."""
        return len(self.left) == 1


def select(
    labels: Sequence[str],
    draw: Callable[[str, int], float],
    delta: float,
    *,
    confidence: float = 0.95,
    first: int = FIRST_WORLDS,
    at_most: int = 10_000,
) -> Selection:
    """Run `draw(label, world)` (lower is better) until one policy is left, or `at_most` worlds have been run.

    Policies that are clearly worse are run no more. Raises ValueError where the numbers make no sense.
    """
    if not labels or delta <= 0 or not 0 < confidence < 1 or first < 2:
        raise ValueError("KN needs a policy, delta > 0, a confidence between 0 and 1, and two worlds to begin with")
    begun = {label: np.array([draw(label, world) for world in range(first)]) for label in labels}
    spread = {
        (one, other): float(np.var(begun[one] - begun[other], ddof=1)) * _h2(len(labels), confidence, first) / delta**2
        for one in labels
        for other in labels
    }
    sums, worlds = {label: float(values.sum()) for label, values in begun.items()}, dict.fromkeys(labels, first)
    left = _survivors(list(labels), sums, spread, delta, first)
    for count in range(first + 1, at_most + 1):
        if len(left) == 1:
            break
        for label in left:
            sums[label] += draw(label, count - 1)
            worlds[label] = count
        left = _survivors(left, sums, spread, delta, count)
    return Selection(min(left, key=lambda label: sums[label]), tuple(left), worlds)


def _h2(policies: int, confidence: float, first: int) -> float:
    """h^2 = 2 c eta (n0 - 1) with c = 1: eta = ((2 alpha / (k - 1))^(-2/(n0 - 1)) - 1) / 2."""
    if policies == 1:
        return 0.0
    return float((first - 1) * ((2 * (1 - confidence) / (policies - 1)) ** (-2 / (first - 1)) - 1))


def _survivors(
    left: list[str], sums: dict[str, float], spread: dict[tuple[str, str], float], delta: float, count: int
) -> list[str]:
    """Those whose mean no other one is below by more than (delta / 2r) max(0, h^2 S^2 / delta^2 - r)."""

    def beaten(label: str, other: str) -> bool:
        region = delta / 2 * max(0.0, spread[label, other] - count)
        return sums[label] - sums[other] > region

    return [label for label in left if not any(beaten(label, other) for other in left if other != label)] or left
