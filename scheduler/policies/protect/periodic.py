"""A checkpoint after each period of work.

Needs: the notice and its lead. Can be deployed.
"""

from __future__ import annotations

from scheduler.events import JobClaimed
from scheduler.policies.protect.on_notice import OnNotice
from scheduler.record import record
from scheduler.settings import Settings


@record
class Periodic(OnNotice):
    """A checkpoint after each period of work, and on notice."""

    every_ms: int = 3_600_000

    def checkpoint_every_ms(self, claim: JobClaimed, settings: Settings) -> int:
        return self.every_ms
