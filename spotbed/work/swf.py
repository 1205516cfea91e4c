"""Standard Workload Format: the logs of the Parallel Workloads Archive, plain or .gz.

Format: https://www.cs.huji.ac.il/labs/parallel/workload/swf.html (version 2.2): header lines `; Key: value`, then one
line of 18 numbers per job, -1 for what is not known. A runtime of 0 means less than half a second and stays 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from sim.distributions import to_ms
from sim.inputs import Float64, JobClass, Work
from spotbed.errors import InputError, Problem
from spotbed.work.complaints import Complaints
from spotbed.work.prediction import PREDICTIONS, Past, RuntimeEstimate, predicted
from spotbed.work.records import FileWork
from spotbed.work.textfile import read_text
from spotbed.work.values import LARGEST, parse_number

Slots = Literal["require", "as-one"]
SlotsField = Literal["allocated", "requested"]
RuntimeCap = Literal["none", "request"]

_FIELDS = 18
_CANCELLED = 5.0  # field 11
_HEADER = re.compile(r";\s*(\w+)\s*:\s*(.*?)\s*$")

# Columns by their number in the format, counted from 1.
_JOB, _SUBMIT, _WAIT, _RUN, _ALLOCATED, _REQUESTED, _REQUESTED_TIME, _STATUS, _USER = 1, 2, 3, 4, 5, 8, 9, 11, 12
_LINE = 0  # not of the format: where the job stands in the file
_READ = (_JOB, _SUBMIT, _WAIT, _RUN, _ALLOCATED, _REQUESTED, _REQUESTED_TIME, _STATUS, _USER)

Columns = dict[int, Float64]


@dataclass(frozen=True, slots=True)
class SwfHeader:
    """The header's lines by key (a key given twice keeps its first value); an excerpt may have none."""

    fields: Mapping[str, str]

    def number(self, key: str) -> int | None:
        """The integer that a header line starts with, or None."""
        match = re.match(r"-?\d+", self.fields.get(key, ""))
        return int(match.group()) if match else None

    @property
    def max_procs(self) -> int | None:
        """Processors of the machine: MaxProcs, or MaxNodes in logs that give only that."""
        return self.number("MaxProcs") or self.number("MaxNodes")

    @property
    def unix_start_time(self) -> int | None:
        """Seconds since 1970 (UTC) at which the log's clock is 0."""
        return self.number("UnixStartTime")


@dataclass(frozen=True, slots=True)
class SwfLog:
    """The usable jobs of a log in order of submission; columns have length n, times are seconds.

    `submit_s` counts from the first job kept (which the log's clock has at `first_submit_s`); `estimate_s` is -1 where
    the log has no request; `user` is -1 where unknown. `line` is where each job stands in the file. `notes` says what
    was left out and why.
    """

    header: SwfHeader
    first_submit_s: float
    job: npt.NDArray[np.int64]
    submit_s: Float64
    runtime_s: Float64
    estimate_s: Float64
    slots: npt.NDArray[np.int32]
    user: npt.NDArray[np.int32]
    line: npt.NDArray[np.int64]
    wait_s: Float64  # as the log has it; -1 where unknown
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.submit_s)

    def past(self) -> Past:
        """These jobs as predictions see them."""
        ends_s = self.submit_s + np.maximum(0.0, self.wait_s) + self.runtime_s
        slots = self.slots.astype(np.float64)
        return Past(self.submit_s, ends_s, self.runtime_s, self.estimate_s, self.user, (slots,), self.first_submit_s)

    def file_work(self, job_class: JobClass) -> FileWork:
        """These jobs as work of one class."""
        count = len(self)
        estimate_ms = np.where(self.estimate_s < 0, -1, to_ms(self.estimate_s))
        jobs = Work(
            classes=(job_class,),
            klass=np.zeros(count, dtype=np.int32),
            submit_ms=to_ms(self.submit_s),
            runtime_ms=to_ms(self.runtime_s),
            estimate_ms=estimate_ms,
            slots=self.slots,
            outcome_u=np.zeros(count),
            string_u=np.zeros(count),
            ids=tuple(str(number) for number in self.job.tolist()) if _unique(self.job) else None,
            user=self.user,
        )
        return FileWork(jobs, self.notes, self.line)


