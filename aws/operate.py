"""What a user orders of a running stack: cancel a job, let the workers go, launch again. Each may be asked twice."""

from __future__ import annotations

from dataclasses import replace

from aws import jobs, joins, seats, workers
from aws.control import Control
from aws.store import FLEET, SWITCH, Item, WorkerRow, Write, packed, unpacked
from aws.translate import task_id
from scheduler.commands import Checkpoint
from scheduler.events import RELEASED, AttemptEnded, Cancelled, StopOrdered
from scheduler.fleet import Fleet

_STOPPABLE = frozenset({"booting", "claiming", "idle", "running"})


def cancel(control: Control, job_id: str) -> str:
    """End a job, also while it runs, or all that is open of an array; its phase then, "" when there is no such job."""
    after = jobs.hears(control, job_id, Cancelled(control.now_ms()))
    if after is None:
        return _cancel_array(control, job_id)
    for name in seats.workers_of(after.item) if after.record.phase == "cancelled" and "holder" in after.item else ():
        holder = control.store.worker(name)
        if holder is not None and (holder.record.job == job_id or holder.inbox):
            _let_go(control, job_id, after.record.epoch - 1, holder)  # a cancelled job has taken a new epoch
    return after.record.phase


def _cancel_array(control: Control, name: str) -> str:
    """No more of its jobs are made, and those that there are end. Those that have not come by then are in the call of
    Intake that makes them now: at most `arrays.AT_ONCE`, which a second order ends."""
    item = joins.array(control, name)
    if item is None:
        return ""
    closed = joins.close(control, name, "cancelled")
    phases = {cancel(control, task_id(name, index)) for index in range(int(item[joins.TASKS]))}
    if closed:
        jobs.tell_of_array(control, name, done=False)
    return "cancelled" if closed or "cancelled" in phases else str(item["phase"])


def _let_go(control: Control, job_id: str, epoch: int, holder: WorkerRow) -> None:
    """The wrapper leaves, and finds that the lease is lost; the worker takes the next job."""
    if holder.record.job == job_id:
        control.target.checkpoint(holder, Checkpoint(job_id, epoch))
    ended = AttemptEnded(control.now_ms(), job_id, epoch, RELEASED, 0, -1)
    workers.deliver(control, holder.name, f"{job_id}/{epoch}/cancelled", packed(ended))


def drain(control: Control) -> None:
    """No more launches; workers end after what they do now."""
    fleet, now = control.store.tables.fleet, control.now_ms()
    control.store.write(Write(fleet, {"key": SWITCH}, sets={"drains": True}, firsts={"since_ms": now}))
    let_go(control, since_ms(control))


def resume(control: Control) -> None:
    """Launch again: after a drain, after a cap on spending that was raised, and in pools that were given up because
    their workers never got ready."""
    store, fleet = control.store, control.store.tables.fleet
    store.write(Write(fleet, {"key": SWITCH}, sets={"drains": False}, removes=["since_ms"]))
    for key, item in store.counters().items():
        if int(item.get("never_ready", 0)):
            store.write(Write(fleet, {"key": key}, sets={"never_ready": 0}, removes=["launch_stopped"]))
    _reopen(control, store.counters().get(FLEET, {}))


def _reopen(control: Control, item: Item) -> None:
    """A fleet that the cap has closed looks again; if the cap still holds, it closes again."""
    record = unpacked(item["state"]) if item else Fleet()
    if record.phase == "closed":
        version = int(item["version"])
        opened = Write(
            control.store.tables.fleet,
            {"key": FLEET},
            sets={"state": packed(replace(record, phase="open")), "version": version + 1},
            condition="#v = :v",
            names={"#v": "version"},
            values={"v": version},
        )
        control.store.write(opened)


def since_ms(control: Control) -> int:
    """When the drain that goes on began; -1 when none does."""
    item = control.store.read(control.store.tables.fleet, {"key": SWITCH}) or {}
    return int(item["since_ms"]) if item.get("drains") else -1


def let_go(control: Control, drains_since_ms: int) -> None:
    """Every worker shall end after what it does now; told once for each drain."""
    for row in control.store.unfinished():
        if row.record.phase in _STOPPABLE:
            ordered = packed(StopOrdered(control.now_ms(), "drained"))
            workers.deliver(control, row.name, f"{row.name}/drain/{drains_since_ms}", ordered)
