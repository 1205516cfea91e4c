"""Jobs one by one, as files give them, and the `Work` that they make together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError
from pathlib import Path
from typing import Any

import numpy as np

from sim.distributions import to_ms
from sim.inputs import Int64, JobClass, Work
from sim.streams import Streams
from sim.synthetic import refuse_cycle, wait_for_class
from spotbed.errors import InputError, Problem
from spotbed.work.values import LARGEST

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job. Times are seconds; `submit_s` has any origin, the same for all jobs of a file.

    `after` names ids or groups; `group` is the class as its file names it ("": the name of `job_class`), whose jobs may
    differ in other keys. `line` is where the job stands in its file (for JSON, its number).
    """

    id: str
    submit_s: float
    runtime_s: float
    job_class: JobClass
    estimate_s: float | None = None
    slots: int = 1
    after: tuple[str, ...] = ()
    user: str = ""
    group: str = ""
    line: int | None = None


@dataclass(frozen=True, slots=True)
class FileWork:
    """What a file of jobs says: the work without the draws of a world, what was left out and why, and the line of each
    job (shape n, 0 where it has none; None of what is no file)."""

    jobs: Work
    notes: tuple[str, ...] = ()
    lines: Int64 | None = None

    def work(self, streams: Streams) -> Work:
        """The jobs in one world: the same in all, but for the draws that decide outcomes."""
        return with_draws(self.jobs, streams)


def with_draws(work: Work, streams: Streams) -> Work:
    """`work` with the outcome draws of a world."""
    return replace(
        work,
        outcome_u=streams.per_entity("outcome", 0, len(work)),
        string_u=streams.per_entity("success-string", 0, len(work)),
    )


def part_of(work: Work, first: int, end: int, origin_ms: int = 0) -> Work:
    """The jobs `first` .. `end - 1` of a world that starts at `origin_ms`; they wait for no other job."""
    chosen = slice(first, end)
    after = {
        job - first: tuple(each - first for each in awaited if first <= each < end)
        for job, awaited in work.after.items()
        if first <= job < end
    }
    return replace(
        work,
        klass=work.klass[chosen],
        submit_ms=work.submit_ms[chosen] - origin_ms,
        runtime_ms=work.runtime_ms[chosen],
        estimate_ms=work.estimate_ms[chosen],
        slots=work.slots[chosen],
        outcome_u=work.outcome_u[chosen],
        string_u=work.string_u[chosen],
        ids=None if work.ids is None else work.ids[chosen],
        after={job: awaited for job, awaited in after.items() if awaited},
        user=None if work.user is None else work.user[chosen],
        outcomes={job - first: told for job, told in work.outcomes.items() if first <= job < end},
        groups=tuple((job - first, jobs) for job, jobs in work.groups if first <= job < end),
    )


class ClassPool:
    """One JobClass for each distinct set of keys, named by its shape (4cpu-16gib-1gpu) unless a name is given."""

    def __init__(self, template: JobClass | None = None) -> None:
        self.template = template or JobClass("job")
        self._by_keys: dict[tuple[tuple[str, Any], ...], JobClass] = {}
        self._given: Counter[str] = Counter()

    def get(self, keys: Mapping[str, Any]) -> JobClass:
        """The class with these keys (`licences` as pairs); what they leave out comes from the template."""
        wanted = tuple(sorted(keys.items()))
        found = self._by_keys.get(wanted)
        if found is None:
            licences = {"licences": dict(keys["licences"])} if "licences" in keys else {}
            found = self._named(replace(self.template, **{"name": "", **keys, **licences}))
            self._by_keys[wanted] = found
        return found

    def adopt(self, job_class: JobClass) -> JobClass:
        """`job_class` under a name of its own, made of its shape."""
        return self._named(replace(job_class, name=""))

    def _named(self, job_class: JobClass) -> JobClass:
        return replace(job_class, name=self._free_name(job_class.name or shape_name(job_class)))

    def _free_name(self, name: str) -> str:
        """`name`, or where it is taken name-2, name-3, …"""
        while True:
            self._given[name] += 1
            if self._given[name] == 1:
                return name
            name = f"{name}-{self._given[name]}"


def shape_name(job_class: JobClass) -> str:
    """4cpu-16gib, 8cpu-61gib-1gpu, 2cpu (no memory asked)."""
    parts = [f"{job_class.vcpus:g}cpu"]
    if job_class.memory_gib:
        parts.append(f"{job_class.memory_gib:g}gib")
    if job_class.gpus:
        parts.append(f"{job_class.gpus}gpu")
    return "-".join(parts)


def read_work(records: Sequence[JobRecord], file: Path, notes: Sequence[str] = ()) -> FileWork:
    """The work of the jobs of a file, with the line of each. Raises InputError."""
    work = work_of(records, file)
    lines = [record.line or 0 for record in _in_order(records)]
    return FileWork(work, tuple(notes), np.array(lines, dtype=np.int64))


