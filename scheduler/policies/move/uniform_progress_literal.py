"""Uniform Progress by the letter of its text: Wu et al., "Can't Be Late", NSDI 2024, section 4.

A job on on-demand that is ahead by two changeovers leaves it, whether Spot is up or not. It then idles until it falls
behind, and each way back costs a changeover: so it saves less than the released code, and with loose deadlines less
than greedy.

Needs: the jobs with a deadline; with `available: now` the capacity itself, which no AWS call gives.
"""

from __future__ import annotations

from scheduler.observation import JobSight
from scheduler.policies.move.terms import PAUSE, SPOT, STAY, changeover_ms, expected_ms, must_run_now
from scheduler.policies.move.uniform_progress import UniformProgress
from scheduler.policy import FleetView
from scheduler.record import record


@record
class UniformProgressLiteral(UniformProgress):
    """Uniform Progress by the letter of its text. Ahead by two changeovers it leaves on-demand even when Spot is down,
    and idles."""

    def _leave_on_demand(self, sight: JobSight, view: FleetView, up: bool) -> str:
        ahead = sight.progress_ms >= expected_ms(sight, view.now_ms + 2 * changeover_ms(view))
        if not ahead or must_run_now(sight, view):
            return STAY
        return SPOT if up else PAUSE