def _unique(values: npt.NDArray[np.int64]) -> bool:
    return len(np.unique(values)) == len(values)


def read_swf(
    path: Path,
    *,
    first: int = 0,
    count: int | None = None,
    time_scale: float = 1.0,
    runtime_estimate: RuntimeEstimate = "requested",
    slots: Slots = "require",
    slots_field: SlotsField = "allocated",
    runtime_cap: RuntimeCap = "none",
    lenient: bool = False,
    quantile: float = 0.5,
) -> SwfLog:
    """The jobs `first` .. `first + count - 1` (0-based, among the usable ones in order of submission) of a log.

    time_scale multiplies the times between submissions (below 1: more load), never the runtimes. slots "as-one" gives
    each job one slot, "require" the processors of `slots_field` (where that is unknown, of the other field).
    runtime_cap "request" ends a job at its requested time, as a machine does that enforces it.

    runtime_estimate "last-two" and "boosted" are predictions (see `spotbed.work.prediction`) from the jobs of the log
    that had ended before; "boosted" gives the `quantile` by what was learnt from those before `first`.

    Raises InputError for lines that are no jobs (unless lenient: then they are left out) and for a log without jobs.
    """
    header, columns, notes = _parse(path, lenient)
    columns = _sorted(columns)
    processors = _processors(columns, slots_field)
    keep, dropped = _usable(columns, processors)
    notes += dropped
    chosen = np.flatnonzero(keep)[first : None if count is None else first + count]
    if runtime_estimate in PREDICTIONS:
        chosen = np.flatnonzero(keep) if len(chosen) else chosen  # what came before is learnt from
    if len(chosen) == 0:
        usable = int(keep.sum())
        raise InputError(Problem(f"no job is left: {usable} are usable and `first` is {first}.", file=str(path)))
    log = _log(header, {number: column[chosen] for number, column in columns.items()}, processors[chosen])
    log = _scaled(log, time_scale)
    log, more = _with_requests(log, runtime_estimate, runtime_cap)
    if runtime_estimate in PREDICTIONS:
        log = _predicted(log, runtime_estimate, first, count, quantile)
    if slots == "as-one":
        log = replace(log, slots=np.ones(len(log), dtype=np.int32))
    return replace(log, notes=(*notes, *more))


def _log(header: SwfHeader, columns: Columns, processors: Float64) -> SwfLog:
    submit_s = columns[_SUBMIT]
    return SwfLog(
        header=header,
        first_submit_s=float(submit_s[0]),
        job=columns[_JOB].astype(np.int64),
        submit_s=submit_s - submit_s[0],
        runtime_s=columns[_RUN],
        estimate_s=columns[_REQUESTED_TIME],
        slots=processors.astype(np.int32),
        user=columns[_USER].astype(np.int32),
        line=columns[_LINE].astype(np.int64),
        wait_s=columns[_WAIT],
    )


def _scaled(log: SwfLog, time_scale: float) -> SwfLog:
    if time_scale <= 0:
        raise InputError(Problem(f"a time scale is positive, not {time_scale!r}.", path="workload.time_scale"))
    return replace(log, submit_s=log.submit_s * time_scale)


def _with_requests(log: SwfLog, runtime_estimate: RuntimeEstimate, cap: RuntimeCap) -> tuple[SwfLog, list[str]]:
    known = log.estimate_s > 0
    notes: list[str] = []
    runtime_s = log.runtime_s
    if cap == "request":
        runtime_s = np.where(known, np.minimum(runtime_s, log.estimate_s), runtime_s)
    if runtime_estimate == "actual":
        return replace(log, runtime_s=runtime_s, estimate_s=runtime_s), notes
    if not known.all():
        notes.append(
            f"{int((~known).sum())} of {len(log)} jobs have no requested time; "
            "`runtime_estimate: actual` gives policies the runtime instead"
        )
    return replace(log, runtime_s=runtime_s, estimate_s=np.where(known, log.estimate_s, -1.0)), notes