def _in_order(records: Sequence[JobRecord]) -> list[JobRecord]:
    return sorted(records, key=lambda record: record.submit_s)


def work_of(records: Sequence[JobRecord], file: Path | None, origin_s: float | None = None) -> Work:
    """The work of these jobs in order of submission, without the draws of a world.

    The world starts at `origin_s`, or else with the first submission.

    Raises InputError for no jobs, ids given twice, and dependencies on what is not there or in a circle.
    """
    where = str(file) if file else None
    if not records:
        raise InputError(Problem("there is no job that ran.", file=where))
    _refuse_duplicates(records, where)
    _refuse_unreasonable(records, where)
    ordered = _in_order(records)
    classes = _classes(ordered)
    numbers = {id(each): number for number, each in enumerate(classes)}
    users = {name: number for number, name in enumerate(sorted({record.user for record in ordered}))}
    submit_s = np.array([record.submit_s for record in ordered])
    start_s = submit_s[0] if origin_s is None else origin_s
    work = Work(
        classes=classes,
        klass=np.array([numbers[id(record.job_class)] for record in ordered], dtype=np.int32),
        submit_ms=to_ms(submit_s - start_s),
        runtime_ms=to_ms([record.runtime_s for record in ordered]),
        estimate_ms=_estimates(ordered),
        slots=np.array([record.slots for record in ordered], dtype=np.int32),
        outcome_u=np.zeros(len(ordered)),
        string_u=np.zeros(len(ordered)),
        ids=tuple(record.id for record in ordered),
        user=np.array([users[record.user] for record in ordered], dtype=np.int32),
    )
    return _with_dependencies(work, ordered, where) if any(record.after for record in ordered) else work


def _classes(records: Sequence[JobRecord]) -> tuple[JobClass, ...]:
    return tuple({id(record.job_class): record.job_class for record in records}.values())


def _estimates(records: Sequence[JobRecord]) -> Int64:
    seconds = np.array([-1.0 if record.estimate_s is None else record.estimate_s for record in records])
    return np.where(seconds < 0, -1, to_ms(seconds)).astype(np.int64)


def _refuse_duplicates(records: Sequence[JobRecord], where: str | None) -> None:
    counts = Counter(record.id for record in records)
    if len(counts) == len(records):
        return
    twice = [record for record in records if counts[record.id] > 1]
    problems = [
        Problem(f"the id {record.id!r} is given {counts[record.id]} times.", file=where, line=record.line)
        for record in twice[:_SHOWN]
    ]
    raise InputError([*problems, Problem(f"{len(twice)} jobs share their id with another.", file=where)])


def _refuse_unreasonable(records: Sequence[JobRecord], where: str | None) -> None:
    wild = [
        Problem(f"{record.id!r} has a time beyond all reason: {value:g} s.", file=where, line=record.line, value=value)
        for record in records
        for value in (record.submit_s, record.runtime_s, record.estimate_s or 0.0)
        if abs(value) > LARGEST
    ]
    if wild:
        raise InputError(wild[:_SHOWN])


def _with_dependencies(work: Work, records: Sequence[JobRecord], where: str | None) -> Work:
    """Resolve `after`: the name of a group means its jobs (see sim.synthetic.class_dependencies), else an id."""
    groups: dict[str, list[int]] = {}
    for index, record in enumerate(records):
        groups.setdefault(record.group or record.job_class.name, []).append(index)
    indices = {record.id: index for index, record in enumerate(records)}
    after: dict[int, tuple[int, ...]] = {}
    waiting_for_group: dict[tuple[str, str], list[int]] = {}
    for index, record in enumerate(records):
        for name in record.after:
            if name in groups:
                own = record.group or record.job_class.name
                waiting_for_group.setdefault((own, name), []).append(index)
            elif name in indices:
                after[index] = (*after.get(index, ()), indices[name])
            else:
                message = f"{record.id!r} waits for {name!r}, which is neither a job nor a class."
                raise InputError(Problem(message, file=where, line=record.line))
    try:
        for (_, name), jobs in waiting_for_group.items():
            wait_for_class(after, np.array(jobs), np.array(groups[name]), work.submit_ms)
        refuse_cycle({records[index].id: [records[each].id for each in waits] for index, waits in after.items()})
    except ValueError as error:
        cause = error.__context__
        circle = set(cause.args[1]) if isinstance(cause, CycleError) else set()
        line = min((record.line for record in records if record.id in circle and record.line), default=None)
        hint = "Cut it somewhere." if circle else None
        raise InputError(Problem(f"{error}.", file=where, line=line, hint=hint)) from None
    return replace(work, after=after)
