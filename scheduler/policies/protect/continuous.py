"""Progress that is never lost: what papers on purchase options assume.

Needs: progress kept to the millisecond, which no program gives: `plan` refuses it.
"""

from __future__ import annotations

from scheduler.events import JobClaimed
from scheduler.policies.protect.none import NoProtection
from scheduler.record import record
from scheduler.settings import Settings

MODEL_ONLY = frozenset({"progress kept to the millisecond"})


@record
class Continuous(NoProtection):
    """Progress is kept to the millisecond. A model for papers, which cannot be deployed."""

    needs = MODEL_ONLY

    def checkpoint_every_ms(self, claim: JobClaimed, settings: Settings) -> int:
        return -1
