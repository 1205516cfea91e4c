"""No protection: a baseline.

Needs: nothing. Can be deployed.
"""

from __future__ import annotations

from scheduler.events import JobClaimed
from scheduler.policy import RUN_ON
from scheduler.record import record
from scheduler.settings import Settings


@record
class NoProtection:
    """Neither checkpoints nor an answer to notices. The attempt runs until EC2 takes the instance."""

    def checkpoint_every_ms(self, claim: JobClaimed, settings: Settings) -> int:
        return 0

    def on_notice(self, checkpointable: bool, lead_ms: int, settings: Settings) -> str:
        return RUN_ON

    def on_rebalance(self, checkpointable: bool, settings: Settings) -> str:
        return RUN_ON
