"""The decoupled scheduler as it lives on AWS, in memory: tables, an inbox and a parked token for each worker, and the
functions Deliver, Step, Park, Door and Fleet. The roles are `scheduler`'s; nothing else is shared with the simulator
but its inputs and tables of latencies. Every record that crosses a table or a queue goes through JSON.

Functions are generators that yield after each atomic write or call, so that a test can interleave them in any order;
`call` runs one to its end. One worker for each instance. Times are integer milliseconds.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from in_memory_ec2 import DOOR, MARKET, NOT_YET, REPORT, TICK, TIMER, Clock, Ec2, Heard, Instance, Latency, Wrapper

from scheduler import fleet as fleet_role
from scheduler import job as job_role
from scheduler import worker as worker_role
from scheduler.codec import decode, encode
from scheduler.commands import (
    Checkpoint,
    Claim,
    Complete,
    Delay,
    Fail,
    GiveUp,
    Launch,
    Queue,
    Release,
    ReleaseDependants,
    RollOver,
    SetTimer,
    Start,
    Stop,
    command_id,
)
from scheduler.events import (
    DONE,
    AttemptEnded,
    Claimed,
    JobClaimed,
    LaunchFailed,
    LaunchSucceeded,
    LeaseExpired,
    Lost,
    NothingToClaim,
    Ready,
    Submitted,
    Tick,
    TimerFired,
    Woken,
)
from scheduler.fleet import Fleet
from scheduler.job_record import Job, Ticket
from scheduler.observation import ClassCount, Observation
from scheduler.policy import Policy, RankView
from scheduler.worker import Badge, Worker
from sim.inputs import Pool, WorldInputs
from sim.submissions import spec_of_class
from spotbed.journal import Journal

_COUNTED = {"booting": "booting", "idle": "idle", "running": "busy", "noticed": "busy", "draining": "busy",
            "moving": "busy", "stopping": "", "gone": ""}  # fmt: skip
_FINAL = ("done", "failed", "cancelled")
Calls = Iterator[None]


def wire(record: Any) -> str:
    return json.dumps(encode(record))


def unwire(text: str) -> Any:
    return decode(json.loads(text))


def call(function: Iterator[Any]) -> None:
    """Run a function to its end, as AWS does when nothing comes between."""
    for _ in function:
        pass


@dataclass
class WorkerRow:
    """An item of the worker table. `inbox` holds (event id, event), `outbox` (command id, command)."""

    state: str
    serves: str = ""
    counted: str = "booting"  # the counter in which the worker is
    idle_turn: int = NOT_YET  # when it became idle, as long as nobody has sent it a hint
    version: int = 0
    inbox: list[tuple[str, str]] = field(default_factory=list)
    heard: set[str] = field(default_factory=set)
    outbox: list[tuple[str, str]] = field(default_factory=list)
    token: str = ""
    ended: bool = False  # the execution has ended: nobody waits for a token any more
    timer: tuple[str, int] | None = None  # name, when: what Park gives as its timeout


@dataclass
class JobRow:
    """An item of the job table. `safe_ms` is the progress of the last checkpoint, written by the wrapper."""

    state: str
    number: int
    key: float = 0.0
    version: int = 0
    holder: str = ""
    lease_until_ms: int = NOT_YET
    safe_ms: int = 0


class Functions:
    """Deliver, Step and Park of the workers' executions. `perform(worker, command id, command)` does what was ordered.

    `crashes`: each Step that orders anything ends once after its commands, before it has written that they are done.
    """

    def __init__(
        self, policy: Policy, perform: Callable[[str, str, Any], None], clock: Clock, *, crashes: bool = False
    ) -> None:
        self._policy, self._perform, self._clock, self._crashes = policy, perform, clock, crashes
        self.journal = Journal()
        self.workers: dict[str, WorkerRow] = {}
        self._waiting: dict[str, str] = {}  # executions that wait in Park, with their tokens
        self._crashed: set[tuple[str, int]] = set()
        self._ids = itertools.count()

    def deliver(self, worker: str, event_id: str, event: str) -> Calls:
        row = self.workers[worker]
        if event_id not in row.heard:  # one conditional write: not in the set of ids
            row.heard.add(event_id)
            row.inbox.append((event_id, event))
        yield
        token, row.token, ended = row.token, "", row.ended  # one update that returns the old values
        yield
        if ended and row.inbox:
            yield from self.execute(worker)  # what comes after the end: Deliver itself runs the Step
        if token and self._waiting.get(worker) == token:  # else TaskTimedOut: the execution has gone on
            del self._waiting[worker]
            yield from self.execute(worker)

    def execute(self, worker: str) -> Calls:
        """The worker's execution from a Step to the next Park that holds: Step -> Choice -> Park -> Step."""
        row = self.workers[worker]
        while True:
            yield from self.step(worker)
            more = bool(row.inbox or row.outbox)  # what Step answers
            yield
            if more:  # Choice
                continue
            if unwire(row.state).phase != "gone":
                if (yield from self.park(worker)):
                    return
            elif not row.inbox:  # one conditional write, as Park's
                row.ended = True
                return

    def step(self, worker: str) -> Calls:
        row = self.workers[worker]
        if not row.outbox:
            yield from self._hear(worker, row)
        version, outbox = row.version, list(row.outbox)
        for identity, text in outbox:
            self._perform(worker, identity, unwire(text))
            yield
        if outbox and self._crashes and (worker, version) not in self._crashed:
            self._crashed.add((worker, version))
            return  # before the outbox is cleared: the next Step performs it again
        if row.version == version:  # the condition of the write
            row.outbox = []
        yield

    def _hear(self, worker: str, row: WorkerRow) -> Calls:
        """Load record and inbox, decide, and write state and outbox together if nobody else has written."""
        now = self._clock.now_ms
        if row.inbox:
            event_id, text = row.inbox[0]
        elif row.timer is not None and row.timer[1] <= now:
            event_id, text = "", wire(TimerFired(now, row.timer[0]))
        else:
            return
        version, before, event = row.version, unwire(row.state), unwire(text)
        yield
        if row.version != version:
            return
        state, commands = worker_role.step(before, event, self._policy)
        row.state, row.version = wire(state), version + 1
        row.outbox = [(command_id(worker, row.version, place), wire(each)) for place, each in enumerate(commands)]
        row.counted = _COUNTED.get(state.phase, row.counted)
        if state.phase == "idle" != before.phase:
            row.idle_turn = next(self._ids)
        if event_id:
            row.inbox.remove((event_id, text))
        else:
            row.timer = None
        self.journal.step("worker", worker, event, commands)
        yield

    def park(self, worker: str) -> Iterator[Any]:
        """The execution waits with a token, which is stored if nothing has come meanwhile: one conditional write. If
        something has, Park answers itself. Returns whether the execution waits."""
        row = self.workers[worker]
        token = self._waiting[worker] = f"token-{next(self._ids)}"
        yield
        if row.inbox:
            del self._waiting[worker]
            return False
        row.token = token
        if row.timer is not None:
            at_ms = max(row.timer[1], self._clock.now_ms)
            self._clock.at(at_ms, TIMER, lambda: call(self.time_out(worker, token)))
        yield
        return True

    def is_parked(self, worker: str) -> bool:
        """Whether an execution waits with a token."""
        return worker in self._waiting

    def time_out(self, worker: str, token: str) -> Calls:
        """Park's timeout: the execution goes on by itself; whoever takes the token now comes too late."""
        if self._waiting.get(worker) == token:
            del self._waiting[worker]
            yield
            yield from self.execute(worker)


