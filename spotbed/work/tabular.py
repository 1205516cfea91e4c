"""Tables of spotbed's own: a CSV or Parquet file with one job a row, and the jobs.csv of an earlier run.

`COLUMNS` is what a table may have; only `runtime` must be there. Times are seconds, sizes GiB. `submit` is seconds from
any origin or a time with its date (ISO 8601), the same for all rows. An empty cell is the scenario's default.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.inputs import JobClass
from spotbed.errors import InputError, Problem
from spotbed.work.cells import Row, Table
from spotbed.work.complaints import Complaints
from spotbed.work.records import ClassPool, FileWork, JobRecord, read_work
from spotbed.work.values import parse_moment, parse_number

_TRUE = frozenset({"true", "yes", "1", "t", "y"})
_FALSE = frozenset({"false", "no", "0", "f", "n"})
_LIKE = 0.75  # of difflib: a column that is so alike one of ours was meant to be it
_MEANT = {
    "job_id": "id",
    "jobid": "id",
    "submit_time": "submit",
    "submission_time": "submit",
    "duration": "runtime",
    "elapsed": "runtime",
    "memory": "memory_gib",
    "mem": "memory_gib",
    "cpus": "vcpus",
    "cores": "vcpus",
    "account": "tenant",
    "project": "tenant",
}


def _text(text: str) -> str:
    return text


def _amount(text: str) -> float:
    value = parse_number(text)
    if value < 0:
        raise ValueError("must not be negative")
    return value


def _positive(text: str) -> float:
    value = parse_number(text)
    if value <= 0:
        raise ValueError("must be above 0")
    return value


def _whole(text: str) -> int:
    value = parse_number(text)
    if value != int(value):
        raise ValueError("must be a whole number")
    return int(value)


def _count(text: str) -> int:
    value = _whole(text)
    if value < 0:
        raise ValueError("must not be negative")
    return value


def _at_least_one(text: str) -> int:
    value = _whole(text)
    if value < 1:
        raise ValueError("must be at least 1")
    return value


def _probability(text: str) -> float:
    value = parse_number(text)
    if not 0 <= value <= 1:
        raise ValueError("must be between 0 and 1")
    return value


def _flag(text: str) -> bool:
    word = text.lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("is neither true nor false")
    return word in _TRUE


def _positive_ms(text: str) -> int:
    return round(_positive(text) * 1000)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.replace(";", " ").split())


def _licences(text: str) -> tuple[tuple[str, int], ...]:
    pairs = (pair.partition(":") for pair in _names(text))
    return tuple(sorted((name, _at_least_one(count or "1")) for name, _, count in pairs))


@dataclass(frozen=True, slots=True)
class Column:
    """How a column is read, the key of JobClass that it sets ("" for what is each job's own), what it means."""

    read: Callable[[str], Any]
    key: str
    meaning: str


COLUMNS: Mapping[str, Column] = {
    "id": Column(_text, "", "unique; by default job-1, job-2, …"),
    "submit": Column(_text, "", "when it is submitted: seconds, or a time with its date; by default all at once"),
    "runtime": Column(_amount, "", "the work itself on the reference type, seconds"),
    "estimate": Column(_amount, "", "what its user asked for, seconds"),
    "slots": Column(_at_least_one, "", "processors on a fixed cluster"),
    "after": Column(_names, "", "ids of jobs or names of classes, separated by spaces or ;"),
    "user": Column(_text, "", "who submitted it, for predictors"),
    "class": Column(_text, "name", "its class; by default named by the shape"),
    "vcpus": Column(_positive, "vcpus", "vCPUs that it needs"),
    "memory_gib": Column(_amount, "memory_gib", "memory that it needs, GiB"),
    "gpus": Column(_count, "gpus", "GPUs that it needs"),
    "priority": Column(_whole, "priority", "higher runs earlier, under an order that looks"),
    "tenant": Column(_text, "tenant", "who is charged, and shares fairly"),
    "deadline": Column(_positive_ms, "deadline_ms", "to be done by, seconds after the submission"),
    "timeout": Column(_positive_ms, "timeout_ms", "seconds after which an attempt is ended"),
    "retries": Column(_count, "retries", "further attempts after the application failed"),
    "checkpointable": Column(_flag, "checkpointable", "true or false"),
    "fail_probability": Column(_probability, "fail_probability", "that an attempt fails"),
    "exit_code": Column(_count, "exit_code", "of an attempt that fails"),
    "success_string_missing": Column(
        _probability, "success_string_missing", "that the output lacks the success string"
    ),
    "input_gib": Column(_amount, "input_gib", "data read before each attempt, GiB"),
    "output_gib": Column(_amount, "output_gib", "data written after a success, GiB"),
    "gang": Column(_at_least_one, "gang", "instances that it needs at the same time"),
    "licences": Column(_licences, "licences", "held while it runs: calibre:2 spectre:1"),
    "late_penalty_usd_per_hour": Column(_amount, "late_penalty_usd_per_hour", "charged per hour after the deadline"),
}


def table_work(table: Table, template: JobClass, *, lenient: bool = False) -> FileWork:
    """The jobs of a table. Raises InputError for columns and cells that cannot be read, with their lines."""
    notes = [*table.notes, *_unread(table)]
    table.require("runtime")
    submit = _submit_reader(table)
    pool = ClassPool(template)
    complaints = Complaints(table.path, "jobs have cells that cannot be read")
    records = []
    for row in table.rows:
        cells = _read_cells(row, complaints)
        if cells is not None:
            try:
                records.append(_record(row, cells, submit(row), pool))
            except ValueError as error:
                complaints.add(row.line, f"{error}.", job=row.number, column="submit", value=row.get("submit"))
    notes += complaints.settle(len(table.rows), lenient=lenient)
    return read_work(records, table.path, notes)


def _unread(table: Table) -> list[str]:
    """A note on the columns that mean nothing here; InputError for those that look like one of ours."""
    unknown = [column for column in table.columns if column and column not in COLUMNS]
    absent = [column for column in COLUMNS if column not in table.columns]
    problems = []
    for column in unknown:
        near = [_MEANT[column]] if _MEANT.get(column) in absent else []
        near = near or difflib.get_close_matches(column, absent, n=1, cutoff=_LIKE)
        if near:
            hint = f"Did you mean {near[0]!r}, {COLUMNS[near[0]].meaning}?"
            problems.append(Problem("unknown column.", file=str(table.path), line=1, path=column, hint=hint))
    if problems:
        raise InputError(problems)
    return [f"columns that are not read: {', '.join(unknown)}"] if unknown else []


def _submit_reader(table: Table) -> Callable[[Row], float]:
    """How this table's `submit` is read: all numbers, or all times with their date."""
    texts = (row.get("submit") for row in table.rows)
    first = next((text for text in texts if text), "0")
    try:
        parse_number(first)
    except ValueError:
        return _submit_moment
    return _submit_seconds


def _submit_seconds(row: Row) -> float:
    return parse_number(row.get("submit") or "0")


def _submit_moment(row: Row) -> float:
    text = row.get("submit")
    if text.replace(".", "", 1).isdecimal():
        raise ValueError("is a number where other rows have a time with its date")
    moment = parse_moment(text)
    if moment is None:
        raise ValueError("there is no time of submission")
    return moment


def _read_cells(row: Row, complaints: Complaints) -> dict[str, Any] | None:
    """The values of the cells that are not empty, or None and complaints."""
    values: dict[str, Any] = {}
    good = True
    for name, column in COLUMNS.items():
        text = row.get(name)
        if text:
            try:
                values[name] = column.read(text)
            except ValueError as error:
                good = False
                complaints.add(row.line, _said(text, error), job=row.number, column=name, value=text)
    if good and "runtime" not in values:
        complaints.add(row.line, "there is no runtime.", job=row.number, column="runtime")
        return None
    return values if good else None


def _said(text: str, error: ValueError) -> str:
    """What is wrong with a cell; errors that quote it themselves do not need it quoted again."""
    return f"{error}." if str(error).startswith(repr(text[:40])) else f"{text[:40]!r}: {error}."


def _record(row: Row, values: Mapping[str, Any], submit_s: float, pool: ClassPool) -> JobRecord:
    keys = {COLUMNS[name].key: value for name, value in values.items() if COLUMNS[name].key}
    job_class = pool.get(keys)
    return JobRecord(
        id=values.get("id", f"job-{row.number}"),
        submit_s=submit_s,
        runtime_s=values["runtime"],
        job_class=job_class,
        estimate_s=values.get("estimate"),
        slots=values.get("slots", job_class.gang),
        after=values.get("after", ()),
        user=values.get("user", ""),
        group=values.get("class", ""),
        line=row.line,
    )


# The jobs.csv of a run's folder, in Batsim's names; `deadline` is there the moment, not the span.
_OF_RUN = {
    "id": "job_id",
    "submit": "submission_time",
    "estimate": "requested_time",
    "slots": "requested_number_of_resources",
    "class": "class",
    "tenant": "tenant",
}
_OWN_OF_RUN = ("vcpus", "memory_gib", "gpus", "priority", "checkpointable", "gang", "user")


def run_work(table: Table, template: JobClass, *, lenient: bool = False) -> FileWork:
    """The jobs of an earlier run's jobs.csv: those that ended well, each for as long as its last attempt ran."""
    for column in ("job_id", "submission_time", "execution_time"):
        table.require(column, hint="It is the jobs.csv of a run's folder that is read.")
    rows = tuple(_row_of_run(row) for row in table.rows if _ended_well(row))
    columns = (*_OF_RUN, "runtime", "deadline", *_OWN_OF_RUN)
    read = table_work(Table(table.path, columns, rows, table.notes), template, lenient=lenient)
    left = len(table.rows) - len(rows)
    note = (f"{left} of {len(table.rows)} jobs left out: they did not end well, so how long they take is not known",)
    return FileWork(read.jobs, (*read.notes, *(note if left else ())), read.lines)


def _ended_well(row: Row) -> bool:
    return bool(row.get("runtime", "execution_time")) and row.get("success") not in ("0", "0.0", "false", "False")


def _row_of_run(row: Row) -> Row:
    cells = {ours: row.get(theirs) for ours, theirs in _OF_RUN.items()}
    cells |= {name: row.get(name) for name in _OWN_OF_RUN}
    cells["runtime"] = row.get("runtime", "execution_time")
    deadline = row.get("deadline")
    if deadline:
        cells["deadline"] = str(parse_number(deadline) - parse_number(cells["submit"]))
    if cells["estimate"].startswith("-"):  # Batsim writes -1 for a job without an estimate
        cells["estimate"] = ""
    return Row(row.line, cells, row.number)


def is_run(path: Path, columns: tuple[str, ...]) -> bool:
    """Whether a table is the jobs.csv of a run."""
    return path.suffix == ".csv" and {"job_id", "submission_time", "execution_time"} <= set(columns)
