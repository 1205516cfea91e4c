"""EASY++ (Tsafrir, Etsion, Feitelson, "Backfilling using system-generated predictions rather than user runtime
estimates", TPDS 2007), for architecture central.

Needs the whole queue in one place, and who submitted each job; no part of a decoupled scheduler has that, so it cannot
be deployed. A job's prediction is made when it is queued; it is killed by its own timeout, never by a prediction.
"""

from __future__ import annotations

from collections.abc import Iterable

from scheduler.central_record import QueueView, Running
from scheduler.policies.order.easy import SJBF, Easy
from scheduler.record import record

_MINUTE_MS = 60_000
REQUEST, STEPS = "request", "steps"
# what a prediction that is over is lengthened by, one after the other (ibid., section 4)
LONGER_MS = tuple(minutes * _MINUTE_MS for minutes in (1, 5, 15, 30, 60, 120, 300, 600, 1_200, 3_000, 6_000))


@record
class EasyPlusPlus(Easy):
    """EASY with the shortest first among those that may jump, by predictions: the mean of what the user's last two
    jobs ran, at most what this one asks for.

    `correction` is of a prediction that is over: the request, as in the published 63.50 on KTH-SP2 (Gaussier, Glesser,
    Reis, Trystram, SC 2015), or steps, as in the first paper.
    """

    candidates: str = SJBF
    correction: str = REQUEST

    def predict(self, last_ms: tuple[int, ...], requested_ms: int) -> int:
        """How long a job will run, by what the last jobs of its user ran; by what it asks for (-1: nothing) while
        there are not two."""
        if len(last_ms) < 2:
            return requested_ms
        mean_ms = sum(last_ms) // len(last_ms)
        return mean_ms if requested_ms < 0 else min(mean_ms, requested_ms)

    def _ends(self, view: QueueView) -> Iterable[tuple[float, int]]:
        return sorted((self.corrected_ms(running, view.now_ms), running.slots) for running in view.running)

    def corrected_ms(self, running: Running, now_ms: int) -> float:
        """When a job ends by its prediction; lengthened if it should have ended, at most to what the job asks for."""
        end_ms, limit_ms = running.place[0], running.limit_ms
        if end_ms > now_ms:
            return end_ms
        if self.correction == REQUEST:
            return limit_ms
        return min(limit_ms, next((end_ms + more_ms for more_ms in LONGER_MS if end_ms + more_ms > now_ms), limit_ms))
