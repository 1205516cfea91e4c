"""How the jobs of `legacy-2019` end. Nothing there owns a job, so it may live in several copies, or in none.

A copy is a message in the queue, or a job that an execution holds. A job is done when the scheduler has called it
successful and its work was done; failed when its last copy is given up; lost when its last copy goes with the execution
that held it (its item says "Started" for ever), or when it was called successful and its work was never done.
"""

from __future__ import annotations

from sim.submissions import Dependencies
from spotbed import metering
from spotbed.metering import Tally


class LegacyJobs:
    """The ends of jobs. The original knows no dependencies: its user submits a job when those before it are done."""

    def __init__(self, tally: Tally, dependencies: Dependencies) -> None:
        self._tally, self._columns = tally, tally.jobs
        self._dependencies = dependencies
        self._more_copies: dict[int, int] = {}  # beside the first
        self._given_up: set[int] = set()
        self._completed = bytearray(len(tally.jobs))
        self._counted = bytearray(len(tally.jobs))
        self._held: dict[int, int] = {}  # arrived, and not yet in a queue: dependencies that have not ended

    def is_open(self, number: int) -> bool:
        """Whether the job has not ended."""
        return self._columns.status[number] == metering.UNFINISHED

    def add_copy(self, number: int) -> None:
        """One more copy of the job lives."""
        self._more_copies[number] = self._more_copies.get(number, 0) + 1

    def drop_copy(self, number: int) -> None:
        """A message that had become visible again was deleted after all."""
        self._more_copies[number] -= 1

    def completes(self, number: int) -> None:
        """A copy's work was done. A second time, that is a duplicate."""
        if self._completed[number]:
            self._tally.duplicate_completions += 1
        self._completed[number] = 1

    def counts(self, number: int) -> bool:
        """Whether the work of this copy is the one that counts; asked once for each copy that is called successful."""
        first = self.is_open(number) and not self._counted[number]
        self._counted[number] = 1
        return first

    def done(self, number: int, at_ms: int) -> list[int]:
        """The job was called successful and is; returns the jobs that may now be submitted."""
        if not self.is_open(number):
            return []
        self._end(number, metering.DONE, at_ms)
        return [job for job in self._dependencies.of(number) if self._met(job)]

    def copy_ends(self, number: int, status: int, at_ms: int) -> None:
        """A copy was given up or has vanished; with the last one, the job ends so."""
        if not self.is_open(number):
            return
        if status == metering.GAVE_UP:
            self._given_up.add(number)
        more = self._more_copies.get(number, 0)
        if more:
            self._more_copies[number] = more - 1
            return
        self._end(number, metering.GAVE_UP if number in self._given_up else status, at_ms)
        for dependant in self._dependencies.of(number):
            self._never(dependant, at_ms)

    def submit(self, number: int, waiting_for: int, at_ms: int) -> bool:
        """The job arrives: whether it may enter its queue now."""
        if number in self._dependencies.failed:
            self.copy_ends(number, metering.GAVE_UP, at_ms)
            return False
        if waiting_for:
            self._held[number] = waiting_for
        return not waiting_for

    def _met(self, number: int) -> bool:
        if number not in self._held:
            self._dependencies.settle(number, True)
            return False
        self._held[number] -= 1
        if self._held[number]:
            return False
        del self._held[number]
        return True

    def _never(self, number: int, at_ms: int) -> None:
        if self._held.pop(number, 0):
            self.copy_ends(number, metering.GAVE_UP, at_ms)
        else:
            self._dependencies.settle(number, False)

    def _end(self, number: int, status: int, at_ms: int) -> None:
        self._columns.status[number] = status
        if status != metering.VANISHED:  # what has vanished has no end: nobody knows that it has
            self._columns.end_ms[number] = at_ms
