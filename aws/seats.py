"""The seats of a gang's attempt, on the job's item: who runs it together, until when each lease holds, who has ended.

`seats` has for each rank the `worker`, until when the lease of its wrapper holds (`until_ms`), and where its instance
is reached (`host`). The first holds the job's own lease, and its log, outputs and checkpoints. `running` are the
workers that have not ended well. All of it is of the last attempt: a claim writes it anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from aws.control import Control
from aws.store import Item, JobRow, WorkerRow
from scheduler.commands import Checkpoint
from scheduler.events import DONE

SEATS, RUNNING = "seats", "running"


def taken(members: Sequence[str], until_ms: int) -> Item:
    """What a claim of these members writes on the job's item."""
    seats = {str(rank): {"worker": name, "until_ms": until_ms} for rank, name in enumerate(members)}
    return {SEATS: seats, RUNNING: set(members)}


def workers_of(item: Item) -> list[str]:
    """Who holds the lease: the members of a gang by rank, or the one worker."""
    if SEATS not in item:
        return [str(item.get("holder", ""))]
    return [str(item[SEATS][str(rank)]["worker"]) for rank in range(len(item[SEATS]))]


def still_running(item: Item) -> list[str]:
    """Those of them that have not ended well."""
    return [name for name in workers_of(item) if SEATS not in item or name in item.get(RUNNING, ())]


def tells(control: Control, row: JobRow, worker: str, epoch: int, cause: str) -> bool:
    """Whether the job shall hear how the attempt has ended on this member: that it ended well, from the last of them;
    anything else from the first; and only once."""
    if (row.record.phase, row.record.epoch) != ("leased", epoch):
        return False
    if cause != DONE:
        return True
    key = {"job_id": row.record.ticket.id}
    return control.store.strike(control.store.tables.jobs, key, RUNNING, worker, {"epoch": epoch}) == 0


def is_noticed(control: Control, row: JobRow) -> bool:
    """Whether EC2 is about to take the instance of a member."""
    return any(member.record.phase == "noticed" for member in _rows(control, workers_of(row.item)))


def stop(control: Control, row: JobRow, but: str = "") -> None:
    """The attempt is over: the wrappers of the other members look, find that the lease is lost, and stop."""
    for member in _rows(control, (name for name in workers_of(row.item) if name != but)):
        control.target.checkpoint(member, Checkpoint(row.record.ticket.id, row.record.epoch))


def checkpoint(control: Control, row: WorkerRow, command: Checkpoint) -> None:
    """The wrapper of this worker shall leave and, if it is a member of a gang, those of the others too."""
    control.target.checkpoint(row, command)
    job = control.store.job(command.job) if row.gang else None
    if job is not None and job.record.epoch == command.epoch:
        stop(control, job, but=row.name)


def _rows(control: Control, names: Iterable[str]) -> Iterator[WorkerRow]:
    return filter(None, map(control.store.worker, names))


def is_stopping(control: Control, row: JobRow, epoch: int) -> bool:
    """Whether the members of this attempt were told to stop not long ago."""
    ended = [each.get("ended_ms") for each in row.item.get("attempt_log", ()) if each["attempt"] == epoch]
    since_ms = control.now_ms() - control.policy.settings.tick_ms
    return any(each is not None and int(each) > since_ms for each in ended)


def is_overdue(row: JobRow, now_ms: int) -> bool:
    """Whether the lease of a member has expired that has not ended well. (That of the first is the job's.)"""
    if row.record.phase != "leased":
        return False
    others = [seat for rank, seat in row.item.get(SEATS, {}).items() if rank != "0"]
    running = row.item.get(RUNNING, ())
    return any(seat["worker"] in running and int(seat["until_ms"]) <= now_ms for seat in others)
