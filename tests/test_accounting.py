"""Accounting of Slurm, LSF and AWS Batch: small files made by hand after the systems' documentation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sim.inputs import JobClass, Work
from sim.streams import Streams
from spotbed.errors import InputError
from spotbed.work.kinds import read_jobs, sniff
from spotbed.work.records import FileWork
from spotbed.work.values import is_unknown, parse_elapsed, parse_memory, parse_moment

FIXTURES = Path(__file__).parent / "fixtures" / "work"
TEMPLATE = JobClass("job", deadline_ms=5_000, checkpointable=True)
MARCH_2 = 1772438400.0  # 2026-03-02T08:00:00Z


def read(name: str) -> FileWork:
    return read_jobs(FIXTURES / name, TEMPLATE)


def job(work: Work, job_id: str) -> tuple[int, JobClass]:
    assert work.ids is not None
    index = work.ids.index(job_id)
    return index, work.classes[work.klass[index]]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sacct.txt", "slurm"),
        ("sacct.json", "slurm"),
        ("lsf.csv", "lsf"),
        ("lsf.json", "lsf"),
        ("batch.json", "aws-batch"),
        ("small.swf", "swf"),
        ("table.csv", "table"),
    ],
)
def test_the_kind_of_a_file_is_found_out(name: str, kind: str) -> None:
    assert sniff(FIXTURES / name) == kind


# Slurm


def test_sacct_jobs_and_their_runtimes() -> None:
    work = read("sacct.txt").jobs
    assert work.ids == ("1001", "1002_7", "1003", "1004", "1005", "1006", "1007", "1010", "1012")
    assert (work.submit_ms / 1000).tolist() == [0, 30, 40, 50, 60, 70, 80, 110, 120]
    runtime_s = [93_784, 630, 60, 3600, 1800, 300, 600, 100, 60]
    assert (work.runtime_ms / 1000).tolist() == runtime_s
    assert (work.estimate_ms / 1000).tolist()[:3] == [172_800, 3600, -0.001]


def test_sacct_shapes() -> None:
    work = read("sacct.txt").jobs
    shapes = {
        job_id: (each.vcpus, each.memory_gib, each.gpus, each.gang)
        for job_id in work.ids or ()
        for _, each in [job(work, job_id)]
    }
    assert shapes == {
        "1001": (4, 16, 0, 1),
        "1002_7": (8, 60, 2, 1),  # 61440M allocated
        "1003": (2, 4, 0, 1),  # 4000M, rounded up
        "1004": (2, 4, 0, 1),  # 2Gc on 2 CPUs
        "1005": (16, 8, 0, 4),  # 64 CPUs on 4 instances, 8Gn
        "1006": (2, 0, 0, 1),  # ?
        "1007": (2, 4, 0, 1),
        "1010": (2, 4, 0, 1),
        "1012": (1, 3, 0, 1),  # no request: what its step used, 2500000K
    }
    assert work.slots.tolist() == [1, 1, 1, 1, 4, 1, 1, 1, 1]


def test_sacct_outcomes() -> None:
    work = read("sacct.txt").jobs
    fails = {job_id: job(work, job_id)[1] for job_id in work.ids or ()}
    assert [each for each, klass in fails.items() if klass.fail_probability == 1] == ["1002_7", "1003", "1004"]
    assert (fails["1002_7"].exit_code, fails["1002_7"].retries) == (3, 0)
    assert fails["1003"].exit_code == 128 + 9
    assert fails["1004"].exit_code == 1  # a timeout exits 0 in sacct
    assert fails["1001"].fail_probability == 0
    assert fails["1006"].fail_probability == 0  # the machine failed, not the job


def test_sacct_tenants_and_the_template() -> None:
    work = read("sacct.txt").jobs
    assert job(work, "1001")[1].tenant == "cpu-team"
    assert job(work, "1004")[1].tenant == "default"
    assert all(each.deadline_ms == 5_000 and each.checkpointable for each in work.classes)
    names = [each.name for each in work.classes]
    assert len(set(names)) == len(names)
    assert "8cpu-60gib-2gpu" in names


def test_sacct_notes() -> None:
    assert read("sacct.txt").notes == (
        "1 of 13 records folded into a later one of the same job (requeued)",
        "1 of 12 jobs left out: they never started",
        "1 of 12 jobs were cancelled while they ran; the time that they ran is their runtime",
        "1 of 12 jobs were lost with their machine; what they ran before is taken as their runtime",
        "1 of 12 jobs were stopped at their time limit; they fail here too, without a retry",
        "2 of 12 jobs failed in the log; they fail here too, without a retry",
        "2 of 12 jobs left out: they had not ended",
    )


def test_sacct_json_is_the_same_table() -> None:
    work = read("sacct.json").jobs
    assert work.ids == ("2001", "2002_4", "2005")
    assert (work.submit_ms / 1000).tolist() == [0, 60, 70]
    assert (work.runtime_ms / 1000).tolist() == [600, 30, 60]
    assert work.estimate_ms.tolist() == [3_600_000, -1, -1]
    array = job(work, "2002_4")[1]
    assert (array.vcpus, array.memory_gib, array.gpus) == (8, 16, 1)
    assert (array.fail_probability, array.exit_code) == (1, 128 + 9)
    assert (job(work, "2001")[1].vcpus, job(work, "2001")[1].memory_gib) == (4, 8)


def test_sacct_with_commas_and_a_trailing_separator(tmp_path: Path) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text(
        "JobID,Submit,ElapsedRaw,TimelimitRaw,NCPUS,State,ExitCode,\n"
        "1,1772438400,60,5,2,COMPLETED,0:0,\n"
        "2,1772438410,90,,2,CD,0:0,\n"
    )
    work = read_jobs(path, TEMPLATE).jobs
    assert work.runtime_ms.tolist() == [60_000, 90_000]
    assert work.estimate_ms.tolist() == [300_000, -1]
    assert work.submit_ms.tolist() == [0, 10_000]


def test_a_missing_column_of_sacct_names_the_command(tmp_path: Path) -> None:
    path = tmp_path / "sacct.txt"
    path.write_text("JobID|Submitted|State|Elapsed\n1|2026-03-02T08:00:00|COMPLETED|01:00\n")
    with pytest.raises(InputError, match=r"'submit' is missing. Did you mean 'submitted'\? Try: sacct -a -X -P"):
        read_jobs(path, TEMPLATE, kind="slurm")


# LSF


def test_lsf_table() -> None:
    work = read("lsf.csv").jobs
    assert work.ids == ("501", "502[3]", "503", "505", "506")
    assert (work.submit_ms / 1000).tolist() == [0, 30, 40, 70, 80]  # +01:00, words, slashes and Z are one time
    assert (work.runtime_ms / 1000).tolist() == [600, 120, 1800, 50, 60]
    assert (work.estimate_ms / 1000).tolist() == [3600, -0.001, 1800, -0.001, -0.001]
    first, array, limit = (job(work, each)[1] for each in ("501", "502[3]", "503"))
    assert (first.vcpus, first.memory_gib, first.tenant, first.fail_probability) == (4, 4, "chipA", 0)
    assert (array.vcpus, array.memory_gib, array.fail_probability, array.exit_code) == (2, 1, 1, 139)
    assert (limit.fail_probability, limit.exit_code) == (1, 140)
    assert job(work, "505")[1].fail_probability == 0
    assert job(work, "506")[1].fail_probability == 0


def test_lsf_json() -> None:
    work = read("lsf.json").jobs
    assert work.ids == ("601", "602[2]")
    assert (work.runtime_ms / 1000).tolist() == [60, 120]  # the second from its times
    assert [(each.vcpus, each.memory_gib, each.gpus) for each in work.classes] == [(8, 16, 1), (8, 16, 0)]


def test_lsf_cpu_time_stands_in_and_is_told(tmp_path: Path) -> None:
    path = tmp_path / "bacct.csv"
    path.write_text("JOBID,SUBMIT_TIME,CPU_USED,SLOTS,STAT\n1,1772438400,120.0,2,DONE\n")
    read_work = read_jobs(path, TEMPLATE)
    assert read_work.jobs.runtime_ms.tolist() == [60_000]
    assert read_work.notes == ("1 of 1 jobs have no run time: their CPU time divided by their slots stands for it",)


def test_a_time_without_its_year_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "bhist.csv"
    path.write_text("JOBID,SUBMIT_TIME,RUN,PEND,STAT\n1,Mar  2 08:00,60,5,DONE\n")
    with pytest.raises(InputError, match="LSB_DISPLAY_YEAR=Y"):
        read_jobs(path, TEMPLATE)


# AWS Batch


def test_batch_answers_end_to_end() -> None:
    work = read("batch.json").jobs
    assert work.ids == ("11111111-aaaa", "22222222-bbbb:1", "33333333-cccc", "55555555-eeee", "77777777-abab")
    assert (work.submit_ms / 1000).tolist() == [0, 1, 5, 7, 9]
    assert (work.runtime_ms / 1000).tolist() == [600.5, 100, 60, 20, 5]
    assert work.estimate_ms.tolist() == [3_600_000, -1, -1, -1, -1]
    assert work.after == {1: (0,)}


def test_batch_shapes_and_outcomes() -> None:
    work = read("batch.json").jobs
    shapes = [(each.vcpus, each.memory_gib, each.gpus, each.gang, each.tenant) for each in work.classes]
    assert shapes == [
        (4, 8, 0, 1, "high"),  # 7680 MiB, rounded up
        (8, 16, 1, 1, "physics"),
        (2, 2, 0, 1, "low"),
        (16, 32, 0, 4, "low"),
    ]
    failed, lost = job(work, "22222222-bbbb:1")[1], job(work, "33333333-cccc")[1]
    assert (failed.fail_probability, failed.exit_code, failed.priority) == (1, 2, 5)
    assert lost.fail_probability == 0
    assert job(work, "77777777-abab")[1] is lost  # two containers of one task: the same shape, the same class


def test_batch_notes() -> None:
    assert read("batch.json").notes == (
        "1 of 8 jobs left out: array parents, whose children are the jobs",
        "1 of 8 jobs took more than one attempt: the last one is their runtime",
        "1 of 7 jobs failed in the log; they fail here too, without a retry",
        "1 of 7 jobs left out: they had not ended",
        "1 of 7 jobs left out: they never started",
        "1 of 7 jobs were lost with their machine; what they ran before is taken as their runtime",
        "1 waits of 7 jobs dropped: what they wait for is not among them",
    )


# What cannot be read


def test_cells_that_cannot_be_read_are_named_and_left_out_when_lenient(tmp_path: Path) -> None:
    path = tmp_path / "sacct.txt"
    lines = ["JobID|Submit|Elapsed|AllocCPUS|ReqMem|State", "1|2026-03-02T08:00:00|01:00|1|4G|COMPLETED"]
    lines += [f"{number}|2026-03-02T08:00:00|soon|1|4G|COMPLETED" for number in range(2, 9)]
    lines += ["9|2026-03-02T08:00:00|01:00|1|lots|COMPLETED", "10|2026-13-02T08:00:00|01:00|1|4G|COMPLETED"]
    path.write_text("\n".join(lines))
    with pytest.raises(InputError) as caught:
        read_jobs(path, TEMPLATE)
    told = [str(problem) for problem in caught.value.problems]
    assert len(told) == 6
    assert told[0].startswith(f"{path}:3: error: job '2': 'soon' is not a number")
    assert told[-1].endswith("9 of 10 jobs have cells that cannot be read. Go on without them with --lenient.")
    lenient = read_jobs(path, TEMPLATE, lenient=True)
    assert lenient.jobs.ids == ("1",)
    assert lenient.notes == ("9 of 10 jobs have cells that cannot be read: left out",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"is not JSON: .*"),
        ('{"jobs": [{"jobId": NaN}]}', "NaN is not a number"),
        ('{"jobs": []}', "is JSON, but not of"),
        ('[{"a": 1}]', "is JSON, but not of"),
        ("[" * 100_000, "is not JSON that can be read|is not JSON"),
    ],
)
def test_json_of_no_system_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "jobs.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_jobs(path, TEMPLATE)


def test_a_batch_job_without_its_fields_is_named_by_number(tmp_path: Path) -> None:
    path = tmp_path / "jobs.json"
    jobs = json.loads((FIXTURES / "batch.json").read_text().split("\n}\n")[0] + "}")["jobs"]
    path.write_text(json.dumps({"jobs": [*jobs, {"jobId": "x"}, "y"]}))
    with pytest.raises(InputError, match=r"jobs.json: error: job 4: is not what describe-jobs answers"):
        read_jobs(path, TEMPLATE)
    assert read_jobs(path, TEMPLATE, lenient=True).jobs.ids == ("11111111-aaaa", "22222222-bbbb:1")


def test_swf_is_sent_to_its_own_source() -> None:
    with pytest.raises(InputError, match="Say `source: swf`"):
        read("small.swf")


# Times and sizes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-03-02T08:00:00", MARCH_2),
        ("2026-03-02T08:00:00Z", MARCH_2),
        ("2026-03-02T10:00:00+02:00", MARCH_2),
        ("2026-03-02T10:00:00+0200", MARCH_2),
        ("2026-03-02 08:00:00.5", MARCH_2 + 0.5),
        ("1772438400", MARCH_2),
        ("2026/03/02-08:00:00", MARCH_2),
        ("Mon Mar  2 08:00:00 2026", MARCH_2),
        ("Mar 2 08:00 2026", MARCH_2),
        ("Unknown", None),
        ("-", None),
        ("", None),
    ],
)
def test_moments(text: str, seconds: float | None) -> None:
    assert parse_moment(text) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1-02:03:04", 93_784),
        ("02:03:04", 7384),
        ("03:04", 184),
        ("03:04.567", 184.567),
        ("3600", 3600),
        ("3600 second(s)", 3600),
        ("12 sec", 12),
        ("UNLIMITED", None),
        ("Partition_Limit", None),
    ],
)
def test_elapsed(text: str, seconds: float | None) -> None:
    assert parse_elapsed(text) == seconds


@pytest.mark.parametrize(
    ("text", "memory"),
    [
        ("4Gc", (4.0, "cpu")),
        ("4Gn", (4.0, "node")),
        ("512M", (0.5, "job")),
        ("2048", (2.0, "job")),
        ("1.5T", (1536.0, "job")),
        ("2 Gbytes", (2.0, "job")),
        ("2 GiB", (2.0, "job")),
        ("?", None),
        ("0n", None),
        ("", None),
    ],
)
def test_memory(text: str, memory: tuple[float, str] | None) -> None:
    assert parse_memory(text) == memory


@pytest.mark.parametrize("text", ["Foo 2 08:00 2026", "yesterday", "2026-02-30T00:00:00"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"month|[Ii]nvalid|range|day"):
        parse_moment(text)


def test_outcomes_are_drawn_per_world() -> None:
    read_work = read("sacct.txt")
    assert read_work.work(Streams(1, 0)).outcome_u.tolist() != read_work.work(Streams(1, 1)).outcome_u.tolist()
    assert is_unknown(" None ")
