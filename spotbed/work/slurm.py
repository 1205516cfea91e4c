"""Slurm: `sacct --parsable2` (or with commas) and `sacct --json`.

Fields: https://slurm.schedmd.com/sacct.html. A good command is the one in `COMMAND`. Steps (123.batch) are folded into
their job, and so are the earlier lines of a job that was requeued (sacct --duplicates).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sim.inputs import JobClass
from spotbed.work.accounting import AccountingJob, Outcome, file_work
from spotbed.work.cells import Row, Table
from spotbed.work.complaints import Complaints
from spotbed.work.records import FileWork
from spotbed.work.values import is_unknown, parse_elapsed, parse_memory, parse_moment, parse_number

COMMAND = (
    "sacct -a -X -P -D -o JobID,User,Account,Submit,Start,End,ElapsedRaw,TimelimitRaw,AllocCPUS,NNodes,ReqMem,"
    "AllocTRES,State,ExitCode"
)

_OUTCOMES: Mapping[str, Outcome] = {
    "COMPLETED": Outcome.DONE,
    "FAILED": Outcome.FAILED,
    "OUT_OF_MEMORY": Outcome.FAILED,
    "TIMEOUT": Outcome.TIMED_OUT,
    "DEADLINE": Outcome.TIMED_OUT,
    "NODE_FAIL": Outcome.LOST,
    "BOOT_FAIL": Outcome.LOST,
    "PREEMPTED": Outcome.LOST,
    "REQUEUED": Outcome.LOST,
    "CANCELLED": Outcome.CANCELLED,
    "REVOKED": Outcome.CANCELLED,
}
# Short forms, as `sacct -o State%2` and squeue print them.
_SHORT = {"CD": "COMPLETED", "F": "FAILED", "OOM": "OUT_OF_MEMORY", "TO": "TIMEOUT", "NF": "NODE_FAIL"}
_SHORT |= {"BF": "BOOT_FAIL", "PR": "PREEMPTED", "RQ": "REQUEUED", "CA": "CANCELLED", "DL": "DEADLINE"}
_SIGNAL_BASE = 128


def sacct_work(table: Table, template: JobClass, *, lenient: bool = False) -> FileWork:
    """The jobs of a sacct table. Raises InputError for missing columns and cells that cannot be read."""
    table.require("jobid", hint=f"Try: {COMMAND}")
    table.require("state", hint=f"Try: {COMMAND}")
    table.require("submit", hint=f"Try: {COMMAND}")
    if not {"start", "end"} <= set(table.columns):
        table.require("elapsedraw", "elapsed", hint=f"Try: {COMMAND}")
    complaints = Complaints(table.path, "jobs have cells that cannot be read")
    jobs: list[AccountingJob] = []
    step_memory: dict[str, float] = {}
    for row in table.rows:
        job_id, _, step = row.get("jobid").partition(".")
        if step:
            _note_step(row, job_id, step_memory)
        else:
            jobs += _job(row, complaints)
    notes = [*table.notes, *complaints.settle(len(table.rows), lenient=lenient)]
    jobs, requeued = fold_requeued(jobs)
    if requeued:
        notes.append(f"{requeued} of {len(jobs) + requeued} records folded into a later one of the same job (requeued)")
    jobs = [_with_step_memory(job, step_memory) for job in jobs]
    return file_work(jobs, template, table.path, notes)


def _note_step(row: Row, job_id: str, step_memory: dict[str, float]) -> None:
    used = parse_memory(row.get("maxrss")) if row.get("maxrss") else None
    if used:
        step_memory[job_id] = max(step_memory.get(job_id, 0.0), used[0])


def _with_step_memory(job: AccountingJob, step_memory: Mapping[str, float]) -> AccountingJob:
    if job.memory_gib is None and job.id in step_memory:
        return replace(job, memory_gib=step_memory[job.id])
    return job


def fold_requeued(jobs: Sequence[AccountingJob]) -> tuple[list[AccountingJob], int]:
    """One job per id: how it ended last, submitted when it was first; and how many records that took away."""
    last: dict[str, AccountingJob] = {}
    for job in jobs:
        earlier = last.get(job.id)
        last[job.id] = replace(job, submit_s=_earliest(earlier.submit_s, job.submit_s)) if earlier else job
    return list(last.values()), len(jobs) - len(last)


def _earliest(*moments: float | None) -> float | None:
    return min((each for each in moments if each is not None), default=None)


def _job(row: Row, complaints: Complaints) -> list[AccountingJob]:
    """The job of a line, or nothing and a complaint."""
    try:
        outcome = _outcome(row.get("state"))
        gang = max(int(parse_number(row.get("nnodes", "allocnodes", "reqnodes") or "1")), 1)
        resources = _tres(row.get("alloctres", "reqtres", "alloc_tres"))
        cpus = _cpus(row, resources)
        job = AccountingJob(
            id=row.get("jobid"),
            line=row.line,
            outcome=outcome,
            submit_s=parse_moment(row.get("submit")),
            runtime_s=_runtime_s(row, outcome),
            estimate_s=_limit_s(row),
            vcpus=cpus / gang if cpus else None,
            memory_gib=_memory_gib(row, resources, cpus or 1.0, gang),
            gpus=_gpus(resources) // gang,
            gang=gang,
            tenant=row.get("account"),
            user=row.get("user", "uid"),
            exit_code=_exit_code(row.get("exitcode")),
        )
    except ValueError as error:
        complaints.add(row.line, f"job {row.get('jobid')!r}: {error}.", job=row.number)
        return []
    return [job]


def _outcome(state: str) -> Outcome:
    words = state.upper().replace("+", "").split()  # "CANCELLED by 1001", "CANCELLED+"
    word = words[0] if words else ""
    return _OUTCOMES.get(_SHORT.get(word, word), Outcome.UNFINISHED)


def _runtime_s(row: Row, outcome: Outcome) -> float | None:
    start_s, end_s = parse_moment(row.get("start")), parse_moment(row.get("end"))
    elapsed = row.get("elapsedraw", "elapsed")
    runtime_s = parse_elapsed(elapsed) if elapsed else None
    if runtime_s is None and start_s is not None and end_s is not None:
        runtime_s = end_s - start_s
    if runtime_s is not None and runtime_s < 0:
        raise ValueError(f"a runtime of {runtime_s:g} s")
    if outcome is Outcome.CANCELLED and (not runtime_s or ("start" in row.cells and start_s is None)):
        return None
    return runtime_s


def _limit_s(row: Row) -> float | None:
    minutes = row.get("timelimitraw")
    if minutes and not is_unknown(minutes):
        return parse_number(minutes) * 60
    limit = row.get("timelimit")
    return parse_elapsed(limit) if limit else None


def _tres(text: str) -> dict[str, str]:
    """cpu=4,mem=16G,node=1,gres/gpu:a100=1 as a mapping."""
    pairs = (part.partition("=") for part in text.split(",") if "=" in part)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _cpus(row: Row, resources: Mapping[str, str]) -> float | None:
    text = row.get("alloccpus", "ncpus")
    cpus = parse_number(text) if text else 0.0
    if not cpus:
        text = resources.get("cpu") or row.get("reqcpus")
        cpus = parse_number(text) if text else 0.0
    return cpus or None


def _gpus(resources: Mapping[str, str]) -> int:
    if "gres/gpu" in resources:
        return int(parse_number(resources["gres/gpu"]))
    typed = (value for name, value in resources.items() if name.startswith("gres/gpu:"))
    return sum(int(parse_number(value)) for value in typed)


def _memory_gib(row: Row, resources: Mapping[str, str], cpus: float, gang: int) -> float | None:
    """Memory of one instance of the job: its allocation, else its request (which may be per CPU or per node)."""
    allocated = parse_memory(resources["mem"]) if "mem" in resources else None
    asked = allocated or (parse_memory(row.get("reqmem")) if row.get("reqmem") else None)
    if asked is None:
        return None
    gib, per = asked
    return {"cpu": gib * cpus / gang, "node": gib, "job": gib / gang}[per]


def _exit_code(text: str) -> int:
    """The shell's exit code of Slurm's code:signal."""
    code, _, signal = text.partition(":")
    if not re.fullmatch(r"\d+", code):
        return 0
    if int(code) == 0 and signal.isdecimal() and int(signal):
        return _SIGNAL_BASE + int(signal)
    return int(code)


def json_rows(jobs: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The jobs of `sacct --json` as the cells of a sacct table; versions differ in what they wrap in {set, number}."""
    return [_json_cells(job) for job in jobs]


