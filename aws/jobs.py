"""The job role, in whichever function hears the event: compare-and-set on the record's version; the loser reads again.

The record, the index of its class, its lease or timer, and the counters of the class change in one transaction. What
the job orders is performed after that write; each order may be performed twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from aws import attempts, joins, licences, measures, seats
from aws.classes import GANGS, class_of, index_of, merged, serves, shape_name, sort_key, work_left_ms
from aws.control import Control
from aws.store import Item, JobRow, WorkerRow, Write, packed
from aws.translate import LATE, in_order
from scheduler import job as job_role
from scheduler.codec import encode
from scheduler.commands import Delay, GiveUp, Queue, ReleaseDependants, SetTimer, Unqueue, command_id
from scheduler.events import (
    CHECKPOINTED,
    DONE,
    INTERRUPTED,
    LEASE_LOST,
    AttemptEnded,
    Claimed,
    DependencyFailed,
    DependencyMet,
    JobClaimed,
    LeaseExpired,
    Submitted,
    TimerFired,
)
from scheduler.job_record import Job, Rare, Ticket

FINAL = frozenset({"done", "failed", "cancelled"})
DELAY = "delay"
EXPIRES = "expires_s"  # TimeToLiveSpecification of the table
_TRIES = 25  # of a write that collides with others


class Collision(Exception):
    """A record changed each time that it was to be written: the function is called again."""


class NotYet(Exception):
    """A job waits for one that nobody knows; its message may have overtaken the other's."""


def submit(
    control: Control, ticket: Ticket, body: dict[str, Any], after: tuple[str, ...] = (), *, patient: bool = False
) -> bool:
    """A message becomes a record; False when there was one under this id. Comes twice: changes nothing.

    Raises NotYet, if `patient`, when it waits for a job that nobody knows.
    """
    earlier = {each: _phase(control, each) for each in after}
    if patient and "" in earlier.values():
        raise NotYet(ticket.id)
    waits = [each for each, phase in earlier.items() if phase != "done"]
    job = Job(ticket, rare=Rare(waiting_for=len(waits)))
    item: Item = {
        "job_id": ticket.id,
        "state": packed(job),
        "version": 0,
        "phase": job.phase,
        "epoch": 0,
        "submitted_ms": ticket.submit_ms,
        "attempts": 0,
        "safe_ms": 0,
        "tenant": ticket.spec.tenant,
        "body": json.dumps(body, sort_keys=True),
    }
    if waits:
        item["waits_on"] = set(waits)
    if "bucket" in body:
        item["bucket"] = body["bucket"]  # of log and outputs, where it is not the stack's
    new = control.store.put_new(control.store.tables.jobs, item, "job_id")
    if new:
        fact = {"ticket": encode(ticket), "after": sorted(after)}
        if LATE in body:
            fact[LATE] = body[LATE]
        control.journal.fact(control.now_ms(), "job", ticket.id, fact)
    hears(control, ticket.id, Submitted(control.now_ms()))
    for each in waits:
        _await(control, each, ticket.id)
    return new


def _phase(control: Control, name: str) -> str:
    """The phase of a job or an array; "" when nobody knows it."""
    item = control.store.read(control.store.tables.jobs, {"job_id": name})
    return "" if item is None else str(item["phase"])


def _await(control: Control, earlier: str, job_id: str) -> None:
    """The earlier job shall tell this one how it ended; if it has ended meanwhile, it is told now."""
    tables = control.store.tables
    told = Write(
        tables.jobs,
        {"job_id": earlier},
        adds={"dependants": {job_id}},
        condition="attribute_exists(job_id) AND NOT #p IN (:done, :failed, :cancelled)",
        names={"#p": "phase"},
        values={name: name for name in FINAL},
    )
    if not control.store.write(told):
        _tell(control, job_id, earlier, done=_phase(control, earlier) == "done")


def hears(control: Control, job_id: str, event: Any) -> JobRow | None:
    """Step the job and perform what it orders; the row after that, or None when there is no such job."""
    for _ in range(_TRIES):
        row = control.store.job(job_id)
        if row is None:
            return None
        finish(control, row)
        if licences.PARKED in row.item:
            licences.unpark(control, row)
            continue
        after, commands, writes = stepped(control, row, event)
        if after == row.record and not commands:  # late, or under an older epoch
            control.journal.step("job", job_id, event, ())
            return row
        if control.store.write(*writes):
            return written(control, row, after, event, commands)
    raise Collision(job_id)


