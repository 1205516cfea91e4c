"""The driver of the decoupled scheduler: performs the core's commands in virtual time.

The same machines run on AWS. Here Deliver, Step and Park are latencies and meters; the inbox is the clock's order. Polls do
not exist, lease renewals are counted and not simulated, and the hot path (an attempt ends, its job completes, the next
is claimed and started) is one entry of the heap.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from scheduler import fleet as fleet_role
from scheduler import job as job_role
from scheduler import worker as worker_role
from scheduler.commands import (
    BudgetReached,
    Checkpoint,
    Claim,
    Complete,
    Delay,
    Fail,
    GiveUp,
    Launch,
    Move,
    Protect,
    Queue,
    Release,
    ReleaseDependants,
    RollOver,
    Route,
    SetTimer,
    Start,
    Stop,
    StopWorker,
    Unqueue,
)
from scheduler.events import (
    CHECKPOINTED,
    DONE,
    FAILED,
    INTERRUPTED,
    LEASE_LOST,
    STRING_MISSING,
    TIMEOUT,
    AttemptEnded,
    Claimed,
    DependencyFailed,
    DependencyMet,
    InterruptionSeen,
    JobClaimed,
    LaunchFailed,
    LaunchSucceeded,
    LeaseExpired,
    Lost,
    MoveOrdered,
    Notice,
    NothingToClaim,
    Ready,
    Rebalance,
    Routed,
    StopOrdered,
    Submitted,
    Tick,
    TimerFired,
    Woken,
)
from scheduler.fleet import Fleet
from scheduler.job_record import Job
from scheduler.policy import Policy
from sim import attempts
from sim.clock import FOREVER_MS, MARKET, REPORT, TICK, TIMER
from sim.index import Demand, JobIndex, QueueClass, work_left_ms
from sim.inputs import WorldInputs
from sim.instances import NOT_YET, LivePool, LiveWorker
from sim.observe import observe
from sim.services import row
from sim.submissions import Submissions
from sim.world import World
from spotbed import metering
from spotbed.journal import AttemptFact, Journal

OPERATIONS = (
    "submit",
    "claim_hit",
    "claim_empty",
    "start",
    "complete",
    "fail",
    "release",
    "report",
    "event",
    "wake",
    "renewal",
    "tick",
    "launch",
    "worker_start",
    "roll_over",
    "stop",
    "order",
)


class DecoupledWorld(World):
    """One world under a decoupled policy. `run()` returns its tally."""

    architecture = "decoupled"

    def __init__(self, inputs: WorldInputs, policy: Policy, journal: Journal | None = None) -> None:
        super().__init__(inputs, policy, journal)
        self.submissions = Submissions(inputs)
        self.records: dict[int, Job] = {}
        self.index = JobIndex(self._waits)
        self.fleet = Fleet()
        self.workers: dict[str, LiveWorker] = {}
        self.licences = dict(inputs.licences)
        self.ended = 0  # jobs in a final phase
        self.idle_workers = 0
        self.silent: list[tuple[int, LiveWorker, int, int]] = []  # lost without an event: found by the reaper
        self.worker_step, self.job_step, self.fleet_step = self._steps()
        self.report_latency = self.latencies.table("report")
        self.start_latency = self.latencies.table("start")
        self.wake_latency = self.latencies.table("wake")
        self.order_latency = self.latencies.table("order")
        self.operations = dict.fromkeys(OPERATIONS, 0)
        self.renewal_ms = policy.settings.lease_ms // 3
        self.holders: dict[int, LiveWorker] = {}
        self._perform_worker: dict[type, Callable[[LiveWorker, Any], None]] = {
            Claim: self._claim,
            Start: self._start,
            Complete: self._complete,
            Fail: self._fail,
            Release: self._release,
            Checkpoint: self._checkpoint,
            Stop: self._stop,
            SetTimer: self._set_timer,
            RollOver: self._roll_over,
            Protect: self._nothing,
        }
        self._perform_job: dict[type, Callable[[int, Job, Any], None]] = {
            Queue: self._queue,
            Unqueue: self._unqueue,
            Delay: self._delay,
            SetTimer: self._job_timer,
            GiveUp: self._give_up,
            ReleaseDependants: self._release_dependants,
        }

    def _steps(self) -> tuple[Any, Any, Any]:
        """The core's steps; with a journal, each also writes what it heard and ordered."""
        journal = self.journal
        if journal is None:
            return worker_role.step, job_role.step, fleet_role.step

        def worker_step(state: Any, event: Any, policy: Any) -> Any:
            result = worker_role.step(state, event, policy)
            journal.step("worker", state.badge.id, event, result[1])
            return result

        def job_step(state: Any, event: Any, policy: Any) -> Any:
            result = job_role.step(state, event, policy)
            journal.step("job", state.ticket.id, event, result[1])
            return result

        def fleet_step(state: Any, event: Any, policy: Any) -> Any:
            result = fleet_role.step(state, event, policy)
            if result[1] or not isinstance(event, Tick):  # ticks that order nothing are counted, not written
                journal.step("fleet", state.queue, event, result[1])
            return result

        return worker_step, job_step, fleet_step

    # the run ----------------------------------------------------------------------------------------------------
    def run(self) -> metering.Tally:
        """Run the world to its end: everything ended and no worker left, or the end of the drain."""
        self.clock.process(self._ticks())
        self.clock.run_all(self._arrivals, self._is_over)
        self._close()
        return self.tally

    def _is_over(self) -> bool:
        if self.live_instances == 0:
            if self.ended == len(self.work):
                return True
            if self.fleet.phase == "closed" and self.submissions.next_ms == FOREVER_MS:
                return True
        return self.clock.now_ms > self.submissions.last_ms + self.inputs.drain_ms

    def _close(self) -> None:
        now = self.clock.now_ms
        for pool in self.pools:
            for instance in list(pool.instances.values()):
                for worker in instance.slots:
                    if worker.job >= 0:
                        self._account(worker, INTERRUPTED)
                self._end(instance, "end-of-run")
        tally = self.tally
        tally.end_ms = now
        tally.operations = self._metered()
        tally.faults = self.faults.seen

    def _metered(self) -> dict[str, int]:
        """The operations by the names of the services data. Each event for a worker is one Deliver, Step and Park."""
        counts = dict(self.operations)
        delivered = counts.pop("report") + counts.pop("event") + counts.pop("wake")
        counts.update(deliver=delivered, step=delivered + counts["worker_start"], park=delivered + counts["worker_start"])
        return {name: count for name, count in counts.items() if count}

    def _arrivals(self, now_ms: int) -> int:
        for index, job in self.submissions.take(now_ms):
            self.records[index] = job
            self.operations["submit"] += 1
            self._job(index, Submitted(now_ms))
            if self.faults.occurs("sqs.duplicate"):
                self._job(index, Submitted(now_ms))
        return self.submissions.next_ms

    def _ticks(self) -> Generator[Any, Any, None]:
        """The fleet's tick. While nothing waits and nothing lives, ticks are counted up to the next arrival."""
        tick_ms = self.policy.settings.tick_ms
        yield self.clock.wait(0, TICK)
        while True:
            self._tick()
            steps = 1
            if not self.live_instances and not self.index.waiting and not self.silent and not self.records:
                ahead = self.submissions.next_ms
                if ahead < FOREVER_MS:
                    steps = max(1, -(-(ahead - self.clock.now_ms) // tick_ms))
            self.operations["tick"] += steps
            yield self.clock.wait(steps * tick_ms, TICK)

    def _tick(self) -> None:
        now = self.clock.now_ms
        if self.silent:
            self._reap(now)
        self.tally.samples.append((now, self.index.waiting, *self._phases()))
        if self.index.waiting or self.policy.move.moves or self.inputs.budget_usd:
            self._fleet(Tick(now, observe(self)))

    def _phases(self) -> tuple[int, int, int]:
        pools = self.pools
        return sum(p.booting for p in pools), sum(p.busy for p in pools), sum(p.idle for p in pools)

    # steps of the core ------------------------------------------------------------------------------------------
    def _worker(self, worker: LiveWorker, event: Any) -> None:
        state, commands = self.worker_step(worker.state, event, self.policy)
        worker.state = state
        perform = self._perform_worker
        for command in commands:
            perform[command.__class__](worker, command)
        if _COUNTED[worker.state.phase] != worker.counted:
            self._recount(worker)

    def _job(self, index: int, event: Any) -> None:
        record = self.records.get(index)
        if record is None:
            self.tally.stale_writes += 1
            return
        state, commands = self.job_step(record, event, self.policy)
        self.records[index] = state
        if state.phase != record.phase and record.phase == "queued" and state.phase != "leased":
            self._leave_index(record)
        for command in commands:
            self._perform_job[command.__class__](index, record, command)
        if state.phase in _FINAL:
            self._finish(index, state)

    def _fleet(self, event: Any) -> None:
        self.fleet, commands = self.fleet_step(self.fleet, event, self.policy)
        for command in commands:
            _PERFORM_FLEET[command.__class__](self, command)

    def _recount(self, worker: LiveWorker) -> None:
        """Move the worker to the counter of its phase; claiming and leaving keep the one that they had."""
        new = _COUNTED[worker.state.phase]
        if new == "same":
            return
        pool, demand, old = worker.pool, worker.demand, worker.counted
        if old == "booting":
            pool.booting -= 1
            demand.booting -= 1
        elif old == "idle":
            pool.idle -= 1
            demand.idle -= 1
            self.idle_workers -= 1
        elif old == "busy":
            pool.busy -= 1
        if new == "idle":
            pool.idle += 1
            demand.idle += 1
            self.idle_workers += 1
            pool.idle_workers.append(worker)
        elif new == "busy":
            pool.busy += 1
        worker.counted = new

    # what the world says ----------------------------------------------------------------------------------------
    def on_ready(self, worker: LiveWorker) -> None:
        self.workers[worker.state.badge.id] = worker
        self.operations["worker_start"] += 1
        self._later(worker, Ready)

    def _later(self, worker: LiveWorker, make: Callable[[int], Any]) -> None:
        """Deliver an event after the latency of EventBridge and Deliver."""
        self.operations["event"] += 1
        at_ms = self.clock.now_ms + self.event_delay_ms(worker, worker.run)
        self.clock.at(at_ms, MARKET, self._deliver, (worker, make))
        if self.faults.occurs("eventbridge.duplicate"):
            self.clock.at(at_ms, MARKET, self._deliver, (worker, make))

    def _deliver(self, worker_and_make: tuple[LiveWorker, Callable[[int], Any]]) -> None:
        worker, make = worker_and_make
        self._worker(worker, make(self.clock.now_ms))

    def on_notice(self, worker: LiveWorker, lead_ms: int) -> None:
        if self.faults.occurs("eventbridge.drop"):
            return
        if lead_ms < 0:
            self._later(worker, Rebalance)
        else:
            self._later(worker, lambda at_ms: Notice(at_ms, lead_ms))

    def on_lost(self, worker: LiveWorker) -> None:
        now = self.clock.now_ms
        job, epoch, started_ms = worker.job, worker.state.epoch, worker.at_ms
        if job >= 0:
            self._account(worker, INTERRUPTED)
        worker.run += 1
        if self.faults.occurs("eventbridge.drop"):
            lease_ms = self.policy.settings.lease_ms
            renewals = max(0, now - started_ms) // self.renewal_ms
            expiry_ms = started_ms + renewals * self.renewal_ms + lease_ms if job >= 0 else now
            self.silent.append((expiry_ms, worker, job, epoch))
        else:
            self._later(worker, Lost)
            self._fleet_hears_loss(worker)

    def _fleet_hears_loss(self, worker: LiveWorker) -> None:
        self.fleet = self.fleet_step(self.fleet, InterruptionSeen(self.clock.now_ms, worker.pool.spec.id), self.policy)[
            0
        ]

    def _reap(self, now: int) -> None:
        """Find leases without a sign of life, and workers whose instance is gone."""
        found = [entry for entry in self.silent if entry[0] <= now]
        self.silent = [entry for entry in self.silent if entry[0] > now]
        for _, worker, job, epoch in found:
            if job >= 0:
                self._job(job, LeaseExpired(now, epoch))
            self._worker(worker, Lost(now))

    # commands of a worker ---------------------------------------------------------------------------------------
    def _nothing(self, worker: LiveWorker, command: Any) -> None:
        """A command without an effect in the model."""

    def _candidate(self, pool: LivePool) -> QueueClass | None:
        """The class whose first job is next for a worker of this pool: the largest shape that waits and fits, and of equal
        shapes the first in order."""
        index = self.index
        if pool.classes_version != index.version:
            self._renew_classes(pool)
        for group in pool.classes:
            best, best_head = None, None
            for queue in group:
                if not queue.demand.queued or (queue.licences and not self._licences_free(queue)):
                    continue
                head = index.head(queue)
                if head is not None and (best_head is None or head < best_head):
                    best, best_head = queue, head
            if best is not None:
                return best
        return None

    def _renew_classes(self, pool: LivePool) -> None:
        groups: dict[int, list[QueueClass]] = {}
        for queue in self.index.classes.values():
            if self.serves(pool, queue.demand):
                groups.setdefault(queue.size, []).append(queue)
        pool.classes = [groups[size] for size in sorted(groups, reverse=True)]
        pool.classes_version = self.index.version

    def serves(self, pool: LivePool, demand: Demand) -> bool:
        """Whether a slot of this pool can run a job of this demand."""
        spec, need, slots = pool.spec, demand.spec, self.slots
        return (
            need.vcpus * slots <= spec.vcpus
            and need.memory_gib * slots <= spec.memory_gib
            and need.gpus * slots <= spec.gpus
            and demand.purchase in ("any", spec.purchase)
        )

    def _licences_free(self, queue: QueueClass) -> bool:
        return all(self.licences.get(name, 0) >= count for name, count in queue.licences)

    def _take_licences(self, licences: tuple[tuple[str, int], ...], sign: int) -> None:
        for name, count in licences:
            self.licences[name] = self.licences.get(name, 0) - sign * count

    def _claim(self, worker: LiveWorker, command: Claim) -> None:
        worker.timer += 1
        now = self.clock.now_ms
        pool = worker.pool
        queue = self._candidate(pool) if self.index.waiting else None
        if queue is None:
            self.operations["claim_empty"] += 1
            self._worker(worker, NothingToClaim(now))
            return
        number = queue.pop()[1]
        record = self.records[number]
        leased, _ = self.job_step(record, Claimed(now, worker.state.badge.id), self.policy)
        self.records[number] = leased
        self.index.remove(queue, work_left_ms(record))
        ticket = leased.ticket
        spec = ticket.spec
        if spec.licences:
            self._take_licences(spec.licences, 1)
        worker.job, worker.job_demand = number, queue.demand
        queue.demand.busy += 1
        self.operations["claim_hit"] += 1
        hours_ms = pool.use.ms[0] // max(1, pool.use.interruptions) if pool.use.interruptions else 0
        self._worker(
            worker,
            JobClaimed(
                now,
                ticket.id,
                leased.epoch,
                leased.progress_ms,
                ticket.estimate_ms,
                spec.timeout_ms,
                spec.checkpointable,
                hours_ms,
            ),
        )

    def _start(self, worker: LiveWorker, command: Start) -> None:
        """Plan the attempt: when it starts, how long it takes, how it ends if nothing comes between."""
        self.operations["start"] += 1
        number, epoch = worker.job, command.epoch
        if worker.instance.ended_ms != NOT_YET:  # SSM refuses an instance that is gone
            worker.run += 1
            self._later(worker, Lost)
            return
        now = self.clock.now_ms
        record = self.records[number]
        start_ms = now + self.start_latency[row(number, epoch)]
        worker.run += 1
        worker.attempts += 1
        self._plan(worker, record, number, command)
        self._spend(worker, metering.IDLE, worker.idle_since_ms, start_ms)
        worker.at_ms = start_ms
        columns = self.tally.jobs
        columns.attempts[number] += 1
        if columns.first_start_ms[number] < 0:
            columns.first_start_ms[number] = start_ms
        report_ms = start_ms + worker.total_ms + self.report_latency[row(number, epoch)]
        self.clock.at(report_ms, REPORT, self._reported, (worker, worker.run, worker.total_ms, worker.cause))
        if self.faults.occurs("lease.false_expiry"):
            self.clock.at(start_ms + self.policy.settings.lease_ms, TIMER, self._expire_falsely, (number, epoch))

    def _plan(self, worker: LiveWorker, record: Job, number: int, command: Start) -> None:
        jobs = self.submissions
        klass = jobs.class_of(number)
        factor = worker.factor = worker.pool.factor.get(klass, 1.0)
        settings = self.policy.settings
        base_ms = worker.base_ms = record.progress_ms
        overhead_ms = (
            settings.startup_ms + (settings.checkpoint_restore_ms if base_ms else 0) + jobs.staging_in_ms[klass]
        )
        work_ms = jobs.runtime_ms(number) - base_ms
        worker.work_ms = work_ms if factor == 1.0 else round(work_ms * factor)
        worker.overhead_ms, worker.every_ms, worker.write_ms = (
            overhead_ms,
            command.checkpoint_every_ms,
            settings.checkpoint_write_ms,
        )
        worker.total_ms = (
            attempts.length_ms(overhead_ms, worker.work_ms, command.checkpoint_every_ms, settings.checkpoint_write_ms)
            + jobs.staging_out_ms[klass]
        )
        worker.cause, worker.exit_code = jobs.outcome(number, command.epoch)
        if 0 <= command.timeout_ms < worker.total_ms:
            worker.total_ms, worker.cause, worker.exit_code = command.timeout_ms, TIMEOUT, 124

    def _expire_falsely(self, number_and_epoch: tuple[int, int]) -> None:
        """The renewals did not reach the table: the lease expires although the attempt lives."""
        number, epoch = number_and_epoch
        if number in self.records:
            self._job(number, LeaseExpired(self.clock.now_ms, epoch))

    def _reported(self, planned: tuple[LiveWorker, int, int, str]) -> None:
        """The wrapper's report has reached the worker's Step."""
        worker, run, total_ms, cause = planned
        if worker.run != run:
            return
        self._end_attempt(worker, total_ms, cause)

    def _end_attempt(self, worker: LiveWorker, total_ms: int, cause: str) -> None:
        self.operations["report"] += 1
        state = worker.state
        safe_ms = self._account(worker, cause)
        event = AttemptEnded(self.clock.now_ms, state.job, state.epoch, cause, worker.exit_code, safe_ms)
        self._worker(worker, event)
        if self.faults.occurs("lambda.twice"):
            self._worker(worker, event)

    def _account(self, worker: LiveWorker, cause: str) -> int:
        """Meter the attempt that has ended now (or did at its planned end); returns the job's safe progress."""
        number, start_ms = worker.job, worker.at_ms
        record = self.records.get(number)
        holds = record is not None and record.epoch == worker.state.epoch and record.phase == "leased"
        if cause == DONE and holds and worker.every_ms <= 0 and not worker.overhead_ms:
            useful_ms, lost_ms, checkpoint_ms, failed_ms = worker.total_ms, 0, 0, 0
            end_ms, safe_ms = start_ms + worker.total_ms, worker.base_ms + worker.work_ms
        else:
            end_ms = min(self.clock.now_ms, start_ms + worker.total_ms)
            useful_ms, lost_ms, checkpoint_ms, failed_ms, safe_ms = self._split(worker, cause, end_ms - start_ms, holds)
        self._meter(
            worker, number, start_ms, max(start_ms, end_ms), cause, useful_ms, lost_ms, checkpoint_ms, failed_ms
        )
        worker.safe_ms = safe_ms
        worker.job = -1
        worker.job_demand.busy -= 1
        licences = self.submissions.spec_of(number).licences
        if licences:
            self._take_licences(licences, -1)
        return safe_ms

    def _split(self, worker: LiveWorker, cause: str, elapsed_ms: int, holds: bool) -> tuple[int, int, int, int, int]:
        """(useful, lost, checkpoint, failed, safe progress): instance time of the attempt by cause."""
        elapsed_ms = max(0, elapsed_ms)
        if not holds:
            return 0, elapsed_ms, 0, 0, 0
        worked, safe = attempts.progress_ms(
            elapsed_ms, worker.overhead_ms, worker.work_ms, worker.every_ms, worker.write_ms
        )
        if cause == DONE:
            staging = self.submissions.staging_ms(worker.job)
            useful = min(worker.work_ms + staging, elapsed_ms)
            return useful, 0, elapsed_ms - useful, 0, worker.base_ms + worker.work_ms
        if cause == CHECKPOINTED:
            safe = worked = worker.safe_ms
        progress = worker.base_ms + (safe if worker.factor == 1.0 else round(safe / worker.factor))
        if cause in (FAILED, STRING_MISSING, TIMEOUT):
            return safe, 0, 0, elapsed_ms - safe, progress
        return safe, worked - safe, elapsed_ms - worked, 0, progress

    def _meter(
        self,
        worker: LiveWorker,
        number: int,
        start_ms: int,
        end_ms: int,
        cause: str,
        useful_ms: int,
        lost_ms: int,
        checkpoint_ms: int,
        failed_ms: int,
    ) -> None:
        pool, tally, columns, ms = worker.pool, self.tally, self.tally.jobs, worker.ms
        ms[0] += useful_ms
        ms[1] += lost_ms
        ms[2] += checkpoint_ms
        ms[3] += failed_ms
        duration_ms = end_ms - start_ms
        worker.idle_since_ms = end_ms
        usd = pool.usd(start_ms, end_ms) / self.slots
        if worker.usd is not None and duration_ms:
            for position, part in enumerate((useful_ms, lost_ms, checkpoint_ms, failed_ms)):
                worker.usd[position] += usd * self.slots * part / duration_ms
        if self.inputs.billing.first_hour_free and end_ms - worker.instance.launched_ms < 3_600_000:
            worker.job_usd = worker.job_usd or []
            worker.job_usd.append((number, usd))
        tally.attempts += 1
        columns.useful_ms[number] += useful_ms
        columns.usd[number] += usd
        columns.pool[number] = pool.number
        if lost_ms:
            columns.lost_ms[number] += lost_ms
        if cause == INTERRUPTED or (cause == CHECKPOINTED and worker.state.phase == "noticed"):
            columns.interruptions[number] += 1
        self.operations["renewal"] += duration_ms // self.renewal_ms
        if self.journal is not None:
            self.journal.attempt(
                AttemptFact(
                    worker.state.job and self.work.job_id(number),
                    number,
                    worker.state.epoch,
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

    def _complete(self, worker: LiveWorker, command: Complete) -> None:
        self.operations["complete"] += 1
        self._tell_job(command, DONE, 0, worker.safe_ms)

    def _fail(self, worker: LiveWorker, command: Fail) -> None:
        self.operations["fail"] += 1
        self._tell_job(command, command.cause, command.exit_code, command.progress_ms)

    def _release(self, worker: LiveWorker, command: Release) -> None:
        self.operations["release"] += 1
        if worker.job >= 0 and worker.instance.ended_ms == NOT_YET:  # the wrapper ends the attempt now
            worker.run += 1
            self._account(worker, command.cause) if worker.at_ms else None
        self._tell_job(command, command.cause, 0, worker.safe_ms)

    def _tell_job(self, command: Any, cause: str, exit_code: int, progress_ms: int) -> None:
        number = self.submissions.number_of(command.job)
        self._job(number, AttemptEnded(self.clock.now_ms, command.job, command.epoch, cause, exit_code, progress_ms))

    def _checkpoint(self, worker: LiveWorker, command: Checkpoint) -> None:
        """The wrapper writes a checkpoint and ends the attempt, unless the work is done by then."""
        self.operations["order"] += 1
        begin_ms = self.clock.now_ms + self.order_latency[row(worker.job, command.epoch)]
        elapsed_ms = max(0, begin_ms - worker.at_ms)
        if elapsed_ms + worker.write_ms >= worker.total_ms:
            return
        worked, safe = attempts.progress_ms(
            elapsed_ms, worker.overhead_ms, worker.work_ms, worker.every_ms, worker.write_ms
        )
        writes = worked > safe
        end_ms = max(begin_ms, worker.at_ms) + (worker.write_ms if writes else 0)
        worker.run += 1
        report_ms = end_ms + self.report_latency[row(worker.job, command.epoch + 1)]
        self.clock.at(report_ms, REPORT, self._checkpointed, (worker, worker.run, worked, end_ms))

    def _checkpointed(self, written: tuple[LiveWorker, int, int, int]) -> None:
        worker, run, worked_ms, end_ms = written
        if worker.run != run:
            return
        worker.safe_ms = worked_ms
        worker.total_ms = end_ms - worker.at_ms
        self._end_attempt(worker, worker.total_ms, CHECKPOINTED)

    def _stop(self, worker: LiveWorker, command: Stop) -> None:
        self.operations["stop"] += 1
        worker.timer += 1
        worker.run += 1
        if self.stop(worker, command.reason):
            for slot in worker.instance.slots:
                self._later(slot, Lost)

    def _set_timer(self, worker: LiveWorker, command: SetTimer) -> None:
        worker.timer += 1
        at_ms = self.clock.now_ms + command.after_ms
        self.clock.at(at_ms, TIMER, self._timer, (worker, worker.timer, command.name))

    def _timer(self, timer: tuple[LiveWorker, int, str]) -> None:
        worker, number, name = timer
        if worker.timer == number:
            self._worker(worker, TimerFired(self.clock.now_ms, name))

    def _roll_over(self, worker: LiveWorker, command: RollOver) -> None:
        self.operations["roll_over"] += 1

    # commands of a job ------------------------------------------------------------------------------------------
    def _waits(self, number: int, purchase: str) -> bool:
        record = self.records.get(number)
        return record is not None and record.phase == "queued" and record.purchase == purchase

    def _leave_index(self, record: Job) -> None:
        self.index.remove(self.index.class_of(record.ticket.spec, record.purchase), work_left_ms(record))

    def _queue(self, number: int, before: Job, command: Queue) -> None:
        if before.phase == "queued":
            self._leave_index(before)
        record = self.records[number]
        queue = self.index.class_of(record.ticket.spec, command.purchase)
        self.index.add(queue, command.key, number, work_left_ms(record))
        if self.idle_workers:
            self._wake(queue)

    def _unqueue(self, number: int, before: Job, command: Unqueue) -> None:
        """The record's phase has changed, so its entry in the index is void."""

    def _wake(self, queue: QueueClass) -> None:
        """Hint to one idle worker that can run a job of this class."""
        for pool in self.pools:
            if not pool.idle or not self.serves(pool, queue.demand):
                continue
            idle = pool.idle_workers
            while idle:
                worker = idle.popleft()
                if worker.state.phase == "idle" and worker.instance.ended_ms == NOT_YET:
                    self.operations["wake"] += 1
                    at_ms = self.clock.now_ms + self.wake_latency[row(worker.instance.number, worker.run)]
                    self.clock.at(at_ms, REPORT, self._deliver, (worker, Woken))
                    return

    def _delay(self, number: int, before: Job, command: Delay) -> None:
        self.clock.at(self.clock.now_ms + command.after_ms, TIMER, self._job_timer_fires, (number, "delay"))

    def _job_timer(self, number: int, before: Job, command: SetTimer) -> None:
        self.clock.at(self.clock.now_ms + command.after_ms, TIMER, self._job_timer_fires, (number, command.name))

    def _job_timer_fires(self, number_and_name: tuple[int, str]) -> None:
        number, name = number_and_name
        if number in self.records:
            self._job(number, TimerFired(self.clock.now_ms, name))

    def _give_up(self, number: int, before: Job, command: GiveUp) -> None:
        """The record moves to the dead letters: metered with the failure."""

    def _release_dependants(self, number: int, before: Job, command: ReleaseDependants) -> None:
        for dependant in self.submissions.dependants(number):
            kind = DependencyMet if command.done else DependencyFailed
            if dependant in self.records:
                self._job(dependant, kind(self.clock.now_ms))
            else:
                self.submissions.settle(dependant, command.done)

    def _finish(self, number: int, record: Job) -> None:
        columns = self.tally.jobs
        columns.status[number] = _STATUS[record.phase]
        columns.end_ms[number] = self.clock.now_ms
        del self.records[number]
        self.submissions.forget(record.ticket.id)
        self.ended += 1

    # commands of the fleet --------------------------------------------------------------------------------------
    def _launch(self, command: Launch) -> None:
        pool = self.pool_by_id[command.pool]
        self.operations["launch"] += 1
        granted, reason = self.launch(pool, command.count, self._demand(command.serves))
        now = self.clock.now_ms
        if granted:
            self._fleet(LaunchSucceeded(now, command.pool, granted))
        if granted < command.count:
            self._fleet(LaunchFailed(now, command.pool, command.count - granted, reason))

    def _demand(self, key: str) -> Demand:
        for demand in self.index.demands.values():
            if demand.key == key:
                return demand
        shape, purchase, _ = key.split("|")
        spec = next(each.spec for each in self.index.demands.values() if each.shape == shape)
        return self.index.demand(spec, purchase)

    def _request(self, pool: LivePool, demand: Demand) -> Any:
        instance = super()._request(pool, demand)
        boot_limit_ms = self.policy.settings.boot_timeout_ms
        for worker in instance.slots:
            self.clock.at(self.clock.now_ms + boot_limit_ms, TIMER, self._timer, (worker, 0, worker_role.BOOT))
        return instance

    def _route(self, command: Route) -> None:
        self._job(self.submissions.number_of(command.job), Routed(self.clock.now_ms, command.purchase))

    def _move(self, command: Move) -> None:
        self._worker(self.workers[command.worker], MoveOrdered(self.clock.now_ms))

    def _stop_worker(self, command: StopWorker) -> None:
        self._worker(self.workers[command.worker], StopOrdered(self.clock.now_ms, command.reason))

    def _budget_reached(self, command: BudgetReached) -> None:
        self.tally.notes.append(
            f"The budget of {command.budget_usd:.2f} USD was spent after "
            f"{self.clock.now_ms / 3_600_000:.1f} h; no instance was launched from then on."
        )


_COUNTED = {
    "booting": "booting",
    "claiming": "same",
    "leaving": "same",
    "idle": "idle",
    "running": "busy",
    "noticed": "busy",
    "draining": "busy",
    "moving": "busy",
    "stopping": "",
    "gone": "",
}
_FINAL = frozenset({"done", "failed", "cancelled"})
_STATUS = {"done": metering.DONE, "failed": metering.GAVE_UP, "cancelled": metering.CANCELLED}
_PERFORM_FLEET: dict[type, Callable[[DecoupledWorld, Any], None]] = {
    Launch: DecoupledWorld._launch,
    Route: DecoupledWorld._route,
    Move: DecoupledWorld._move,
    StopWorker: DecoupledWorld._stop_worker,
    BudgetReached: DecoupledWorld._budget_reached,
}
