"""After the loss of tables: what there is again from what is left, so that no job is lost.

Of the tables only that of the jobs holds what nothing else knows; it has point-in-time recovery. Workers, counters and
the fleet's record follow from it and from the instances that are there. A table that was *restored* is as old as the
restored moment: jobs that have ended since are found by the logs that wrappers have kept, and all others take epochs
far above those that an instance of then may still carry.

All of it may be done twice, and on a stack that runs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import quote

from aws import jobs, joins, seats, workers
from aws.classes import GANGS, class_of, merged
from aws.control import Control, Results
from aws.store import FLEET, Item, JobRow, WorkerRow, Write, packed, worker_row
from scheduler.events import DONE, AttemptEnded, Claimed, LeaseExpired, Lost, Submitted, TimerFired
from scheduler.fleet import Fleet
from scheduler.worker import Badge, Worker

APART = 1_000  # epochs between a restored job's and its next: more than it can have had since the restored moment
HOLDER = "rebuild"  # who holds a job that is found to be done
_PASSES = 5  # of the counters, each until nothing is wrong
_COUNTERS = {"class#": ("queued", "queued_work_ms", "busy", "booting", "idle"), "pool#": ("booting", "busy", "idle")}
_OF_ATTEMPT = re.compile(r"(rank-[0-9]+/)?log\.txt")
_LONGEST_NAME = 800  # of a job in a key, of which S3 allows 1,024 bytes
Counters = dict[str, dict[str, int]]


class NoResults(Exception):
    """A restored table cannot be told from what has happened since without the bucket."""


@dataclass
class Rebuilt:
    """What was done: how many of each."""

    jobs: int = 0
    copied: int = 0  # from the restored table
    found_done: int = 0  # jobs that have ended since the restored moment
    requeued: int = 0  # leases whose worker is gone
    started_over: int = 0  # restored jobs whose checkpoint is gone
    adopted: int = 0  # instances that run a job, and have a record again
    stopped: int = 0  # instances that run nothing that anybody answers for
    dropped: int = 0  # records of workers whose instance is gone
    corrected: int = 0  # counters

    def document(self) -> dict[str, int]:
        return asdict(self)


class S3Results:
    """`aws.control.Results` over boto3: the buckets in which instances keep logs, below one prefix."""

    def __init__(self, client: Any, buckets: tuple[str, ...], prefix: str) -> None:
        self._client, self._buckets, self._prefix = client, buckets, prefix

    def within(self, buckets: tuple[str, ...]) -> S3Results:
        """The same for other buckets."""
        return S3Results(self._client, buckets, self._prefix)

    def ends(self, job_id: str, members: int = 1) -> Mapping[int, str]:
        logs: dict[int, list[str]] = {}
        for root in folders_of(self._prefix, job_id):
            for bucket in self._buckets:
                for key in self._keys(bucket, root):
                    epoch, _, name = key[len(root) :].partition("/")
                    if epoch.isdigit() and _OF_ATTEMPT.fullmatch(name):
                        kept = self._client.head_object(Bucket=bucket, Key=key)["Metadata"]
                        logs.setdefault(int(epoch), []).append(str(kept.get("cause", "")))
        return {epoch: _end_of(causes, members) for epoch, causes in logs.items()}

    def holds(self, prefix: str) -> bool:
        return any(True for bucket in self._buckets for _ in self._keys(bucket, prefix))

    def _keys(self, bucket: str, prefix: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return (found["Key"] for page in pages for found in page.get("Contents", ()))


def _end_of(causes: list[str], members: int) -> str:
    """How an attempt ended: well, if all of its members did."""
    bad = [cause for cause in causes if cause != DONE]
    return bad[0] if bad else DONE if len(causes) == members else ""


def folders_of(prefix: str, job_id: str) -> list[str]:
    """The prefixes under one of which the wrapper keeps everything of a job: its id quoted, or the hash of a long one.
    (Which of them, aws/wrapper.py decides; it is a program of its own.)"""
    raw = job_id.encode("utf-8", "surrogatepass")
    names = [quote(raw, safe=""), f"={hashlib.sha256(raw).hexdigest()}"]
    return [f"{prefix}jobs/{name}/" for name in names if len(name) <= _LONGEST_NAME]


def rebuild(control: Control, *, restored: bool = False, source: str = "") -> Rebuilt:
    """Make workers, leases, indexes and counters agree with the jobs and the instances that there are.

    `restored`: the table of jobs is of an earlier moment. Every instance is stopped then, since what it runs may have
    been claimed after that moment. `source`: the table that was restored, whose jobs are copied first (what is in the
    stack's own table stays). Raises NoResults if there is no bucket to ask.
    """
    results, restored = control.results, restored or bool(source)
    if restored and results is None:
        raise NoResults
    done = Rebuilt()
    if source:
        for item in control.store.items(source):
            done.copied += control.store.put_new(control.store.tables.jobs, item, "job_id")
    live = dict(control.target.live())
    if restored:
        _stop_all(control, live, done)
        live = {}
    _begin_anew(control)
    holders = _holders(control)
    _adopt(control, live, holders, done)
    _drop(control, live, done)
    for item in list(control.store.items(control.store.tables.jobs)):
        if joins.TASKS in item:
            control.timers.set(str(item["job_id"]), 0)  # some of its jobs may not have been made
            continue
        done.jobs += 1
        _mend(control, str(item["job_id"]), live, done)
        if restored and results is not None:
            _catch_up(control, str(item["job_id"]), results, done)
    done.corrected = _recount(control)
    return done


def _begin_anew(control: Control) -> None:
    """A fleet whose record is gone begins at a version that it has never had: its orders are known by their ids."""
    first: Item = {"key": FLEET, "state": packed(Fleet()), "version": control.now_ms() // 1000, "outbox": []}
    control.store.put_new(control.store.tables.fleet, first, "key")


# instances ----------------------------------------------------------------------------------------------------------
def _stop_all(control: Control, live: Mapping[str, str], done: Rebuilt) -> None:
    for name, pool in live.items():
        _stop(control, name, pool, done)


def _stop(control: Control, name: str, pool: str, done: Rebuilt) -> None:
    control.target.stop(WorkerRow(name, _worker(control, name, pool), 0), "rebuilt")
    done.stopped += 1


def _worker(control: Control, name: str, pool: str) -> Worker:
    spec = control.pools.get(pool)
    return Worker(Badge(name, pool, "" if spec is None else spec.purchase))


def _holders(control: Control) -> dict[str, JobRow]:
    """Worker -> the job that it holds."""
    found: dict[str, JobRow] = {}
    for item in control.store.items(control.store.tables.jobs):
        if item.get("phase") == "leased" and item.get("holder"):
            row = control.store.job(str(item["job_id"]))
            if row is not None:
                found |= dict.fromkeys(seats.workers_of(row.item), row)
    return found


def _adopt(control: Control, live: Mapping[str, str], holders: Mapping[str, JobRow], done: Rebuilt) -> None:
    """An instance without a record goes on if it holds a job, which it will report. Else it is stopped, if the records
    were lost; if there are any, its own is on its way."""
    lost = not any(True for _ in control.store.items(control.store.tables.workers))
    for name, pool in live.items():
        if control.store.workers_of(name):
            continue
        held = holders.get(name)
        if held is None or held.record.phase != "leased":
            if lost:
                _stop(control, name, pool, done)
            continue
        now, job = control.now_ms(), held.record
        generation = now // 1000  # above that of any execution that still waits: those end when they look
        state = replace(_worker(control, name, pool), phase="running", job=job.ticket.id, epoch=job.epoch,
                        checkpointable=job.ticket.spec.checkpointable, generation=generation)  # fmt: skip
        item: Item = {
            "worker": name, "state": packed(state), "version": generation, "inbox": [], "outbox": [], "pool": pool,
            "serves": class_of(job), "counted": "busy", "requested_ms": now, "changed_ms": now,
        }  # fmt: skip
        if seats.SEATS in held.item:
            item["gang"] = job.ticket.id
        done.adopted += control.store.put_new(control.store.tables.workers, item, "worker")
        control.executions.start(name, generation)


def _drop(control: Control, live: Mapping[str, str], done: Rebuilt) -> None:
    """A worker whose instance is gone hears so."""
    for row in list(control.store.unfinished()):
        if row.name not in live:
            workers.deliver(control, row.name, f"rebuilt/{row.name}", packed(Lost(control.now_ms())))
            done.dropped += 1


# jobs ---------------------------------------------------------------------------------------------------------------
def _mend(control: Control, job_id: str, live: Mapping[str, str], done: Rebuilt) -> None:
    """A job waits in its index, is leased by somebody who is there, has a timer, or has ended and told so."""
    row = control.store.job(job_id)
    if row is None:
        return
    now, job = control.now_ms(), row.record
    match job.phase:
        case "new":
            jobs.hears(control, job_id, Submitted(now))
        case "leased" if "lease" not in row.item or any(name not in live for name in seats.still_running(row.item)):
            jobs.hears(control, job_id, LeaseExpired(now, job.epoch, row.safe_ms))
            if seats.SEATS in row.item:
                seats.stop(control, row)
            done.requeued += 1
        case "delayed" if "timer" not in row.item:
            jobs.hears(control, job_id, TimerFired(now, jobs.DELAY))
        case "queued" if "queue_class" not in row.item:
            _index(control, row)
        case _:
            jobs.finish(control, row)


def _index(control: Control, row: JobRow) -> None:
    """Put a job that waits back into the index of its class."""
    control.store.write(_changed(control, row, jobs.place_of(row.record, control.policy.order.key(row.record))))


def _changed(control: Control, row: JobRow, sets: Item, removes: tuple[str, ...] = ()) -> Write:
    return Write(
        control.store.tables.jobs,
        {"job_id": row.record.ticket.id},
        sets={**sets, "version": row.version + 1},
        removes=removes,
        condition="#v = :v",
        names={"#v": "version"},
        values={"v": row.version},
    )


def _catch_up(control: Control, job_id: str, results: Results, done: Rebuilt) -> None:
    """What has happened to a restored job since: it has ended, or it goes on under an epoch that is nobody's."""
    row = control.store.job(job_id)
    if row is None or row.record.phase in jobs.FINAL:
        return
    ends = results.ends(job_id, row.record.ticket.spec.gang)
    if DONE in ends.values():
        _complete(control, job_id)
        done.found_done += 1
        return
    epoch = max([row.record.epoch, *ends]) + APART
    if row.record.epoch >= APART and not any(each > row.record.epoch for each in ends):
        return  # it was set apart before
    sets: Item = {"epoch": epoch}
    removes: tuple[str, ...] = ()
    job = replace(row.record, epoch=epoch)
    kept = str(row.item.get("checkpoint", ""))
    if kept and not results.holds(kept):  # a later one took its place, and was not noted in this table
        job, removes = replace(job, progress_ms=0), ("checkpoint",)
        sets["safe_ms"] = 0
        done.started_over += 1
    control.store.write(_changed(control, row, {**sets, "state": packed(job)}, removes))


def _complete(control: Control, job_id: str) -> None:
    """The job has ended well: its record comes there by the steps that it would have made."""
    row = control.store.job(job_id)
    if row is not None and row.record.phase == "delayed":
        row = jobs.hears(control, job_id, TimerFired(control.now_ms(), jobs.DELAY))
    if row is not None and row.record.phase == "queued":
        row = jobs.hears(control, job_id, Claimed(control.now_ms(), HOLDER))
    if row is not None and row.record.phase == "leased":
        jobs.hears(control, job_id, AttemptEnded(control.now_ms(), job_id, row.record.epoch, DONE, 0, -1))


# counters -----------------------------------------------------------------------------------------------------------
def _recount(control: Control) -> int:
    """Put the counters right by what they are wrong by, so that what others add meanwhile stays; how many were wrong.
    Wrong is what two looks find the same: a job that moves while we look shows in one of them."""
    corrected = 0
    for _ in range(_PASSES):
        shapes, changes = _wrong(control)
        if not changes:
            break
        for key, adds in changes.items():
            corrected += len(adds)
            first = {"made_ms": control.now_ms()} if key in shapes else {}
            write = Write(control.store.tables.fleet, {"key": key}, sets=shapes.get(key, {}), adds=adds, firsts=first)
            control.store.write(write)
    return corrected


def _wrong(control: Control) -> tuple[dict[str, Item], Counters]:
    """(what items of classes say of themselves, what counters are wrong by)."""
    found: list[Counters] = []
    shapes: dict[str, Item] = {}
    for _ in range(2):
        before = control.store.counters()
        wanted, shapes = _wanted(control)
        found.append(_differences(before, wanted))
    first, second = found
    same = {
        key: {name: by for name, by in adds.items() if second.get(key, {}).get(name) == by}
        for key, adds in first.items()
    }
    return shapes, {key: adds for key, adds in same.items() if adds}


def _wanted(control: Control) -> tuple[Counters, dict[str, Item]]:
    """What the counters must be, and what items of classes say of themselves."""
    changes: list[tuple[str, str, int]] = []
    shapes: dict[str, Item] = {}
    for item in control.store.items(control.store.tables.jobs):
        row = control.store.job(str(item["job_id"]))
        for key, name, by in jobs.counts(row.record, 1) if row is not None else ():
            changes.append((key, name, by))
            shapes[key] = jobs.shape_of(row.record, key) if row is not None else {}
    for item in control.store.items(control.store.tables.workers):
        worker = worker_row(item)
        if worker.counted in ("booting", "busy", "idle"):
            changes.append((f"pool#{worker.pool}", worker.counted, 1))
            if worker.counted != "busy":
                changes.append((f"class#{worker.serves}", worker.counted, 1))
    return merged(changes), shapes


def _differences(before: Mapping[str, Item], wanted: Counters) -> Counters:
    found: Counters = {}
    for key in {*before, *wanted}:
        gangs = {name for item in (before.get(key, {}), wanted.get(key, {})) for name in item if name.startswith(GANGS)}
        for name in (
            *next((names for prefix, names in _COUNTERS.items() if key.startswith(prefix)), ()),
            *sorted(gangs),
        ):
            by = wanted.get(key, {}).get(name, 0) - int(before.get(key, {}).get(name, 0))
            if by > 0 or (
                by and name != "booting"
            ):  # instances may be asked for and not there yet: the fleet sees to it
                found.setdefault(key, {})[name] = by
    return found
