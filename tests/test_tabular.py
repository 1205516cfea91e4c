"""Tables of one's own: columns, units, classes, dependencies, and every way in which a row can be wrong."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from sim.inputs import JobClass
from spotbed.errors import InputError
from spotbed.work.kinds import read_jobs, sniff
from spotbed.work.records import FileWork
from spotbed.work.tabular import COLUMNS

FIXTURES = Path(__file__).parent / "fixtures" / "work"
TEMPLATE = JobClass("job", vcpus=2.0, retries=7, tenant="house")


def table(tmp_path: Path, text: str, *, lenient: bool = False) -> FileWork:
    path = tmp_path / "jobs.csv"
    path.write_text(text)
    return read_jobs(path, TEMPLATE, lenient=lenient)


def refused(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        table(tmp_path, text)
    return [str(problem).removeprefix(f"{tmp_path / 'jobs.csv'}:") for problem in caught.value.problems]


def test_a_full_table() -> None:
    work = read_jobs(FIXTURES / "table.csv", TEMPLATE).jobs
    assert work.ids == ("synth-a", "synth-b", "route", "sign")
    assert (work.submit_ms / 1000).tolist() == [0, 10, 20, 20]
    assert (work.runtime_ms / 1000).tolist() == [600, 1200.5, 300, 30]
    assert work.estimate_ms.tolist() == [900_000, -1, -1, -1]
    first, second, _, last = (work.classes[number] for number in work.klass)
    assert (first.vcpus, first.memory_gib, first.tenant, first.priority) == (4, 8, "chipA", 5)
    assert (first.deadline_ms, first.checkpointable, first.retries) == (3_600_000, True, 7)
    assert second.licences == {"calibre": 2, "spectre": 1}
    assert (last.vcpus, last.tenant, last.name) == (2, "house", "2cpu")
    assert [each.name for each in work.classes] == ["synth", "synth-2", "route", "2cpu"]


def test_after_names_classes_and_ids() -> None:
    """route waits for the class synth, whose jobs differ in other keys; sign for two ids, one of them a class too."""
    assert read_jobs(FIXTURES / "table.csv", TEMPLATE).jobs.after == {2: (0, 1), 3: (0, 2)}


def test_only_the_runtime_is_needed(tmp_path: Path) -> None:
    work = table(tmp_path, "runtime\n5\n7.5\n").jobs
    assert work.ids == ("job-1", "job-2")
    assert work.submit_ms.tolist() == [0, 0]
    assert work.runtime_ms.tolist() == [5000, 7500]
    assert [each.vcpus for each in work.classes] == [2]


def test_rows_are_sorted_by_submission_stably(tmp_path: Path) -> None:
    work = table(tmp_path, "id,submit,runtime\na,50,1\nb,40,1\nc,50,1\nd,40,1\n").jobs
    assert work.ids == ("b", "d", "a", "c")
    assert work.submit_ms.tolist() == [0, 0, 10_000, 10_000]


def test_users_are_numbered_by_name(tmp_path: Path) -> None:
    work = table(tmp_path, "runtime,user\n1,zoe\n1,ann\n1,zoe\n").jobs
    assert work.user is not None
    assert work.user.tolist() == [1, 0, 1]


def test_a_gang_takes_its_slots_unless_told(tmp_path: Path) -> None:
    work = table(tmp_path, "runtime,gang,slots\n1,4,\n1,4,9\n1,,3\n").jobs
    assert work.slots.tolist() == [4, 9, 3]


def test_semicolons_tabs_quotes_and_blank_lines(tmp_path: Path) -> None:
    assert table(tmp_path, 'id;runtime\n"a;b";5\n\n;6\n').jobs.ids == ("a;b", "job-3")
    assert table(tmp_path, "\ufeffid\truntime\nx\t5\n").jobs.ids == ("x",)


def test_parquet_is_the_same_table(tmp_path: Path) -> None:
    path = tmp_path / "jobs.parquet"
    query = """COPY (SELECT * FROM (VALUES
        ('a', TIMESTAMP '2026-03-02 08:00:00', 600.0, 4, true, NULL),
        ('b', TIMESTAMP '2026-03-02 08:00:10', 1.5, 8, false, 'a')
    ) AS jobs(ID, submit, runtime, vcpus, checkpointable, after)) TO '{path}' (FORMAT parquet)"""
    with duckdb.connect() as connection:
        connection.execute(query.format(path=path))
    assert sniff(path) == "parquet"
    work = read_jobs(path, TEMPLATE, kind="parquet").jobs
    assert work.ids == ("a", "b")
    assert work.submit_ms.tolist() == [0, 10_000]
    assert work.runtime_ms.tolist() == [600_000, 1500]
    assert [(each.vcpus, each.checkpointable) for each in work.classes] == [(4, True), (8, False)]
    assert work.after == {1: (0,)}


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jobs.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_jobs(path, TEMPLATE, kind="parquet")


def test_further_columns_are_told(tmp_path: Path) -> None:
    read = table(tmp_path, "runtime,colour,shape\n5,red,round\n")
    assert read.notes == ("columns that are not read: colour, shape",)


# What is wrong


@pytest.mark.parametrize(
    ("header", "meant"),
    [
        ("id,runtme", "runtime"),
        ("runtime,memory", "memory_gib"),
        ("runtime,priorty", "priority"),
        ("runtime,submit_s", "submit"),
        ("runtime,submission_time", "submit"),
        ("id,duration", "runtime"),
        ("runtime,job_id", "id"),
    ],
)
def test_a_column_that_is_nearly_ours_is_refused(tmp_path: Path, header: str, meant: str) -> None:
    problems = refused(tmp_path, f"{header}\n1,1\n")
    assert problems[0].startswith(f"1: error: {header.replace('runtime,', '').replace('id,', '')}: unknown column.")
    assert f"Did you mean {meant!r}" in problems[0]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    problem = refused(tmp_path, "id,colour\na,red\n")[0]
    assert problem == "1: error: column 'runtime' is missing. The columns are: id, colour."


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("runtime", "nan", "'nan' is not a finite number."),
        ("runtime", "-5", "'-5': must not be negative."),
        ("runtime", "5m", "'5m' is not a number."),
        ("runtime", "", "there is no runtime."),
        ("vcpus", "0", "'0': must be above 0."),
        ("vcpus", "inf", "'inf' is not a finite number."),
        ("gpus", "1.5", "'1.5': must be a whole number."),
        ("memory_gib", "-1", "'-1': must not be negative."),
        ("fail_probability", "1.5", "'1.5': must be between 0 and 1."),
        ("checkpointable", "maybe", "'maybe': is neither true nor false."),
        ("gang", "0", "'0': must be at least 1."),
        ("deadline", "0", "'0': must be above 0."),
        ("licences", "calibre:x", "'calibre:x': 'x' is not a number."),
    ],
)
def test_a_cell_that_is_wrong_is_named_with_its_line(tmp_path: Path, column: str, cell: str, message: str) -> None:
    columns = ["runtime"] if column == "runtime" else ["runtime", column]
    good = ",".join("1" for _ in columns)
    bad = ",".join(cell if each == column else "1" for each in columns)
    lines = [f"id,{','.join(columns)}", f"a,{good}", f"b,{bad}", f"c,{good}"]
    problems = refused(tmp_path, "\n".join(lines))
    assert problems == [
        f"3: error: {column}: {message}",
        " error: 1 of 3 jobs have cells that cannot be read. Go on without them with --lenient.",
    ]
    assert table(tmp_path, "\n".join(lines), lenient=True).jobs.ids == ("a", "c")


def test_submissions_are_numbers_or_dates_not_both(tmp_path: Path) -> None:
    dated = "submit,runtime\n2026-03-02T08:00:00Z,1\n"
    assert "is a number where other rows have a time with its date" in refused(tmp_path, f"{dated}90,1\n")[0]
    assert "there is no time of submission" in refused(tmp_path, f"{dated},1\n")[0]
    assert "3: error: submit:" in refused(tmp_path, "submit,runtime\n90,1\n2026-03-02T08:00:00Z,1\n")[0]


def test_ids_given_twice_are_named_with_their_lines(tmp_path: Path) -> None:
    assert refused(tmp_path, "id,runtime\na,1\nb,1\na,2\n") == [
        "2: error: the id 'a' is given 2 times.",
        "4: error: the id 'a' is given 2 times.",
        " error: 2 jobs share their id with another.",
    ]


def test_dependencies_on_nothing_and_in_circles(tmp_path: Path) -> None:
    assert refused(tmp_path, "id,runtime,after\na,1,\nb,1,c\n") == [
        "3: error: 'b' waits for 'c', which is neither a job nor a class."
    ]
    circle = refused(tmp_path, "id,runtime,after\na,1,c\nb,1,a\nc,1,b\n")
    assert len(circle) == 1
    assert circle[0].startswith("2: error: jobs wait for each other in a circle: ")
    assert refused(tmp_path, "id,runtime,after\na,1,a\n")[0].endswith("in a circle: a after a. Cut it somewhere.")
    assert "in a circle" in refused(tmp_path, "id,runtime,class,after\na,1,x,x\n")[0]


def test_rows_with_other_cells_than_the_header(tmp_path: Path) -> None:
    text = "id,runtime\na,1\nb,1,2\nc\n"
    assert refused(tmp_path, text) == [
        "3: error: has 3 cells where the header has 2.",
        "4: error: has 1 cells where the header has 2.",
        " error: 2 of 3 lines have other cells than the header. Go on without them with --lenient.",
    ]
    read = table(tmp_path, text, lenient=True)
    assert read.jobs.ids == ("a",)
    assert read.notes == ("2 of 3 lines have other cells than the header: left out",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("id,runtime\n", "there is no job that ran"),
        ("runtime,runtime\n1,2\n", "the column 'runtime' is there twice"),
        ('id,runtime\n"a,1\n' + "x" * (1 << 21), "is no table"),
    ],
)
def test_files_without_jobs(tmp_path: Path, text: str, message: str) -> None:
    assert message in refused(tmp_path, text)[0]


# The jobs.csv of an earlier run

RUN = """\
job_id,submission_time,requested_number_of_resources,requested_time,success,execution_time,finish_time,deadline,tenant,class
a,100.0,1,600,1,300.5,500,7300,chipA,regress
b,110.0,4,-1,1,60,200,,chipB,regress
c,120.0,1,600,0,50,200,,chipA,signoff
d,130.0,1,600,1,,,,chipA,signoff
"""


def test_jobs_of_an_earlier_run(tmp_path: Path) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text(RUN)
    assert sniff(path) == "run"
    read = read_jobs(path, TEMPLATE)
    assert read.jobs.ids == ("a", "b")
    assert read.jobs.submit_ms.tolist() == [0, 10_000]
    assert read.jobs.runtime_ms.tolist() == [300_500, 60_000]
    assert read.jobs.estimate_ms.tolist() == [600_000, -1]
    assert read.jobs.slots.tolist() == [1, 4]
    assert [(each.name, each.tenant, each.deadline_ms, each.vcpus) for each in read.jobs.classes] == [
        ("regress", "chipA", 7_200_000, 2),
        ("regress-2", "chipB", None, 2),
    ]
    assert read.notes == ("2 of 4 jobs left out: they did not end well, so how long they take is not known",)


def test_a_run_without_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text("job_id,submission_time\na,1\n")
    with pytest.raises(InputError, match="'execution_time' is missing"):
        read_jobs(path, TEMPLATE, kind="run")


def test_every_column_is_documented() -> None:
    text = (Path(__file__).parent.parent / "docs" / "work.md").read_text()
    assert [name for name in COLUMNS if f"| `{name}` | {COLUMNS[name].meaning} |" not in text] == []
