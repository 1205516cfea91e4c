"""From a scenario's `workload` to work: every source, the horizon, the cache, and what worlds share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from sim.inputs import Work
from sim.streams import Streams
from spotbed.errors import InputError
from spotbed.scenario.models_base import Reading
from spotbed.scenario.models_work import Workload
from spotbed.work import build
from spotbed.work.build import build_work
from spotbed.work.durations import read_durations

FIXTURES = Path(__file__).parent / "fixtures" / "work"
READER: TypeAdapter[Any] = TypeAdapter(Workload)
CLASSES = [
    {"name": "regress", "share": 0.8, "runtime": {"dist": "lognormal", "median": "40m", "p95": "4h"}, "vcpus": 4,
     "memory": "8 GiB", "deadline": "12h", "checkpointable": True, "fail_probability": 0.01, "tenant": "cpu-team"},
    {"name": "signoff", "share": 0.2, "runtime": {"dist": "weibull", "shape": 0.8, "scale": "2h"}, "timeout": "36h",
     "estimate": {"dist": "uniform", "low": "1h", "high": "2h"}, "late_penalty": "5 USD/h", "licences": {"calibre": 2},
     "input": "1 GiB", "runtime_on": {"c7g": 0.8}, "after": "regress"},
]  # fmt: skip


def workload(**keys: Any) -> Any:
    return READER.validate_python(keys, context=Reading(FIXTURES))


def built(world: int = 0, horizon_ms: int | None = None, **keys: Any) -> Work:
    return build_work(workload(**keys), streams=Streams(7, world), horizon_ms=horizon_ms)[0]


def test_synthetic_classes_reach_the_simulator() -> None:
    work = built(source="synthetic", jobs=500, arrivals={"dist": "poisson", "rate": "25/h"}, classes=CLASSES)
    assert len(work) == 500
    regress, signoff = work.classes
    assert (regress.vcpus, regress.memory_gib, regress.deadline_ms) == (4, 8, 12 * 3_600_000)
    assert (regress.checkpointable, regress.fail_probability, regress.tenant) == (True, 0.01, "cpu-team")
    assert (signoff.timeout_ms, signoff.late_penalty_usd_per_hour, signoff.licences) == (
        36 * 3_600_000,
        5,
        {"calibre": 2},
    )
    assert (signoff.input_gib, signoff.runtime_on, signoff.after) == (1, {"c7g": 0.8}, ("regress",))
    assert set(work.estimate_ms[work.klass == 0].tolist()) == {4 * 3_600_000}
    assert 3_600_000 <= work.estimate_ms[work.klass == 1].min() < 2 * 3_600_000
    assert all(
        work.klass[job] == 1 and all(work.klass[each] == 0 for each in waits) for job, waits in work.after.items()
    )
    assert len(work.after) > 40


@pytest.mark.parametrize(
    ("arrivals", "first"),
    [
        ("at-once", [0, 0, 0, 0]),
        ({"dist": "periodic", "every": "90s"}, [0, 90_000, 180_000, 270_000]),
        ({"dist": "burst", "size": 3, "every": "1h"}, [0, 0, 0, 3_600_000]),
    ],
)
def test_arrivals(arrivals: Any, first: list[int]) -> None:
    assert built(source="synthetic", jobs=4, arrivals=arrivals, classes=CLASSES).submit_ms.tolist() == first


def test_the_daily_cycle_follows_the_calendar() -> None:
    daily = {"dist": "daily", "rate": "100/h", "peak_hour": 14, "ratio": 50}
    for starts, hour in (("2026-03-02T14:00Z", 0), ("2026-03-02T02:00Z", 12), ("2026-03-02T08:30Z", 5.5)):
        work = built(source="synthetic", starts=starts, arrivals=daily, classes=CLASSES, horizon_ms=10 * 24 * 3_600_000)
        angle = work.submit_ms / 3_600_000 * 2 * np.pi / 24
        peak = np.angle(np.exp(1j * angle).mean()) * 24 / (2 * np.pi) % 24
        assert abs((peak - hour + 12) % 24 - 12) < 0.3


def test_the_horizon_ends_synthetic_and_file_work() -> None:
    assert len(built(source="synthetic", arrivals={"dist": "periodic", "every": "1h"}, classes=CLASSES,
                     horizon_ms=5 * 3_600_000)) == 5  # fmt: skip
    work, notes = build_work(workload(source="csv", path="table.csv"), streams=Streams(1), horizon_ms=20_000)
    assert work.ids == ("synth-a", "synth-b")
    assert notes == ["2 of 4 jobs left out: they come after the horizon"]
    assert work.after == {}
    assert build_work(workload(source="csv", path="table.csv"), streams=Streams(1), horizon_ms=20_001)[1] == []


def test_arrivals_without_end_are_the_users_mistake() -> None:
    with pytest.raises(InputError, match="workload: at-once arrivals never end: give a number of jobs"):
        built(source="synthetic", classes=CLASSES)


def test_a_flood_or_a_circle_of_classes_is_the_users_mistake() -> None:
    circle = [{"name": "a", "runtime": "1m", "after": ["b"]}, {"name": "b", "runtime": "1m", "after": ["a"]}]
    with pytest.raises(InputError, match="in a circle"):
        built(source="synthetic", jobs=5, classes=circle)


def test_swf_with_its_options() -> None:
    log: dict[str, Any] = {"source": "swf", "path": "small.swf", "slots": "require"}
    work, notes = build_work(workload(**log), streams=Streams(1))
    assert work.slots.tolist() == [4, 2, 3, 6, 1]
    assert len(notes) == 4
    assert [each.name for each in work.classes] == ["log"]
    options = built(
        **log, first=1, count=3, time_scale=2.0, runtime_estimate="actual", defaults={"checkpointable": True}
    )
    assert options.submit_ms.tolist() == [0, 80_000, 160_000]
    assert options.estimate_ms.tolist() == options.runtime_ms.tolist()
    assert options.classes[0].checkpointable
    assert built(**(log | {"slots": "as-one"})).slots.tolist() == [1] * 5
    capped = built(**log, slots_field="requested", runtime_cap="request")
    assert capped.slots.tolist() == [4, 2, 3, 6, 2]
    assert capped.runtime_ms.tolist() == [60_000, 0, 30_000, 600_000, 45_500]


@pytest.mark.parametrize(
    ("source", "path", "jobs"),
    [
        ("csv", "table.csv", 4),
        ("csv", "sacct.txt", 9),
        ("csv", "sacct.json", 3),
        ("csv", "lsf.csv", 5),
        ("csv", "batch.json", 5),
        ("slurm", "sacct.txt", 9),
        ("slurm", "sacct.json", 3),
        ("lsf", "lsf.json", 2),
        ("aws-batch", "batch.json", 5),
    ],
)
def test_files(source: str, path: str, jobs: int) -> None:
    work = built(source=source, path=path, defaults={"deadline": "1h"})
    assert len(work) == jobs
    assert {each.deadline_ms for each in work.classes} <= {3_600_000}


def test_jobs_from_a_file_are_the_same_in_all_worlds_but_for_the_draws() -> None:
    one, other = (built(world, source="csv", path="sacct.txt") for world in (0, 1))
    assert one.runtime_ms is other.runtime_ms
    assert one.outcome_u.tolist() != other.outcome_u.tolist()
    again = built(0, source="csv", path="sacct.txt")
    assert again.outcome_u.tolist() == one.outcome_u.tolist()


def test_a_file_is_read_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_cache", {})
    path = tmp_path / "jobs.csv"
    path.write_text("runtime\n1\n")
    log = workload(source="csv", path=str(path))
    assert len(build_work(log, streams=Streams(1))[0]) == 1
    path.write_text("runtime\n1\n2\n")
    os.utime(path, ns=(1, 1))
    assert len(build_work(log, streams=Streams(1))[0]) == 2
    for number in range(12):
        path.write_text(f"runtime\n{number}\n")
        os.utime(path, ns=(number + 2, number + 2))
        build_work(log, streams=Streams(1))
    assert len(build._cache) == 8


def test_lenient_from_the_scenario_or_the_command_line() -> None:
    broken: dict[str, Any] = {"source": "swf", "path": "broken.swf", "slots": "as-one"}
    with pytest.raises(InputError, match="6 of 8 lines"):
        built(**broken)
    assert len(built(**broken, lenient=True)) == 2
    assert len(build_work(workload(**broken), streams=Streams(1), lenient=True)[0]) == 2


def test_a_journal_is_the_jobs_csv_beside_it(tmp_path: Path) -> None:
    (tmp_path / "journal.parquet").write_bytes(b"PAR1")
    log = workload(source="journal", path=str(tmp_path / "journal.parquet"))
    with pytest.raises(InputError, match=r"has no jobs.csv beside it"):
        build_work(log, streams=Streams(1))
    (tmp_path / "jobs.csv").write_text("job_id,submission_time,execution_time,success\na,5,60,1\n")
    assert build_work(log, streams=Streams(1))[0].ids == ("a",)
    assert built(source="journal", path=str(tmp_path / "jobs.csv")).runtime_ms.tolist() == [60_000]


def test_lublin() -> None:
    keys: dict[str, Any] = {"source": "lublin", "slots": 64, "jobs": 200, "defaults": {"memory": "2 GiB"}}
    work = built(**keys)
    assert len(work) == 200
    assert work.slots.max() <= 64
    assert work.classes[0].memory_gib == 2
    assert built(1, **keys).runtime_ms.tolist() != work.runtime_ms.tolist()


def test_jobs_in_the_scenario_itself() -> None:
    jobs = [
        {"id": "b", "submit": "10s", "runtime": "1m", "vcpus": 2, "after": "a"},
        {"id": "a", "submit": "5s", "runtime": "2m", "estimate": "3m", "deadline": "1h"},
        {"id": "c", "submit": "10s", "runtime": "1m", "vcpus": 2, "gang": 3, "licences": {"x": 1}},
        {"id": "d", "submit": "10s", "runtime": "1m", "vcpus": 2, "slots": 4},
    ]
    work = built(jobs_list=jobs)
    assert work.ids == ("a", "b", "c", "d")
    assert work.submit_ms.tolist() == [5_000, 10_000, 10_000, 10_000]  # from the start of the world
    assert work.runtime_ms.tolist() == [120_000, 60_000, 60_000, 60_000]
    assert work.estimate_ms.tolist() == [180_000, -1, -1, -1]
    assert work.slots.tolist() == [1, 1, 3, 4]
    assert work.after == {1: (0,)}
    assert [each.name for each in work.classes] == ["1cpu", "2cpu", "2cpu-2"]
    assert work.klass.tolist() == [0, 1, 2, 1]


def test_mistakes_in_jobs_of_the_scenario() -> None:
    with pytest.raises(InputError, match="the id 'a' is given 2 times"):
        built(jobs_list=[{"id": "a", "runtime": "1m"}, {"id": "a", "runtime": "1m"}])
    with pytest.raises(InputError, match=r"in a circle: (a after b after a|b after a after b)"):
        built(jobs_list=[{"id": "a", "runtime": "1m", "after": "b"}, {"id": "b", "runtime": "1m", "after": "a"}])
    with pytest.raises(InputError, match="'a' waits for 'z'"):
        built(jobs_list=[{"id": "a", "runtime": "1m", "after": "z"}])


def test_empirical_durations_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "runtimes.txt"
    path.write_text("# seconds\n10\n\n20\n10\n")
    work = built(
        source="synthetic", jobs=200, classes=[{"runtime": {"dist": "empirical", "path": str(path)}, "name": "e"}]
    )
    assert set(work.runtime_ms.tolist()) == {10_000, 20_000}
    path.write_text("10\nsoon\n-1\n")
    with pytest.raises(InputError) as caught:
        read_durations(path)
    assert [problem.line for problem in caught.value.problems] == [2, 3, None]
    path.write_text("# nothing\n")
    with pytest.raises(InputError, match="no duration"):
        read_durations(path)


@pytest.mark.published
def test_a_public_log_by_name(spotbed_data: Path) -> None:
    work = built(source="swf", path="data:KTH-SP2-1996-2.1-cln.swf.gz", slots="require", count=1000)
    assert len(work) == 1000
    assert work.runtime_ms[0] == 3_477_000
