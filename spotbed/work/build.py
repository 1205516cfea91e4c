"""From a scenario's `workload` to the work of one world."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sim.arrivals import Arrivals
from sim.inputs import JobClass, Work
from sim.lublin import LublinParameters, lublin_work
from sim.streams import Streams
from sim.synthetic import ClassSpec, SyntheticSpec, synthesize
from spotbed.errors import InputError, Problem
from spotbed.scenario.models_base import InputPath
from spotbed.scenario.models_work import Arrivals as ArrivalsModel
from spotbed.scenario.models_work import (
    AtOnce,
    AwsBatch,
    Burst,
    Csv,
    Daily,
    Inline,
    InlineJob,
    JobTraits,
    Journal,
    Lsf,
    Lublin,
    Parquet,
    Periodic,
    Slurm,
    Swf,
    Synthetic,
    Workload,
)
from spotbed.scenario.models_work import JobClass as ClassModel
from spotbed.work.durations import dist_of
from spotbed.work.kinds import Kind, read_jobs
from spotbed.work.records import ClassPool, FileWork, JobRecord, part_of, work_of
from spotbed.work.runs import jobs_of_run, read_run
from spotbed.work.swf import read_swf

_LUBLIN = Path(__file__).parent.parent / "data" / "lublin_feitelson_2003.json"
_CACHED = 8
_cache: dict[tuple[str, int, int, str, bool], FileWork] = {}

LogModel = Swf | Csv | Parquet | Slurm | Lsf | AwsBatch | Journal


def build_work(
    workload: Workload, *, streams: Streams, horizon_ms: int | None = None, lenient: bool = False
) -> tuple[Work, list[str]]:
    """The jobs of one world, and notes on what was left out of a file.

    Jobs from files (and of `jobs_list`) are the same in all worlds but for the draws that decide outcomes; a file is
    read once per process. Jobs submitted at `horizon_ms` or later do not come. Raises InputError.
    """
    try:
        if isinstance(workload, Synthetic):
            return synthesize(synthetic_spec(workload, horizon_ms), streams), []
        if isinstance(workload, Lublin):
            read = FileWork(_lublin(workload, streams))
        elif isinstance(workload, Inline):
            read = FileWork(_inline(workload))
        else:
            read = read_log(workload, lenient=lenient)
    except ValueError as error:
        raise InputError(Problem(f"{error}.", path="workload")) from None
    work, notes = _until(read.work(streams), horizon_ms)
    return work, [*read.notes, *notes]


def class_of(traits: JobTraits, name: str, after: tuple[str, ...] = (), *, stops: bool = False) -> JobClass:
    """A class with the traits of a scenario: seconds become milliseconds."""
    return JobClass(
        name=name,
        vcpus=traits.vcpus,
        memory_gib=traits.memory,
        gpus=traits.gpus,
        priority=traits.priority,
        tenant=traits.tenant,
        deadline_ms=_optional_ms(traits.deadline),
        timeout_ms=_optional_ms(traits.timeout),
        retries=traits.retries,
        checkpointable=traits.checkpointable,
        fail_probability=traits.fail_probability,
        exit_code=traits.exit_code,
        success_string_missing=traits.success_string_missing,
        input_gib=traits.input,
        output_gib=traits.output,
        after=after,
        gang=traits.gang,
        licences=dict(traits.licences),
        late_penalty_usd_per_hour=traits.late_penalty,
        runtime_on=dict(traits.runtime_on),
        stop_on_first_success=stops,
    )


def _optional_ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


# Synthetic


def synthetic_spec(workload: Synthetic, horizon_ms: int | None) -> SyntheticSpec:
    """What `sim.synthetic` needs. Raises InputError for files of durations that cannot be read."""
    starts = workload.starts
    starts_hour = 0.0 if starts is None else starts.hour + starts.minute / 60 + starts.second / 3600
    return SyntheticSpec(
        classes=tuple(_class_spec(each) for each in workload.classes),
        arrivals=arrivals_of(workload.arrivals, starts_hour),
        jobs=workload.jobs,
        horizon_ms=horizon_ms,
    )


def _class_spec(model: ClassModel) -> ClassSpec:
    return ClassSpec(
        job_class=class_of(model, model.name, tuple(model.after), stops=model.stop_on_first_success),
        runtime=dist_of(model.runtime),
        share=model.share,
        estimate=None if model.estimate is None else dist_of(model.estimate),
        array=model.array,
    )


def arrivals_of(model: ArrivalsModel, starts_hour: float = 0.0) -> Arrivals:
    """The arrivals of a scenario; `starts_hour` is the hour of the day at the start of the world."""
    if isinstance(model, AtOnce):
        return Arrivals("at-once")
    if isinstance(model, Periodic):
        return Arrivals("periodic", every_s=model.every)
    if isinstance(model, Burst):
        return Arrivals("burst", every_s=model.every, size=model.size)
    if isinstance(model, Daily):
        return Arrivals(
            "daily",
            rate_per_s=model.rate,
            peak_hour=model.peak_hour,
            ratio=model.ratio,
            starts_hour=starts_hour,
        )
    return Arrivals("poisson", rate_per_s=model.rate)


# Lublin-Feitelson


def lublin_parameters() -> LublinParameters:
    """The published parameters, from the data file that names their source."""
    values = json.loads(_LUBLIN.read_text("utf-8"))["parameters"]
    arguments: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in values.items()}
    return LublinParameters(**arguments)


def _lublin(workload: Lublin, streams: Streams) -> Work:
    work = lublin_work(workload.slots, workload.jobs, lublin_parameters(), streams)
    return replace(work, classes=(class_of(workload.defaults, "lublin"),))


# Jobs in the scenario itself


def _inline(workload: Inline) -> Work:
    classes: dict[str, JobClass] = {}
    pool = ClassPool()
    records = [_inline_record(job, classes, pool) for job in workload.jobs_list]
    return work_of(records, None, origin_s=0.0)


def _inline_record(job: InlineJob, classes: dict[str, JobClass], pool: ClassPool) -> JobRecord:
    traits = job.model_dump_json(include=set(JobTraits.model_fields))
    if traits not in classes:
        classes[traits] = pool.adopt(class_of(job, ""))
    job_class = classes[traits]
    return JobRecord(
        id=job.id,
        submit_s=job.submit,
        runtime_s=job.runtime,
        job_class=job_class,
        estimate_s=job.estimate,
        slots=max(job.slots, job.gang),
        after=tuple(job.after),
    )


# Files


def read_log(workload: LogModel, *, lenient: bool = False) -> FileWork:
    """The jobs of a workload that is a file; it is read once per process. Raises InputError."""
    lenient = lenient or workload.lenient
    path = file_read(workload, workload.path)
    stat = path.stat()
    key = (str(path), stat.st_mtime_ns, stat.st_size, workload.model_dump_json(), lenient)
    if key not in _cache:
        if len(_cache) >= _CACHED:
            _cache.pop(next(iter(_cache)))
        _cache[key] = _read(workload, path, lenient)
    return _cache[key]


def file_read(workload: Workload, path: InputPath) -> Path:
    """The file that is read where a scenario names `path`: of an earlier run, the one with its jobs. Raises
    InputError."""
    found = path.locate()
    return jobs_of_run(found) if isinstance(workload, Journal) and path == workload.path else found


_KINDS: dict[type[LogModel], Kind] = {
    Parquet: "parquet",
    Slurm: "slurm",
    Lsf: "lsf",
    AwsBatch: "aws-batch",
}


def _read(workload: LogModel, path: Path, lenient: bool) -> FileWork:
    if isinstance(workload, Swf):
        log = read_swf(
            path,
            first=workload.first,
            count=workload.count,
            time_scale=workload.time_scale,
            runtime_estimate=workload.runtime_estimate,
            runtime_cap=workload.runtime_cap,
            slots=workload.slots or "as-one",
            slots_field=workload.slots_field,
            lenient=lenient,
        )
        return log.file_work(class_of(workload.defaults, "log"))
    template = class_of(workload.defaults, "job")
    if isinstance(workload, Journal):
        run = read_run(path, template, lenient=lenient)
        return run.told(workload.runtime_estimate, workload.first, workload.count)
    return read_jobs(path, template, kind=_KINDS.get(type(workload)), lenient=lenient)


def _until(work: Work, horizon_ms: int | None) -> tuple[Work, list[str]]:
    """The jobs submitted before the horizon; a job does not wait for one that does not come."""
    count = len(work) if horizon_ms is None else int(np.searchsorted(work.submit_ms, horizon_ms))
    if count == len(work):
        return work, []
    return part_of(work, 0, count), [f"{len(work) - count} of {len(work)} jobs left out: they come after the horizon"]
