"""AWS Batch: the answer of `describe-jobs`, one or many after each other.

Fields: AWS Batch API Reference, DescribeJobs (JobDetail): moments are milliseconds since 1970, memory is MiB.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sim.inputs import JobClass
from spotbed.work.accounting import AccountingJob, Outcome, file_work
from spotbed.work.complaints import Complaints
from spotbed.work.records import FileWork
from spotbed.work.values import parse_number

COMMAND = "aws batch describe-jobs --jobs ID… (100 at a time; the answers may stand in one file)"

_LOST = re.compile(r"host ec2|spot|instance terminated", re.IGNORECASE)
_MIB_PER_GIB = 1024.0


def batch_work(jobs: Sequence[Any], path: Path, template: JobClass, *, lenient: bool = False) -> FileWork:
    """The jobs of describe-jobs answers. Raises InputError for jobs that cannot be read."""
    complaints = Complaints(path, "jobs cannot be read")
    read: list[AccountingJob] = []
    parents = 0
    for number, job in enumerate(jobs, start=1):
        try:
            array = job.get("arrayProperties") or {}
            if "size" in array and "index" not in array:
                parents += 1
            else:
                read.append(_job(job))
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            message = f"is not what describe-jobs answers: {error!r}."
            complaints.add(None, message, job=number, hint=f"Try: {COMMAND}")
    notes = complaints.settle(len(jobs), lenient=lenient)
    if parents:
        notes.append(f"{parents} of {len(jobs)} jobs left out: array parents, whose children are the jobs")
    retried = sum(1 for job in jobs if isinstance(job, Mapping) and len(job.get("attempts") or ()) > 1)
    if retried:
        notes.append(f"{retried} of {len(jobs)} jobs took more than one attempt: the last one is their runtime")
    return file_work(read, template, path, notes)


def _job(job: Mapping[str, Any]) -> AccountingJob:
    started_s, stopped_s = _span(job)
    runtime_s = None if started_s is None or stopped_s is None else stopped_s - started_s
    if runtime_s is not None and runtime_s < 0:
        raise ValueError("it stopped before it started")
    shape = _shape(job)
    timeout_s = (job.get("timeout") or {}).get("attemptDurationSeconds")
    queue = str(job.get("jobQueue") or "").rpartition("/")[2]
    return AccountingJob(
        id=str(job["jobId"]),
        line=None,
        outcome=_outcome(job),
        submit_s=_seconds(job.get("createdAt")),
        runtime_s=runtime_s,
        estimate_s=None if timeout_s is None else float(timeout_s),
        vcpus=shape.get("VCPU") or None,
        memory_gib=shape.get("MEMORY", 0.0) / _MIB_PER_GIB or None,
        gpus=int(shape.get("GPU", 0)),
        gang=int((job.get("nodeProperties") or {}).get("numNodes") or 1),
        tenant=str(job.get("shareIdentifier") or queue),
        exit_code=int(_exit_code(job) or 0),
        priority=job.get("schedulingPriority"),
        after=tuple(str(each["jobId"]) for each in job.get("dependsOn") or () if each.get("jobId")),
    )


def _seconds(milliseconds: Any) -> float | None:
    return None if not milliseconds else float(milliseconds) / 1000.0


def _span(job: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """When the last attempt started and stopped."""
    for attempt in reversed(job.get("attempts") or ()):
        if attempt.get("startedAt") and attempt.get("stoppedAt"):
            return _seconds(attempt["startedAt"]), _seconds(attempt["stoppedAt"])
    return _seconds(job.get("startedAt")), _seconds(job.get("stoppedAt"))


def _outcome(job: Mapping[str, Any]) -> Outcome:
    status = str(job["status"])
    if status == "SUCCEEDED":
        return Outcome.DONE
    if status != "FAILED":
        return Outcome.UNFINISHED
    if job.get("isTerminated") or job.get("isCancelled"):
        return Outcome.CANCELLED
    reason = f"{job.get('statusReason') or ''} {_container(job).get('reason') or ''}"
    if "timeout" in reason.lower() or "duration exceeded" in reason.lower():
        return Outcome.TIMED_OUT
    if _LOST.search(reason) and _exit_code(job) is None:
        return Outcome.LOST
    return Outcome.FAILED


def _exit_code(job: Mapping[str, Any]) -> Any:
    attempts = job.get("attempts") or ()
    last = (attempts[-1].get("container") or {}) if attempts else {}
    return _container(job).get("exitCode", last.get("exitCode"))


def _container(job: Mapping[str, Any]) -> Mapping[str, Any]:
    """The container of a job, or of the first range of a multi-node one."""
    ranges = (job.get("nodeProperties") or {}).get("nodeRangeProperties")
    return job.get("container") or (ranges[0].get("container") if ranges else None) or {}


def _containers(job: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    tasks = (job.get("ecsProperties") or {}).get("taskProperties") or ()
    return [each for task in tasks for each in task.get("containers") or ()] or [_container(job)]


def _shape(job: Mapping[str, Any]) -> dict[str, float]:
    """VCPU, MEMORY (MiB) and GPU of one instance of the job, added up over the containers of a task."""
    total: dict[str, float] = {}
    for container in _containers(job):
        wanted = {"VCPU": container.get("vcpus"), "MEMORY": container.get("memory")}
        for requirement in container.get("resourceRequirements") or ():
            wanted[str(requirement["type"])] = requirement["value"]
        for name, value in wanted.items():
            if value is not None:
                total[name] = total.get(name, 0.0) + parse_number(str(value))
    return total
