"""Job accounting of batch systems: what Slurm, LSF and AWS Batch say of their jobs, as work.

Each reader turns its file into `AccountingJob`s; from there on all are alike. A job that failed fails here too, at the
same moment and for good; one that was lost with its machine, or cancelled while it ran, is work of the length recorded.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from sim.inputs import JobClass
from spotbed.work.records import ClassPool, FileWork, JobRecord, read_work


class Outcome(Enum):
    """How a job ended, by what it means for the work."""

    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    LOST = "lost"
    CANCELLED = "cancelled"
    UNFINISHED = "unfinished"


_FAILING = (Outcome.FAILED, Outcome.TIMED_OUT)
_NOTES = {
    Outcome.FAILED: "{} of {} jobs failed in the log; they fail here too, without a retry",
    Outcome.TIMED_OUT: "{} of {} jobs were stopped at their time limit; they fail here too, without a retry",
    Outcome.LOST: "{} of {} jobs were lost with their machine; what they ran before is taken as their runtime",
    Outcome.CANCELLED: "{} of {} jobs were cancelled while they ran; the time that they ran is their runtime",
    Outcome.UNFINISHED: "{} of {} jobs left out: they had not ended",
}
_NO_CPUS = "{} of {} jobs do not say how many CPUs they had: 1, or what the scenario says"


@dataclass(frozen=True, slots=True)
class AccountingJob:
    """One job of a batch system. Moments are seconds since 1970; None is unknown.

    `vcpus`, `memory_gib` and `gpus` are those of one of its `gang` instances.
    """

    id: str
    line: int | None
    outcome: Outcome
    submit_s: float | None
    runtime_s: float | None
    estimate_s: float | None = None
    vcpus: float | None = None
    memory_gib: float | None = None
    gpus: int = 0
    gang: int = 1
    tenant: str = ""
    user: str = ""
    exit_code: int = 0
    priority: int | None = None
    after: tuple[str, ...] = ()


def file_work(jobs: Sequence[AccountingJob], template: JobClass, path: Path, notes: Sequence[str] = ()) -> FileWork:
    """The work of these jobs. What the log does not know (a deadline, a shape that is missing) is the template's."""
    pool = ClassPool(template)
    counts: Counter[str] = Counter()
    records: list[JobRecord] = []
    for job in jobs:
        submit_s, runtime_s = job.submit_s, job.runtime_s
        if job.outcome is Outcome.UNFINISHED or submit_s is None or runtime_s is None:
            counts[_why_left_out(job)] += 1
            continue
        if job.outcome in _NOTES:
            counts[_NOTES[job.outcome]] += 1
        if job.vcpus is None:
            counts[_NO_CPUS] += 1
        records.append(_record(job, submit_s, runtime_s, pool))
    records, dangling = _without_dangling(records)
    if dangling:
        counts["{} waits of {} jobs dropped: what they wait for is not among them"] = dangling
    told = sorted(text.format(count, len(jobs)) for text, count in counts.items())
    return read_work(records, path, (*notes, *told))


def _why_left_out(job: AccountingJob) -> str:
    if job.outcome is Outcome.UNFINISHED:
        return _NOTES[Outcome.UNFINISHED]
    if job.submit_s is None:
        return "{} of {} jobs left out: they have no time of submission"
    return "{} of {} jobs left out: they never started"


def _record(job: AccountingJob, submit_s: float, runtime_s: float, pool: ClassPool) -> JobRecord:
    return JobRecord(
        id=job.id,
        submit_s=submit_s,
        runtime_s=runtime_s,
        job_class=pool.get(_keys(job)),
        estimate_s=job.estimate_s,
        slots=job.gang,
        after=job.after,
        user=job.user,
        line=job.line,
    )


def _keys(job: AccountingJob) -> dict[str, Any]:
    """What the log says of the job's class; whole GiB, or used megabytes would make a class of every job."""
    known: dict[str, Any] = {
        "vcpus": job.vcpus,
        "memory_gib": float(math.ceil(job.memory_gib)) if job.memory_gib else None,
        "gpus": job.gpus or None,
        "gang": job.gang if job.gang > 1 else None,
        "tenant": job.tenant or None,
        "priority": job.priority,
    }
    keys = {name: value for name, value in known.items() if value is not None}
    if job.outcome in _FAILING:
        keys |= {"fail_probability": 1.0, "exit_code": job.exit_code or 1, "retries": 0}
    return keys


def _without_dangling(records: list[JobRecord]) -> tuple[list[JobRecord], int]:
    """Drop waits for jobs that the file does not have: they ended before it starts, or were left out."""
    ids = {record.id for record in records}
    kept = [
        replace(record, after=tuple(each for each in record.after if each in ids)) if record.after else record
        for record in records
    ]
    dropped = sum(len(record.after) for record in records) - sum(len(record.after) for record in kept)
    return kept, dropped