def stepped(
    control: Control, row: JobRow, event: Any, claim: Item | None = None
) -> tuple[Job, tuple[Any, ...], list[Write]]:
    """(the record after the event, its orders, the writes of both); `claim` is what a claim sets besides."""
    before = row.record
    after, commands = job_role.step(before, event, control.policy)
    more: Item = claim or {}
    if before.phase == "leased" != after.phase:
        more = attempts.ended(row.item, control.now_ms(), attempts.cause_of(event))
    return after, commands, [_update(control, row, after, commands, more), *_counters(control, before, after)]


def written(control: Control, row: JobRow, after: Job, event: Any, commands: tuple[Any, ...]) -> JobRow:
    """The write has succeeded: note it, and perform what was ordered."""
    job_id = after.ticket.id
    control.journal.step("job", job_id, event, commands)
    for place, command in enumerate(commands):
        _perform(control, after, command_id(job_id, row.version + 1, place), command)
    if row.record.phase == "leased" != after.phase not in FINAL and not licences.give_back(control, row):
        licences.remind(control, row)
    if control.tells_all and after.phase != row.record.phase:
        control.messages.moved(job_id, row.record.phase, after.phase)
    if after.phase in FINAL and row.record.phase not in FINAL:
        ended = control.store.job(job_id)
        if ended is not None:
            control.measures.put(control.now_ms(), measures.of_end(row, ended), job=job_id)
            finish(control, ended)
    return JobRow(after, row.version + 1, row.item)


def finish(control: Control, row: JobRow) -> None:
    """Tell those that wait for an ended job, and others, how it ended; once more if the last try broke off."""
    if "untold" not in row.item:
        return
    job_id, done = row.record.ticket.id, row.record.phase == "done"
    for dependant in sorted(row.item.get("dependants", ())):
        _tell(control, dependant, job_id, done=done)
    if ended := joins.ended_with(control, job_id, done=done):
        tell_of_array(control, ended, done=done)
    control.messages.ended(job_id, row.record.phase, str(row.item["untold"]), attempts.told(row))
    free = licences.give_back(control, row)
    told = Write(
        control.store.tables.jobs,
        {"job_id": job_id},
        sets={} if free else {"lease_until_ms": control.now_ms() + control.policy.settings.tick_ms},
        removes=["untold", "lease", "lease_until_ms"] if free else ["untold"],
        condition="#v = :v",
        names={"#v": "version"},
        values={"v": row.version},
    )
    control.store.write(told)


def _update(control: Control, row: JobRow, after: Job, commands: tuple[Any, ...], more: Item) -> Write:
    sets: Item = {"state": packed(after), "version": row.version + 1, "phase": after.phase, "epoch": after.epoch}
    removes = ["queue_class", "sort", "lease", "lease_until_ms", "timer"]
    now = control.now_ms()
    for command in commands:
        if isinstance(command, Queue):
            sets |= place_of(after, command.key)
        elif isinstance(command, Delay | SetTimer):
            name = DELAY if isinstance(command, Delay) else command.name
            sets |= {"lease": "1", "lease_until_ms": now + command.after_ms, "timer": name}
    if after.phase == row.record.phase == "queued" and "queue_class" not in sets:
        removes = removes[2:]  # it waits where it waited
    sets |= more
    if after.phase in FINAL and row.record.phase not in FINAL:
        reason = next((each.reason for each in commands if isinstance(each, GiveUp)), "")
        until_ms = now + control.policy.settings.lease_ms  # when the reaper looks whether it was told
        sets |= {"ended_ms": now, "untold": reason, "lease": "1", "lease_until_ms": until_ms}
        if control.keep_ms:
            sets[EXPIRES] = (now + control.keep_ms) // 1000  # DynamoDB takes it out some time after
    return Write(
        control.store.tables.jobs,
        {"job_id": after.ticket.id},
        sets=sets,
        removes=[name for name in removes if name not in sets],
        condition="#v = :v",
        names={"#v": "version"},
        values={"v": row.version},
    )


def place_of(job: Job, key: float) -> Item:
    """A job's place in the index of its class."""
    return {"queue_class": index_of(job), "sort": sort_key(key, job.ticket.submit_ms, in_order(job.ticket.id))}


