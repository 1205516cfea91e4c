"""Standard Workload Format: hand-made lines, malformed ones, and the statistics of four archive logs."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from sim.inputs import JobClass
from sim.streams import Streams
from spotbed.errors import InputError
from spotbed.work.swf import SwfLog, read_swf

FIXTURES = Path(__file__).parent / "fixtures" / "work"
SMALL, BROKEN = FIXTURES / "small.swf", FIXTURES / "broken.swf"


def test_header_is_read() -> None:
    header = read_swf(SMALL).header
    assert header.max_procs == 16
    assert header.unix_start_time == 1027839845
    assert header.fields["Computer"] == "a machine of this test"
    assert header.fields["Note"] == "the first"
    assert header.number("Computer") is None


def test_usable_jobs_come_in_order_of_submission_from_the_first() -> None:
    log = read_swf(SMALL)
    assert log.job.tolist() == [1, 2, 6, 7, 9]
    assert log.submit_s.tolist() == [0, 60, 100, 140, 140]
    assert log.first_submit_s == 100
    assert log.runtime_s.tolist() == [60, 0, 30, 900, 45.5]  # 0 is kept: less than half a second


def test_what_is_left_out_is_counted() -> None:
    notes = read_swf(SMALL).notes
    assert "1 of 9 jobs left out: no runtime" in notes
    assert "2 of 9 jobs left out: ended before they started" in notes
    assert "1 of 9 jobs left out: no number of processors" in notes


def test_processors_are_the_allocated_ones_or_the_requested_ones() -> None:
    assert read_swf(SMALL).slots.tolist() == [4, 2, 3, 6, 1]
    assert read_swf(SMALL, slots_field="requested").slots.tolist() == [4, 2, 3, 6, 2]
    assert read_swf(SMALL, slots="as-one").slots.tolist() == [1] * 5


def test_estimates_are_requested_or_actual() -> None:
    log = read_swf(SMALL)
    assert log.estimate_s.tolist() == [3600, 60, -1, 600, 100]
    assert any(note.startswith("1 of 5 jobs have no requested time") for note in log.notes)
    actual = read_swf(SMALL, runtime_estimate="actual")
    assert actual.estimate_s.tolist() == actual.runtime_s.tolist()


def test_a_cap_ends_jobs_at_their_request() -> None:
    assert read_swf(SMALL, runtime_cap="request").runtime_s.tolist() == [60, 0, 30, 600, 45.5]


def test_first_and_count_take_usable_jobs_and_restart_the_clock() -> None:
    log = read_swf(SMALL, first=2, count=2)
    assert log.job.tolist() == [6, 7]
    assert log.submit_s.tolist() == [0, 40]
    assert log.first_submit_s == 200


def test_time_scale_moves_submissions_only() -> None:
    log = read_swf(SMALL, time_scale=0.5)
    assert log.submit_s.tolist() == [0, 30, 50, 70, 70]
    assert log.runtime_s.tolist() == read_swf(SMALL).runtime_s.tolist()


def test_work_is_the_log_in_milliseconds() -> None:
    read = read_swf(SMALL).file_work(JobClass("log", vcpus=2.0, checkpointable=True))
    work = read.work(Streams(1))
    assert work.submit_ms.tolist() == [0, 60_000, 100_000, 140_000, 140_000]
    assert work.runtime_ms.tolist() == [60_000, 0, 30_000, 900_000, 45_500]
    assert work.estimate_ms.tolist() == [3_600_000, 60_000, -1, 600_000, 100_000]
    assert work.ids == ("1", "2", "6", "7", "9")
    assert work.user is not None
    assert work.user.tolist() == [12, 13, -1, 12, 12]
    assert work.classes[0].checkpointable


def test_only_the_draws_differ_between_worlds() -> None:
    read = read_swf(SMALL).file_work(JobClass("log"))
    one, other = read.work(Streams(1, 0)), read.work(Streams(1, 1))
    assert one.runtime_ms.tolist() == other.runtime_ms.tolist()
    assert one.outcome_u.tolist() == Streams(1, 0).per_entity("outcome", 0, 5).tolist()
    assert one.outcome_u.tolist() != other.outcome_u.tolist()
    assert one.string_u.tolist() != other.string_u.tolist()


def test_gzip_is_known_by_its_content(tmp_path: Path) -> None:
    packed = tmp_path / "log.swf"
    packed.write_bytes(gzip.compress(SMALL.read_bytes()))
    assert read_swf(packed).job.tolist() == [1, 2, 6, 7, 9]
    packed.write_bytes(gzip.compress(SMALL.read_bytes())[:-20])
    with pytest.raises(InputError, match="is damaged"):
        read_swf(packed)


# Malformed lines


def problems_of(path: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_swf(path)
    return [str(problem) for problem in caught.value.problems]


def test_malformed_lines_are_counted_and_the_first_five_named() -> None:
    problems = problems_of(BROKEN)
    assert problems == [
        f"{BROKEN}:3: error: has 5 fields, and an SWF job has 18.",
        f"{BROKEN}:4: error: field 4 is not a number: 'sixty'.",
        f"{BROKEN}:5: error: field 4 is not a number: 'nan'.",
        f"{BROKEN}:7: error: has 2 fields, and an SWF job has 18.",
        f"{BROKEN}:8: error: field 2 is not a number: 'inf'.",
        f"{BROKEN}: error: 6 of 8 lines are no SWF jobs. Go on without them with --lenient.",
    ]


def test_lenient_goes_on_without_them() -> None:
    log = read_swf(BROKEN, lenient=True)
    assert log.job.tolist() == [1, 5]
    assert log.notes == ("6 of 8 lines are no SWF jobs: left out",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "there is no job in this file"),
        (b"; MaxProcs: 4\n;\n", "only comments"),
        (b"1 0 -1 -1 4 -1 -1 4 3600 -1 1 12 1 -1 -1 1 -1 -1\n", "no job is left"),
        (bytes(range(256)) * 40, "is no text"),
    ],
)
def test_files_without_jobs_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "log.swf"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_swf(path)


def test_impossible_choices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no job is left: 5 are usable and `first` is 5"):
        read_swf(SMALL, first=5)
    with pytest.raises(InputError, match="a time scale is positive"):
        read_swf(SMALL, time_scale=0.0)
    with pytest.raises(InputError, match="no such file"):
        read_swf(tmp_path / "absent.swf")
    with pytest.raises(InputError, match="is a folder"):
        read_swf(tmp_path)


# Archive logs: the figures of their description


def archive(folder: Path, name: str) -> SwfLog:
    return read_swf(folder / "jobs" / name)


def summary(log: SwfLog) -> dict[str, float]:
    gaps = np.diff(log.submit_s)
    p50, p90, p99 = np.percentile(log.runtime_s, [50, 90, 99])
    return {
        "jobs": len(log),
        "mean": round(float(log.runtime_s.mean())),
        "p50": round(p50),
        "p90": round(p90),
        "p99": round(p99),
        "gap": round(float(gaps.mean())),
        "gap_cv": round(float(gaps.std() / gaps.mean()), 1),
    }


@pytest.mark.published
def test_kth(spotbed_data: Path) -> None:
    log = archive(spotbed_data, "KTH-SP2-1996-2.1-cln.swf.gz")
    expected = {"jobs": 27_992, "mean": 8573, "p50": 805, "p90": 26_031, "p99": 71_965, "gap": 1028, "gap_cv": 3.3}
    assert summary(log) == expected
    assert log.slots.mean() == pytest.approx(7.7, abs=0.05)
    assert np.percentile(log.slots, 99) == pytest.approx(70, abs=0.5)
    assert (log.runtime_s / log.estimate_s).mean() == pytest.approx(0.46, abs=0.005)
    assert (log.header.max_procs, log.header.unix_start_time) == (100, 843480031)
    span_s = float((log.submit_s + log.runtime_s).max())
    assert (log.runtime_s * log.slots).sum() / (100 * span_s) == pytest.approx(0.69, abs=0.01)
    assert log.notes == ()


@pytest.mark.published
def test_kth_filtered_as_published_results_use_it(spotbed_data: Path) -> None:
    log = read_swf(
        spotbed_data / "jobs" / "KTH-SP2-1996-2.2-filtered.swf.gz", slots_field="requested", runtime_cap="request"
    )
    assert len(log) == 28_481
    assert (log.runtime_s <= log.estimate_s).all()
    assert 1 <= log.slots.min() <= log.slots.max() <= 100


@pytest.mark.published
def test_nasa_has_no_requests_and_short_jobs(spotbed_data: Path) -> None:
    log = archive(spotbed_data, "NASA-iPSC-1993-3.1-cln.swf.gz")
    assert len(log) == 18_239
    assert (log.runtime_s == 0).sum() == 173
    ran = log.runtime_s[log.runtime_s > 0]
    assert ran.mean() == pytest.approx(772, abs=0.5)
    assert np.percentile(ran, [50, 90, 99]).tolist() == pytest.approx([88, 1520, 10_933], abs=0.5)
    assert summary(log)["gap"] == 436
    assert summary(log)["gap_cv"] == 9.5
    assert set(np.log2(log.slots) % 1) == {0.0}
    assert log.estimate_s.max() == -1


@pytest.mark.published
def test_hpc2n(spotbed_data: Path) -> None:
    log = archive(spotbed_data, "HPC2N-2002-2.1-cln.swf.gz")
    figures = summary(log)
    expected = {"jobs": 202_876, "mean": 17_025, "p50": 2873, "p90": 37_899, "p99": 252_314, "gap": 540, "gap_cv": 5.7}
    assert figures == expected
    assert (log.slots == 1).mean() == pytest.approx(0.42, abs=0.005)
    assert log.header.max_procs == 240


@pytest.mark.published
def test_cea_has_no_header_and_jobs_that_never_ran(spotbed_data: Path) -> None:
    log = archive(spotbed_data, "CEA-Curie-2011-2.1-cln-b2.swf.gz")
    assert log.header.fields == {}
    assert log.header.max_procs is None
    ran = log.runtime_s > 0
    assert (len(log), int(ran.sum())) == (14_877, 14_872)
    assert log.runtime_s[ran].mean() == pytest.approx(4036, abs=0.5)
    assert np.median(log.runtime_s[ran]) == 30
    assert log.slots[ran].mean() == pytest.approx(179, abs=0.5)
    assert np.percentile(log.slots[ran], 99) == 2048
    assert log.notes == ("362 of 15239 jobs left out: ended before they started",)
