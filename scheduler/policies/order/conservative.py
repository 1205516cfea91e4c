"""Conservative backfill (Mu'alem and Feitelson, "Utilization, predictability, workloads, and user runtime estimates in
scheduling the IBM SP2 with backfilling", TPDS 2001), for architecture central.

Needs the whole queue in one place, and estimates; no part of a decoupled scheduler has that, so it cannot be deployed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from scheduler.central_record import UNKNOWN_MS, QueueView, Waiting
from scheduler.job_record import Job
from scheduler.policies.order.easy import CENTRAL_ONLY
from scheduler.record import record


class Profile:
    """The slots that will be free, from now on: `free[i]` from `at_ms[i]` until `at_ms[i + 1]`."""

    def __init__(self, now_ms: int, free: int, ends: Iterable[tuple[float, int]]) -> None:
        """`ends` are (when, slots) of what runs."""
        self.at_ms: list[float] = [now_ms]
        self.free = [free]
        for end_ms, slots in sorted(ends):
            self._split(max(end_ms, now_ms + 1))
            self._add(max(end_ms, now_ms + 1), UNKNOWN_MS * 2, slots)

    def earliest(self, slots: int, for_ms: float) -> float | None:
        """When so many slots are free for so long; None: never."""
        begin: float | None = None
        for place, free in enumerate(self.free):
            if free < slots:
                begin = None
                continue
            begin = self.at_ms[place] if begin is None else begin
            until = self.at_ms[place + 1] if place + 1 < len(self.at_ms) else UNKNOWN_MS * 4
            if until - begin >= for_ms:
                return begin
        return None

    def fits(self, slots: int, at_ms: float, for_ms: float) -> bool:
        """Whether so many slots are free from then on for so long."""
        first = bisect_right(self.at_ms, at_ms) - 1
        return all(
            free >= slots for at, free in zip(self.at_ms[first:], self.free[first:], strict=True) if at < at_ms + for_ms
        )

    def take(self, slots: int, at_ms: float, for_ms: float) -> None:
        """Take slots; a negative number gives them back."""
        self._split(at_ms)
        self._split(at_ms + for_ms)
        self._add(at_ms, at_ms + for_ms, -slots)

    def _split(self, at_ms: float) -> None:
        place = bisect_right(self.at_ms, at_ms)
        if self.at_ms[place - 1] != at_ms:
            self.at_ms.insert(place, at_ms)
            self.free.insert(place, self.free[place - 1])

    def _add(self, from_ms: float, until_ms: float, slots: int) -> None:
        for place in range(bisect_right(self.at_ms, from_ms) - 1, len(self.at_ms)):
            if self.at_ms[place] >= until_ms:
                break
            self.free[place] += slots


@record
class Conservative:
    """Every job that waits has a reservation, and another moves up only if none is moved back. While estimates are
    upper bounds, no job starts later than its first reservation."""

    needs: ClassVar[frozenset[str]] = CENTRAL_ONLY

    def key(self, job: Job) -> float:
        return job.ticket.submit_ms

    def reserve(self, view: QueueView) -> tuple[Sequence[Waiting], Mapping[str, float]]:
        """The jobs that start now, and when each of the others will: job -> time."""
        profile = Profile(view.now_ms, view.free, ((each.place[0], each.slots) for each in view.running))
        jobs = list(view.in_order())
        places = self._kept(profile, jobs, view)
        while self._moved_up(profile, jobs, places):
            pass
        starts = [job for job in jobs if places.get(job.job) == view.now_ms]
        return starts, {job: at_ms for job, at_ms in places.items() if at_ms != view.now_ms}

    def _kept(self, profile: Profile, jobs: list[Waiting], view: QueueView) -> dict[str, float]:
        """The reservations of before, as far as they can be kept: what runs longer than its estimate breaks some."""
        places = {}
        for job in jobs:
            at_ms = view.promised.get(job.job)
            if at_ms is not None and profile.fits(job.slots, max(at_ms, view.now_ms), _lasts_ms(job)):
                places[job.job] = max(at_ms, view.now_ms)
                profile.take(job.slots, places[job.job], _lasts_ms(job))
        return places

    def _moved_up(self, profile: Profile, jobs: list[Waiting], places: dict[str, float]) -> bool:
        """Each in turn to the earliest place that those of the others leave; whether any has moved."""
        moved = False
        for job in jobs:
            lasts_ms, before = _lasts_ms(job), places.get(job.job)
            if before is not None:
                profile.take(-job.slots, before, lasts_ms)
            at_ms = profile.earliest(job.slots, lasts_ms)
            if at_ms is None:
                continue
            moved = moved or before is None or at_ms < before
            places[job.job] = at_ms
            profile.take(job.slots, at_ms, lasts_ms)
        return moved


def _lasts_ms(job: Waiting) -> int:
    return max(1, job.estimate_ms) if job.estimate_ms >= 0 else UNKNOWN_MS
