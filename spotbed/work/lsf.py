"""LSF: tables made of `bacct`, `bhist` or `bjobs -o … [-json]`.

bacct and bhist print for people; what sites export from them (and what `bjobs -o` prints by itself) are tables with the
names of `COLUMNS`, in any order and case. RECORDS of `bjobs -json` have the same names.
"""

from __future__ import annotations

import re

from sim.inputs import JobClass
from spotbed.work.accounting import AccountingJob, Outcome, file_work
from spotbed.work.cells import Row, Table
from spotbed.work.complaints import Complaints
from spotbed.work.records import FileWork
from spotbed.work.values import is_unknown, parse_elapsed, parse_memory, parse_moment, parse_number

COMMAND = (
    "LSB_DISPLAY_YEAR=Y bjobs -a -u all -json -o 'jobid jobindex user project stat submit_time start_time finish_time "
    "run_time cpu_used nalloc_slot max_mem gpu_num exit_code'"
)

ID = ("jobid", "job_id")
SUBMIT = ("submit_time", "submittime", "submit")
START = ("start_time", "starttime", "start")
FINISH = ("finish_time", "end_time", "finishtime", "finish")
RUN = ("run_time", "runtime", "run")
CPU = ("cpu_used", "cpu_t", "cpu_time")
SLOTS = ("slots", "nalloc_slot", "alloc_slot", "min_req_proc", "num_processors", "nprocs")
MEMORY = ("mem", "max_mem", "maxmem", "memlimit")
GPUS = ("gpu_num", "gpus", "ngpus")
STATUS = ("stat", "status", "job_status")
EXIT = ("exit_status", "exit_code")
LIMIT = ("runtimelimit", "runlimit", "rtlimit")
TENANT = ("project", "proj_name", "projname")
COLUMNS = {
    "JOBID": ID,
    "SUBMIT_TIME": SUBMIT,
    "START_TIME": START,
    "FINISH_TIME": FINISH,
    "RUN_TIME": RUN,
    "CPU_USED": CPU,
    "SLOTS": SLOTS,
    "MEM": MEMORY,
    "GPU_NUM": GPUS,
    "STAT": STATUS,
    "EXIT_STATUS": EXIT,
    "RUNTIMELIMIT": LIMIT,
    "PROJECT": TENANT,
}

_UNFINISHED = frozenset({"PEND", "RUN", "PSUSP", "USUSP", "SSUSP", "WAIT", "PROV", "UNKWN", "ZOMBI", "FWD_PEND"})
# Termination reasons of bacct that mean the machine or the scheduler, not the job.
_LOST = re.compile(
    r"TERM_(?:PREEMPT|LOAD|ZOMBIE|REQUEUE\w*|ADMIN_REQUEUE|CHKPNT|PROCESSLIMIT_HOST|RC_RECLAIM|UNKNOWN_HOST)"
)
_TIMED_OUT = re.compile(r"TERM_(?:RUNLIMIT|DEADLINE|WINDOW|CPULIMIT)")
_OWNER = re.compile(r"TERM_(?:OWNER|FORCE_OWNER|ADMIN|FORCE_ADMIN)")


def lsf_work(table: Table, template: JobClass, *, lenient: bool = False) -> FileWork:
    """The jobs of an LSF table. Raises InputError for missing columns and cells that cannot be read."""
    hint = f"Try: {COMMAND}"
    table.require(*ID, hint=hint)
    table.require(*SUBMIT, hint=hint)
    if not (set(START) & set(table.columns) and set(FINISH) & set(table.columns)):
        table.require(*RUN, *CPU, hint=hint)
    complaints = Complaints(table.path, "jobs have cells that cannot be read")
    jobs: list[AccountingJob] = []
    for row in table.rows:
        try:
            jobs.append(_job(row))
        except ValueError as error:
            complaints.add(row.line, f"job {row.get(*ID)!r}: {error}.", job=row.number)
    notes = [*table.notes, *complaints.settle(len(table.rows), lenient=lenient)]
    guessed = sum(1 for row in table.rows if not _wall_time(row) and _known(row, CPU))
    if guessed:
        notes.append(
            f"{guessed} of {len(jobs)} jobs have no run time: their CPU time divided by their slots stands for it"
        )
    return file_work(jobs, template, table.path, notes)


