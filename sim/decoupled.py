"""The driver of the decoupled scheduler: performs the core's commands in virtual time.

The same machines run on AWS. Here Deliver, Step and Park are latencies and meters; the inbox is the clock's order.
Polls do not exist, lease renewals are counted and not simulated, and the hot path (an attempt ends, its job completes,
the next is claimed and started) is one entry of the heap.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from heapq import heappush
from typing import Any

from scheduler import fleet as fleet_role
from scheduler import worker as worker_role
from scheduler.commands import (
    BudgetReached,
    Checkpoint,
    Claim,
    Complete,
    Delay,
    Fail,
    Launch,
    Move,
    Protect,
    Release,
    ReleaseDependants,
    RollOver,
    Route,
    SetTimer,
    Start,
    Stop,
    StopWorker,
)
from scheduler.events import (
    CHECKPOINTED,
    INTERRUPTED,
    AttemptEnded,
    Claimed,
    InterruptionSeen,
    JobClaimed,
    LaunchFailed,
    LaunchSucceeded,
    LeaseExpired,
    Lost,
    MoveOrdered,
    NothingToClaim,
    Notice,
    Ready,
    Rebalance,
    Routed,
    StopOrdered,
    Tick,
    TimerFired,
    Woken,
)
from scheduler.fleet import Fleet
from scheduler.job_record import Job
from scheduler.policy import Policy, is_steady
from sim.aged import AgedWorkers
from sim.clock import FOREVER_MS, MARKET, REPORT, TICK, TIMER
from sim.door import Door
from sim.gangs import Gangs
from sim.groups import Groups
from sim.index import Demand, QueueClass
from sim.inputs import WorldInputs
from sim.instances import COUNTERS, NOT_YET, PASSING, LiveInstance, LivePool, LiveWorker
from sim.jobs import handlers_of
from sim.observe import Counters, observe
from sim.ranked import Ranked
from sim.running import AttemptWorld
from sim.services import MASK, SPREAD_EPOCH, SPREAD_JOB, row
from sim.troubles import Troubles
from sim.usual import Planned, Usual, has_usual_case
from spotbed import metering
from spotbed.journal import Journal

OPERATIONS = (
    "claim_hit", "claim_empty", "start", "complete", "fail", "release", "dead_letter", "report", "event",
    "wake", "renewal", "tick", "launch", "worker_start", "roll_over", "stop", "order", "reap", "requeue", "checkpoint",
    "restore", "receive", "retry", "timer", "hear", "perform", "recount", "recount_class", "recount_idle", "gone",
    "fleet", "fleet_order", "launched", "interruption", "job_timer", "job_timer_set", "told", "route", "late",
)  # fmt: skip
LONGEST_DELAY_MS = 900_000  # SQS: DelaySeconds (SendMessage, API reference)


class DecoupledWorld(AttemptWorld):
    """One world under a decoupled policy. `run()` returns its tally."""

    usual = True  # whether the usual case may be taken in one piece (sim.usual)

    def __init__(self, inputs: WorldInputs, policy: Policy, journal: Journal | None = None) -> None:
        super().__init__(inputs, policy, journal)
        self.fleet = Fleet()
        self._steady = is_steady(policy)  # asked at each tick
        self._holds = bool(getattr(policy.scale, "steady", False))  # workers in reserve, also while there is no job
        self.workers: dict[str, LiveWorker] = {}  # those that are ready, by name
        self.sighted: dict[str, int] = {}  # jobs that the fleet was last shown: id -> index
        self.silent: list[tuple[int, LiveWorker, int, int, int]] = []  # lost without an event: found by the reaper
        self._worker_handlers = handlers_of(worker_role.MACHINE, journal, lambda state: state.badge.id)
        self._fleet_handlers = handlers_of(fleet_role.MACHINE, journal, lambda state: state.queue, quiet=Tick)
        self.report_latency = self.latencies.table("report")
        self.start_latency = self.latencies.table("start")
        self.wake_latency = self.latencies.table("wake")
        self.order_latency = self.latencies.table("order")
        self.operations = dict.fromkeys(OPERATIONS, 0)
        self._counted_apart: Callable[[], dict[str, int]] = dict
        self._choose: Callable[[LivePool], QueueClass | None] = self._candidate
        self._report: Callable[[Planned], None] = self._reported  # bound once: it is scheduled for every attempt
        self.worker_start_latency = self.latencies.table("worker_start")
        self.index_lag = self.latencies.table("index_lag")
        self.lags = any(self.index_lag)
        self.start_throttles = self.throttles.of("stepfunctions.start_execution")
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
        self._perform_fleet: dict[type, Callable[[Any], None]] = {
            Launch: self._launch,
            Route: self._route,
            Move: self._move,
            StopWorker: self._stop_worker,
            BudgetReached: self._budget_reached,
        }
        self.door = Door(self)
        self.ranked = self._ranked()
        self.gangs = Gangs(self) if self.index.gangs else None
        self.troubles = Troubles(self)
        self.counters = Counters(self)
        if inputs.work.groups:
            self._stop_on_first_success()
        if hasattr(policy.protect, "at_age"):
            self._worker = AgedWorkers(self, self._worker).hears  # type: ignore[method-assign]

    def _stop_on_first_success(self) -> None:
        groups = Groups(self)
        self._has_ended = groups.has_ended  # type: ignore[method-assign]
        self._hears = groups.hears  # type: ignore[method-assign]
        self._perform_job[ReleaseDependants] = groups.release

    def _ranked(self) -> Ranked | None:
        """What ranks the first jobs of the index again, for an order that wants it."""
        if not hasattr(self.policy.order, "rank"):
            return None
        ranked = Ranked(self)
        self._choose = ranked.choose
        return ranked

    # the run ----------------------------------------------------------------------------------------------------
    def run(self) -> metering.Tally:
        """Run the world to its end: everything ended and no worker left, or the end of the drain."""
        if self.usual and has_usual_case(self):
            usual = Usual(self)
            self._report, self.door.submitted = usual.reported, usual.submitted
            self._counted_apart = usual.operations
        self.clock.process(self._ticks())
        self.clock.run_all(self.door.arrivals if self.door.active else self._arrivals, self._is_over)
        self._close()
        return self.tally

    def _is_over(self) -> bool:
        if self.live_instances == 0 and not self.silent:
            if self.ended == len(self.work):
                return True
            if self.fleet.phase == "closed" and self.submissions.next_ms == FOREVER_MS:
                return True
        return self.clock.now_ms > self.submissions.last_ms + self.inputs.drain_ms

    def _close(self) -> None:
        for pool in self.pools:
            for instance in list(pool.instances.values()):
                for worker in instance.slots:
                    if worker.job >= 0:
                        self._end_attempt(worker, INTERRUPTED)
                self._end(instance, "end-of-run")
        for number in list(self.kept):
            self._settle(number, metering.LOST)
        tally = self.tally
        tally.attempts = sum(tally.jobs.attempts)
        tally.end_ms = self.clock.now_ms
        tally.operations = self._metered()
        for name, times in self.throttles.bitten().items():
            tally.limits[name] = times
        tally.faults = self.faults.seen

    def _counted(self) -> dict[str, int]:
        """How often the driver has done what."""
        counts = {**self.operations, "submit": self.submissions.handed_out}
        counts["start"] += self.tally.attempts  # and those that came to nothing
        for name, times in self._counted_apart().items():
            counts[name] += times
        return counts

    def _metered(self) -> dict[str, int]:
        """The operations by the names of the services data. Each event for a worker is one Deliver and one Step, a
        timer a Step alone; a Step after which the execution goes on is followed by a Park."""
        counts = self._counted()
        delivered = counts["report"] + counts.pop("event") + counts["wake"]
        stepped = delivered + counts["told"] + counts.pop("timer") + counts["worker_start"] + counts["roll_over"]
        stepped += counts.get("seat_claim", 0)  # a member of a gang is woken by the one that takes it along
        ended = counts["gone"] + counts["roll_over"]
        counts.update(deliver=delivered, step=stepped, park=stepped - ended, ended=ended)
        return {name: count for name, count in counts.items() if count}

    def _ticks(self) -> Generator[Any, Any, None]:
        """The fleet's tick. While nothing waits and nothing lives, ticks are counted up to the next arrival."""
        tick_ms = self.policy.settings.tick_ms
        yield self.clock.wait(0, TICK)
        while True:
            self._tick()
            steps = 1
            idles = not (self.live_instances or self.records or self.silent or self.door.on_their_way)
            if idles and not self._holds:
                ahead_ms = self.submissions.next_ms
                if ahead_ms < FOREVER_MS:
                    steps = max(1, -(-(ahead_ms - self.clock.now_ms) // tick_ms))
            self.operations["tick"] += steps
            self.counters.prepare(steps * tick_ms)
            yield self.clock.wait(steps * tick_ms, TICK)

    def _tick(self) -> None:
        now = self.clock.now_ms
        if self.silent:
            self._reap(now)
        pools = self.pools
        booting, busy, idle = (sum(getattr(p, phase) for p in pools) for phase in ("booting", "busy", "idle"))
        self.tally.samples.append((now, self.index.waiting, booting, busy, idle))
        if self._holds and not self.records and self.submissions.next_ms == FOREVER_MS:
            return  # the work is over: nothing is held in reserve for it
        if self.index.waiting or self._steady or self.inputs.budget_usd:
            self._fleet(Tick(now, self.counters.seen(observe(self))))

    # steps of the core ------------------------------------------------------------------------------------------
    def _worker(self, worker: LiveWorker, event: Any) -> None:
        state, operations = worker.state, self.operations
        worker.state, commands = self._worker_handlers[state.phase][event.__class__](state, event, self.policy)
        operations["hear"] += 1
        if commands:
            operations["perform"] += 1
            perform = self._perform_worker
            for command in commands:
                perform[command.__class__](worker, command)
        phase = worker.state.phase
        if phase not in worker.phases:
            self._recount(worker, _COUNTED[phase])
            operations["gone"] += phase == "gone"
        elif phase == "gone" and state.phase != "gone":
            operations["recount"] += 1  # the pool's instance time
            operations["gone"] += 1

    def _fleet(self, event: Any) -> None:
        fleet = self.fleet
        self.fleet, commands = self._fleet_handlers[fleet.phase][event.__class__](fleet, event, self.policy)
        self.operations["fleet"] += bool(commands) or self.fleet != fleet
        self.operations["fleet_order"] += len(commands)
        for command in commands:
            self._perform_fleet[command.__class__](command)

    def _recount(self, worker: LiveWorker, new: str) -> None:
        """Move the worker to the counter of its phase; claiming and leaving keep the one that they had."""
        pool, demand, old = worker.pool, worker.demand, worker.counted
        self.operations["recount"] += 1
        self.operations["recount_class"] += new != "" or old != "busy"
        self.operations["recount_idle"] += new == "idle" or (old == "idle" and worker.listed)
        if old == "booting":
            pool.booting -= 1
            demand.booting -= 1
        elif old == "idle":
            pool.idle -= 1
            demand.idle -= 1
            self.idle_workers -= 1
            worker.timer += 1  # its keep-alive is over
        elif old == "busy":
            pool.busy -= 1
        if new == "idle":
            pool.idle += 1
            demand.idle += 1
            self.idle_workers += 1
            worker.listed = True
            pool.idle_workers.append(worker)
        elif new == "busy":
            pool.busy += 1
        worker.counted = new
        worker.phases = COUNTERS[new]

    # what the world says ----------------------------------------------------------------------------------------
    def on_ready(self, worker: LiveWorker) -> None:
        self.workers[worker.state.badge.id] = worker
        if self.faults.occurs("eventbridge.drop"):
            self._times_out(worker)  # no execution starts: an agent that nobody serves
            return
        self.operations["event"] += 1
        now = self.clock.now_ms
        wait_ms = sum(throttle.wait_ms(now) for throttle in self.start_throttles)
        position = row(worker.instance.number, 2)
        latency_ms = self.worker_start_latency[position] + self.troubles.event_wait_ms(position)
        at_ms = now + wait_ms + latency_ms
        self.clock.at(at_ms, MARKET, self._deliver, (worker, Ready))
        if at_ms > self._boot_limit_ms(worker.instance):
            self._times_out(worker)

    def _later(self, worker: LiveWorker, make: Callable[[int], Any]) -> None:
        """Deliver an event after the latency of EventBridge and Deliver."""
        self.operations["event"] += 1
        at_ms = self.clock.now_ms + self.event_delay_ms(worker, worker.run)
        at_ms += self.troubles.event_wait_ms(row(worker.instance.number, worker.run))
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
            end_ms = self.clock.now_ms + lead_ms
            self._later(worker, lambda at_ms: Notice(at_ms, max(0, end_ms - at_ms)))

    def on_lost(self, worker: LiveWorker) -> None:
        now = self.clock.now_ms
        job, epoch, started_ms = worker.job, worker.state.epoch, worker.at_ms
        safe_ms = self._end_attempt(worker, INTERRUPTED) if job >= 0 else -1
        worker.run += 1
        if worker.instance.fate.silent or self.faults.occurs("eventbridge.drop"):
            renewals = max(0, now - started_ms) // self.renewal_ms
            last_ms = started_ms + renewals * self.renewal_ms if job >= 0 else now
            self.silent.append((last_ms + self.policy.settings.lease_ms, worker, job, epoch, safe_ms))
            return
        self._later(worker, Lost)
        if worker is worker.instance.slots[0]:
            self.operations["interruption"] += 1
            self._fleet(InterruptionSeen(now, worker.pool.spec.id))

    def _end_attempt(self, worker: LiveWorker, cause: str) -> int:
        """The attempt ends here and now, and the others of its gang with it; returns the job's safe progress."""
        if worker.gang is None or self.gangs is None:
            return self._account(worker, cause)
        return self.gangs.broken(worker, cause)

    def _reap(self, now: int) -> None:
        """Find leases without a sign of life, and workers whose instance is gone."""
        while found := next((entry for entry in self.silent if entry[0] <= now), None):
            self.silent.remove(found)
            _, worker, job, epoch, safe_ms = found
            self.operations["reap"] += 1
            self.operations["told"] += 1
            if worker.gang is None or self.gangs is None:
                self._expire((job, epoch, safe_ms))
            elif not worker.gang.told:
                self._expire((job, epoch, safe_ms))
                self.gangs.expired(worker.gang)
            self._worker(worker, Lost(now))

    def _expire(self, lease: tuple[int, int, int]) -> None:
        """A lease (job, epoch, safe progress as last renewed) has expired, for what the table knows."""
        number, epoch, safe_ms = lease
        record = self.records.get(number)
        if record is not None:
            self.operations["requeue"] += record.epoch == epoch and record.phase == "leased"
            self._job(number, LeaseExpired(self.clock.now_ms, epoch, safe_ms))

    # commands of a worker: claim and start ----------------------------------------------------------------------
    def _nothing(self, worker: LiveWorker, command: Any) -> None:
        """A command without an effect in the model."""

    def _candidate(self, pool: LivePool) -> QueueClass | None:
        """The class whose first job is next for a worker of this pool: the largest shape that waits and fits, and of
        equal shapes the first in order."""
        index = self.index
        if pool.classes_version != index.version:
            self._renew_classes(pool)
        records = self.records
        for group in pool.classes:
            best, best_head = None, None
            for queue in group:
                if not queue or (queue.licences and not self._licences_free(queue)):
                    continue
                head = queue.first(records)
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
        served = [queue for group in pool.classes for queue in group]
        is_plain = len(served) == 1 and not served[0].licences and self.gangs is None and self.ranked is None
        pool.only_class = served[0] if is_plain else None
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

    def _claim(self, worker: LiveWorker, command: Claim) -> None:
        queue = worker.pool.only_class
        if queue is None or queue.voids or not queue.run:
            queue = self._choose(worker.pool)
            if queue is None:
                self._nothing_to_claim(worker, gathers=False)
                return
        now, records, demand = self.clock.now_ms, self.records, queue.demand
        number, record = queue.pop(records)
        ticket = record.ticket
        spec = ticket.spec
        claimed = Claimed(now, worker.state.badge.id)
        leased = self._job_handlers[record.phase][Claimed](record, claimed, self.policy)[0]
        worker.lease = records[number] = leased
        if spec.licences:
            self._take_licences(spec.licences, 1)
        worker.job = worker.claimed = number
        worker.job_demand = demand
        demand.busy += 1
        self.operations["claim_hit"] += 1
        event = JobClaimed(now, ticket.id, leased.epoch, leased.progress_ms, ticket.estimate_ms, spec.timeout_ms,
                           spec.checkpointable, worker.pool.mtbf_ms)  # fmt: skip
        self._worker(worker, event)

    def _nothing_to_claim(self, worker: LiveWorker, *, gathers: bool) -> None:
        self.operations["claim_empty"] += 1
        self._worker(worker, NothingToClaim(self.clock.now_ms, gathers))
        if worker.state.phase == "idle" and not worker.listed:  # it was woken, and has looked in vain
            self.operations["recount_idle"] += 1
            worker.listed = True
            worker.pool.idle_workers.append(worker)

    def _start(self, worker: LiveWorker, command: Start, late_ms: int = 0) -> None:
        """Start the attempt, `late_ms` later than it could be, and schedule the report of its planned end."""
        run = worker.run = worker.run + 1
        if worker.instance.ended_ms != NOT_YET:  # SSM refuses an instance that is gone
            self.operations["start"] += 1
            self._not_started(worker)
            self._later(worker, Lost)
            return
        number, epoch = worker.job, command.epoch
        position = ((number * SPREAD_JOB + epoch * SPREAD_EPOCH) >> 4) & MASK
        start_ms = self.clock.now_ms + late_ms + self.start_latency[position]
        self._plan(worker, self.records[number], number, command)
        idle_ms = worker.idle_since_ms
        worker.idle_ms += start_ms - idle_ms
        if worker.usd is not None:
            worker.usd[metering.IDLE] += worker.pool.usd(idle_ms, start_ms)
        worker.idle_since_ms = worker.at_ms = start_ms
        worker.epoch = epoch
        columns = self.columns
        if epoch == 1:
            columns.attempts[number], columns.first_start_ms[number] = 1, start_ms
        else:
            columns.attempts[number] += 1
            if columns.first_start_ms[number] < 0:
                columns.first_start_ms[number] = start_ms
        report_ms = start_ms + worker.total_ms + self.report_latency[position]
        clock = self.clock
        clock.sequence += 1  # `clock.at`, without a call
        heappush(clock.heap, (report_ms, REPORT, clock.sequence, self._report, (worker, run)))

    def _not_started(self, worker: LiveWorker) -> None:
        """The claimed job does not run here: it is no attempt, and nothing is metered."""
        worker.job_demand.busy -= 1
        licences = self.submissions.spec_of(worker.job).licences
        self._take_licences(licences, -1)
        worker.safe_ms = self.records[worker.job].progress_ms
        worker.job = -1

    # ends of attempts -------------------------------------------------------------------------------------------
    def _reported(self, planned: Planned) -> None:
        """The wrapper's report of the planned end has reached the worker's Step."""
        worker, run = planned
        if worker.run != run:
            return
        self.operations["report"] += 1
        state, cause = worker.state, worker.cause
        safe_ms = self._account(worker, cause)
        event = AttemptEnded(self.clock.now_ms, state.job, state.epoch, cause, worker.exit_code, safe_ms)
        worker.ended = event
        self._worker(worker, event)

    def _complete(self, worker: LiveWorker, command: Complete) -> None:
        self.operations["complete"] += 1
        number, event = worker.claimed, worker.ended  # the job hears what the worker heard
        record = self.records.get(number)
        if record is not None and record.epoch == event.epoch:
            self._hears(number, record, event)
        else:
            self._attempt_over(number, event)

    def _fail(self, worker: LiveWorker, command: Fail) -> None:
        self.operations["fail"] += 1
        self._attempt_over(worker.claimed, worker.ended)

    def _release(self, worker: LiveWorker, command: Release) -> None:
        record = self.records.get(worker.claimed)
        holds = record is not None and (record.phase, record.epoch) == ("leased", command.epoch)
        self.operations["release" if holds else "late"] += 1
        if worker.job >= 0:  # the wrapper ends the attempt now, or the job was never started here
            worker.run += 1
            if worker.at_ms >= 0 and command.cause != "unstarted":
                self._end_attempt(worker, command.cause)
            else:
                self._not_started(worker)
        now = self.clock.now_ms
        event = AttemptEnded(now, command.job, command.epoch, command.cause, 0, worker.safe_ms)
        self._attempt_over(worker.claimed, event)

    def _checkpoint(self, worker: LiveWorker, command: Checkpoint) -> None:
        """The wrapper writes a checkpoint and ends the attempt, unless the work is done by then."""
        self.operations["order"] += 1
        if worker.job < 0:
            return  # its gang is broken, and the report of that is on its way
        delay_ms = self.order_latency[row(worker.job, command.epoch)]
        begin_ms = max(worker.at_ms, self.clock.now_ms + delay_ms)
        elapsed_ms = begin_ms - worker.at_ms
        if elapsed_ms + self._write_ms >= worker.total_ms:
            return
        worked, safe = self._progress(worker, elapsed_ms)
        end_ms = begin_ms + (self._write_ms if worked > safe else 0)
        worker.run += 1
        report_ms = end_ms + self.report_latency[row(worker.job, command.epoch)]
        self.clock.at(report_ms, REPORT, self._checkpointed, (worker, worker.run, worked, end_ms - worker.at_ms))

    def _checkpointed(self, written: tuple[LiveWorker, int, int, int]) -> None:
        worker, run, worked_ms, elapsed_ms = written
        if worker.run == run:
            worker.safe_ms, worker.total_ms, worker.cause = worked_ms, elapsed_ms, CHECKPOINTED
            self._report((worker, run))

    # other commands of a worker ---------------------------------------------------------------------------------
    def _stop(self, worker: LiveWorker, command: Stop) -> None:
        self.operations["stop"] += 1
        worker.timer += 1
        worker.run += 1
        slots = worker.instance.slots
        if self.stop(worker, command.reason):
            for slot in slots:
                self.workers.pop(slot.state.badge.id, None)
                self._later(slot, Lost)

    def _end(self, instance: LiveInstance, reason: str) -> None:
        """An instance that has ended forgets its slots: the circle of them would keep both in memory."""
        super()._end(instance, reason)
        instance.slots = []

    def _set_timer(self, worker: LiveWorker, command: SetTimer) -> None:
        worker.timer += 1
        at_ms = self.clock.now_ms + command.after_ms
        self.clock.at(at_ms, TIMER, self._timer, (worker, worker.timer, command.name))

    def _timer(self, timer: tuple[LiveWorker, int, str]) -> None:
        worker, number, name = timer
        if worker.timer == number:
            self.operations["timer"] += 1
            self._worker(worker, TimerFired(self.clock.now_ms, name))

    def _roll_over(self, worker: LiveWorker, command: RollOver) -> None:
        self.operations["roll_over"] += 1

    def _wake(self, queue: QueueClass) -> None:
        for pool in self.pools:
            if not pool.idle or not self.serves(pool, queue.demand):
                continue
            idle = pool.idle_workers
            while idle:
                worker = idle.popleft()
                worker.listed = False
                if worker.state.phase == "idle" and worker.instance.ended_ms == NOT_YET:
                    self._hint(worker)
                    return

    def _hint(self, worker: LiveWorker) -> None:
        """Tell an idle worker that a job waits."""
        self.operations["wake"] += 1
        position = row(worker.instance.number, worker.run)
        if self.lags:
            self.troubles.hide(self.clock.now_ms + self.index_lag[position])
        at_ms = self.clock.now_ms + self.wake_latency[position]
        self.clock.at(at_ms, REPORT, self._deliver, (worker, Woken))

    # timers of jobs ---------------------------------------------------------------------------------------------
    def _delay(self, number: int, before: Job, command: Delay) -> None:
        self._message(command.after_ms)
        super()._delay(number, before, command)

    def _job_timer(self, number: int, before: Job, command: SetTimer) -> None:
        self._message(command.after_ms)
        self.operations["job_timer_set"] += 1
        super()._job_timer(number, before, command)

    def _message(self, after_ms: int) -> None:
        """A job's timer is a message that SQS delays, or several one after the other."""
        self.operations["job_timer"] += max(1, -(-after_ms // LONGEST_DELAY_MS))

    def _job_timer_fires(self, number_and_name: tuple[int, str]) -> None:
        number, _ = number_and_name
        before = self.records.get(number)
        super()._job_timer_fires(number_and_name)
        if before is not None and self.records.get(number) != before:
            self.operations["route" if before.phase == "queued" else "requeue"] += 1

    # commands of the fleet --------------------------------------------------------------------------------------
    def _launch(self, command: Launch) -> None:
        pool = self.pool_by_id[command.pool]
        self.operations["launch"] += 1
        demand = self._demand(command.serves)
        slots = self.slots
        wanted = self.troubles.miscounted(pool, -(-command.count // slots))
        granted, reason = self.launch(pool, wanted, demand)
        now = self.clock.now_ms
        self.operations["worker_start"] += granted * slots
        if granted:
            self.operations["launched"] += 1
            self._fleet(LaunchSucceeded(now, command.pool, granted * slots))
        if granted < wanted:
            self._fleet(LaunchFailed(now, command.pool, (wanted - granted) * slots, reason))

    def _demand(self, key: str) -> Demand:
        """The demand of a class by its name; the fleet may name one in which nothing has waited yet."""
        for demand in self.index.demands.values():
            if demand.key == key:
                return demand
        shape, purchase, _ = key.split("|")
        spec = next(each.spec for each in self.index.demands.values() if each.shape == shape)
        return self.index.demand(spec, purchase)

    def _boots(self, instance: LiveInstance, ready_ms: int) -> None:
        super()._boots(instance, ready_ms)
        if ready_ms > self._boot_limit_ms(instance):
            for worker in instance.slots:
                self._times_out(worker)

    def _boot_limit_ms(self, instance: LiveInstance) -> int:
        return instance.requested_ms + self.policy.settings.boot_timeout_ms

    def _times_out(self, worker: LiveWorker) -> None:
        """The worker will not hear in time that its agent has registered. (The timer of all others would find nothing
        to do, and is not set.)"""
        at_ms = max(self.clock.now_ms, self._boot_limit_ms(worker.instance))
        self.clock.at(at_ms, TIMER, self._timer, (worker, 0, worker_role.BOOT))

    def _route(self, command: Route) -> None:
        number = self.sighted[command.job]
        if number in self.records:
            self.operations["route"] += 1
            self._job(number, Routed(self.clock.now_ms, command.purchase))

    def _move(self, command: Move) -> None:
        self.operations["told"] += 1
        self._worker(self.workers[command.worker], MoveOrdered(self.clock.now_ms))

    def _stop_worker(self, command: StopWorker) -> None:
        self.operations["told"] += 1
        self._worker(self.workers[command.worker], StopOrdered(self.clock.now_ms, command.reason))

    def _budget_reached(self, command: BudgetReached) -> None:
        self.tally.notes.append(
            f"The budget of {command.budget_usd:.2f} USD was spent after {self.clock.now_ms / 3_600_000:.1f} h; no "
            "instance was launched from then on."
        )


_COUNTED = {phase: counter for counter, phases in COUNTERS.items() for phase in phases - PASSING}
