"""Synthetic work: classes of jobs, drawn job by job from the streams of a world.

The unit of randomness is the *entry* (one submission; an array is one entry of several jobs). Entry k's class, runtime
and outcome each take one uniform of their own substream, so job k keeps its runtime under every policy, and its uniform
when the parameters, the shares or the number of the other classes change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.arrivals import Arrivals, arrival_ms
from sim.distributions import quantile_s, sample_ms, to_ms
from sim.inputs import Dist, Float64, Int64, JobClass, Work
from sim.streams import Streams

MOST_DEPENDENCIES = 10_000_000  # a guard on memory: about 100 bytes each
_ESTIMATE_QUANTILE = 0.95

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ClassSpec:
    """A class of jobs, its share of the entries and its distributions (seconds).

    `estimate` None: what users of this class ask for is its 95th percentile of runtime. `array`: jobs per entry.
    """

    job_class: JobClass
    runtime: Dist
    share: float = 1.0
    estimate: Dist | None = None
    array: int = 1


@dataclass(frozen=True, slots=True)
class SyntheticSpec:
    """`jobs` counts jobs, not entries (the last array is cut to fit); None: until the horizon."""

    classes: tuple[ClassSpec, ...]
    arrivals: Arrivals = field(default_factory=lambda: Arrivals("at-once"))
    jobs: int | None = None
    horizon_ms: int | None = None


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which entry each job comes from, and for the entries that are arrays: (entry, first job, jobs)."""

    entry: Indices
    arrays: tuple[tuple[int, int, int], ...]
    entries: int

    def draws(self, streams: Streams, purpose: str) -> Float64:
        uniforms = streams.per_entity(purpose, 0, self.entries)[self.entry]
        for entry, first, count in self.arrays:
            uniforms[first : first + count] = streams.of_entity(purpose, entry, 0, count)
        return uniforms


def synthesize(spec: SyntheticSpec, streams: Streams) -> Work:
    """The work of one world. Raises ValueError where the spec cannot be followed."""
    submit_ms = arrival_ms(spec.arrivals, streams, jobs=spec.jobs, horizon_ms=spec.horizon_ms)
    klass = _choose_class(spec, streams.per_entity("class", 0, len(submit_ms)))
    layout = _lay_out(spec, klass)
    submit_ms, klass = submit_ms[layout.entry], klass[layout.entry]
    classes = tuple(each.job_class for each in spec.classes)
    runtime_ms, estimate_ms = _durations(spec, klass, layout, streams)
    gang = np.array([each.gang for each in classes], dtype=np.int32)
    return Work(
        classes=classes,
        klass=klass,
        submit_ms=submit_ms,
        runtime_ms=runtime_ms,
        estimate_ms=estimate_ms,
        slots=gang[klass],
        outcome_u=layout.draws(streams, "outcome"),
        string_u=layout.draws(streams, "success-string"),
        after=class_dependencies(classes, klass, submit_ms),
        groups=tuple((first, n) for _, first, n in layout.arrays if classes[klass[first]].stop_on_first_success),
    )


def _choose_class(spec: SyntheticSpec, uniforms: Float64) -> npt.NDArray[np.int32]:
    shares = np.cumsum([each.share for each in spec.classes])
    if not spec.classes or shares[-1] <= 0:
        raise ValueError("synthetic work needs a class with a share above 0")
    chosen = np.searchsorted(shares / shares[-1], uniforms, side="right")
    return np.minimum(chosen, len(spec.classes) - 1).astype(np.int32)


def _lay_out(spec: SyntheticSpec, klass: npt.NDArray[np.int32]) -> _Layout:
    per_class = np.array([each.array for each in spec.classes], dtype=np.int64)
    if (per_class < 1).any():
        raise ValueError("an array holds at least one job")
    sizes = per_class[klass]
    if (per_class == 1).all():
        return _Layout(np.arange(len(klass)), (), len(klass))
    ends = np.cumsum(sizes)
    entries = len(klass)
    if spec.jobs is not None:
        entries = min(entries, int(np.searchsorted(ends, spec.jobs)) + 1)
        sizes[entries - 1 :] -= max(int(ends[entries - 1]) - spec.jobs, 0) if entries else 0
    sizes = sizes[:entries]
    firsts = np.cumsum(sizes) - sizes
    many = np.flatnonzero(per_class[klass[:entries]] > 1)
    arrays = tuple((int(entry), int(firsts[entry]), int(sizes[entry])) for entry in many)
    return _Layout(np.repeat(np.arange(entries), sizes), arrays, entries)


