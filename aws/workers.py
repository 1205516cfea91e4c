"""Deliver, Step and Park: how a worker's record, inbox and parked execution make one machine.

*Deliver* appends an event to the inbox unless its id was there, and answers the token under which the execution has
parked last. *Step* loads the record and the first event, decides, writes the new state and the orders in one
conditional write, performs the orders and clears them. *Park* keeps the token only while there is nothing to hear.
Whatever breaks off in between is done again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from aws import gangs, jobs, licences, seats
from aws.classes import merged, served_by
from aws.control import OWN, Control
from aws.store import PAGE, Item, JobRow, WorkerRow, Write, packed, unpacked
from scheduler import worker as worker_role
from scheduler.commands import (
    Checkpoint,
    Claim,
    Complete,
    Fail,
    Protect,
    Release,
    RollOver,
    SetTimer,
    Start,
    Stop,
    command_id,
)
from scheduler.events import DONE, Lost, NothingToClaim, TimerFired
from scheduler.policy import RankView
from scheduler.worker import BOOT, GATHER, Badge, Worker

# Which counter a worker is in, by its phase; one that claims or leaves stays where it was.
COUNTED = {"booting": "booting", "idle": "idle", "running": "busy", "noticed": "busy", "draining": "busy",
           "moving": "busy", "stopping": "", "gone": ""}  # fmt: skip
STEP, PARK, END = "step", "park", "end"
NEVER_REGISTERED = "never-registered"  # why a worker stops whose boot took too long
AT_ONCE = 10  # events that one call of Step hears: a claim's answer needs no state of its own
FOREVER_S = 365 * 86_400  # Park's longest wait: of an execution on AWS, a year


@dataclass(frozen=True)
class Next:
    """What the execution does now; `timeout_s` is Park's."""

    worker: str
    generation: int
    next: str
    timeout_s: int = FOREVER_S


def create(control: Control, name: str, pool: str, purchase: str, serves: str) -> bool:
    """The record of a worker whose instance was requested (and counted); it waits for the agent to register."""
    now = control.now_ms()
    item: Item = {
        "worker": name,
        "state": packed(Worker(Badge(name, pool, purchase))),
        "version": 0,
        "inbox": [],
        "outbox": [],
        "pool": pool,
        "serves": serves,
        "counted": "booting",
        "requested_ms": now,
        "timer_name": BOOT,
        "timer_ms": now + control.policy.settings.boot_timeout_ms,
    }
    new = control.store.put_new(control.store.tables.workers, item, "worker")
    if new:
        control.journal.fact(now, "worker", name, {"pool": pool, "purchase": purchase, "serves": serves})
    control.executions.start(name, 0)  # once, by its name; an earlier try may have come only half as far
    return new


# Deliver ------------------------------------------------------------------------------------------------------------
def deliver(control: Control, worker: str, event_id: str, event: str) -> bool:
    """An event for a worker; False for one that comes again under its id, which changes nothing."""
    found = control.store.append_event(worker, event_id, event)
    if found.ended:
        run(control, worker)  # what comes after the end: Deliver itself runs the Step
    elif found.token:
        control.executions.answer(found.token)
    return found.new


def run(control: Control, worker: str) -> None:
    """Step a worker that no execution serves until it has heard everything, its timer included."""
    row = control.store.worker(worker)
    while row is not None and step(control, worker, row.record.generation).next == STEP:
        row = control.store.worker(worker)


# Step ---------------------------------------------------------------------------------------------------------------
def step(control: Control, worker: str, generation: int) -> Next:
    """Hear what the inbox holds, one event after the other, and perform what is ordered; says what the execution does
    then. What one call has not done the next one does."""
    for _ in range(AT_ONCE):
        found = _step(control, worker, generation)
        if found.next != STEP:
            break
    return found


def _step(control: Control, worker: str, generation: int) -> Next:
    """Perform what is left of the last step, or hear the next event."""
    row = control.store.worker(worker)
    if row is None:
        return Next(worker, generation, END)
    if not row.outbox:
        row = _hear(control, row) or row
    ordered = [(identity, unpacked(text)) for identity, text in row.outbox]
    for identity, command in sorted(ordered, key=lambda each: isinstance(each[1], RollOver)):  # the next execution last
        perform(control, row, identity, command)
    if row.outbox:
        control.store.clear_outbox(row)
    return after(control, worker, generation)