class InMemory:
    """One world under a decoupled policy.

    `copies`: how often each event of EC2's and each message comes; `one_id`: whether the copies carry one id;
    `crashes`: see `Functions`.
    """

    def __init__(self, inputs: WorldInputs, policy: Policy, *, copies: int = 1, one_id: bool = True,
                 crashes: bool = False) -> None:  # fmt: skip
        self.inputs, self.policy, self.copies, self.one_id = inputs, policy, copies, one_id
        self.clock, self.latency = Clock(), Latency(inputs)
        self.functions = Functions(policy, self._perform, self.clock, crashes=crashes)
        self.journal, self.workers = self.functions.journal, self.functions.workers
        self.ec2 = Ec2(inputs, self.clock, self.latency, self._say, self._fleet)
        self.jobs: dict[str, JobRow] = {}
        self.fleet = wire(Fleet())
        self.classes: dict[str, Ticket] = {}  # queue classes in the order in which they came to be
        self.transactions: set[str] = set()  # client request tokens: a transaction that comes twice is done once
        self._ids = itertools.count()

    def run(self) -> Journal:
        for number, submit_ms in enumerate(self.inputs.work.submit_ms.tolist()):
            for _ in range(self.copies):
                self.clock.at(submit_ms, DOOR, partial(self._door, number))
        self.clock.at(0, TICK, self._tick)
        while self.clock.next() != TICK or not self._is_over():
            pass
        return self.journal

    def _is_over(self) -> bool:
        live = any(self.ec2.live(pool) for pool in self.ec2.pools)
        ended = sum(unwire(row.state).phase in _FINAL for row in self.jobs.values())
        return not live and ended == len(self.inputs.work)

    # the event bus ----------------------------------------------------------------------------------------------
    def _say(self, worker: str, make: Callable[[int], Any]) -> None:
        """EventBridge brings an event to Deliver, as often as it likes; a registered agent starts the execution."""
        starts, number = make is Ready, self.ec2.instances[worker].number
        at_ms = self.clock.now_ms + (
            self.latency("worker_start", number, 2) if starts else self.latency("event", number, 0)
        )
        identity = f"event-{next(self._ids)}"
        for copy in range(1 if starts else self.copies):
            event_id = identity if self.one_id else f"{identity}.{copy}"
            self.clock.at(at_ms, MARKET, partial(self._send, worker, event_id, make))

    def _send(self, worker: str, event_id: str, make: Callable[[int], Any]) -> None:
        call(self.functions.deliver(worker, event_id, wire(make(self.clock.now_ms))))

    # commands of a worker ---------------------------------------------------------------------------------------
    def _perform(self, worker: str, identity: str, command: Any) -> None:
        row, instance = self.workers[worker], self.ec2.instances[worker]
        match command:
            case Claim():
                row.timer = None
                self._claim(worker, row, identity)
            case Start():
                if self._first(identity):
                    self._start(worker, instance, command)
            case Complete() | Fail() | Release():
                if self._first(identity):
                    self._report(instance, command)
            case Checkpoint():
                if self._first(identity):
                    after_ms = self.latency("order", self.jobs[command.job].number, command.epoch)
                    act = partial(self._checkpoint, instance, (command.job, command.epoch))
                    self.clock.at(self.clock.now_ms + after_ms, REPORT, act)
            case SetTimer():
                row.timer = (command.name, self.clock.now_ms + command.after_ms)
            case Stop():
                row.timer = None
                self.ec2.terminate(instance, command.reason)
            case RollOver():
                pass  # StartExecution by the name {worker}-{generation}; here executions have no history
            case _:
                raise NotImplementedError(command)

    def _first(self, identity: str) -> bool:
        first = identity not in self.transactions
        self.transactions.add(identity)
        return first

    def _claim(self, worker: str, row: WorkerRow, identity: str) -> None:
        """One transaction on the job and the worker's inbox; the answer carries the command's id."""
        if identity in row.heard:
            return
        now, pool = self.clock.now_ms, self.ec2.instances[worker].pool
        answer: Any = NothingToClaim(now)
        waiting = [job for job in self.jobs.values() if _waits_for(unwire(job.state), pool)]
        if waiting:
            first = self._best(sorted(waiting, key=lambda job: (job.key, job.number)))
            self._job(first, Claimed(now, worker))
            record = unwire(first.state)
            first.holder, first.safe_ms = worker, record.progress_ms
            first.lease_until_ms = now + self.policy.settings.lease_ms
            ticket = record.ticket
            answer = JobClaimed(now, ticket.id, record.epoch, record.progress_ms, ticket.estimate_ms,
                                ticket.spec.timeout_ms, ticket.spec.checkpointable, 0)  # fmt: skip
        row.heard.add(identity)
        row.inbox.append((identity, wire(answer)))

    def _best(self, waiting: list[JobRow]) -> JobRow:
        """The first in order; or the one that the order policy ranks first of the first."""
        order: Any = self.policy.order
        if not hasattr(order, "rank") or len(waiting) == 1:
            return waiting[0]
        heads = {unwire(job.state).ticket.id: job for job in waiting[: order.first]}
        return heads[
            order.rank(RankView(self.clock.now_ms), [unwire(job.state) for job in heads.values()])[0].ticket.id
        ]

    def _start(self, worker: str, instance: Instance, order: Start) -> None:
        if instance.ended_ms != NOT_YET:  # SSM refuses an instance that is gone
            self._say(worker, Lost)
            return
        row = self.jobs[order.job]
        work, record = self.inputs.work, unwire(row.state)
        klass = work.classes[work.klass[row.number]]
        fails = klass.exit_code or 1 if order.epoch == 1 and work.outcome_u[row.number] < klass.fail_probability else 0
        heard = Heard(
            renew=partial(self._renew, row, order.epoch),
            keep=partial(self._keep, row, order.epoch),
            report=partial(self._ended, worker, instance),
        )
        instance.wrapper = Wrapper(self.clock, self.latency, self.policy.settings, order, row.number, record,
                                   int(work.runtime_ms[row.number]), fails, heard)  # fmt: skip

    def _holds(self, row: JobRow, epoch: int) -> bool:
        record = unwire(row.state)
        return bool((record.phase, record.epoch) == ("leased", epoch))

    def _renew(self, row: JobRow, epoch: int) -> bool:
        if self._holds(row, epoch):
            row.lease_until_ms = self.clock.now_ms + self.policy.settings.lease_ms
        return self._holds(row, epoch)

    def _keep(self, row: JobRow, epoch: int, safe_ms: int) -> None:
        if self._holds(row, epoch):
            row.safe_ms = safe_ms

    def _ended(self, worker: str, instance: Instance, event_id: str, make: Callable[[int], Any]) -> None:
        instance.wrapper = None
        self._send(worker, event_id, make)

    def _checkpoint(self, instance: Instance, key: tuple[str, int]) -> None:
        if instance.wrapper is not None and instance.wrapper.key == key:
            instance.wrapper.checkpoint()

    def _report(self, instance: Instance, command: Complete | Fail | Release) -> None:
        """The job hears how the attempt ended; what the wrapper wrote last is what is safe."""
        row = self.jobs[command.job]
        cause, exit_code = DONE, 0
        if not isinstance(command, Complete):
            cause, exit_code = command.cause, getattr(command, "exit_code", 0)
        if instance.wrapper is not None and instance.wrapper.key == (command.job, command.epoch):
            instance.wrapper.kill()
            instance.wrapper = None
        self._job(row, AttemptEnded(self.clock.now_ms, command.job, command.epoch, cause, exit_code, row.safe_ms))

    # the job role, in whichever function hears the event --------------------------------------------------------
    def _door(self, number: int) -> None:
        """A message becomes a record, and is then deleted. A message that comes again finds the record."""
        work = self.inputs.work
        klass = work.classes[work.klass[number]]
        submit_ms, deadline_ms = int(work.submit_ms[number]), klass.deadline_ms
        ticket = Ticket(work.job_id(number), spec_of_class(klass), submit_ms, int(work.estimate_ms[number]),
                        -1 if deadline_ms is None else submit_ms + deadline_ms)  # fmt: skip
        row = self.jobs.setdefault(ticket.id, JobRow(wire(Job(ticket)), number))
        self._job(row, Submitted(self.clock.now_ms))

    def _job(self, row: JobRow, event: Any) -> None:
        before, event = unwire(row.state), unwire(wire(event))
        state, commands = job_role.step(before, event, self.policy)
        row.state, row.version = wire(state), row.version + 1  # compare-and-set on (epoch, version)
        self.journal.step("job", state.ticket.id, event, commands)
        for place, command in enumerate(commands):
            self._perform_for_job(row, state, command_id(state.ticket.id, row.version, place), command)

    def _perform_for_job(self, row: JobRow, state: Job, identity: str, command: Any) -> None:
        now = self.clock.now_ms
        match command:
            case Queue():
                row.key = command.key
                self.classes.setdefault(_class_key(state.ticket, command.purchase), state.ticket)
                self._wake(state, identity)
            case Delay() | SetTimer():
                name = "delay" if isinstance(command, Delay) else command.name
                self.clock.at(now + command.after_ms, TIMER, partial(self._job_timer, row, name))
            case GiveUp() | ReleaseDependants():
                pass  # no jobs of this stand-in depend on others
            case _:
                raise NotImplementedError(command)

    def _job_timer(self, row: JobRow, name: str) -> None:
        if unwire(row.state).phase not in _FINAL:
            self._job(row, TimerFired(self.clock.now_ms, name))

    def _wake(self, job: Job, identity: str) -> None:
        """A hint to the worker that has idled longest among those that can run the job and have no hint yet. As in the
        simulator, instances that are gone get none, although the table does not know yet that they are."""
        idle = [
            (row.idle_turn, instance)
            for instance in self.ec2.instances.values()
            if (row := self.workers[instance.name]).counted == "idle" and row.idle_turn != NOT_YET
            if instance.ended_ms == NOT_YET and _waits_for(job, instance.pool)
        ]
        if idle:
            instance = min(idle, key=lambda each: each[0])[1]
            self.workers[instance.name].idle_turn = NOT_YET
            at_ms = self.clock.now_ms + self.latency("wake", instance.number, 0)
            self.clock.at(at_ms, REPORT, partial(self._send, instance.name, identity, Woken))

    # the Fleet function: reaper and tick ------------------------------------------------------------------------
    def _tick(self) -> None:
        self._reap()
        if any(unwire(row.state).phase == "queued" for row in self.jobs.values()):
            self._fleet(Tick(self.clock.now_ms, self._observe()))
        self.clock.at(self.clock.now_ms + self.policy.settings.tick_ms, TICK, self._tick)

    def _reap(self) -> None:
        """Leases without a sign of life; and the workers that held them, if their instances are gone."""
        now = self.clock.now_ms
        for row in self.jobs.values():
            record = unwire(row.state)
            if record.phase == "leased" and row.lease_until_ms <= now:
                self._job(row, LeaseExpired(now, record.epoch, row.safe_ms))
                if self.ec2.instances[row.holder].ended_ms != NOT_YET:
                    self._send(row.holder, f"reaped/{row.holder}", Lost)

    def _fleet(self, event: Any) -> None:
        state, commands = fleet_role.step(unwire(self.fleet), unwire(wire(event)), self.policy)
        self.fleet = wire(state)
        if commands or not isinstance(event, Tick):  # ticks that order nothing are not written, as in the simulator
            self.journal.step("fleet", state.queue, event, commands)
        for command in commands:
            assert isinstance(command, Launch)
            self._launch(command)

    def _launch(self, order: Launch) -> None:
        now, launched = self.clock.now_ms, self.ec2.launch(order.pool, order.count)
        for instance in launched:
            badge = Badge(instance.name, instance.pool.id, instance.pool.purchase)
            row = self.workers[instance.name] = WorkerRow(wire(Worker(badge)), order.serves)
            row.timer = (worker_role.BOOT, now + self.policy.settings.boot_timeout_ms)
            call(self.functions.park(instance.name))
        if launched:
            self._fleet(LaunchSucceeded(now, order.pool, len(launched)))
        if len(launched) < order.count:
            self._fleet(LaunchFailed(now, order.pool, order.count - len(launched), "capacity"))

    def _observe(self) -> Observation:
        settings = self.policy.settings
        return Observation(
            classes=tuple(self._class_count(key, ticket) for key, ticket in self.classes.items()),
            pools=tuple(self.ec2.count(pool, *self._workers_of(pool)) for pool in self.ec2.pools.values()),
            jobs=(),
            spent_usd=0.0,
            budget_usd=0.0,
            changeover_ms=settings.startup_ms + settings.checkpoint_restore_ms,
            reaction_ms=settings.reaction_ms,
        )

    def _workers_of(self, pool: Pool) -> tuple[int, int, int]:
        here = [row.counted for name, row in self.workers.items() if self.ec2.instances[name].pool is pool]
        return here.count("booting"), here.count("busy"), here.count("idle")

    def _class_count(self, key: str, of: Ticket) -> ClassCount:
        records = [unwire(row.state) for row in self.jobs.values()]
        mine = [each for each in records if _class_key(each.ticket, each.purchase) == key]
        queued = [each for each in mine if each.phase == "queued"]
        held = {unwire(row.state).job for row in self.workers.values()} - {""}
        counted = [row.counted for row in self.workers.values() if row.serves == key]
        spec = of.spec
        return ClassCount(
            key, _shape(of), key.split("|")[1], "*", spec.vcpus, spec.memory_gib, spec.gpus, len(queued),
            sum(max(0, each.ticket.estimate_ms - each.progress_ms) for each in queued),
            min((each.ticket.submit_ms for each in queued), default=-1),
            sum(each.ticket.id in held for each in mine), counted.count("booting"), counted.count("idle"),
        )  # fmt: skip


def _shape(ticket: Ticket) -> str:
    assert not ticket.spec.gpus
    return f"{ticket.spec.vcpus:g}x{ticket.spec.memory_gib:g}GiB"


def _class_key(ticket: Ticket, purchase: str) -> str:
    return f"{_shape(ticket)}|{purchase}|*"


def _waits_for(job: Job, pool: Pool) -> bool:
    spec = job.ticket.spec
    fits = spec.vcpus <= pool.vcpus and spec.memory_gib <= pool.memory_gib
    return job.phase == "queued" and fits and job.purchase in ("any", pool.purchase)
