"""The blocks of windows that overlap: how often the interval of Can't Be Late holds what it is of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spotbed.published import cant_be_late
from spotbed.published.cant_be_late import ON_DEMAND_USD, TICK_MS, WINDOW_TICKS, WORK_MS, Outcome, block_of
from spotbed.stats import block_bootstrap_ci

ZONES, STARTS, REPETITIONS = 9, 43, 200
HOURS, EVERY = 80, 24  # of a window at a fraction of 0.6; between two starts
CORRELATION = 0.22  # of two zones of the trace, on average


def covered(block: Callable[[int, int], str]) -> float:
    """How often the interval of the mean holds the true one, 0. A window's value is the mean of its hours."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(REPETITIONS):
        common, own = rng.normal(size=(1, EVERY * STARTS + HOURS)), rng.normal(size=(ZONES, EVERY * STARTS + HOURS))
        hours = np.sqrt(CORRELATION) * common + np.sqrt(1 - CORRELATION) * own
        pairs = [(zone, number) for zone in range(ZONES) for number in range(STARTS)]
        values = [hours[zone, EVERY * number : EVERY * number + HOURS].mean() for zone, number in pairs]
        _, low, high, _ = block_bootstrap_ci(values, [block(*pair) for pair in pairs])
        assert low is not None
        assert high is not None
        held += low <= 0 <= high
    return held / REPETITIONS


def test_the_interval_holds_although_windows_overlap_and_zones_go_together() -> None:
    assert covered(lambda zone, number: str(block_of(number, 0.6))) >= 0.90


def test_blocks_of_one_zone_as_long_as_a_window_would_hold_far_too_seldom() -> None:
    assert covered(lambda zone, number: f"{zone}/{number // 4}") <= 0.75


@pytest.mark.parametrize(("fraction", "starts"), [(0.6, 4), (0.8, 3), (0.9, 3)])
def test_windows_overlap_with_the_next_block_at_most(fraction: float, starts: int) -> None:
    """A window is as long as `starts` starts at most; the first half of a block ends before the next block begins."""
    window, every = WORK_MS / fraction, WINDOW_TICKS * TICK_MS
    assert starts * every >= window > (starts - 1) * every
    assert [block_of(number, fraction) for number in range(4 * starts)] == [0] * 2 * starts + [1] * 2 * starts
    for number in range(2 * starts):
        first_of_next_ms, first_but_one_ms = 2 * starts * every, 4 * starts * every
        assert number * every + window <= first_but_one_ms
        assert (number * every + window <= first_of_next_ms) == (number <= starts)


def test_wins_ties_gain_and_median_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four windows in two blocks; uniform saves a tenth more twice, the same once to half a cent, and less once."""
    full = 48 * ON_DEMAND_USD
    usd = {"greedy": [0.5, 0.5, 0.5, 0.5], "uniform": [0.4, 0.4, 0.5 + 0.005 / full, 0.6]}

    def outcomes(data: Path, fraction: float, policy: str) -> tuple[list[Outcome], list[int]]:
        return [Outcome(share * full, 0.0, 48.0, True) for share in usd[policy]], [0, 0, 1, 1]

    monkeypatch.setattr(cant_be_late, "_outcomes", outcomes)
    found = {name: cant_be_late.measure(Path(), f"0.6/uniform/{name}") for name in ("wins", "ties", "gain", "median")}
    assert {name: each.value for name, each in found.items()} == pytest.approx(
        {"wins": 50.0, "ties": 25.0, "gain": 2.5, "median": 55.0}, abs=0.01
    )
