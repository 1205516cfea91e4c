"""The oracle that knows how long Spot will stay: Wu et al., "Can't Be Late", NSDI 2024, section 4.

With o the length of the coming spell of Spot, d the changeover and k the price of on-demand over that of Spot, Spot is
worth a changeover from idle if o > k d / (k - 1), and two of them from on-demand if o > 2 k d / (k - 1).

Needs: the future, which nobody has: it is a yardstick for simulations, and `plan` refuses it. It takes the spells as a
parameter; no observation holds them, so no other policy can see them.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import ClassVar

from scheduler.observation import FUTURE, JobSight
from scheduler.policies.move.terms import (
    ON_DEMAND,
    SPOT,
    STAY,
    WAIT,
    changeover_ms,
    expected_ms,
    has_deadline,
    must_leave_spot,
    must_run_now,
)
from scheduler.policy import FleetView
from scheduler.record import record


@record
class NextSpotOracle:
    """Uniform Progress that knows how long each spell of Spot lasts, and lets those go by that do not pay the
    changeover. `spells` are (from, until) in milliseconds of the world, in order; `price_ratio` is on-demand over
    Spot."""

    spells: tuple[tuple[int, int], ...] = ()
    price_ratio: float = 3.0
    moves: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({FUTURE})

    def stays_ms(self, now_ms: int) -> int:
        """How long Spot will stay from now on; 0 when it is not there."""
        place = bisect_right(self.spells, (now_ms, 1 << 62)) - 1
        return max(0, self.spells[place][1] - now_ms) if place >= 0 else 0

    def target(self, sight: JobSight, view: FleetView) -> str:
        if not has_deadline(sight):
            return STAY
        if sight.purchase == SPOT:
            return ON_DEMAND if must_leave_spot(sight, view) else STAY
        stays_ms, d_ms = self.stays_ms(view.now_ms), changeover_ms(view)
        pays_ms = self.price_ratio * d_ms / (self.price_ratio - 1)
        if sight.purchase == ON_DEMAND:
            return SPOT if stays_ms > 2 * pays_ms and not must_run_now(sight, view) else STAY
        if must_run_now(sight, view):
            return ON_DEMAND
        if stays_ms > pays_ms:
            return SPOT
        return ON_DEMAND if sight.progress_ms < expected_ms(sight, view.now_ms) else WAIT
