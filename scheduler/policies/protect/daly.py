"""Checkpoints at Daly's interval (Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps",
FGCS 22, 2006, eq. 37).

Needs: interruptions and instance time by pool, the notice and its lead. Can be deployed.
"""

from __future__ import annotations

import math

from scheduler.events import JobClaimed
from scheduler.policies.protect.on_notice import OnNotice
from scheduler.record import record
from scheduler.settings import Settings


def daly_interval_ms(write_ms: float, mtbf_ms: float) -> float:
    """Work between two checkpoints that minimises the expected run time (Daly, FGCS 22 (2006), eq. 37):
    sqrt(2 d M) [1 + 1/3 sqrt(d / 2M) + 1/9 (d / 2M)] - d for d < 2M, else M."""
    if write_ms >= 2 * mtbf_ms:
        return mtbf_ms
    ratio = write_ms / (2 * mtbf_ms)
    return math.sqrt(2 * write_ms * mtbf_ms) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - write_ms


@record
class Daly(OnNotice):
    """Periodic checkpoints at Daly's interval, and on notice. The interval comes from the mean time between
    interruptions that the fleet has measured in the pool, or `mtbf_ms` while it has seen none."""

    mtbf_ms: int = 12 * 3_600_000

    def checkpoint_every_ms(self, claim: JobClaimed, settings: Settings) -> int:
        mtbf_ms = claim.mtbf_ms or self.mtbf_ms
        return max(1, round(daly_interval_ms(settings.checkpoint_write_ms, mtbf_ms)))
