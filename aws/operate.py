"""What a user orders of a running stack: cancel a job, let the workers go, launch again. Each may be asked twice."""

from __future__ import annotations

from aws import jobs, workers
from aws.control import Control
from aws.store import WorkerRow, Write, packed
from scheduler.commands import Checkpoint
from scheduler.events import RELEASED, AttemptEnded, Cancelled, StopOrdered

SWITCH = "switch"  # the item of the fleet table: `drains`, and since when
_STOPPABLE = frozenset({"booting", "claiming", "idle", "running"})


def cancel(control: Control, job_id: str) -> str:
    """End a job, also while it runs; its phase then, "" when there is no such job."""
    after = jobs.hears(control, job_id, Cancelled(control.now_ms()))
    if after is None:
        return ""
    holder = control.store.worker(str(after.item["holder"])) if "holder" in after.item else None
    if after.record.phase == "cancelled" and holder is not None and (holder.record.job == job_id or holder.inbox):
        _let_go(control, job_id, after.record.epoch - 1, holder)  # a cancelled job has taken a new epoch
    return after.record.phase


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
    """Launch again, also in pools that were given up because their workers never got ready."""
    store, fleet = control.store, control.store.tables.fleet
    store.write(Write(fleet, {"key": SWITCH}, sets={"drains": False}, removes=["since_ms"]))
    for key, item in store.counters().items():
        if int(item.get("never_ready", 0)):
            store.write(Write(fleet, {"key": key}, sets={"never_ready": 0}, removes=["launch_stopped"]))


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
