"""What one job makes and another one reads: dropped folders, and pipelines of jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_aws_local import eventually, local, processes_with
from test_aws_wrapper import Cloud, cloud, server

from aws import wrapper
from aws.drops import RESULTS, Drop, S3Folders, submission
from aws.local import stack
from aws.translate import BadMessage, from_message
from spotbed.errors import InputError

__all__ = ["cloud", "local", "server"]  # fixtures
NAMES = ["a+b%20c größe", 'o\'clock "x"', "$(id);`id`"]


# dropped folders ------------------------------------------------------------------------------------------------------
def dropped(cloud: Cloud, key: str, sequencer: str = "1") -> str:
    """The job of a folder that was dropped, submitted; its id."""
    drop = Drop(cloud.bucket, key, sequencer)
    made = submission(drop, S3Folders(cloud.s3), 0)
    cloud.submit(drop.job_id, **made.body)
    return drop.job_id


@pytest.mark.parametrize("name", NAMES)
def test_a_dropped_folder_runs_where_its_files_are_and_shows_whole_results(cloud: Cloud, name: str) -> None:
    cloud.put(f"in/{name}/data/a.csv", b"42")
    cloud.put(f"in/{name}/{name} job.sh", b"#!/bin/sh\ncat data/a.csv > result.txt; pwd\n")
    job_id = dropped(cloud, f"in/{name}/{name} job.sh")
    assert cloud.start(job_id).wait(60) == wrapper.REPORTED, cloud.notes()
    assert cloud.end(job_id).cause == "done", cloud.log(job_id)
    results = f"in/{name}/{RESULTS}/{job_id}/"
    assert [key.removeprefix(results) for key in cloud.listed(results)] == [wrapper.MARKER, "result.txt"]
    assert cloud.read(results + "result.txt") == b"42"
    assert cloud.item(job_id)["bucket"] == cloud.bucket


def test_results_of_an_earlier_drop_are_no_inputs_of_the_next(cloud: Cloud) -> None:
    cloud.put("in/a/job.sh", b"#!/bin/sh\nls -A; echo x > made.txt\n")
    for sequencer in "12":
        job_id = dropped(cloud, "in/a/job.sh", sequencer)
        cloud.start(job_id).wait(60)
        assert cloud.log(job_id).split() == ["job.sh"]
    assert len({key.split("/")[3] for key in cloud.listed(f"in/a/{RESULTS}/")}) == 2


def test_a_dropped_job_keeps_to_its_teams_bucket(cloud: Cloud) -> None:
    other = f"{cloud.bucket}-other"
    cloud.s3.create_bucket(Bucket=other)
    cloud.s3.put_object(Bucket=other, Key="x/job.sh", Body=b"#!/bin/sh\necho 1 > one\n")
    drop = Drop(other, "x/job.sh", "1")
    cloud.submit(drop.job_id, **submission(drop, S3Folders(cloud.s3), 0).body)
    cloud.start(drop.job_id).wait(60)
    item = cloud.item(drop.job_id)
    assert cloud.s3.get_object(Bucket=other, Key=item["output"] + "one")["Body"].read() == b"1\n"
    assert cloud.s3.head_object(Bucket=other, Key=item["log"])
    assert cloud.listed() == []


# pipelines ------------------------------------------------------------------------------------------------------------
def finished(cloud: Cloud, job: str, phase: str = "done", **body: Any) -> None:
    """Run a job, and write its end as the functions do."""
    cloud.run(job, **body)
    cloud.tables.update_item(
        TableName=cloud.table, Key={"job_id": {"S": job}}, UpdateExpression="SET phase = :p",
        ExpressionAttributeValues={":p": {"S": phase}},
    )  # fmt: skip


def test_a_stage_reads_what_an_earlier_one_made(cloud: Cloud) -> None:
    finished(cloud, "one", commands=["mkdir out; echo 1 > out/a; echo 2 > out/b; echo 3 > c"], outputs=["*"])
    end = cloud.run(
        "two",
        commands=["cat c in/a in/b all/out/a all/c > sum"],
        inputs=[{"job": "one", "path": "c"}, {"job": "one", "path": "out/", "to": "in"}, {"job": "one", "to": "all"}],
        outputs=["sum"],
    )
    assert end.cause == "done", cloud.log("two")
    assert cloud.read(cloud.item("two")["output"] + "sum") == b"3\n1\n2\n1\n3\n"


@pytest.mark.parametrize(("phase", "path"), [("failed", "c"), ("done", "nothing"), ("done", "../c")])
def test_an_output_that_is_not_there_fails_the_stage_and_says_which(cloud: Cloud, phase: str, path: str) -> None:
    finished(cloud, "one", phase, commands=["echo 3 > c"], outputs=["*"])
    end = cloud.run("two", commands=["true"], inputs=[{"job": "one", "path": path}])
    assert (end.cause, end.exit_code) == ("failed", wrapper.NO_INPUT)
    assert ("one" if phase == "failed" else path) in cloud.log("two")


def test_who_reads_an_earlier_jobs_output_waits_for_it() -> None:
    inputs = [{"job": "a", "path": "x"}, {"job": "b"}, "plain/key", {"key": "k"}]
    made = from_message(json.dumps({"id": "c", "commands": ["x"], "after": ["z", "a"], "inputs": inputs}), 0)
    assert made.after == ("z", "a", "b")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"inputs": [{"job": "c"}]}, "after: a job cannot wait for itself"),
        ({"after": "c"}, "after: a job cannot wait for itself"),
        ({"inputs": [{"job": 7}]}, "job: a text that is not empty"),
        ({"after": [7]}, "after: a list of job ids"),
    ],
)
def test_what_cannot_be_waited_for_is_refused(more: dict[str, object], says: str) -> None:
    with pytest.raises(BadMessage, match=says):
        from_message(json.dumps({"id": "c", "commands": ["x"], **more}), 0)


# on a stack of this machine -------------------------------------------------------------------------------------------
PIPELINES: list[dict[str, Any]] = [
    {"id": "mesh", "commands": ["echo 21 > mesh.bin"], "outputs": ["mesh.bin"]},
    {"id": "solve", "commands": ["mkdir field; echo $(( 2 * $(cat mesh.bin) )) > field/t0"], "outputs": ["field/"],
     "inputs": [{"job": "mesh", "path": "mesh.bin"}]},
    {"id": "plot", "commands": ["cat in/t0 > answer; echo \"{\\\"t\\\": $(cat in/t0)}\" > $SPOTBED_METRICS"],
     "outputs": ["answer"], "inputs": [{"job": "solve", "path": "field/", "to": "in"}]},
    {"id": "bad-solve", "retries": 0, "commands": ["exit 7"], "inputs": [{"job": "mesh", "path": "mesh.bin"}]},
    {"id": "bad-plot", "commands": ["true"], "inputs": [{"job": "bad-solve", "path": "field/"}]},
]  # fmt: skip


@pytest.mark.slow
def test_pipelines_run_on_a_stack_of_this_machine(local: stack.LocalStack, tmp_path: Path) -> None:
    for message in reversed(PIPELINES):
        local.send(message)
    eventually(lambda: len(local.jobs()) == len(PIPELINES))
    assert local.wait(170)
    lines = {line.job_id: line for line in local.jobs()}
    phases = {name: line.phase for name, line in lines.items()}
    assert phases == {"mesh": "done", "solve": "done", "plot": "done", "bad-solve": "failed", "bad-plot": "failed"}
    assert [path.read_text() for path in local.fetch("plot", tmp_path / "out")] == ["42\n"]
    assert (lines["plot"].metrics, lines["bad-solve"].exit_code, lines["bad-plot"].attempts) == ({"t": 42}, 7, 0)


ARRAYS: list[dict[str, Any]] = [
    {"id": "sweep", "array": 5, "outputs": ["square"], "output_prefix": "squares/",
     "commands": ["i=$SPOTBED_ARRAY_INDEX; echo $(( i * i )) | tee square; test $SPOTBED_ARRAY_SIZE = 5"]},
    {"id": "merge", "commands": ["cat */square | sort -n > all"], "outputs": ["all"], "inputs": ["squares/"],
     "after": "sweep"},
]  # fmt: skip


@pytest.mark.slow
def test_an_array_runs_on_a_stack_of_this_machine(local: stack.LocalStack, tmp_path: Path) -> None:
    file = tmp_path / "jobs.json"
    file.write_text(json.dumps(ARRAYS))
    assert local.submit(file) == ["sweep", "merge"]
    known: list[str] = []
    assert local.submit(file, known.append) == []
    assert known == ["sweep", "merge"]
    assert local.wait(120)
    names = [f"sweep[{index}]" for index in range(5)]
    assert [line.job_id for line in local.jobs()] == [*names, "merge"]
    assert [(line.phase, line.attempts) for line in local.jobs()] == [("done", 1)] * 6
    assert local.status()["jobs"] == {"done": 6}
    assert local.logs("sweep[3]") == b"9\n"
    assert local.job("sweep[4]").exit_code == 0
    assert [path.read_text() for path in local.fetch("merge", tmp_path / "out")] == ["0\n1\n4\n9\n16\n"]
    assert local.cancel("sweep") == "done"
    with pytest.raises(InputError, match=r"'sweep' is an array of 5 jobs. Name one of them, sweep\[0\] to sweep\[4\]"):
        local.logs("sweep")


def test_an_array_that_runs_is_cancelled_as_one(local: stack.LocalStack) -> None:
    local.send({"id": "sweep", "array": 3, "commands": ["sleep 615"]})
    eventually(lambda: bool(processes_with("sleep 615")))
    assert local.cancel("sweep") == "cancelled"
    eventually(lambda: not processes_with("sleep 615"))
    assert local.status()["jobs"] == {"cancelled": 3}
