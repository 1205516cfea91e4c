"""Checkpoints at Young's interval: sqrt(2 d M) (Young, "A first order approximation to the optimum checkpoint
interval", CACM 17(9), 1974).

Needs: interruptions and instance time by pool, the notice and its lead. Can be deployed.
"""

from __future__ import annotations

import math

from scheduler.events import JobClaimed
from scheduler.policies.protect.on_notice import OnNotice
from scheduler.record import record
from scheduler.settings import Settings


def young_interval_ms(write_ms: float, mtbf_ms: float) -> float:
    """Work between two checkpoints to the first order: sqrt(2 d M), for d much shorter than M."""
    return math.sqrt(2 * write_ms * mtbf_ms)


@record
class Young(OnNotice):
    """Periodic checkpoints at Young's interval, and on notice. The mean time between interruptions is what the fleet
    has measured in the pool, or `mtbf_ms` while it has seen none."""

    mtbf_ms: int = 12 * 3_600_000

    def checkpoint_every_ms(self, claim: JobClaimed, settings: Settings) -> int:
        return max(1, round(young_interval_ms(settings.checkpoint_write_ms, claim.mtbf_ms or self.mtbf_ms)))
