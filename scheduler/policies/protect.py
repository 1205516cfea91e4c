"""`protect`: when to write checkpoints, and what to do on a notice or a rebalance recommendation."""

from __future__ import annotations

import math

from scheduler.events import JobClaimed
from scheduler.policy import CHECKPOINT, RELEASE, RUN_ON
from scheduler.record import record
from scheduler.settings import Settings

MODEL_ONLY = frozenset({"progress kept to the millisecond"})


def _notice_answer(checkpointable: bool, lead_ms: int, settings: Settings) -> str:
    """Checkpoint when the write fits into the lead time, else let the job go at once: it then waits for nothing."""
    if checkpointable and settings.checkpoint_write_ms <= lead_ms:
        return CHECKPOINT
    return RELEASE


@record
class NoProtection:
    """Neither checkpoints nor an answer to notices. The attempt runs until EC2 takes the instance."""

    def checkpoint_every_ms(self, claim: JobClaimed, settings: Settings) -> int:
        return 0

    def on_notice(self, checkpointable: bool, lead_ms: int, settings: Settings) -> str:
        return RUN_ON

    def on_rebalance(self, checkpointable: bool, settings: Settings) -> str:
        return RUN_ON


@record
class OnNotice(NoProtection):
    """A checkpoint on the interruption notice, if it fits. A write longer than the lead time: the job is let go at
    once. `rebalance` says what to do on a recommendation: run-on, checkpoint or release."""

    rebalance: str = RUN_ON

    def on_notice(self, checkpointable: bool, lead_ms: int, settings: Settings) -> str:
        return _notice_answer(checkpointable, lead_ms, settings)

    def on_rebalance(self, checkpointable: bool, settings: Settings) -> str:
        return self.rebalance if checkpointable else RUN_ON


@record
class Periodic(OnNotice):
    """A checkpoint after each period of work, and on notice."""

    every_ms: int = 3_600_000

    def checkpoint_every_ms(self, claim: JobClaimed, settings: Settings) -> int:
        return self.every_ms


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


@record
class Continuous(NoProtection):
    """Progress is kept to the millisecond. A model for papers, which cannot be deployed."""

    needs = MODEL_ONLY

    def checkpoint_every_ms(self, claim: JobClaimed, settings: Settings) -> int:
        return -1
