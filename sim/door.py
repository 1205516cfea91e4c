"""The door: how submissions come through SQS, where a message may be late, missed by a receive, or delivered twice."""

# The parts of the driver know its inside.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from scheduler.events import DependencyFailed, Submitted
from scheduler.job_record import Job, Rare
from sim.clock import ARRIVAL
from sim.services import Chances, row

if TYPE_CHECKING:
    from sim.decoupled import DecoupledWorld

FAULTS = ("sqs.duplicate", "sqs.reorder", "sqs.empty_receive")


class Door:
    """Takes the submissions of a world in whose SQS something can go wrong."""

    def __init__(self, world: DecoupledWorld) -> None:
        self.world = world
        self._chances = Chances(world.faults, FAULTS)
        self.active = bool(self._chances)
        self._due = self._chances.next - 1  # the index of the next job with which something goes wrong
        self._is_plain = not world._has_dependants
        self.submitted: Callable[[int, Job, int], None] = self._submitted
        self.on_their_way = 0  # jobs that were submitted and have not come in
        if self.active:
            self._reordered_ms = world.latencies.table("reordered")
            self._missed_ms = world.latencies.table("missed")

    def arrivals(self, now_ms: int) -> int:
        """Take in what is submitted up to now; returns the time of the next submission."""
        submissions, submitted = self.world.submissions, self.submitted
        while submissions.next_ms <= now_ms:
            index, job = submissions.next_job()
            if index >= self._due:
                self._comes_badly(index, job, self._found(index))
            elif self._is_plain:
                submitted(index, job, now_ms)
            else:
                self._comes_in(index, job)
        return submissions.next_ms

    def _submitted(self, index: int, job: Job, now_ms: int) -> None:
        self.world._hears(index, job, Submitted(now_ms))

    def _found(self, index: int) -> list[str]:
        """What goes wrong with this message: each is one chance."""
        chances = self._chances
        chances.passed = index + 1
        found = chances.found()
        self._due = chances.next - 1
        return found

    def _comes_badly(self, index: int, job: Job, found: list[str]) -> None:
        world, late_ms = self.world, 0
        now = world.clock.now_ms
        if "sqs.reorder" in found:
            late_ms += self._reordered_ms[row(index, 0)]
        if "sqs.empty_receive" in found:
            world.operations["receive"] += 1
            late_ms += self._missed_ms[row(index, 1)]
        if late_ms:
            self.on_their_way += 1
            world.clock.at(now + late_ms, ARRIVAL, self._comes_late, (index, job))
        else:
            self._comes_in(index, job)
        if "sqs.duplicate" in found:
            world.clock.at(now + late_ms, ARRIVAL, self._comes_again, index)

    def _comes_in(self, index: int, job: Job) -> None:
        world = self.world
        world._hears(index, job, Submitted(world.clock.now_ms))
        if world._has_dependants and index in world.submissions.dependencies.failed:
            world._job(index, DependencyFailed(world.clock.now_ms))

    def _comes_late(self, message: tuple[int, Job]) -> None:
        """What the job waits for may have ended meanwhile."""
        index, job = message
        self.on_their_way -= 1
        waiting_for = self.world.submissions.dependencies.left.get(index, 0)
        if job.waiting_for != waiting_for:
            job = replace(job, rare=Rare(waiting_for=waiting_for))
        self._comes_in(index, job)

    def _comes_again(self, index: int) -> None:
        self.world._job(index, Submitted(self.world.clock.now_ms))