def _predicted(log: SwfLog, how: RuntimeEstimate, first: int, count: int | None, quantile: float) -> SwfLog:
    """The chosen jobs, with predictions in place of requests."""
    estimate_s = predicted(log.past(), how, first, quantile)
    chosen = slice(first, None if count is None else first + count)
    begin_s = log.submit_s[first]
    columns = {name: getattr(log, name)[chosen] for name in ("job", "runtime_s", "slots", "user", "line", "wait_s")}
    return replace(
        log,
        first_submit_s=log.first_submit_s + begin_s,
        submit_s=log.submit_s[chosen] - begin_s,
        estimate_s=estimate_s[chosen],
        **columns,
    )


def _processors(columns: Columns, slots_field: SlotsField) -> Float64:
    preferred, other = columns[_ALLOCATED], columns[_REQUESTED]
    if slots_field == "requested":
        preferred, other = other, preferred
    return np.where(preferred > 0, preferred, other)


def _usable(columns: Columns, processors: Float64) -> tuple[npt.NDArray[np.bool_], list[str]]:
    """Which jobs ran, and notes on those that did not."""
    run = columns[_RUN]
    never_ran = (run == 0) & ((columns[_ALLOCATED] <= 0) | (columns[_STATUS] == _CANCELLED))
    reasons = [
        (run < 0, "no runtime"),
        (never_ran, "ended before they started"),
        ((run >= 0) & ~never_ran & (processors <= 0), "no number of processors"),
    ]
    notes = [f"{int(those.sum())} of {len(run)} jobs left out: {reason}" for those, reason in reasons if those.any()]
    dropped = np.logical_or.reduce([those for those, _ in reasons])
    return ~dropped, notes


def _sorted(columns: Columns) -> Columns:
    submit = columns[_SUBMIT]
    if (np.diff(submit) >= 0).all():
        return columns
    order = np.argsort(submit, kind="stable")
    return {number: column[order] for number, column in columns.items()}


def _parse(path: Path, lenient: bool) -> tuple[SwfHeader, Columns, list[str]]:
    fields: dict[str, str] = {}
    rows: list[list[str]] = []
    numbers: list[int] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.lstrip().startswith(";"):
            match = _HEADER.match(line.lstrip())
            if match:
                fields.setdefault(match.group(1), match.group(2))
        else:
            row = line.split()
            if row:
                rows.append(row)
                numbers.append(number)
    columns = _columns(rows, numbers)
    notes: list[str] = []
    if columns is None:
        columns, notes = _without_malformed(path, rows, numbers, lenient)
    if not len(columns[_SUBMIT]):
        hint = "An SWF line has 18 numbers." if rows else "It has only comments, or nothing at all."
        hint = " ".join([*(f"{note}." for note in notes), hint])
        raise InputError(Problem("there is no job in this file.", file=str(path), hint=hint))
    return SwfHeader(fields), columns, notes


def _columns(rows: list[list[str]], lines: list[int]) -> Columns | None:
    """The columns that are read, or None if a row is not 18 fields with sensible numbers in those that are read."""
    if any(len(row) < _FIELDS for row in rows):
        return None
    try:
        columns = {
            number: np.fromiter(map(float, (row[number - 1] for row in rows)), dtype=np.float64, count=len(rows))
            for number in _READ
        }
    except ValueError:
        return None
    if not all((np.abs(column) <= LARGEST).all() for column in columns.values()):  # NaN is not, either
        return None
    return {_LINE: np.array(lines, dtype=np.float64), **columns}


def _without_malformed(
    path: Path, rows: list[list[str]], numbers: list[int], lenient: bool
) -> tuple[Columns, list[str]]:
    complaints = Complaints(path, "lines are no SWF jobs")
    good, lines = [], []
    for row, number in zip(rows, numbers, strict=True):
        wrong = _complaint(row)
        if wrong is None:
            good.append(row)
            lines.append(number)
        else:
            complaints.add(number, wrong)
    notes = complaints.settle(len(rows), lenient=lenient)
    return _columns(good, lines) or {}, notes


def _complaint(row: list[str]) -> str | None:
    """What keeps a line from being a job, or None."""
    if len(row) < _FIELDS:
        return f"has {len(row)} fields, and an SWF job has {_FIELDS}."
    for number in _READ:
        text = row[number - 1]
        try:
            value = parse_number(text)
        except ValueError:
            return f"field {number} is not a number: {text[:40]!r}."
        if abs(value) > LARGEST:
            return f"field {number} is beyond all reason: {text[:40]!r}."
    return None
