"""Can the jobs of a file run at all? What a scenario says itself is checked when it is read; this is the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from sim.inputs import JobClass, Work
from sim.streams import Streams
from spotbed.errors import InputError, Problem
from spotbed.quantities import format_duration
from spotbed.scenario.check_policies import tell_unplaced
from spotbed.scenario.check_work import Pools, misfits
from spotbed.scenario.models import Scenario
from spotbed.scenario.models_work import Inline, Lublin, Synthetic
from spotbed.scenario.tell import Teller
from spotbed.work.build import build_work, read_log

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class _Need:
    """What the jobs of a class need, as a scenario would say it."""

    vcpus: float
    memory: float
    gpus: int
    gang: int
    licences: Mapping[str, int]

    @classmethod
    def of(cls, job_class: JobClass) -> _Need:
        return cls(job_class.vcpus, job_class.memory_gib, job_class.gpus, job_class.gang, job_class.licences)


def refuse_unrunnable(scenario: Scenario, worlds: int, seed: int) -> None:
    """Read the work; raise InputError if no job arrives in any of the worlds, or if one can never run."""
    work = _first_work(scenario, worlds, seed)
    if not len(work):
        raise InputError(_nobody_came(scenario, worlds))
    problems = [*_misfits(scenario, work), *_unplaced(scenario, work)]
    if len(problems) > _SHOWN:
        problems[_SHOWN:] = [Problem(f"{len(problems) - _SHOWN} more kinds of jobs fit nothing.", problems[0].file)]
    if problems:
        raise InputError(problems)


def _first_work(scenario: Scenario, worlds: int, seed: int) -> Work:
    """The work of the first world that has any. Without a horizon, all have."""
    horizon_ms = None if scenario.horizon is None else round(scenario.horizon * 1000)
    drawn = isinstance(scenario.workload, Synthetic | Lublin) and horizon_ms is not None
    for number in range(worlds if drawn else 1):
        work, _ = build_work(scenario.workload, streams=Streams(seed, number), horizon_ms=horizon_ms)
        if len(work):
            break
    return work


def _nobody_came(scenario: Scenario, worlds: int) -> Problem:
    horizon = "" if scenario.horizon is None else f" of {format_duration(scenario.horizon)}"
    which = "the world" if worlds == 1 else f"any of the {worlds} worlds"
    message = f"no job arrives before the horizon{horizon} in {which}."
    hint = "Make the horizon longer, or let jobs arrive more often."
    assert scenario.positions is not None, "it was read from a file"
    return scenario.positions.problem(message, ("horizon",), hint=hint)


def _examples(work: Work) -> Iterator[tuple[int, JobClass]]:
    """The first job of each class that has one, with the class."""
    for number, first in zip(*np.unique(work.klass, return_index=True), strict=True):
        yield int(first), work.classes[int(number)]


def _misfits(scenario: Scenario, work: Work) -> Iterator[Problem]:
    workload, capacity = scenario.workload, scenario.capacity
    if isinstance(workload, Synthetic | Lublin | Inline):
        return
    pools, lines = Pools(capacity), read_log(workload).lines
    file = str(workload.path.locate())
    widest = int(np.argmax(work.slots))
    jobs = [(widest, work.classes[int(work.klass[widest])])] if capacity.cluster else _examples(work)
    for job, job_class in jobs:
        line = int(lines[job]) or None if lines is not None else None
        name = f"job {work.job_id(job)}"
        for below, message, hint in misfits(capacity, pools, name, _Need.of(job_class), int(work.slots[job])):
            yield Problem(message, file, line, path=".".join(map(str, below)) or None, hint=hint)


def _unplaced(scenario: Scenario, work: Work) -> list[Problem]:
    if isinstance(scenario.workload, Synthetic | Lublin | Inline) or scenario.positions is None:
        return []
    teller = Teller(scenario.positions)
    jobs = [(f"job {work.job_id(job)}", _Need.of(job_class)) for job, job_class in _examples(work)]
    tell_unplaced(scenario, jobs, teller)
    return teller.problems
