"""Arrays that stop with their first success: a search of which one hit is enough. What still waits or runs is
cancelled.

A job that runs elsewhere is told through the worker, as late as any other order; until then it costs. Jobs that wait
for the array wait for the hit: those that are cancelled after it count as ended well for them."""

# The parts of the driver know its inside.
# ruff: noqa: SLF001

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from scheduler.commands import ReleaseDependants
from scheduler.events import LEASE_LOST, RELEASED, AttemptEnded, Cancelled, Submitted
from scheduler.job_record import Job
from sim.clock import TIMER
from sim.instances import NOT_YET, LiveWorker
from sim.services import row
from spotbed import metering

if TYPE_CHECKING:
    from sim.decoupled import DecoupledWorld


class Groups:
    """The groups of one world. It stands before the driver's own way to end a job and to tell those that wait for
    it."""

    def __init__(self, world: DecoupledWorld) -> None:
        self._world = world
        self._groups = world.work.groups
        self._firsts = [first for first, _ in self._groups]
        self._hit: set[int] = set()  # groups that have succeeded
        self._ended, self._hears = world._has_ended, world._hears
        self._release = world._perform_job[ReleaseDependants]

    def has_ended(self, index: int, before: Job, phase: str) -> None:
        """A job has ended; the first of its group that has ended well ends the others."""
        self._ended(index, before, phase)
        group = self._group_of(index)
        if group >= 0 and phase == "done" and group not in self._hit:
            self._hit.add(group)
            first, count = self._groups[group]
            for other in range(first, first + count):
                self._cancel(other)

    def hears(self, index: int, record: Job, event: object) -> None:
        """A job hears an event. One that is submitted after the hit is not needed."""
        self._hears(index, record, event)
        if type(event) is Submitted and self._group_of(index) in self._hit:
            self._cancel(index)

    def release(self, index: int, before: Job, command: ReleaseDependants) -> None:
        """Tell those that wait for the job how it ended."""
        hit = self._group_of(index) in self._hit
        self._release(index, before, ReleaseDependants(True) if hit else command)

    def _group_of(self, index: int) -> int:
        """The number of the job's group, -1 if it is in none."""
        group = bisect_right(self._firsts, index) - 1
        if group < 0:
            return -1
        first, count = self._groups[group]
        return group if index < first + count else -1

    def _cancel(self, index: int) -> None:
        world = self._world
        record = world.records.get(index)
        if record is None:
            return
        world._job(index, Cancelled(world.clock.now_ms))
        if record.phase == "leased":
            at_ms = world.clock.now_ms + world.order_latency[row(index, record.epoch)]
            world.clock.at(at_ms, TIMER, self._tell_worker, (index, record.epoch))

    def _tell_worker(self, claim: tuple[int, int]) -> None:
        index, epoch = claim
        for worker in self._world.workers.values():
            if worker.job == index and worker.state.epoch == epoch and worker.instance.ended_ms == NOT_YET:
                self._end(worker)
                return

    def _end(self, worker: LiveWorker) -> None:
        """The wrapper ends the attempt, and the worker takes the next job."""
        world, state = self._world, worker.state
        worker.run += 1
        world._end_attempt(worker, RELEASED)
        world._worker(worker, AttemptEnded(world.clock.now_ms, state.job, state.epoch, LEASE_LOST, 0, -1))


def usd_to_first_hit(status: list[int], usd: list[float], groups: tuple[tuple[int, int], ...]) -> dict[int, float]:
    """What each group that was hit has cost until then, all its attempts together: job that hit -> USD."""
    found: dict[int, float] = {}
    for first, count in groups:
        hits = [job for job in range(first, first + count) if status[job] == metering.DONE]
        if hits:
            found[hits[0]] = sum(usd[first : first + count])
    return found
