"""Step scaling: the longer the queue, the more workers are added ("Step and simple scaling policies", Amazon EC2 Auto
Scaling User Guide). Those that boot count as added already, which is what its warm-up is for.

Needs: jobs that wait and workers, by class. Can be deployed.
"""

from __future__ import annotations

from functools import lru_cache

from scheduler.observation import ClassCount
from scheduler.policy import FleetView
from scheduler.record import record


@lru_cache
def pairs_of(text: str) -> tuple[tuple[int, int], ...]:
    """The pairs of "1=1 10=5 100=20", in order of the first number. Raises ValueError."""
    pairs = (part.partition("=") for part in text.replace(",", " ").split())
    return tuple(sorted((int(first), int(second)) for first, _, second in pairs))


@record
class StepBands:
    """Add as many workers as the band of the backlog says. `bands` are "from this many waiting jobs=add this many", the
    highest that is reached counts."""

    bands: str = "1=1 10=5 100=20"
    max_workers: int = 1_000_000

    def __post_init__(self) -> None:
        pairs_of(self.bands)

    def desired(self, view: FleetView, need: ClassCount) -> int:
        reached = [add for least, add in pairs_of(self.bands) if need.queued >= least]
        more = min(need.queued, max(need.seats, reached[-1])) if reached else 0
        return min(self.max_workers, need.busy + max(more, need.booting + need.idle))
