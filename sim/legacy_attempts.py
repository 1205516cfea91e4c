"""The attempts of `legacy-2019`: how long they take, who looks at them, and where their instances' time goes.

An attempt starts its work from the beginning. Its instance's time is its own from the start until its end, or until its
execution looks at it no more; what it runs beyond that is beside another attempt, or on an instance that idles.
"""

from __future__ import annotations

from math import log1p

from scheduler.events import DONE, FAILED, INTERRUPTED, STRING_MISSING, TIMEOUT
from scheduler.legacy import ABANDONED
from sim import attempts
from sim.clock import REPORT
from sim.instances import FIRST_HOUR_MS, LiveInstance
from sim.legacy_execution import LiveAttempt, LiveExecution
from sim.legacy_fleet import LegacyFleet
from spotbed.journal import AttemptFact
from spotbed.metering import IDLE, LOST, USEFUL, VANISHED

_BLOCK = 4096
_OF_THE_JOB = frozenset({FAILED, STRING_MISSING, TIMEOUT})


class LegacyAttempts(LegacyFleet):
    """A world up to the level of attempts."""

    _error_u: list[float]
    attempts_started = 0

    def _begin(self, execution: LiveExecution) -> LiveAttempt:
        """The commands begin on the instance."""
        now, worker, number = self.clock.now_ms, execution.worker, execution.number
        columns = self.tally.jobs
        columns.attempts[number] += 1
        if columns.first_start_ms[number] < 0:
            columns.first_start_ms[number] = now
        self._stage("in", self.submissions.staged_gib(number)[0])
        attempt = self._plan(LiveAttempt(worker, number, columns.attempts[number], now))
        worker.attempts += 1
        self._spend(worker, IDLE, worker.idle_since_ms, now)
        worker.idle_since_ms = now
        self._recount(worker, "busy")
        execution.attempt, execution.known_ms = attempt, attempt.total_ms
        execution.error_poll = self._error_poll()
        return attempt

    def _plan(self, attempt: LiveAttempt) -> LiveAttempt:
        """How long the commands take and how they end. Systems Manager ends them at a timeout that nobody set (F4)."""
        jobs, number = self.submissions, attempt.number
        klass = jobs.klass[number]
        factor = attempt.worker.pool.factor.get(klass, 1.0)
        runtime_ms = jobs.runtime_ms[number]
        attempt.work_ms = runtime_ms if factor == 1.0 else round(runtime_ms * factor)
        attempt.overhead_ms = self.policy.settings.startup_ms + jobs.staging_in_ms[klass]
        attempt.staging_ms = jobs.staging_ms(number)
        attempt.total_ms = attempt.overhead_ms + attempt.work_ms + jobs.staging_out_ms[klass]
        attempt.cause = jobs.outcome(number, attempt.ordinal)[0]
        if attempt.cause == STRING_MISSING and not self.settings.string_check:
            attempt.cause = DONE  # nobody looks for it
        if attempt.total_ms > self.settings.execution_timeout_ms:
            attempt.total_ms, attempt.cause = self.settings.execution_timeout_ms, TIMEOUT
        return attempt

    def _error_poll(self) -> int:
        """Which poll of an attempt is the first whose check fails inside: geometric, from one uniform; 0 for none."""
        probability = self.inputs.services.probability.get("ssm.error", 0.0)
        if not probability:
            return 0
        number = self.attempts_started
        self.attempts_started += 1
        if number % _BLOCK == 0:
            self._error_u = self.streams.per_entity("legacy/ssm.error", number, _BLOCK).tolist()
        if probability >= 1.0:
            return 1
        return 1 + int(log1p(-self._error_u[number % _BLOCK]) / log1p(-probability))

    def _stage(self, way: str, gib: float) -> None:
        if gib:
            self.tally.gib[way] = self.tally.gib.get(way, 0.0) + gib

    # ends -------------------------------------------------------------------------------------------------------
    def _completes(self, attempt: LiveAttempt) -> None:
        """The work is done and its output written, whether or not anybody looks."""
        self.jobs.completes(attempt.number)
        self._stage("out", self.submissions.staged_gib(attempt.number)[1])

    def _ends(self, attempt: LiveAttempt, *, accepted: bool) -> None:
        """The commands have ended by themselves, and their execution takes that for a success, or not."""
        useful = accepted and attempt.cause == DONE and self.jobs.counts(attempt.number)
        cause = attempt.cause if accepted or attempt.cause != DONE else ABANDONED
        self._account(attempt, attempt.end_ms, cause, useful=useful)
        if attempt.cause == DONE:
            self._completes(attempt)

    def _is_lost(self, execution: LiveExecution, *, accepted: bool) -> None:
        """EC2 takes the instance of an attempt. What had ended before has ended, though nobody has looked yet."""
        attempt, now = execution.attempt, self.clock.now_ms
        if attempt is None or attempt.accounted:
            return
        if now >= attempt.end_ms:
            self._ends(attempt, accepted=accepted)
            return
        self._account(attempt, now, INTERRUPTED, useful=False)
        attempt.lost = True
        self.tally.jobs.interruptions[attempt.number] += 1

    def _let_go(self, execution: LiveExecution, attempt: LiveAttempt) -> None:
        """The execution looks at a running attempt no more; it goes on as a copy beside whatever comes next (F5)."""
        now, worker = self.clock.now_ms, attempt.worker
        attempt.until_ms = worker.idle_since_ms = now
        self._recount(worker, "idle")
        self._watch_copy(execution, attempt)

    def _watch_copy(self, execution: LiveExecution, attempt: LiveAttempt) -> None:
        execution.copies.append(attempt)
        self.clock.at(attempt.end_ms, REPORT, self._copy_ends, (execution, attempt))

    def _run_again(self, execution: LiveExecution, first: LiveAttempt | None) -> None:
        """SendCommand came through though its try failed: a second copy of the commands on the same instance (F7)."""
        copy = self._plan(LiveAttempt(execution.worker, execution.number, 1, self.clock.now_ms))
        copy.cause = first.cause if first is not None else copy.cause
        copy.shared = True
        self._watch_copy(execution, copy)

    def _copy_ends(self, planned: tuple[LiveExecution, LiveAttempt]) -> None:
        """A copy that nobody looks at comes to its end, if its instance has lived so long."""
        execution, attempt = planned
        if attempt not in execution.copies:
            return
        execution.copies.remove(attempt)
        self._settle(attempt, completed=attempt.cause == DONE)

    def _end(self, instance: LiveInstance, reason: str) -> None:
        """The copies that nobody looks at end with their instance."""
        execution = self.executions.pop(instance.number, None)
        if execution is not None:
            execution.gone = True
            for attempt in execution.copies:
                self._settle(attempt, completed=False)
            execution.copies.clear()
        super()._end(instance, reason)

    def _settle(self, attempt: LiveAttempt, *, completed: bool) -> None:
        """A copy has ended. One that was called successful makes its job done now, or lost."""
        if not attempt.shared:
            useful = completed and attempt.accepted and self.jobs.counts(attempt.number)
            self._account(attempt, attempt.until_ms, DONE if useful else ABANDONED, useful=useful, apart=True)
        if completed:
            self._completes(attempt)
        if attempt.accepted:
            self._conclude(attempt.number, completed=completed)

    def _conclude(self, number: int, *, completed: bool) -> None:
        """A job was called successful, and its work was done, or not."""
        now = self.clock.now_ms
        if not completed:
            self.jobs.copy_ends(number, VANISHED, now)
            return
        for job in self.jobs.done(number, now):
            self._submit(job)

    # metering ---------------------------------------------------------------------------------------------------
    def _account(self, attempt: LiveAttempt, end_ms: int, cause: str, *, useful: bool, apart: bool = False) -> None:
        """Meter the attempt's own time on its instance. `apart`: the instance has turned to something else since."""
        attempt.accounted = True
        worker, elapsed_ms = attempt.worker, end_ms - attempt.start_ms
        worked_ms, _ = attempts.progress_ms(elapsed_ms, attempt.overhead_ms, attempt.work_ms, 0, 0)
        if useful:
            useful_ms = min(attempt.work_ms + attempt.staging_ms, elapsed_ms)
            split = (useful_ms, 0, elapsed_ms - useful_ms, 0)
        elif cause in _OF_THE_JOB:
            split = (0, 0, 0, elapsed_ms)
        else:
            split = (0, worked_ms, elapsed_ms - worked_ms, 0)
        if not apart:
            worker.idle_since_ms = end_ms
            self._recount(worker, "idle")
        self._meter(attempt, end_ms, cause, split)

    def _meter(self, attempt: LiveAttempt, end_ms: int, cause: str, split: tuple[int, int, int, int]) -> None:
        worker, number, start_ms = attempt.worker, attempt.number, attempt.start_ms
        pool, tally, columns = worker.pool, self.tally, self.tally.jobs
        duration_ms, usd = end_ms - start_ms, pool.usd(start_ms, end_ms)
        for position, part_ms in enumerate(split):
            worker.ms[position] += part_ms
            if worker.usd is not None and duration_ms:
                worker.usd[position] += usd * part_ms / duration_ms
        if self.inputs.billing.first_hour_free and end_ms - worker.instance.launched_ms < FIRST_HOUR_MS:
            worker.job_usd.append((number, usd))
        tally.attempts += 1
        columns.useful_ms[number] += split[USEFUL]
        columns.lost_ms[number] += split[LOST]
        columns.usd[number] += usd
        columns.pool[number] = pool.number
        if self.journal is not None:
            self.journal.attempt(
                AttemptFact(
                    self.work.job_id(number),
                    number,
                    attempt.ordinal,
                    worker.state.badge.id,
                    pool.spec.id,
                    start_ms,
                    end_ms,
                    cause,
                    *split,
                    usd,
                )
            )
