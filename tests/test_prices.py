"""Integrals of prices: exact, additive, the same for one interval and for many."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.inputs import PricePath
from sim.prices import MS_PER_HOUR, PriceMeter, constant_price, integral_usd, mean_usd_per_hour

LATEST_MS = 10**11


def path_of(*points: tuple[int, float]) -> PricePath:
    return PricePath(np.array([at for at, _ in points], dtype=np.int64), np.array([usd for _, usd in points]))


@st.composite
def paths(draw: st.DrawFn) -> PricePath:
    later = draw(st.lists(st.integers(1, LATEST_MS), unique=True, max_size=12).map(sorted))
    prices = draw(st.lists(st.floats(1e-4, 100.0), min_size=len(later) + 1, max_size=len(later) + 1))
    return path_of(*zip([0, *later], prices, strict=True))


def exact(path: PricePath, from_ms: int, to_ms: int) -> Fraction:
    """The integral as a sum over the segments, in rational numbers."""
    ends = [*path.at_ms.tolist()[1:], max(to_ms, int(path.at_ms[-1]))]
    total = Fraction(0)
    for start, end, price in zip(path.at_ms.tolist(), ends, path.usd_per_hour.tolist(), strict=True):
        total += Fraction(price) * max(0, min(end, to_ms) - max(start, from_ms))
    return total / MS_PER_HOUR


def test_each_price_counts_for_as_long_as_it_holds() -> None:
    path = path_of((0, 0.10), (MS_PER_HOUR, 0.40), (3 * MS_PER_HOUR, 0.20))
    meter = PriceMeter(path)
    assert meter.integral_usd(0, 4 * MS_PER_HOUR) == pytest.approx(0.10 + 0.80 + 0.20, rel=1e-15)
    assert meter.integral_usd(MS_PER_HOUR // 2, MS_PER_HOUR) == pytest.approx(0.05, rel=1e-15)
    assert meter.cumulative_usd(MS_PER_HOUR) == pytest.approx(0.10, rel=1e-15)
    assert [meter.usd_per_hour_at(at) for at in (0, MS_PER_HOUR - 1, MS_PER_HOUR, 10**12)] == [0.10, 0.10, 0.40, 0.20]
    assert mean_usd_per_hour(path, 0, 4 * MS_PER_HOUR) == pytest.approx(1.10 / 4, rel=1e-15)
    assert mean_usd_per_hour(path, 5, 5) == 0.10


def test_a_constant_price_times_the_hours() -> None:
    assert integral_usd(constant_price(0.9731), 7, 7 + 48 * MS_PER_HOUR) == pytest.approx(48 * 0.9731, rel=1e-15)


@given(paths(), st.integers(0, LATEST_MS), st.integers(0, LATEST_MS))
def test_an_integral_is_exact_to_the_last_bit_but_one(path: PricePath, one: int, other: int) -> None:
    start, end = sorted((one, other))
    expected = exact(path, start, end)
    assert abs(Fraction(PriceMeter(path).integral_usd(start, end)) - expected) <= expected * Fraction(1, 2**52)


@given(paths(), st.lists(st.integers(0, LATEST_MS), min_size=2, max_size=20).map(sorted))
def test_parts_add_up_to_the_whole(path: PricePath, cuts: list[int]) -> None:
    meter = PriceMeter(path)
    parts = sum(meter.integral_usd(*pair) for pair in pairwise(cuts))
    assert parts == pytest.approx(meter.integral_usd(cuts[0], cuts[-1]), rel=1e-12, abs=0)
    until = [meter.cumulative_usd(cut) for cut in (cuts[0], cuts[-1])]
    assert until[1] - until[0] == pytest.approx(meter.integral_usd(cuts[0], cuts[-1]), abs=1e-12 * until[1])


def test_a_late_short_interval_loses_nothing_to_what_came_before() -> None:
    path = path_of((0, 98.32), (LATEST_MS, 0.0123), (LATEST_MS + 1, 0.0321))
    expected = exact(path, LATEST_MS - 1, LATEST_MS + 2)
    assert Fraction(PriceMeter(path).integral_usd(LATEST_MS - 1, LATEST_MS + 2)) == pytest.approx(expected, rel=1e-15)


@given(paths(), st.lists(st.tuples(st.integers(0, LATEST_MS), st.integers(0, 10**10)), max_size=20))
def test_many_intervals_cost_what_each_costs(path: PricePath, spans: list[tuple[int, int]]) -> None:
    meter = PriceMeter(path)
    start = np.array([first for first, _ in spans], dtype=np.int64)
    end = start + np.array([length for _, length in spans], dtype=np.int64)
    assert meter.integrals_usd(start, end).tolist() == [
        meter.integral_usd(one, other) for one, other in zip(start.tolist(), end.tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([(5, 0.1)], "start at 0"),
        ([(0, 0.1), (9, 0.2), (9, 0.3)], "rise"),
        ([], "one price for each time"),
    ],
)
def test_a_path_that_is_none_is_refused(points: list[tuple[int, float]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PriceMeter(path_of(*points))


def test_an_interval_that_runs_backwards_is_refused() -> None:
    meter = PriceMeter(constant_price(1.0))
    with pytest.raises(ValueError, match=r"\[5, 3\)"):
        meter.integral_usd(5, 3)
    with pytest.raises(ValueError, match="end after it starts"):
        meter.integrals_usd(np.array([5]), np.array([3]))
