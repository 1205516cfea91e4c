"""What kind of file a user gave, and its jobs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from sim.inputs import JobClass
from spotbed.errors import InputError, Problem
from spotbed.work import batch, lsf, slurm, tabular
from spotbed.work.cells import Table, read_delimited, read_json, read_parquet, rows_of
from spotbed.work.records import FileWork
from spotbed.work.textfile import read_head

Kind = Literal["table", "run", "slurm", "lsf", "aws-batch", "swf", "parquet"]

_PARQUET_MAGIC = b"PAR1"
_HEAD = 1 << 16
_SWF_FIELDS = 18


def sniff(path: Path) -> Kind:
    """The kind of a file of jobs, by its content. Raises InputError if it is none."""
    head = read_head(path, _HEAD)
    if head.startswith(_PARQUET_MAGIC):
        return "parquet"
    text = head.decode("utf-8-sig", errors="replace").lstrip()
    if text.startswith(("{", "[")):
        return _json_kind(path, read_json(path))
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith(";")), "")
    if text.startswith(";") or _is_swf_line(first):
        return "swf"
    return _table_kind(path, read_delimited(path, lenient=True).columns)


def _is_swf_line(line: str) -> bool:
    fields = line.split()
    return len(fields) >= _SWF_FIELDS and all(field.lstrip("-").replace(".", "", 1).isdecimal() for field in fields)


def _table_kind(path: Path, columns: tuple[str, ...]) -> Kind:
    if "jobid" in columns and "submit" in columns and {"state", "elapsed", "elapsedraw"} & set(columns):
        return "slurm"
    if tabular.is_run(path, columns):
        return "run"
    return "lsf" if lsf.is_lsf(columns) else "table"


def _json_kind(path: Path, documents: list[Any]) -> Kind:
    jobs = _json_jobs(documents)
    first = jobs[0] if jobs and isinstance(jobs[0], Mapping) else {}
    names = {str(name).lower() for name in first}
    if "jobId" in first:
        return "aws-batch"
    if "job_id" in first and "time" in first:
        return "slurm"
    if "jobid" in names and lsf.is_lsf(tuple(names)):
        return "lsf"
    message = "is JSON, but not of `sacct --json`, `bjobs -json` or `aws batch describe-jobs`."
    raise InputError(Problem(message, file=str(path), hint="For jobs of your own use CSV or Parquet."))


def _json_jobs(documents: list[Any]) -> list[Any]:
    """The jobs in answers of the three systems: {"jobs": […]}, {"RECORDS": […]}, lists of either, or jobs alone."""
    jobs: list[Any] = []
    for document in documents:
        if isinstance(document, list):
            jobs += _json_jobs(document)
        elif isinstance(document, Mapping) and isinstance(document.get("jobs"), list):
            jobs += document["jobs"]
        elif isinstance(document, Mapping) and isinstance(document.get("RECORDS"), list):
            jobs += document["RECORDS"]
        else:
            jobs.append(document)
    return jobs


def read_jobs(path: Path, template: JobClass, *, kind: Kind | None = None, lenient: bool = False) -> FileWork:
    """The jobs of a file of any kind (found out where None is given). Raises InputError."""
    found = kind or sniff(path)
    if found == "swf":
        raise InputError(Problem("is a log in SWF.", file=str(path), hint="Say `source: swf`."))
    if found == "aws-batch":
        return batch.batch_work(_json_jobs(read_json(path)), path, template, lenient=lenient)
    table = _table(path, found, lenient)
    reader = {"slurm": slurm.sacct_work, "lsf": lsf.lsf_work, "run": tabular.run_work}.get(found, tabular.table_work)
    return reader(table, template, lenient=lenient)


def _table(path: Path, kind: Kind, lenient: bool) -> Table:
    if kind == "parquet":
        return read_parquet(path)
    if read_head(path, _HEAD).lstrip()[:1] not in (b"{", b"["):
        return read_delimited(path, lenient=lenient)
    jobs = _json_jobs(read_json(path))
    wrong = next((number for number, job in enumerate(jobs, start=1) if not isinstance(job, Mapping)), None)
    if wrong is not None:
        raise InputError(Problem(f"job {wrong} is not a mapping.", file=str(path)))
    rows = rows_of(slurm.json_rows(jobs) if kind == "slurm" else jobs)
    columns = tuple(dict.fromkeys(name for row in rows for name in row.cells))
    return Table(path, columns, rows)
