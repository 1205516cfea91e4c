"""The delays of the AWS Architecture Blog, "Exponential Backoff And Jitter" (2015), as functions of a draw u in [0, 1).

`retries` counts the retries before this one: 0 for the first. Any unit of time; the result has the same.
"""

from __future__ import annotations


def ceiling(base: float, cap: float, retries: int) -> float:
    """min(cap, base 2^n)."""
    return min(cap, base * 2.0 ** min(60, retries))


def full_jitter(base: float, cap: float, retries: int, u: float) -> float:
    """U(0, v) with v the ceiling."""
    return u * ceiling(base, cap, retries)


def equal_jitter(base: float, cap: float, retries: int, u: float) -> float:
    """v / 2 + U(0, v / 2)."""
    half = ceiling(base, cap, retries) / 2
    return half + u * half


def decorrelated_jitter(base: float, cap: float, previous: float, u: float) -> float:
    """min(cap, U(base, 3 x the previous delay)); the previous one of the first is the base."""
    return min(cap, base + u * (3 * max(base, previous) - base))
