"""As many workers as messages are visible: the rule of the original of 2019.

Needs: jobs that wait, by class. Can be deployed.
"""

from __future__ import annotations

from scheduler.observation import ClassCount
from scheduler.policy import FleetView
from scheduler.record import record


@record
class VisibleBacklog:
    """The 2019 rule: as many workers as there are visible messages. Workers that run a job are not counted, so new
    jobs starve behind running ones, and a falling backlog ends workers that boot (its fault F6)."""

    def desired(self, view: FleetView, need: ClassCount) -> int:
        return need.queued
