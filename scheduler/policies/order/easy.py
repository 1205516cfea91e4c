"""EASY backfill (Lifka, "The ANL/IBM SP scheduling system", JSSPP 1995), for architecture central.

Needs the whole queue in one place, and estimates; no part of a decoupled scheduler has that, so it cannot be deployed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import ClassVar, NamedTuple, TypeAlias

from scheduler.central_record import UNKNOWN_MS, QueueView, Waiting
from scheduler.job_record import Job
from scheduler.policies.order.earliest_deadline_first import EarliestDeadlineFirst
from scheduler.policies.order.fifo import Fifo
from scheduler.policies.order.learned import F1, F2, F3, F4
from scheduler.policies.order.priority_with_ageing import PriorityWithAgeing
from scheduler.policies.order.shortest_job_first import ShortestJobFirst
from scheduler.record import record

FCFS, SJBF = "fcfs", "sjbf"
CENTRAL_ONLY = frozenset({"the whole queue in one place"})


Base: TypeAlias = Fifo | ShortestJobFirst | PriorityWithAgeing | EarliestDeadlineFirst | F1 | F2 | F3 | F4


class Reservation(NamedTuple):
    """For the first job that does not fit: when enough slots are free by the estimates of what runs (the shadow time),
    and how many slots are then left over."""

    shadow_ms: float
    extra: int


def reservation(first: Waiting, free: int, ends: Iterable[tuple[float, int]]) -> Reservation:
    """`ends` are (end of the estimate, slots) of what runs, the earliest first."""
    shadow_ms: float = UNKNOWN_MS
    for end_ms, slots in ends:
        if free >= first.slots and end_ms > shadow_ms:
            break
        free, shadow_ms = free + slots, end_ms
    return Reservation(shadow_ms, max(0, free - first.slots))


@record
class Easy:
    """EASY backfill (Lifka, 1995): the first job that does not fit gets a reservation at the shadow time; another may
    jump if it fits now and either ends by then, by its estimate, or takes only slots that are left over then.

    `candidates`: the order in which the others are tried, fcfs (as they were submitted) or sjbf (shortest estimate
    first; Tsafrir, Etsion, Feitelson, TPDS 2007). `strict`: who jumps must end *before* the shadow time, and slots left
    over do not count, as RLScheduler has it (Zhang et al., SC 2020). `each_event`: the queue is looked at after each of
    several events of one moment, as RLScheduler does, and not after the last. `base` is the order of the queue itself.
    """

    candidates: str = FCFS
    strict: bool = False
    base: Base = Fifo()
    each_event: bool = False
    needs: ClassVar[frozenset[str]] = CENTRAL_ONLY

    def key(self, job: Job) -> float:
        return self.base.key(job)

    def select(self, view: QueueView) -> Sequence[Waiting]:
        """The jobs that start now: the first ones as long as they fit, then those that jump."""
        free, starts = view.free, list[Waiting]()
        first: Waiting | None = None
        for job in view.in_order():
            if job.slots > free:
                first = job
                break
            starts.append(job)
            free -= job.slots
        if first is None or free == 0:
            return starts
        ends = self._ends(view)
        if starts:
            ends = sorted([*ends, *((_end_ms(job, view.now_ms), job.slots) for job in starts)])
        held = reservation(first, free, ends)
        others = self._others(view, first, free, len(starts))
        return [*starts, *self._jumps(others, free, held, view.now_ms)]

    def _ends(self, view: QueueView) -> Iterable[tuple[float, int]]:
        """(when it ends by its estimate, slots) of what runs, the earliest first."""
        return ((running.place[0], running.slots) for running in view.running)

    def _others(self, view: QueueView, first: Waiting, free: int, started: int) -> list[Waiting]:
        """Who may jump, in the order in which they are tried."""
        behind = view.new if view.new is not None else islice(view.in_order(), started + 1, None)
        others = [job for job in behind if job.slots <= free and job is not first]
        if self.candidates == SJBF:
            others.sort(key=lambda job: (job.estimate_ms if job.estimate_ms >= 0 else UNKNOWN_MS, job.place))
        elif type(self.base) is not Fifo:
            others.sort(key=lambda job: (job.submit_ms, job.place[1]))
        return others

    def _jumps(self, others: Iterable[Waiting], free: int, held: Reservation, now_ms: int) -> list[Waiting]:
        shadow_ms, extra = held
        latest_ms = shadow_ms - 1 if self.strict else shadow_ms
        jumps = []
        for job in others:
            if job.slots > free:
                continue
            if _end_ms(job, now_ms) > latest_ms:
                if self.strict or job.slots > extra:
                    continue
                extra -= job.slots
            jumps.append(job)
            free -= job.slots
            if free == 0:
                break
        return jumps


@record
class EasySjbf(Easy):
    """EASY with the shortest estimate first among those that may jump (Tsafrir, Etsion, Feitelson, "Backfilling using
    system-generated predictions rather than user runtime estimates", TPDS 2007)."""

    candidates: str = SJBF


def _end_ms(job: Waiting, now_ms: int) -> int:
    return now_ms + job.estimate_ms if job.estimate_ms >= 0 else UNKNOWN_MS
