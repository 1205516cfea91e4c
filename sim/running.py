"""Worlds with attempts: when an attempt starts, how it would end, what it had done when it ends, and what that used."""

from __future__ import annotations

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
from sim.instances import LiveWorker
from sim.jobs import JobWorld
from spotbed.journal import AttemptFact, Journal

_APPLICATION = frozenset({FAILED, STRING_MISSING, TIMEOUT})
_TIMED_OUT = 124  # exit code of a command that coreutils' timeout ends
_HOUR_MS = 3_600_000


class AttemptWorld(JobWorld):
    """A world in which attempts run on workers and are metered when they end."""

    def __init__(self, inputs: WorldInputs, policy: Policy, journal: Journal | None = None) -> None:
        super().__init__(inputs, policy, journal)
        settings = policy.settings
        self.licences = dict(inputs.licences)
        self.renewal_ms = max(1, settings.lease_ms // inputs.services.renewals_per_lease)
        self._startup_ms, self._restore_ms = settings.startup_ms, settings.checkpoint_restore_ms
        self._write_ms = settings.checkpoint_write_ms
        self._keeps_refunds = inputs.billing.first_hour_free
        self._stages = any(klass.input_gib or klass.output_gib for klass in inputs.work.classes)

    def _plan(self, worker: LiveWorker, record: Job, number: int, command: Start) -> None:
        """When the attempt would end, and how, if nothing comes between."""
        jobs = self.submissions
        klass = jobs.klass[number]
        factors = worker.pool.factor
        factor = worker.factor = factors.get(klass, 1.0) if factors else 1.0
        base_ms = worker.base_ms = record.progress_ms
        overhead_ms = self._startup_ms + (self._restore_ms if base_ms else 0) + jobs.staging_in_ms[klass]
        work_ms = jobs.runtime_ms[number] - base_ms
        if factor != 1.0:
            work_ms = round(work_ms * factor)
        every_ms = command.checkpoint_every_ms
        worker.work_ms, worker.overhead_ms, worker.every_ms = work_ms, overhead_ms, every_ms
        total_ms = overhead_ms + work_ms + jobs.staging_out_ms[klass]
        if 0 < every_ms < work_ms:
            total_ms += (work_ms - 1) // every_ms * self._write_ms
        if jobs.plain[klass]:
            worker.cause, worker.exit_code = DONE, 0
        else:
            worker.cause, worker.exit_code = jobs.outcome(number, command.epoch)
        if 0 <= command.timeout_ms < total_ms:
            total_ms, worker.cause, worker.exit_code = command.timeout_ms, TIMEOUT, _TIMED_OUT
        worker.total_ms = total_ms
        if base_ms:
            self.operations["restore"] += 1
        if self._stages:
            self._count_staging("in", number)

    def _count_staging(self, way: str, number: int) -> None:
        """Input is read at each start; output is written by an attempt whose work has ended well."""
        gib_in, gib_out = self.submissions.staged_gib(number)
        self.tally.gib[way] = self.tally.gib.get(way, 0.0) + (gib_in if way == "in" else gib_out)

    def _account(self, worker: LiveWorker, cause: str) -> int:
        """Meter the attempt that has ended; returns the job's safe progress."""
        number, start_ms, total_ms = worker.job, worker.at_ms, worker.total_ms
        record = self.records.get(number)
        holds = record is not None and record.epoch == worker.epoch and record.phase == "leased"
        if cause == DONE and holds and worker.every_ms <= 0 and not worker.overhead_ms:
            split = (total_ms, 0, 0, 0)
            end_ms, safe_ms = start_ms + total_ms, worker.base_ms + worker.work_ms
        else:
            end_ms = max(start_ms, min(self.clock.now_ms, start_ms + total_ms))
            split, safe_ms = self._split(worker, cause, end_ms - start_ms, holds)
        self._meter(worker, number, end_ms, cause, split)
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

    def _split(
        self, worker: LiveWorker, cause: str, elapsed_ms: int, holds: bool
    ) -> tuple[tuple[int, int, int, int], int]:
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

    def _meter(
        self, worker: LiveWorker, number: int, end_ms: int, cause: str, split: tuple[int, int, int, int]
    ) -> None:
        pool, tally, start_ms = worker.pool, self.tally, worker.at_ms
        columns, ms = tally.jobs, worker.ms
        useful_ms, lost_ms, checkpoint_ms, failed_ms = split
        ms[0] += useful_ms
        ms[1] += lost_ms
        ms[2] += checkpoint_ms
        ms[3] += failed_ms
        duration_ms = end_ms - start_ms
        worker.idle_since_ms = end_ms
        usd = duration_ms * pool.usd_per_ms if pool.meter is None else self._meter_price(worker, end_ms, split)
        if self.slots > 1:
            usd /= self.slots
        if self._keeps_refunds and end_ms - worker.instance.launched_ms < _HOUR_MS:
            worker.job_usd.append((number, usd))
        tally.attempts += 1
        columns.useful_ms[number] += useful_ms
        columns.usd[number] += usd
        columns.pool[number] = pool.number
        if lost_ms:
            columns.lost_ms[number] += lost_ms
        if cause != DONE:
            if cause == INTERRUPTED or (cause == CHECKPOINTED and worker.state.phase == "noticed"):
                columns.interruptions[number] += 1
            if useful_ms:
                self._keep(worker, number, useful_ms, usd / duration_ms * useful_ms)
        self.operations["renewal"] += duration_ms // self.renewal_ms
        if self.journal is not None:
            self.journal.attempt(
                AttemptFact(
                    self.work.job_id(number),
                    number,
                    worker.epoch,
                    worker.state.badge.id,
                    pool.spec.id,
                    start_ms,
                    end_ms,
                    cause,
                    useful_ms,
                    lost_ms,
                    checkpoint_ms,
                    failed_ms,
                    usd,
                )
            )

    def _keep(self, worker: LiveWorker, number: int, useful_ms: int, usd: float) -> None:
        """Work in a checkpoint: whether it was useful shows when the job ends."""
        self.kept.setdefault(number, []).append((worker, useful_ms, usd * self.slots))

    def _meter_price(self, worker: LiveWorker, end_ms: int, split: tuple[int, int, int, int]) -> float:
        """What the attempt cost at a price that changes; its causes share the cost by their time."""
        usd = worker.pool.usd(worker.at_ms, end_ms)
        duration_ms = end_ms - worker.at_ms
        if worker.usd is not None and duration_ms:
            for position, part in enumerate(split):
                worker.usd[position] += usd * part / duration_ms
        return usd