def _counters(control: Control, before: Job, after: Job) -> list[Write]:
    """What waits and runs of each class, as this step changes it."""
    changes = merged(counts(before, -1), counts(after, 1))
    writes = []
    for key, counters in changes.items():
        made = {"made_ms": control.now_ms()}
        writes.append(
            Write(control.store.tables.fleet, {"key": key}, sets=shape_of(after, key), adds=counters, firsts=made)
        )
    return writes


def shape_of(job: Job, key: str) -> Item:
    """What the item of a class says of it, of which this is a job."""
    spec = job.ticket.spec
    return {
        "shape": shape_name(spec),
        "purchase": key.split("|")[1],
        "vcpus": spec.vcpus,
        "memory_gib": spec.memory_gib,
        "gpus": spec.gpus,
    }


def counts(job: Job, sign: int) -> Iterator[tuple[str, str, int]]:
    """What a job adds to the counters of its class, which count workers: (item, counter, by how much)."""
    key, gang = f"class#{class_of(job)}", job.ticket.spec.gang
    if job.phase == "queued":
        yield key, "queued", sign * gang
        yield key, "queued_work_ms", sign * gang * work_left_ms(job)
        if gang > 1:
            yield key, f"{GANGS}{gang}", sign
    elif job.phase == "leased":
        yield key, "busy", sign * gang


# what a job orders --------------------------------------------------------------------------------------------------
def _perform(control: Control, job: Job, identity: str, command: Any) -> None:
    match command:
        case Queue():
            wake(control, job, identity)
        case Delay() | SetTimer():
            control.timers.set(job.ticket.id, command.after_ms)
        case Unqueue() | GiveUp() | ReleaseDependants():
            pass  # written with the record; the end is told by `finish`
        case _:
            raise NotImplementedError(command)


def wake(control: Control, job: Job, identity: str) -> None:
    """A hint to the worker that has idled longest among those that could run the job and have no hint yet."""
    for row in control.store.idle():
        pool = control.pools.get(row.pool)
        if pool is None or row.record.phase != "idle" or not serves(pool, job.ticket.spec, job.purchase):
            continue
        if hint(control, row, identity):
            return


def hint(control: Control, row: WorkerRow, identity: str) -> bool:
    """Whether an idle worker was told that a job may wait: it has had no hint, and is as it was read."""
    hinted = Write(
        control.store.tables.workers,
        {"worker": row.name},
        removes=["idle_since"],
        condition="attribute_exists(idle_since) AND #v = :v",
        names={"#v": "version"},
        values={"v": row.version},
    )
    if not control.store.write(hinted):
        return False
    control.hints.wake(row.name, identity)
    return True


def _tell(control: Control, job_id: str, earlier: str, *, done: bool) -> None:
    if not done:
        hears(control, job_id, DependencyFailed(control.now_ms()))
        return
    left = control.store.strike(control.store.tables.jobs, {"job_id": job_id}, "waits_on", earlier)
    hears(control, job_id, DependencyMet(control.now_ms(), left))


def tell_of_array(control: Control, name: str, *, done: bool) -> None:
    """Those who wait for an array that has ended are told so."""
    waiting = joins.waiting(control, name)
    for dependant in waiting:
        _tell(control, dependant, name, done=done)
    if waiting:
        joins.told(control, name)


# what the reaper finds ----------------------------------------------------------------------------------------------
Expired = tuple[list[str], AttemptEnded]


def expire(control: Control, job_id: str) -> Expired | None:
    """The lease of a job has expired, or its timer has come. Returns the workers that held the lease, and what one
    shall hear if its instance is still there."""
    row = control.store.job(job_id)
    now = control.now_ms()
    if row is None or int(row.item.get("lease_until_ms", now + 1)) > now:
        return None
    finish(control, row)
    if row.record.phase in FINAL:
        if "untold" not in row.item:  # it was told; the hook has not heard
            licences.look_again(control, row)
    elif row.item.get("timer") == licences.TIMER:
        if licences.look_again(control, row):
            wake(control, row.record, f"{job_id}/{row.version}/parked")
    elif row.record.phase == "leased":
        return _lease_expired(control, row)
    elif "timer" in row.item:
        free = row.record.phase != "delayed" or licences.give_back(control, row)
        hears(control, job_id, TimerFired(now, str(row.item["timer"])))
        if not free:
            licences.remind(control, row)
    return None


