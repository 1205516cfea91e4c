"""Worlds with jobs: the driver's side of the job role. Records, the index of those that wait, and what jobs order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scheduler import job as job_role
from scheduler.commands import Delay, GiveUp, Queue, ReleaseDependants, SetTimer, Unqueue
from scheduler.events import AttemptEnded, Claimed, DependencyFailed, DependencyMet, Submitted, TimerFired
from scheduler.job_record import Job
from scheduler.policy import Policy
from scheduler.table import Handler, Handlers, Machine
from sim.clock import TIMER
from sim.index import PURCHASES, JobIndex, QueueClass, work_left_ms
from sim.inputs import WorldInputs
from sim.instances import LiveWorker
from sim.retry_budget import RetryBudget
from sim.submissions import Submissions
from sim.world import World
from spotbed import metering
from spotbed.journal import Journal

_FINAL = frozenset({"done", "failed", "cancelled"})
_STATUS = {"done": metering.DONE, "failed": metering.GAVE_UP, "cancelled": metering.CANCELLED}


class JobWorld(World):
    """A world whose jobs are records under the job role; `records` holds those that have not ended."""

    def __init__(self, inputs: WorldInputs, policy: Policy, journal: Journal | None = None) -> None:
        super().__init__(inputs, policy, journal)
        self.submissions = Submissions(inputs)
        self.records: dict[int, Job] = {}
        gangs = policy.architecture == "decoupled" and any(klass.gang > 1 for klass in self.present.values())
        self.index = JobIndex(self.records, gangs=gangs)
        self._queues: dict[str, list[QueueClass | None]] = {
            purchase: [None] * len(inputs.work.classes) for purchase in PURCHASES
        }
        self.kept: dict[int, list[tuple[LiveWorker, int, float]]] = {}  # checkpointed work of jobs that have not ended
        self.ended = 0  # jobs in a final phase
        self.idle_workers = 0
        self.operations: dict[str, int] = {}
        self._job_handlers = handlers_of(job_role.MACHINE, journal, _job_id)
        self._has_dependants = bool(inputs.work.after)
        if hasattr(policy.retry, "after_retry"):
            self._hears = RetryBudget(self, self._hears).hears  # type: ignore[method-assign]
        self._perform_job: dict[type, Callable[[int, Job, Any], None]] = {
            Queue: self._queue,
            Unqueue: self._unqueue,
            Delay: self._delay,
            SetTimer: self._job_timer,
            GiveUp: self._give_up,
            ReleaseDependants: self._release_dependants,
        }

    def _arrivals(self, now_ms: int) -> int:
        """Take in what is submitted up to now; returns the time of the next submission."""
        submissions = self.submissions
        while submissions.next_ms <= now_ms:
            index, job = submissions.next_job()
            self._hears(index, job, Submitted(now_ms))
            if self._has_dependants and index in submissions.dependencies.failed:
                self._job(index, DependencyFailed(now_ms))
        return submissions.next_ms

    def _job(self, index: int, event: Any) -> None:
        """A job hears an event. An ended job's record has left: the write is refused."""
        record = self.records.get(index)
        if record is None:
            self.tally.stale_writes += 1
        else:
            self._hears(index, record, event)

    def _hears(self, index: int, record: Job, event: Any) -> None:
        """The record's step, and what it orders."""
        state, commands = self._job_handlers[record.phase][event.__class__](record, event, self.policy)
        if state.phase in _FINAL:
            self._has_ended(index, record, state.phase)
            if state.phase == "done" and not self._has_dependants:
                return  # it orders nothing but to tell those that wait for it
        else:
            self.records[index] = state
        perform = self._perform_job
        for command in commands:
            perform[command.__class__](index, record, command)

    def _has_ended(self, index: int, before: Job, phase: str) -> None:
        if before.phase == "queued":
            self._leave_index(before)
        columns = self.tally.jobs
        columns.status[index] = _STATUS[phase]
        columns.end_ms[index] = self.clock.now_ms
        self.records.pop(index, None)
        self.ended += 1
        if index in self.kept:
            self._settle(index, None if phase == "done" else metering.FAILED)

    def _lease(self, number: int, record: Job, worker: LiveWorker) -> Job:
        """The worker's claim is written: the job is under a new epoch."""
        claimed = Claimed(self.clock.now_ms, worker.state.badge.id)
        leased: Job = self._job_handlers[record.phase][Claimed](record, claimed, self.policy)[0]
        self.records[number] = leased
        return leased

    def _attempt_over(self, number: int, event: AttemptEnded) -> None:
        """A job hears that an attempt has ended; one under an older epoch changes nothing."""
        record = self.records.get(number)
        if record is None or record.epoch != event.epoch:
            self.tally.stale_writes += 1
        if record is not None:
            self._hears(number, record, event)

    def _settle(self, index: int, cause: int | None) -> None:
        """The job has ended. What its checkpoints kept was useful if it ended well; else it was for `cause`."""
        kept = self.kept.pop(index)
        if cause is None:
            return
        columns = self.tally.jobs
        for worker, ms, usd in kept:
            self._reclassify(worker, metering.USEFUL, cause, ms, usd)
        total_ms = sum(ms for _, ms, _ in kept)
        columns.useful_ms[index] = 0
        if cause == metering.LOST:
            columns.lost_ms[index] += total_ms
        if self.journal is not None:
            usd = sum(usd for *_, usd in kept) / self.slots
            body = {"cause": metering.INSTANCE_CAUSES[cause], "useful_ms": total_ms, "usd": usd}
            self.journal.fact(self.clock.now_ms, "kept-for-nothing", self.work.job_id(index), body)

    # commands of a job ------------------------------------------------------------------------------------------
    def _leave_index(self, record: Job) -> None:
        self.index.class_of(record.ticket.spec, record.purchase).leave(work_left_ms(record))

    def _queue(self, number: int, before: Job, command: Queue) -> None:
        if before.phase == "queued":
            self._leave_index(before)
        record = self.records[number]
        klass = self.submissions.klass[number]
        queue = self._queues[command.purchase][klass]
        if queue is None:
            queue = self._first_queue(klass, command.purchase)
        queue.push(command.key, number, record.ticket.estimate_ms - record.progress_ms)
        if self.idle_workers:
            self._wake(queue)

    def _first_queue(self, klass: int, purchase: str) -> QueueClass:
        """The queue class of a job class, found once. The pools look again what they serve."""
        queue = self._queues[purchase][klass] = self.index.class_of(self.submissions.specs[klass], purchase)
        for pool in self.pools:
            pool.only_class = None
        return queue

    def _wake(self, queue: QueueClass) -> None:
        """A job waits and there are idle workers: hint to one of them."""
        raise NotImplementedError

    def _unqueue(self, number: int, before: Job, command: Unqueue) -> None:
        """The record's phase has changed, so its entry in the index is void."""

    def _delay(self, number: int, before: Job, command: Delay) -> None:
        self.clock.at(self.clock.now_ms + command.after_ms, TIMER, self._job_timer_fires, (number, "delay"))

    def _job_timer(self, number: int, before: Job, command: SetTimer) -> None:
        self.clock.at(self.clock.now_ms + command.after_ms, TIMER, self._job_timer_fires, (number, command.name))

    def _job_timer_fires(self, number_and_name: tuple[int, str]) -> None:
        number, name = number_and_name
        if number in self.records:
            self._job(number, TimerFired(self.clock.now_ms, name))

    def _give_up(self, number: int, before: Job, command: GiveUp) -> None:
        """The record moves to the dead letters."""
        self.operations["dead_letter"] += 1

    def _release_dependants(self, number: int, before: Job, command: ReleaseDependants) -> None:
        if not self._has_dependants:
            return
        dependencies = self.submissions.dependencies
        for dependant in dependencies.of(number):
            dependencies.settle(dependant, command.done)
            if dependant in self.records:
                now = self.clock.now_ms
                left = dependencies.left[dependant]
                self._job(dependant, DependencyMet(now, left) if command.done else DependencyFailed(now))


def _job_id(record: Job) -> str:
    return record.ticket.id


def handlers_of(
    machine: Machine[Any], journal: Journal | None, name: Callable[[Any], str], *, quiet: type | None = None
) -> Handlers:
    """The machine's handlers, by phase and kind of event. With a journal they also write what was heard and ordered;
    `quiet` events that order nothing are not written."""
    if journal is None:
        return machine.handlers
    return {
        phase: {
            kind: _journaled(journal, machine.name, handler, name, quiet=kind is quiet)
            for kind, handler in handlers.items()
        }
        for phase, handlers in machine.handlers.items()
    }


def _journaled(journal: Journal, role: str, handler: Handler, name: Callable[[Any], str], *, quiet: bool) -> Handler:
    step = journal.step

    def written(state: Any, event: Any, policy: Any) -> Any:
        result = handler(state, event, policy)
        step(role, name(state), event, result[1])
        return result

    def written_if_heeded(state: Any, event: Any, policy: Any) -> Any:
        result = handler(state, event, policy)
        if result[1]:
            step(role, name(state), event, result[1])
        return result

    return written_if_heeded if quiet else written
