"""Synthetic work: shares, runtimes, arrays and dependencies, and what stays common when the scenario changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.arrivals import Arrivals
from sim.distributions import quantile_s
from sim.inputs import Dist, JobClass, Work
from sim.streams import Streams
from sim.synthetic import MOST_DEPENDENCIES, ClassSpec, SyntheticSpec, class_dependencies, refuse_cycle, synthesize

SHORT = Dist("lognormal", {"median": 2400.0, "p95": 14400.0})
LONG = Dist("weibull", {"shape": 0.6, "scale": 7200.0})
REGRESS = ClassSpec(JobClass("regress", vcpus=4.0, memory_gib=8.0), SHORT, share=0.8)
SIGNOFF = ClassSpec(JobClass("signoff", vcpus=16.0, memory_gib=64.0), LONG, share=0.2)
HOURLY = Arrivals("poisson", rate_per_s=25 / 3600)


def spec_of(*classes: ClassSpec, jobs: int | None = 400, arrivals: Arrivals = HOURLY) -> SyntheticSpec:
    return SyntheticSpec(classes, arrivals, jobs=jobs)


def of_class(work: Work, name: str) -> np.ndarray:
    return np.flatnonzero([work.classes[number].name == name for number in work.klass])


def test_shares_and_runtimes_are_those_asked_for() -> None:
    work = synthesize(spec_of(REGRESS, SIGNOFF, jobs=20_000), Streams(1))
    share = (work.klass == 0).mean()
    assert share == pytest.approx(0.8, abs=3 * np.sqrt(0.16 / 20_000))
    for number, each in enumerate((REGRESS, SIGNOFF)):
        runtimes_s = work.runtime_ms[work.klass == number] / 1000
        below = [(runtimes_s <= quantile_s(each.runtime, p)).mean() for p in (0.25, 0.5, 0.95)]
        assert below == pytest.approx([0.25, 0.5, 0.95], abs=3 * 0.5 / np.sqrt(len(runtimes_s)))


def test_the_estimate_is_the_p95_of_the_class_unless_one_is_given() -> None:
    given_estimate = replace(SIGNOFF, estimate=Dist("uniform", {"low": 100.0, "high": 200.0}))
    work = synthesize(spec_of(REGRESS, given_estimate), Streams(1))
    assert set(work.estimate_ms[work.klass == 0].tolist()) == {14_400_000}
    asked = work.estimate_ms[work.klass == 1]
    assert asked.min() >= 100_000
    assert asked.max() < 200_000
    assert len(set(asked.tolist())) > 10


def test_ids_are_class_and_index() -> None:
    work = synthesize(spec_of(REGRESS, SIGNOFF, jobs=5), Streams(1))
    assert [work.job_id(index) for index in range(5)] == [
        f"{work.classes[number].name}-{index}" for index, number in enumerate(work.klass)
    ]


@given(seed=st.integers(0, 5), world=st.integers(0, 5), scale=st.floats(0.1, 10.0), share=st.floats(0.01, 5.0))
def test_another_class_leaves_the_draws_of_a_job_alone(seed: int, world: int, scale: float, share: float) -> None:
    """Common random numbers: a job that keeps its class keeps its runtime, outcome and submission."""
    base = synthesize(spec_of(REGRESS, SIGNOFF, jobs=120), Streams(seed, world))
    changed = replace(SIGNOFF, runtime=Dist("exponential", {"mean": 1000 * scale}))
    added = ClassSpec(JobClass("extra"), Dist("constant", {"value": 5.0}), share=share)
    other = synthesize(spec_of(REGRESS, changed, added, jobs=120), Streams(seed, world))
    assert other.submit_ms.tolist() == base.submit_ms.tolist()
    assert other.outcome_u.tolist() == base.outcome_u.tolist()
    assert other.string_u.tolist() == base.string_u.tolist()
    same = (base.klass == 0) & (other.klass == 0)
    assert other.runtime_ms[same].tolist() == base.runtime_ms[same].tolist()


def test_with_one_class_kept_most_jobs_are_compared() -> None:
    """The property above is not vacuous: jobs that stay `regress` are what the shares say."""
    base = synthesize(spec_of(REGRESS, SIGNOFF, jobs=5000), Streams(2))
    other = synthesize(spec_of(REGRESS, replace(SIGNOFF, share=0.4)), Streams(2))
    assert ((base.klass[:400] == 0) & (other.klass == 0)).mean() == pytest.approx(0.8 / 1.2, abs=0.08)


@given(seed=st.integers(0, 5), few=st.integers(1, 60), many=st.integers(60, 150), array=st.integers(1, 7))
def test_fewer_jobs_are_the_first_ones(seed: int, few: int, many: int, array: int) -> None:
    classes = (REGRESS, replace(SIGNOFF, array=array))
    short, long = (synthesize(spec_of(*classes, jobs=jobs), Streams(seed)) for jobs in (few, many))
    assert len(short) == few
    assert len(long) == many
    for name in ("submit_ms", "klass", "outcome_u", "string_u", "runtime_ms"):
        assert getattr(short, name).tolist() == getattr(long, name)[:few].tolist()


def test_an_array_is_submitted_together_and_has_runtimes_of_its_own() -> None:
    sweep = ClassSpec(JobClass("sweep"), SHORT, array=10)
    work = synthesize(spec_of(sweep, jobs=35), Streams(3))
    assert np.unique(work.submit_ms, return_counts=True)[1].tolist() == [10, 10, 10, 5]
    assert len(set(work.runtime_ms.tolist())) == 35
    assert len(set(work.outcome_u.tolist())) == 35


def test_an_array_elsewhere_leaves_the_other_entries_alone() -> None:
    single = synthesize(spec_of(REGRESS, SIGNOFF, jobs=100), Streams(4))
    arrays = synthesize(spec_of(REGRESS, replace(SIGNOFF, array=5), jobs=180), Streams(4))
    regress = of_class(single, "regress")
    assert len(regress) > 60
    among_arrays = of_class(arrays, "regress")[: len(regress)]
    assert arrays.runtime_ms[among_arrays].tolist() == single.runtime_ms[regress][: len(among_arrays)].tolist()
    assert len(among_arrays) > 40


def test_a_gang_takes_as_many_slots() -> None:
    gang = ClassSpec(JobClass("mpi", gang=4), SHORT)
    assert synthesize(spec_of(gang, jobs=3), Streams(1)).slots.tolist() == [4, 4, 4]


def test_worlds_differ_and_repeat() -> None:
    first, again, other = (synthesize(spec_of(REGRESS, SIGNOFF), Streams(7, world)) for world in (0, 0, 1))
    assert first.runtime_ms.tolist() == again.runtime_ms.tolist()
    assert first.runtime_ms.tolist() != other.runtime_ms.tolist()
    assert first.submit_ms.tolist() != other.submit_ms.tolist()


def test_the_horizon_ends_arrivals() -> None:
    spec = SyntheticSpec((REGRESS,), HOURLY, horizon_ms=4 * 3_600_000)
    work = synthesize(spec, Streams(1))
    assert 60 <= len(work) <= 140
    assert work.submit_ms[-1] < 4 * 3_600_000
    assert len(synthesize(replace(spec, horizon_ms=1), Streams(1))) == 0


# What a job waits for


def dependencies(classes: tuple[JobClass, ...], klass: list[int], submit_ms: list[int]) -> dict[int, tuple[int, ...]]:
    return class_dependencies(classes, np.array(klass, np.int32), np.array(submit_ms, np.int64))


def test_a_merge_waits_for_what_came_since_the_last_merge() -> None:
    classes = (JobClass("map"), JobClass("merge", after=("map",)))
    after = dependencies(classes, [0, 0, 1, 0, 1, 1, 0], [0, 10, 20, 30, 40, 50, 60])
    assert after == {2: (0, 1), 4: (3,)}  # job 5 has nothing new to wait for


def test_jobs_of_one_moment_wait_for_the_same_ones() -> None:
    classes = (JobClass("map"), JobClass("merge", after=("map",)))
    assert dependencies(classes, [1, 0, 0, 1], [0, 0, 0, 0]) == {0: (1, 2), 3: (1, 2)}


def test_an_id_names_one_job() -> None:
    classes = (JobClass("map"), JobClass("merge", after=("map", "map-2")))
    assert dependencies(classes, [0, 1, 0], [0, 10, 20]) == {1: (0, 2)}
    assert dependencies((JobClass("map", after=("map-0",)),), [0, 0, 0], [0, 1, 2]) == {1: (0,), 2: (0,)}


@pytest.mark.parametrize("name", ["maps", "map-9", "map-1", "map-x"])
def test_an_unknown_id_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="neither a class nor the id"):
        dependencies((JobClass("map"), JobClass("merge", after=(name,))), [0, 1], [0, 1])


def test_circles_are_named() -> None:
    with pytest.raises(ValueError, match=r"a after b after a|b after a after b"):
        dependencies((JobClass("a", after=("b",)), JobClass("b", after=("a",))), [0, 1], [0, 1])
    with pytest.raises(ValueError, match="in a circle: a after a"):
        dependencies((JobClass("a", after=("a",)),), [0], [0])
    with pytest.raises(ValueError, match="in a circle"):
        dependencies((JobClass("a", after=("b-1",)), JobClass("b", after=("a-0",))), [0, 1], [0, 1])
    refuse_cycle({1: (2, 3), 2: (3,)})


def test_a_flood_of_waits_is_refused_before_it_is_made() -> None:
    classes = (JobClass("map"), JobClass("merge", after=("map",)))
    half = int(MOST_DEPENDENCIES**0.5) + 1
    with pytest.raises(ValueError, match="single waits"):
        dependencies(classes, [0] * half + [1] * half, [0] * (2 * half))


@given(klass=st.lists(st.integers(0, 2), min_size=1, max_size=40), data=st.data())
def test_every_job_of_a_class_is_awaited_at_most_by_one_moment(klass: list[int], data: st.DataObject) -> None:
    submit = sorted(data.draw(st.lists(st.integers(0, 30), min_size=len(klass), max_size=len(klass))))
    classes = (JobClass("a"), JobClass("b"), JobClass("c", after=("a", "b")))
    after = dependencies(classes, klass, submit)
    waiting: dict[int, set[int]] = {}
    for job, awaited in after.items():
        assert klass[job] == 2
        assert all(submit[each] <= submit[job] and klass[each] != 2 for each in awaited)
        for each in awaited:
            waiting.setdefault(each, set()).add(submit[job])
    assert all(len(moments) == 1 for moments in waiting.values())
    last = max((submit[job] for job in range(len(klass)) if klass[job] == 2), default=-1)
    assert set(waiting) == {job for job in range(len(klass)) if klass[job] != 2 and submit[job] <= last}


def test_impossible_specifications_are_refused() -> None:
    with pytest.raises(ValueError, match="share above 0"):
        synthesize(spec_of(), Streams(1))
    with pytest.raises(ValueError, match="share above 0"):
        synthesize(spec_of(replace(REGRESS, share=0.0)), Streams(1))
    with pytest.raises(ValueError, match="at least one job"):
        synthesize(spec_of(replace(REGRESS, array=0)), Streams(1))