def after(control: Control, worker: str, generation: int) -> Next:
    """What the execution of this generation does next: step, park, or end."""
    row = control.store.worker(worker)
    if row is None or row.record.generation > generation:
        return Next(worker, generation, END)  # another execution serves the worker
    if row.inbox or row.outbox:
        return Next(worker, generation, STEP)
    if row.record.phase == "gone":
        return Next(worker, generation, END if control.store.end(worker) else STEP)
    if row.timer is None:
        return Next(worker, generation, PARK)
    left_ms = row.timer[1] - control.now_ms()
    return Next(worker, generation, PARK if left_ms > 0 else STEP, max(1, -(-left_ms // 1000)))


def _hear(control: Control, row: WorkerRow) -> WorkerRow | None:
    """Decide, and write state and outbox together if nobody else has written; None when there was nothing to hear."""
    now = control.now_ms()
    if row.inbox:
        event_id, event = row.inbox[0][0], unpacked(row.inbox[0][1])
    elif row.timer is not None and row.timer[1] <= now:
        event_id, event = "", TimerFired(now, row.timer[0])
    else:
        return None
    state, commands = worker_role.step(row.record, event, control.policy)
    outbox = [(command_id(row.name, row.version + 1, place), packed(each)) for place, each in enumerate(commands)]
    if not control.store.write(
        _state(control, row, state, commands, outbox, event_id), *_moved(control, row, state, commands)
    ):
        return None
    control.journal.step("worker", row.name, event, commands)
    return replace(row, record=state, version=row.version + 1, outbox=outbox)


def _state(
    control: Control,
    row: WorkerRow,
    state: Worker,
    commands: tuple[Any, ...],
    outbox: list[tuple[str, str]],
    event_id: str,
) -> Write:
    sets: Item = {
        "state": packed(state),
        "version": row.version + 1,
        "changed_ms": control.now_ms(),
        "outbox": [{"id": identity, "command": text} for identity, text in outbox],
    }
    removes = []
    counted = COUNTED.get(state.phase, row.counted)
    if counted != row.counted:
        sets["counted"] = counted or state.phase
    if state.phase == "idle" != row.record.phase:
        sets["idle_since"] = control.now_ms()
    elif state.phase != "idle":
        removes.append("idle_since")
    timer = next((each for each in commands if isinstance(each, SetTimer)), None)
    if timer is not None:
        sets |= {"timer_name": timer.name, "timer_ms": control.now_ms() + timer.after_ms}
    elif not event_id or any(isinstance(each, Claim | Start | Stop) for each in commands):
        removes += ["timer_name", "timer_ms"]
    if row.gang and not state.job:
        removes.append("gang")
    if state.generation != row.record.generation:
        removes.append("heard")  # what is late by a whole execution is fenced by the core
    return Write(
        control.store.tables.workers,
        {"worker": row.name},
        sets=sets,
        removes=removes,
        first_of="inbox" if event_id else "",
        condition="#v = :v",
        names={"#v": "version"},
        values={"v": row.version},
    )


def _moved(control: Control, row: WorkerRow, state: Worker, commands: tuple[Any, ...]) -> list[Write]:
    """The counters of pool and class, when the worker goes from one to another; and whether it was ever ready."""
    steps = ((row.counted, -1), (COUNTED.get(state.phase, row.counted), 1))
    changes = [(f"pool#{row.pool}", name, by) for name, by in steps if name in ("booting", "idle", "busy")]
    changes += [(f"class#{row.serves}", name, by) for name, by in steps if name in ("booting", "idle")]
    if state.phase == "gone" != row.record.phase:
        changes.append((f"pool#{row.pool}", "worker_ms", control.now_ms() - row.requested_ms))
    if Stop(NEVER_REGISTERED) in commands:
        changes.append((f"pool#{row.pool}", "never_ready", 1))
    writes = {key: control.store.counted(key, **by) for key, by in merged(changes).items()}
    if row.counted == "booting" and COUNTED.get(state.phase) in ("busy", "idle"):  # the pool's workers do get ready
        key = f"pool#{row.pool}"
        writes[key] = replace(writes[key], sets={"never_ready": 0}, removes=["launch_stopped"])
    return list(writes.values())


# Park ---------------------------------------------------------------------------------------------------------------
def park(control: Control, worker: str, token: str) -> None:
    """Keep the token; if something has come meanwhile, answer it at once."""
    if not control.store.park(worker, token):
        control.executions.answer(token)


# orders -------------------------------------------------------------------------------------------------------------
def perform(control: Control, row: WorkerRow, identity: str, command: Any) -> None:
    """Perform one order. Twice does no harm."""
    match command:
        case Claim():
            claim(control, row, identity)
        case Start():
            if not control.target.start(row, command):  # the instance is gone
                deliver(control, row.name, f"{identity}/refused", packed(Lost(control.now_ms())))
        case Complete():
            jobs.attempt_ended(control, command.job, command.epoch, DONE, 0, -1, row.name)
        case Fail():
            ended = command.cause, command.exit_code, command.progress_ms
            jobs.attempt_ended(control, command.job, command.epoch, *ended, row.name)
        case Release():
            jobs.attempt_ended(control, command.job, command.epoch, command.cause, 0, command.progress_ms, row.name)
        case Checkpoint():
            seats.checkpoint(control, row, command)
        case Stop():
            _stop(control, row, command.reason)
        case Protect():
            control.target.protect(row, command.on)
        case RollOver():
            control.executions.start(row.name, command.generation)
        case SetTimer():
            _timer_is_set(control, row, identity, command)
        case _:
            raise NotImplementedError(command)


def _stop(control: Control, row: WorkerRow, reason: str) -> None:
    control.target.stop(row, reason)
    if row.record.badge.purchase == OWN:  # its instance stays, so no event will say that the worker is gone
        deliver(control, row.name, f"{row.name}/gone", packed(Lost(control.now_ms())))


def _timer_is_set(control: Control, row: WorkerRow, identity: str, command: SetTimer) -> None:
    """The timer was written with the record; who waits for a gang looks who else does."""
    if command.name == GATHER:
        gangs.look_around(control, row, identity)


def claim(control: Control, row: WorkerRow, identity: str) -> None:
    """Take the first job that this worker can run, in one transaction with the answer in its inbox."""
    pool, counters, hook_answers = control.pools[row.pool], control.store.counters(), True
    gang = gangs.look(control, row, identity, counters)
    if gang.settled:
        return
    for queue_class in served_by(pool, counters):
        for found in _first_jobs(control, queue_class, gang.limit):
            if found.record.ticket.spec.licences:
                if not hook_answers:
                    continue
                answer, found = licences.take(control, found, row.name)
                hook_answers = answer != licences.SILENT
                if answer != licences.GRANTED:
                    continue
            if _claimed(control, row, identity, found):
                return
    answer = packed(NothingToClaim(control.now_ms(), gang.gathers))
    control.store.append_event(row.name, identity, answer)


def _first_jobs(control: Control, queue_class: str, limit: str) -> Iterator[JobRow]:
    """The first jobs that wait in a class, none of them behind `limit`, as the order policy ranks them if it does; else
    in the order of the index, and each is read when its turn comes."""
    order: Any = control.policy.order
    rank = getattr(order, "rank", None)
    names = control.store.candidates(queue_class, PAGE if rank is None else order.first)
    rows = (row for row in map(control.store.job, names) if row is not None and jobs.waits(row))
    rows = (row for row in rows if not limit or row.item["sort"] <= limit)
    if rank is None:
        yield from rows
        return
    by_id = {row.record.ticket.id: row for row in rows}
    records = [row.record for row in by_id.values()]
    ranked = rank(RankView(control.now_ms()), records) if len(records) > 1 else records
    yield from (by_id[job.ticket.id] for job in ranked)


def _claimed(control: Control, row: WorkerRow, identity: str, found: JobRow) -> bool:
    """Whether the claim is settled: the job is this worker's, or an earlier try has had its answer."""
    key = f"pool#{row.pool}"
    pool = control.store.read(control.store.tables.fleet, {"key": key}) or {}
    price = jobs.price_of(control, row.pool, {key: pool})
    claimed = jobs.claim_writes(control, found, row.name, row.pool, price)
    if claimed is None:
        return False
    leased, event, writes = claimed
    answer = jobs.answer_of(control, leased, pool)
    if control.store.write(*writes, control.store.appended(row.name, identity, packed(answer))):
        jobs.written(control, found, leased, event, ())
        return True
    if leased.ticket.spec.licences:
        licences.lost_claim(control, leased.ticket.id, leased.epoch, row.name)
    again = control.store.worker(row.name)
    return again is None or again.version != row.version or any(each == identity for each, _ in again.inbox)
