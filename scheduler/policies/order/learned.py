"""Scores that were learned from simulations: F1 to F4 (Carastan-Santos and de Camargo, "Obtaining dynamic scheduling
policies with simulation and machine learning", SC 2017).

With the estimate r and the submission s in seconds, and n slots, the lowest score is first. All are static keys: s does
not change. `begin_ms` is what the clock of s shows when the world begins: a window of a log has the log's clock. Need
estimates. Can be deployed; on pools n is 1.
"""

from __future__ import annotations

import math
from typing import ClassVar

from scheduler.job_record import Job
from scheduler.policies.order.shortest_job_first import LAST
from scheduler.record import record


@record
class _Learned:
    """size(r, n) + weight x log10(s); a job without an estimate is last."""

    begin_ms: int = 0
    weight: ClassVar[float] = 0.0

    def key(self, job: Job) -> float:
        ticket = job.ticket
        if ticket.estimate_ms < 0:
            return LAST
        submit_s = max(1.0, (self.begin_ms + ticket.submit_ms) / 1000)
        return self.size(max(1.0, ticket.estimate_ms / 1000), ticket.slots) + self.weight * math.log10(submit_s)

    def size(self, estimate_s: float, slots: int) -> float:
        """What the estimate and the slots add to the score."""
        raise NotImplementedError


@record
class F1(_Learned):
    """log10(r) n + 870 log10(s); without an estimate last."""

    weight: ClassVar[float] = 870

    def size(self, estimate_s: float, slots: int) -> float:
        return math.log10(estimate_s) * slots


@record
class F2(_Learned):
    """sqrt(r) n + 25600 log10(s); without an estimate last."""

    weight: ClassVar[float] = 25_600

    def size(self, estimate_s: float, slots: int) -> float:
        return math.sqrt(estimate_s) * slots


@record
class F3(_Learned):
    """r n + 6.86e6 log10(s); without an estimate last."""

    weight: ClassVar[float] = 6.86e6

    def size(self, estimate_s: float, slots: int) -> float:
        return estimate_s * slots


@record
class F4(_Learned):
    """r sqrt(n) + 5.3e5 log10(s); without an estimate last."""

    weight: ClassVar[float] = 5.3e5

    def size(self, estimate_s: float, slots: int) -> float:
        return estimate_s * math.sqrt(slots)
