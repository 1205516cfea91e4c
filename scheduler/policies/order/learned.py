"""Scores that were learned from simulations: F1 to F4 (Carastan-Santos and de Camargo, "Obtaining dynamic scheduling
policies with simulation and machine learning", SC 2017).

With the estimate r and the submission s in seconds, and n slots, the lowest score is first. All are static keys: s does
not change. `begin_ms` is what the clock of s shows when the world begins: a window of a log has the log's clock. Need
estimates. Can be deployed; on pools n is 1.
"""

from __future__ import annotations

import math

from scheduler.job_record import Job
from scheduler.policies.order.shortest_job_first import LAST
from scheduler.record import record


def _score(job: Job, begin_ms: float, size: float, weight: float) -> float:
    return size + weight * math.log10(max(1.0, (begin_ms + job.ticket.submit_ms) / 1000))


def _seconds(job: Job) -> float:
    return max(1.0, job.ticket.estimate_ms / 1000)


@record
class F1:
    """log10(r) n + 870 log10(s); without an estimate last."""

    begin_ms: int = 0

    def key(self, job: Job) -> float:
        ticket = job.ticket
        if ticket.estimate_ms < 0:
            return LAST
        return _score(job, self.begin_ms, math.log10(_seconds(job)) * ticket.slots, 870)


@record
class F2:
    """sqrt(r) n + 25600 log10(s); without an estimate last."""

    begin_ms: int = 0

    def key(self, job: Job) -> float:
        ticket = job.ticket
        if ticket.estimate_ms < 0:
            return LAST
        return _score(job, self.begin_ms, math.sqrt(_seconds(job)) * ticket.slots, 25_600)


@record
class F3:
    """r n + 6.86e6 log10(s); without an estimate last."""

    begin_ms: int = 0

    def key(self, job: Job) -> float:
        ticket = job.ticket
        if ticket.estimate_ms < 0:
            return LAST
        return _score(job, self.begin_ms, _seconds(job) * ticket.slots, 6.86e6)


@record
class F4:
    """r sqrt(n) + 5.3e5 log10(s); without an estimate last."""

    begin_ms: int = 0

    def key(self, job: Job) -> float:
        ticket = job.ticket
        if ticket.estimate_ms < 0:
            return LAST
        return _score(job, self.begin_ms, _seconds(job) * math.sqrt(ticket.slots), 5.3e5)