def _durations(
    spec: SyntheticSpec, klass: npt.NDArray[np.int32], layout: _Layout, streams: Streams
) -> tuple[Int64, Int64]:
    runtime_u = layout.draws(streams, "runtime")
    asked = any(each.estimate is not None for each in spec.classes)
    estimate_u = layout.draws(streams, "estimate") if asked else runtime_u
    runtime_ms, estimate_ms = np.empty(len(klass), np.int64), np.empty(len(klass), np.int64)
    for number, each in enumerate(spec.classes):
        of_class = klass == number
        runtime_ms[of_class] = sample_ms(each.runtime, runtime_u[of_class])
        if each.estimate is None:
            estimate_ms[of_class] = to_ms(quantile_s(each.runtime, _ESTIMATE_QUANTILE))
        else:
            estimate_ms[of_class] = sample_ms(each.estimate, estimate_u[of_class])
    return runtime_ms, estimate_ms


def class_dependencies(
    classes: Sequence[JobClass], klass: npt.NDArray[np.int32], submit_ms: Int64
) -> dict[int, tuple[int, ...]]:
    """What jobs wait for when their class names others in `after`: job index -> indices.

    A job waits for the jobs of the named class that were submitted since the previous submission of its own class, up
    to and including its own moment: a merge collects what came since the last merge. Jobs submitted at one moment (an
    array, a burst) wait for the same ones. An id such as `regress-0` names that one job.
    """
    numbers = {each.name: number for number, each in enumerate(classes)}
    refuse_cycle({each.name: [name for name in each.after if name in numbers] for each in classes})
    ids_named = False
    after: dict[int, tuple[int, ...]] = {}
    for number, each in enumerate(classes):
        jobs = np.flatnonzero(klass == number)
        for name in each.after:
            if name in numbers:
                wait_for_class(after, jobs, np.flatnonzero(klass == numbers[name]), submit_ms)
            else:
                _wait_for_one(after, jobs, _index_of(name, numbers, klass))
                ids_named = True
    if ids_named:  # between classes alone, a circle of jobs is a circle of classes
        refuse_cycle(after)
    return after


def wait_for_class(after: dict[int, tuple[int, ...]], jobs: Indices, awaited: Indices, submit_ms: Int64) -> None:
    """Add to `after` what each of `jobs` waits for among `awaited` (both sorted), as `class_dependencies` says."""
    moments, of_job = np.unique(submit_ms[jobs], return_inverse=True)
    ends = np.searchsorted(submit_ms[awaited], moments, side="right")
    starts = np.concatenate([[0], ends])[: len(ends)]
    waits = int((ends - starts)[of_job].sum())
    if waits > MOST_DEPENDENCIES:
        raise ValueError(f"`after` would make {waits} single waits, more than {MOST_DEPENDENCIES}; name fewer jobs")
    groups = [tuple(awaited[start:end].tolist()) for start, end in zip(starts, ends, strict=True)]
    for job, moment in zip(jobs.tolist(), of_job.tolist(), strict=True):
        if groups[moment]:
            after[job] = after.get(job, ()) + groups[moment]


def _wait_for_one(after: dict[int, tuple[int, ...]], jobs: Indices, awaited: int) -> None:
    for job in jobs.tolist():
        if job != awaited:
            after[job] = (*after.get(job, ()), awaited)


def _index_of(job_id: str, numbers: Mapping[str, int], klass: npt.NDArray[np.int32]) -> int:
    name, _, index = job_id.rpartition("-")
    if name in numbers and index.isdecimal() and int(index) < len(klass) and klass[int(index)] == numbers[name]:
        return int(index)
    raise ValueError(f"`after` names {job_id!r}, which is neither a class nor the id of a job of this world")


def refuse_cycle(after: Mapping[Any, Sequence[Any]]) -> None:
    """Raise ValueError, naming the circle, if something waits for itself through `after` (name -> names)."""
    try:
        TopologicalSorter(after).prepare()
    except CycleError as error:
        circle = " after ".join(str(name) for name in reversed(error.args[1]))
        raise ValueError(f"jobs wait for each other in a circle: {circle}") from None