def _json_cells(job: Mapping[str, Any]) -> dict[str, str]:
    times = _mapping(job.get("time"))
    tres = _mapping(job.get("tres"))
    allocated = _json_tres(tres.get("allocated") or tres.get("requested"))
    required = _mapping(job.get("required"))
    array = _mapping(job.get("array"))
    task = _number(array.get("task_id"))
    array_id = _number(array.get("job_id"))
    state = _mapping(job.get("state")).get("current", job.get("state"))
    memory_per_cpu, memory_per_node = _number(required.get("memory_per_cpu")), _number(required.get("memory_per_node"))
    return {
        "jobid": f"{array_id}_{task}" if array_id not in ("", "0") and task else str(job.get("job_id", "")),
        "state": str(state[0] if isinstance(state, list) and state else state or ""),
        "submit": _moment(times.get("submission")),
        "start": _moment(times.get("start")),
        "end": _moment(times.get("end")),
        "elapsedraw": _number(times.get("elapsed")),
        "timelimitraw": _number(times.get("limit")),
        "reqcpus": _number(required.get("CPUs")),
        "nnodes": _number(job.get("allocation_nodes")),
        "reqmem": f"{memory_per_cpu}Mc" if memory_per_cpu not in ("", "0") else f"{memory_per_node or 0}Mn",
        "alloctres": allocated,
        "account": str(job.get("account") or ""),
        "user": str(job.get("user") or ""),
        "exitcode": _json_exit_code(_mapping(job.get("exit_code"))),
    }


def _json_exit_code(codes: Mapping[str, Any]) -> str:
    signal = _mapping(codes.get("signal"))
    return f"{_number(codes.get('return_code')) or 0}:{_number(signal.get('id', signal.get('signal_id'))) or 0}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> str:
    """A number as text, bare or as {"set": true, "infinite": false, "number": 5}; "" if it is not set."""
    if isinstance(value, Mapping):
        value = value.get("number") if value.get("set", True) and not value.get("infinite") else None
    return "" if value is None or isinstance(value, bool) else str(value)


def _moment(value: Any) -> str:
    text = _number(value)
    return "" if text == "0" else text


def _json_tres(entries: Any) -> str:
    """cpu=4,gres/gpu=1 of [{"type": "cpu", "name": "", "count": 4}, …], without the memory: `required` is exact."""
    if not isinstance(entries, list):
        return ""
    parts = []
    for entry in entries:
        kind, name = str(entry.get("type", "")), str(entry.get("name") or "")
        if kind != "mem":
            parts.append(f"{kind}{'/' if name else ''}{name}={_number(entry.get('count'))}")
    return ",".join(parts)
