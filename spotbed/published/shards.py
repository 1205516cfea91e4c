"""Shuffle sharding (MacCarthaigh, Amazon Builders' Library): how seldom two tenants share all of their queues.

A cell is n/k, of n queues each tenant has k: the chance by our formula; or n/k/counted: the share of the pairs of 1,500
tenants for which our assignment is so, with the standard error of independent pairs.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

from spotbed.published.judge import Measured
from spotbed.shuffle_sharding import overlap_probability, shards_of

FILES: tuple[str, ...] = ()
TENANTS = 1_500


def measure(data: Path, cell: str) -> Measured:
    """The chance that two tenants have all of their queues in common, in percent."""
    n, k, *counted = cell.split("/")
    exact = overlap_probability(int(n), int(k), int(k))
    if not counted:
        return Measured(100.0 * exact)
    alike = Counter(shards_of(f"tenant-{number}", int(n), int(k)) for number in range(TENANTS))
    pairs = math.comb(TENANTS, 2)
    share = sum(math.comb(count, 2) for count in alike.values()) / pairs
    return Measured(100.0 * share, error=100.0 * math.sqrt(exact * (1 - exact) / pairs))
