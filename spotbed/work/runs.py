"""An earlier run as work, and as what predictions learn from: the tables in the folder of a simulated run (jobs.csv, by
any name of a file beside it), or the journal of a deployed one (journal.jsonl).

Of both, only jobs that ended well are taken: of others it is not known how long they take.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scheduler.settings import Settings
from sim.distributions import to_ms
from sim.inputs import Float64, JobClass, Work
from spotbed import metering
from spotbed.errors import InputError, Problem
from spotbed.verify.lines import read_journal
from spotbed.verify.observed import observe
from spotbed.verify.work import work_of_run
from spotbed.work.cells import Table, read_delimited
from spotbed.work.prediction import PREDICTIONS, Past, RuntimeEstimate, predicted
from spotbed.work.records import FileWork, part_of
from spotbed.work.swf import read_swf
from spotbed.work.tabular import run_work
from spotbed.work.values import parse_number

_JOBS = "jobs.csv"
_JOURNAL = ".jsonl"
_S = 1000.0


@dataclass(frozen=True)
class EarlierRun:
    """The jobs of a run in order of submission, and how long after its submission each had ended (shape n, seconds)."""

    read: FileWork
    took_s: Callable[[], Float64]  # asked only for a prediction: raises InputError where the file does not say it

    def past(self) -> Past:
        """Its jobs as predictions see them. Without users, tenants count as such."""
        work = self.read.jobs
        submit_s, asked_s = work.submit_ms / _S, np.where(work.estimate_ms < 0, -1.0, work.estimate_ms / _S)
        needs = [[klass.vcpus, klass.memory_gib, klass.gpus] for klass in work.classes]
        traits = (work.klass.astype(np.float64), *np.array(needs, dtype=np.float64)[work.klass].T)
        return Past(submit_s, submit_s + self.took_s(), work.runtime_ms / _S, asked_s, _users(work), traits)

    def told(self, how: RuntimeEstimate, first: int, count: int | None) -> FileWork:
        """The jobs `first` .. `first + count - 1`, with what policies are told of their runtimes. A prediction is
        learnt from those before `first`. Raises InputError where none is left."""
        work = self.read.jobs
        if first >= len(work):
            raise InputError(Problem(f"no job is left: {len(work)} are usable and `first` is {first}."))
        if how == "actual":
            work = replace(work, estimate_ms=work.runtime_ms)
        elif how in PREDICTIONS:
            found_s = predicted(self.past(), how, first)
            work = replace(work, estimate_ms=np.where(found_s < 0, -1, to_ms(found_s)))
        end = len(work) if count is None else min(len(work), first + count)
        lines = None if self.read.lines is None else self.read.lines[first:end]
        return FileWork(part_of(work, first, end, int(work.submit_ms[first])), self.read.notes, lines)


def jobs_of_run(path: Path) -> Path:
    """The file that tells of the jobs, of a run of which this is a file. Raises InputError."""
    if path.suffix == _JOURNAL:
        return path
    beside = path.with_name(_JOBS)
    if not beside.is_file():
        hint = f"Name a file in the folder of a run, or the journal{_JOURNAL} of a deployed one."
        raise InputError(Problem(f"has no {_JOBS} beside it.", file=str(path), hint=hint))
    return beside


def read_run(path: Path, template: JobClass, *, lenient: bool = False) -> EarlierRun:
    """The run that a file, one of `jobs_of_run`, tells of. Raises InputError."""
    if path.suffix == _JOURNAL:
        return _deployed(path)
    table = read_delimited(path, lenient=lenient)
    read = run_work(table, template, lenient=lenient)
    return EarlierRun(read, lambda: _turnarounds(table, read.jobs))


def read_past(path: Path) -> Past:
    """What predictions learn from: a log in SWF, or a run. Raises InputError."""
    is_run = path.suffix == _JOURNAL or path.name == _JOBS or path.with_name(_JOBS).is_file()
    if is_run:
        return read_run(jobs_of_run(path), JobClass("job"), lenient=True).past()
    return read_swf(path, runtime_cap="request", lenient=True).past()


def _turnarounds(table: Table, work: Work) -> Float64:
    column = "turnaround_time"
    table.require(column, hint="A prediction must know what had ended before.")
    by_id = {row.get("job_id"): row.get(column) for row in table.rows}
    return np.array([parse_number(by_id[work.job_id(number)]) for number in range(len(work))])


def _deployed(path: Path) -> EarlierRun:
    lines = read_journal(path)
    settings: dict[str, int] = next((line.body["settings"] for line in lines if line.fact == "stack"), {})
    seen = observe(lines, Settings(**settings))
    done = {name: job for name, job in seen.jobs.items() if job.status == metering.DONE}
    if not done:
        raise InputError(Problem("no job of this run has ended well.", file=str(path)))
    names = sorted(done, key=lambda name: done[name].ticket.submit_ms)
    work = work_of_run(seen, names)
    work = part_of(work, 0, len(work), int(work.submit_ms[0]))
    took_s = np.array([done[name].end_ms - done[name].ticket.submit_ms for name in names]) / _S
    left = len(seen.jobs) - len(done)
    notes = (f"{left} of {len(seen.jobs)} jobs left out: they did not end well",) if left else ()
    return EarlierRun(FileWork(work, notes), lambda: took_s)


def _users(work: Work) -> npt.NDArray[np.int32]:
    if work.user is not None and len(np.unique(work.user)) > 1:
        return work.user
    tenants = {name: number for number, name in enumerate(sorted({klass.tenant for klass in work.classes}))}
    return np.array([tenants[klass.tenant] for klass in work.classes], dtype=np.int32)[work.klass]
