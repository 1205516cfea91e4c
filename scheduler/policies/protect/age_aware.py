"""Checkpoints further apart the longer the instance has lived: where the hazard decreases with the age (Weibull, shape
below 1), what has lasted long lasts longer (Heien et al., "Modeling and tolerating heterogeneous failures in large
parallel systems", SC 2011; Tiwari et al., "Lazy checkpointing", DSN 2014).

The interval t at the age a is Daly's for the mean time between interruptions that the hazard over the coming t means:
t / (H(a + t) - H(a)) with H(x) = (x / scale)^shape.

Needs: the age of the instance when a job starts on it. The simulator tells it; the functions on AWS do not yet, so
`plan` refuses it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

from scheduler.events import JobClaimed
from scheduler.observation import INSTANCE_AGE
from scheduler.policies.protect.daly import Daly, daly_interval_ms
from scheduler.record import record
from scheduler.settings import Settings

_ROUNDS = 30  # the fixed point is reached to the millisecond long before


@record
class AgeAware(Daly):
    """Daly's interval for the hazard at the age of the instance. Lifetimes are Weibull of `shape` with the mean that
    the fleet has measured in the pool, or `mtbf_ms`; shape 1 is `daly`. The default shape is that of spells of scarce
    capacity in nine zones (docs/market.md)."""

    shape: float = 0.595
    age_ms: int = 0
    needs: ClassVar[frozenset[str]] = frozenset({INSTANCE_AGE})

    def at_age(self, age_ms: int) -> AgeAware:
        """The policy for an instance of this age."""
        return replace(self, age_ms=age_ms)

    def checkpoint_every_ms(self, claim: JobClaimed, settings: Settings) -> int:
        mean_ms = claim.mtbf_ms or self.mtbf_ms
        scale_ms = mean_ms / math.gamma(1 + 1 / self.shape)
        write_ms = settings.checkpoint_write_ms
        every_ms = max(1.0, daly_interval_ms(write_ms, mean_ms))
        for _ in range(_ROUNDS):
            hazard = ((self.age_ms + every_ms) / scale_ms) ** self.shape - (self.age_ms / scale_ms) ** self.shape
            every_ms = max(1.0, daly_interval_ms(write_ms, every_ms / max(hazard, 1e-12)))
        return round(every_ms)
