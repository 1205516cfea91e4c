"""Worlds with attempts: when an attempt starts, how it would end, what it had done when it ends, and what that used."""

from __future__ import annotations

from typing import TypeAlias

from scheduler.commands import Start
from scheduler.events import (
    CHECKPOINTED,
    DONE,
    FAILED,
    INTERRUPTED,
    STRING_MISSING,
    TIMEOUT,
)
from scheduler.job_record import Job
from scheduler.policy import Policy
from sim import attempts
from sim.inputs import WorldInputs
from sim.instances import FIRST_HOUR_MS, LiveWorker
from sim.jobs import JobWorld
from spotbed.journal import AttemptFact, Journal

_APPLICATION = frozenset({FAILED, STRING_MISSING, TIMEOUT})
_TIMED_OUT = 124  # exit code of a command that coreutils' timeout ends
_Split: TypeAlias = tuple[int, int, int, int]  # instance time of an attempt: useful, lost, checkpoint, failed


class AttemptWorld(JobWorld):
    """A world in which attempts run on workers and are metered when they end."""

    def __init__(self, inputs: WorldInputs, policy: Policy, journal: Journal | None = None) -> None:
        super().__init__(inputs, policy, journal)
        settings = policy.settings
        taken = any(klass.licences for klass in self.present.values())
        self.licences = dict(inputs.licences) if taken else {}
        self.renewal_ms = max(1, settings.lease_ms // inputs.services.renewals_per_lease)
        self._startup_ms, self._restore_ms = settings.startup_ms, settings.checkpoint_restore_ms
        self._write_ms = settings.checkpoint_write_ms
        self._keeps_refunds = inputs.billing.first_hour_free
        self._stages = any(klass.input_gib or klass.output_gib for klass in self.present.values())

    def _plan(self, worker: LiveWorker, record: Job, number: int, command: Start) -> None:
        """When the attempt would end, and how, if nothing comes between."""
        jobs = self.submissions
        klass = jobs.klass[number]
        base_ms = worker.base_ms = record.progress_ms
        work_ms = jobs.runtime_ms[number] - base_ms
        overhead_ms, every_ms = self._startup_ms, command.checkpoint_every_ms
        if worker.pool.factor:
            factor = worker.factor = worker.pool.factor.get(klass, 1.0)
            work_ms = work_ms if factor == 1.0 else round(work_ms * factor)
        elif worker.factor != 1.0:
            worker.factor = 1.0  # a gang that spread over pools had the pace of the slowest
        if base_ms:
            overhead_ms += self._restore_ms
            self.operations["restore"] += 1
        total_ms = overhead_ms + work_ms
        if 0 < every_ms < work_ms:
            total_ms += (work_ms - 1) // every_ms * self._write_ms
        if jobs.plain[klass]:
            worker.cause, worker.exit_code = DONE, 0
        else:
            worker.cause, worker.exit_code = jobs.outcome(number, command.epoch)
        if self._stages:
            overhead_ms += jobs.staging_in_ms[klass]
            total_ms += jobs.staging_ms(number)
            self._count_staging("in", number)
        if 0 <= command.timeout_ms < total_ms:
            total_ms, worker.cause, worker.exit_code = command.timeout_ms, TIMEOUT, _TIMED_OUT
        worker.work_ms, worker.overhead_ms, worker.every_ms, worker.total_ms = work_ms, overhead_ms, every_ms, total_ms

    def _count_staging(self, way: str, number: int) -> None:
        """Input is read at each start; output is written by an attempt whose work has ended well."""
        gib_in, gib_out = self.submissions.staged_gib(number)
        self.tally.gib[way] = self.tally.gib.get(way, 0.0) + (gib_in if way == "in" else gib_out)

    def _account(self, worker: LiveWorker, cause: str) -> int:
        """Meter the attempt that has ended; returns the job's safe progress."""
        number, start_ms, total_ms = worker.job, worker.at_ms, worker.total_ms
        pool, columns, split = worker.pool, self.columns, None
        record = self.records.get(number)
        whole = cause == DONE and worker.every_ms <= 0 and not worker.overhead_ms
        if whole and record is worker.lease:  # nothing else has happened to the job: the usual case
            end_ms, useful_ms, safe_ms = start_ms + total_ms, total_ms, worker.base_ms + worker.work_ms
        else:
            end_ms = max(start_ms, min(self.clock.now_ms, start_ms + total_ms))
            holds = record is not None and record.epoch == worker.epoch and record.phase == "leased"
            split, safe_ms = self._split(worker, cause, end_ms - start_ms, holds)
            useful_ms = split[0]
        duration_ms = end_ms - start_ms
        worker.idle_since_ms = end_ms
        worker.useful_ms += useful_ms
        usd = duration_ms * pool.usd_per_ms if pool.meter is None else pool.usd(start_ms, end_ms)
        if worker.usd is not None and duration_ms:
            worker.usd[0] += usd * useful_ms / duration_ms
        if self.slots > 1:
            usd /= self.slots
        if self._keeps_refunds and end_ms - worker.instance.launched_ms < FIRST_HOUR_MS:
            worker.job_usd.append((number, usd))
        columns.useful_ms[number] += useful_ms
        columns.usd[number] += usd
        columns.pool[number] = pool.number
        self.operations["renewal"] += duration_ms // self.renewal_ms
        if split is not None:
            self._meter_rest(worker, number, duration_ms, cause, split, usd)
        if self.journal is not None:
            self._write(worker, number, end_ms, cause, split or (total_ms, 0, 0, 0), usd)
        worker.safe_ms = safe_ms
        worker.job = -1
        worker.job_demand.busy -= 1
        if self._stages and cause == DONE:
            self._count_staging("out", number)
        if self.licences:
            self._take_licences(self.submissions.spec_of(number).licences, -1)
        return safe_ms

    def _take_licences(self, licences: tuple[tuple[str, int], ...], sign: int) -> None:
        for name, count in licences:
            self.licences[name] = self.licences.get(name, 0) - sign * count

    def _split(self, worker: LiveWorker, cause: str, elapsed_ms: int, holds: bool) -> tuple[_Split, int]:
        """((useful, lost, checkpoint, failed) instance time, safe progress) of an attempt. Work of one that no longer
        holds the lease is lost: another attempt has its place."""
        if worker.every_ms > 0:
            self._count_checkpoints(worker, cause, elapsed_ms)
        if not holds:
            return (0, elapsed_ms, 0, 0), 0
        if cause == DONE:
            useful = min(worker.work_ms + self.submissions.staging_ms(worker.job), elapsed_ms)
            runtime_ms = self.submissions.runtime_ms[worker.job]
            return (useful, 0, elapsed_ms - useful, 0), runtime_ms
        worked, safe = self._progress(worker, elapsed_ms)
        if cause == CHECKPOINTED:
            self.operations["checkpoint"] += worker.safe_ms > safe
            safe = worked = worker.safe_ms
        progress = worker.base_ms + (safe if worker.factor == 1.0 else int(safe / worker.factor))
        if cause in _APPLICATION:
            return (safe, 0, 0, elapsed_ms - safe), progress
        return (safe, worked - safe, elapsed_ms - worked, 0), progress

    def _count_checkpoints(self, worker: LiveWorker, cause: str, elapsed_ms: int) -> None:
        """The periodic checkpoints that the attempt has written."""
        work_ms = worker.work_ms if cause == DONE else self._progress(worker, elapsed_ms)[1] + 1
        self.operations["checkpoint"] += (work_ms - 1) // worker.every_ms

    def _progress(self, worker: LiveWorker, elapsed_ms: int) -> tuple[int, int]:
        """(work done, work that is safe) of the running attempt, in instance time."""
        return attempts.progress_ms(elapsed_ms, worker.overhead_ms, worker.work_ms, worker.every_ms, self._write_ms)

    def _meter_rest(
        self, worker: LiveWorker, number: int, duration_ms: int, cause: str, split: _Split, usd: float
    ) -> None:
        """Meter the time of an attempt that was not useful; the causes share its cost by their time."""
        for position in (1, 2, 3):
            worker.ms[position] += split[position]
            if worker.usd is not None and duration_ms:
                worker.usd[position] += usd * self.slots * split[position] / duration_ms
        columns, useful_ms = self.columns, split[0]
        columns.lost_ms[number] += split[1]
        if cause == INTERRUPTED or (cause == CHECKPOINTED and worker.state.phase == "noticed"):
            columns.interruptions[number] += 1
        if cause != DONE and useful_ms:  # whether it was useful shows when the job ends
            slot_usd = usd / duration_ms * useful_ms * self.slots
            self.kept.setdefault(number, []).append((worker, useful_ms, slot_usd))

    def _write(self, worker: LiveWorker, number: int, end_ms: int, cause: str, split: _Split, usd: float) -> None:
        """The attempt's fact in the journal."""
        assert self.journal is not None
        worker.attempts += 1
        job, name, pool = self.work.job_id(number), worker.state.badge.id, worker.pool.spec.id
        fact = AttemptFact(job, number, worker.epoch, name, pool, worker.at_ms, end_ms, cause, *split, usd)
        self.journal.attempt(fact)
