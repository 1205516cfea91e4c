"""Predictive scaling by the hour of the day: workers that are ready before the jobs come ("Predictive scaling for
Amazon EC2 Auto Scaling", User Guide; there the forecast is AWS's, here it is a table that `workers_by_hour` makes of
the past).

Needs: jobs that wait and workers, by class. Can be deployed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from scheduler.observation import ClassCount
from scheduler.policies.scale.step_bands import pairs_of
from scheduler.policy import FleetView
from scheduler.record import record

HOUR_MS, DAY_MS = 3_600_000, 86_400_000


def workers_by_hour(submit_ms: Sequence[int], work_ms: Sequence[int]) -> str:
    """The table for `HourOfDay` of past jobs: the work that came in each hour of the day, over the days that were seen.
    By Little's law that many workers are busy."""
    if not submit_ms:
        return ""
    days = max(submit_ms) // DAY_MS - min(submit_ms) // DAY_MS + 1
    came_ms = [0] * 24
    for at_ms, needs_ms in zip(submit_ms, work_ms, strict=True):
        came_ms[at_ms % DAY_MS // HOUR_MS] += needs_ms
    return " ".join(f"{hour}={math.ceil(each / days / HOUR_MS)}" for hour, each in enumerate(came_ms))


@record
class HourOfDay:
    """Backlog and busy, and at least as many workers of each class as the hour of the day says, `ahead_ms` early.
    `hours` are "from this hour=this many"; hours count from midnight of the world's clock, UTC on AWS. A keep-alive of
    a tick or more keeps them."""

    hours: str = ""
    ahead_ms: int = 900_000
    max_workers: int = 1_000_000
    steady: ClassVar[bool] = True

    def __post_init__(self) -> None:
        pairs_of(self.hours)

    def _least(self, now_ms: int) -> int:
        table = pairs_of(self.hours)
        hour = (now_ms + self.ahead_ms) % DAY_MS // HOUR_MS
        reached = [workers for begins, workers in table if begins <= hour]
        return reached[-1] if reached else table[-1][1] if table else 0

    def desired(self, view: FleetView, need: ClassCount) -> int:
        asked = need.busy + max(need.queued, need.booting + need.idle)
        return min(self.max_workers, max(asked, self._least(view.now_ms)))
