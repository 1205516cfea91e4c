"""Never move: what runs stays where it is.

Needs: nothing. Can be deployed.
"""

from __future__ import annotations

from typing import ClassVar

from scheduler.observation import JobSight
from scheduler.policies.move.terms import STAY
from scheduler.policy import FleetView
from scheduler.record import record


@record
class Stay:
    """A running attempt stays where it is."""

    moves: ClassVar[bool] = False

    def target(self, sight: JobSight, view: FleetView) -> str:
        return STAY
