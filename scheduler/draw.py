"""A policy's randomness: a pure function of the run's seed and the event, the same in simulation and on AWS."""

from __future__ import annotations

import hashlib


def draw(seed: int, *parts: object) -> float:
    """A number in [0, 1): SHA-256 of the seed and the parts (an event id: job, epoch, what for)."""
    text = "/".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big") / (1 << 56)
