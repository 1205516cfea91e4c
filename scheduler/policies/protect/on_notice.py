"""A checkpoint when EC2 says that it will take the instance ("Spot Instance interruption notices", Amazon EC2 User
Guide), if the write fits into what is left of the two minutes.

Needs: the notice and its lead. Can be deployed.
"""

from __future__ import annotations

from scheduler.policies.protect.none import NoProtection
from scheduler.policy import CHECKPOINT, RELEASE, RUN_ON
from scheduler.record import record
from scheduler.settings import Settings


def notice_answer(checkpointable: bool, lead_ms: int, settings: Settings) -> str:
    """Checkpoint when the write fits into the lead time, else let the job go at once: it then waits for nothing."""
    if checkpointable and settings.checkpoint_write_ms <= lead_ms:
        return CHECKPOINT
    return RELEASE


@record
class OnNotice(NoProtection):
    """A checkpoint on the interruption notice, if it fits. A write longer than the lead time: the job is let go at
    once. `rebalance` says what to do on a recommendation: run-on, checkpoint or release."""

    rebalance: str = RUN_ON

    def on_notice(self, checkpointable: bool, lead_ms: int, settings: Settings) -> str:
        return notice_answer(checkpointable, lead_ms, settings)

    def on_rebalance(self, checkpointable: bool, settings: Settings) -> str:
        return self.rebalance if checkpointable else RUN_ON