def expire_seat(control: Control, job_id: str) -> Expired | None:
    """The lease of one member of a gang may have expired: then that of all has."""
    row = control.store.job(job_id)
    overdue = row is not None and seats.is_overdue(row, control.now_ms())
    return _lease_expired(control, row) if row is not None and overdue else None


def _lease_expired(control: Control, row: JobRow) -> Expired:
    now, job_id, epoch = control.now_ms(), row.record.ticket.id, row.record.epoch
    hears(control, job_id, LeaseExpired(now, epoch, row.safe_ms))
    if seats.SEATS in row.item:
        seats.stop(control, row)
    return seats.workers_of(row.item), AttemptEnded(now, job_id, epoch, LEASE_LOST, 0, row.safe_ms)


def renew(control: Control, job_id: str, epoch: int, safe_ms: int | None = None) -> bool:
    """Evidence of life of an attempt, and what its checkpoints keep; False when it no longer holds the lease."""
    kept = {} if safe_ms is None else {"safe_ms": safe_ms}
    return control.store.write(
        Write(
            control.store.tables.jobs,
            {"job_id": job_id},
            sets={"lease_until_ms": control.now_ms() + control.policy.settings.lease_ms, **kept},
            condition="#e = :e AND #p = :p",
            names={"#e": "epoch", "#p": "phase"},
            values={"e": epoch, "p": "leased"},
        )
    )


def attempt_ended(
    control: Control, job_id: str, epoch: int, cause: str, exit_code: int, progress_ms: int, worker: str = ""
) -> None:
    """A worker reports, of a gang the one that is named; what the wrapper wrote last is what is safe, where the worker
    does not know better."""
    row = control.store.job(job_id)
    if row is None:
        return
    gang = seats.SEATS in row.item
    if gang and not seats.tells(control, row, worker, epoch, cause):
        return
    if gang and cause == CHECKPOINTED and seats.is_noticed(control, row):
        cause = INTERRUPTED  # the member that was told to go may not be the first to report
    safe_ms = max(progress_ms, row.safe_ms) if row.record.epoch == epoch else progress_ms
    hears(control, job_id, AttemptEnded(control.now_ms(), job_id, epoch, cause, exit_code, safe_ms))
    if gang and cause != DONE:
        seats.stop(control, row, but=worker)


# claims -------------------------------------------------------------------------------------------------------------
def waits(row: JobRow) -> bool:
    """Whether it may be claimed."""
    return row.record.phase == "queued" and licences.PARKED not in row.item


def answer_of(control: Control, leased: Job, pool: Item) -> JobClaimed:
    """What a worker hears whose claim is written; `pool` is the item of its counters."""
    ticket = leased.ticket
    return JobClaimed(
        control.now_ms(),
        ticket.id,
        leased.epoch,
        leased.progress_ms,
        ticket.estimate_ms,
        ticket.spec.timeout_ms,
        ticket.spec.checkpointable,
        mtbf_ms(pool),
    )


def mtbf_ms(item: Item) -> int:
    """Time of the instances of a pool that have ended for each that EC2 took; 0 while it took none."""
    taken = int(item.get("interruptions", 0))
    return int(item.get("worker_ms", 0)) // taken if taken else 0


def price_of(control: Control, pool: str, counters: Mapping[str, Item]) -> float:
    """What an instance of a pool costs in an hour, by the items of the counters."""
    item = counters.get(f"pool#{pool}", {})
    return float(item.get("usd_per_hour", control.pools[pool].on_demand_usd_per_hour))


def claim_writes(
    control: Control, row: JobRow, worker: str, pool: str = "", usd_per_hour: float = 0.0, more: Mapping[str, Any] = {}
) -> tuple[Job, Claimed, list[Write]] | None:
    """(the leased record, the event, its writes) if the job can be claimed now."""
    now, epoch = control.now_ms(), row.record.epoch + 1
    event = Claimed(now, worker)
    claim = {"holder": worker, "lease": "1", "lease_until_ms": now + control.policy.settings.lease_ms,
             "safe_ms": row.record.progress_ms, "attempts": int(row.item.get("attempts", 0)) + 1,
             **attempts.begun(row.item, epoch, now, worker, pool, usd_per_hour), **more}  # fmt: skip
    after, _, writes = stepped(control, row, event, claim)
    return None if after.epoch == row.record.epoch else (after, event, writes)