def _job(row: Row) -> AccountingJob:
    slots = row.get(*SLOTS)
    cpus = parse_number(slots) if slots and not is_unknown(slots) else None
    memory = parse_memory(row.get(*MEMORY)) if row.get(*MEMORY) else None
    outcome, exit_code = _outcome(row)
    gpus = row.get(*GPUS)
    return AccountingJob(
        id=_id(row),
        line=row.line,
        outcome=outcome,
        submit_s=_moment(row, SUBMIT),
        runtime_s=_runtime_s(row, cpus or 1.0),
        estimate_s=_limit_s(row),
        vcpus=cpus or None,
        memory_gib=memory[0] if memory else None,
        gpus=int(parse_number(gpus)) if gpus and not is_unknown(gpus) else 0,
        tenant=row.get(*TENANT),
        user=row.get("user"),
        exit_code=exit_code,
    )


def _id(row: Row) -> str:
    """123, or 123[4] for an element of an array (whose index may have a column of its own)."""
    job_id, index = row.get(*ID), row.get("jobindex")
    if "[" in job_id or index in ("", "0", "-"):
        return job_id
    return f"{job_id}[{index}]"


def _known(row: Row, columns: tuple[str, ...]) -> str:
    text = row.get(*columns)
    return "" if is_unknown(text) else text


def _moment(row: Row, columns: tuple[str, ...]) -> float | None:
    return parse_moment(row.get(*columns))


def _wall_time(row: Row) -> str:
    return _known(row, RUN) or (_known(row, START) and _known(row, FINISH))


def _runtime_s(row: Row, slots: float) -> float | None:
    run = _known(row, RUN)
    start_s, finish_s = _moment(row, START), _moment(row, FINISH)
    if run:
        runtime_s = parse_elapsed(run)
    elif start_s is not None and finish_s is not None:
        runtime_s = finish_s - start_s
    else:
        used = _known(row, CPU)
        cpu_s = parse_elapsed(used) if used else None
        runtime_s = None if cpu_s is None else cpu_s / slots
    if runtime_s is not None and runtime_s < 0:
        raise ValueError(f"a runtime of {runtime_s:g} s")
    never_started = set(START) & set(row.cells) and start_s is None
    return None if never_started else runtime_s


def _limit_s(row: Row) -> float | None:
    """LSF counts run limits in minutes: 60, 60.0, or "60.0 min of host1"."""
    minutes = re.match(r"\d+(?:\.\d+)?", _known(row, LIMIT))
    return float(minutes.group()) * 60 if minutes else None


def _outcome(row: Row) -> tuple[Outcome, int]:
    """How the job ended, and its exit code."""
    status = row.get(*STATUS).upper()
    code = _exit_code(row)
    if status in _UNFINISHED:
        return Outcome.UNFINISHED, code
    reason = row.get("exit_reason", "term_reason", "reason").upper()
    if _LOST.search(reason):
        return Outcome.LOST, code
    if _TIMED_OUT.search(reason):
        return Outcome.TIMED_OUT, code
    if _OWNER.search(reason):
        return Outcome.CANCELLED, code
    if status == "EXIT" or code:
        return Outcome.FAILED, code
    if not status and not _known(row, FINISH) and not _known(row, RUN) and not _known(row, CPU):
        return Outcome.UNFINISHED, code
    return Outcome.DONE, code


def _exit_code(row: Row) -> int:
    text = row.get(*EXIT)
    return int(parse_number(text)) if text and not is_unknown(text) else 0


def is_lsf(columns: tuple[str, ...]) -> bool:
    """Whether these are the columns of an LSF table."""
    return "jobid" in columns and bool(set(SUBMIT[:2]) & set(columns))
