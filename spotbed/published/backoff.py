"""Exponential backoff and jitter (Brooker, AWS Architecture Blog, 2015): clients that all write one row.

A cell is CLIENTS/BACKOFF/STATISTIC: milliseconds until the last has written, or calls. Published are means of 100
repetitions; ours are of more, so that the difference is the model's and not the draw's.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from spotbed.backoff import BACKOFFS, Contention, contention
from spotbed.published.judge import Measured

FILES: tuple[str, ...] = ()


@cache
def found(clients: int, backoff: str) -> Contention:
    """Both means."""
    return contention(clients, BACKOFFS[backoff], repetitions=100_000 // clients**2 + 90, seed=1)


def measure(data: Path, cell: str) -> Measured:
    """One of them."""
    clients, backoff, statistic = cell.split("/")
    means = found(int(clients), backoff)
    return Measured(means.time_ms if statistic == "time" else means.calls)
