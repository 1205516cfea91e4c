"""What a user does to a stack, over the tables of an emulator: submissions, what is looked at, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from aws import stack as module
from aws.local import cloud
from aws.stack import Address, Clients, Stack
from aws.store import FLEET, packed
from aws.tables import make_tables
from scheduler.fleet import Fleet
from spotbed.errors import InputError, OutsideError

REGION, BUCKET = "us-east-1", "team"


class Doors:
    """Nobody behind them."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, Any]] = []

    def operate(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append(payload)
        return {"phase": "cancelled"}

    def running(self) -> dict[str, Any]:
        return {"instances": {"i-1": "spot"}, "executions": 1}


class Taking(Stack):
    """Intake has always been faster."""

    def _await(self, ids: Any) -> None:
        for job_id in ids:
            put(self, job_id)


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        dynamodb, s3, sqs = (boto3.client(name, REGION) for name in ("dynamodb", "s3", "sqs"))
        make_tables(dynamodb, cloud.TABLES)
        s3.create_bucket(Bucket=BUCKET)
        url = sqs.create_queue(QueueName="jobs")["QueueUrl"]
        address = Address("eda", cloud.TABLES, {"jobs": url}, BUCKET, "spotbed/", BUCKET)
        yield Taking(address, Clients(dynamodb, s3, sqs), Doors())


def put(mine: Stack, job_id: str, **more: dict[str, Any]) -> None:
    """An item of a job, as the functions write it."""
    plain = {"phase": {"S": "queued"}, "state": {"S": "{}"}, "submitted_ms": {"N": "1"}}
    mine._dynamodb.put_item(TableName=cloud.TABLES.jobs, Item={"job_id": {"S": job_id}, **plain, **more})


def received(mine: Stack) -> list[dict[str, Any]]:
    found = []
    while page := mine._sqs.receive_message(QueueUrl=mine.address.queues["jobs"], MaxNumberOfMessages=10).get(
        "Messages"
    ):
        found += [json.loads(each["Body"]) for each in page]
    return found


def written(tmp_path: Path, *jobs: Any) -> Path:
    path = tmp_path / "jobs.json"
    path.write_text(json.dumps(jobs))
    return path


def test_many_jobs_go_in_batches_and_those_that_are_there_are_left_out(mine: Stack, tmp_path: Path) -> None:
    put(mine, "job 3")
    known: list[str] = []
    jobs = [{"id": f"job {number}", "commands": ["true"]} for number in range(123)]
    ids = mine.submit(written(tmp_path, *jobs), known.append)
    assert known == ["job 3"]
    assert ids == [job["id"] for job in jobs if job["id"] != "job 3"]
    assert sorted(each["id"] for each in received(mine)) == sorted(ids)
    assert mine.submit(written(tmp_path, *jobs)) == []
    assert len(mine.jobs()) == 123


def test_a_batch_is_no_larger_than_any_queue_takes() -> None:
    texts = [{"id": str(number), "commands": ["x" * 100_000]} for number in range(5)]
    batches = list(module._batches(texts))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert [len(batch) for batch in module._batches([{}] * 25)] == [10, 10, 5]
    assert list(module._batches([{"id": "x" * 300_000}])) == [[json.dumps({"id": "x" * 300_000})]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no job"),
        ("[]", "has no job"),
        ("[1]", "a job is an object, not 1"),
        ('{"id": "a", "commands": ["x"]}\n{', "is no JSON"),
        (
            '[{"id": "a", "commands": ["x"]}, {"id": "a", "commands": ["y"]}]',
            "job 2: the id 'a' is that of another one",
        ),
        ('{"id": "a", "comands": ["x"]}', "job 1: unknown key 'comands'"),
        ('[{"id": ""}, {"id": "b"}]', "job 2: commands: at least one command line"),
    ],
)
def test_a_file_of_what_is_no_job_is_refused_whole(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "jobs.json"
    path.write_text(text)
    with pytest.raises(InputError) as raised:
        module._read(path, list(module._messages(path)))
    assert any(says in str(problem) for problem in raised.value.problems)


def test_a_folder_is_uploaded_below_what_is_ours_and_once(mine: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "deck"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "model").write_text("model")
    with pytest.raises(InputError, match=r"has 0 executables \(none\)"):
        mine.submit(folder)
    (folder / "run.sh").write_text("#!/bin/sh")
    (folder / "run.sh").chmod(0o755)
    assert mine.submit(folder) == ["deck"]
    listed = mine._s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert [each["Key"] for each in listed] == ["spotbed/drop/deck/lib/model", "spotbed/drop/deck/run.sh"]
    (message,) = received(mine)
    assert message["inputs"][0] == "spotbed/drop/deck/"
    (folder / "lib" / "model").write_text("another")
    assert mine.submit(folder) == []
    body = mine._s3.get_object(Bucket=BUCKET, Key="spotbed/drop/deck/lib/model")["Body"].read()
    assert body == b"model", "the inputs of a job that is there stay"


def test_logs_and_outputs_are_found_in_the_jobs_own_bucket(mine: Stack, tmp_path: Path) -> None:
    put(mine, "waits")
    with pytest.raises(InputError, match="no attempt of 'waits' has ended yet"):
        mine.logs("waits")
    with pytest.raises(InputError, match="'waits' has no outputs"):
        mine.fetch("waits", tmp_path)
    mine._s3.create_bucket(Bucket="other")
    mine._s3.put_object(Bucket="other", Key="j/log.txt", Body=b"said")
    mine._s3.put_object(Bucket="other", Key="j/output/a/b", Body=b"made")
    put(mine, "done", log={"S": "j/log.txt"}, output={"S": "j/output/"}, bucket={"S": "other"})
    assert mine.logs("done") == b"said"
    assert [path.read_bytes() for path in mine.fetch("done", tmp_path / "out")] == [b"made"]
    mine._s3.put_object(Bucket="other", Key="j/output/../../up", Body=b"")
    with pytest.raises(InputError, match="would lie outside the folder"):
        mine.fetch("done", tmp_path / "out")


def test_a_job_tells_its_attempts_and_its_cost(mine: Stack) -> None:
    attempt = {"attempt": {"N": "1"}, "pool": {"S": "spot"}, "usd_per_hour": {"N": "0.08"}, "started_ms": {"N": "5"}}
    put(mine, "one", cost_usd={"N": "0.25"}, attempt_log={"L": [{"M": attempt}]}, metrics={"S": '{"loss": 0.5}'})
    line = mine.job("one")
    assert (line.cost_usd, line.metrics) == (0.25, {"loss": 0.5})
    assert line.attempt_log == [{"attempt": 1, "pool": "spot", "usd_per_hour": 0.08, "started_ms": 5}]
    with pytest.raises(InputError, match="stack eda has no job 'two'"):
        mine.job("two")


def test_the_fleet_is_told_as_its_table_has_it(mine: Stack) -> None:
    fleet = cloud.TABLES.fleet
    mine._dynamodb.put_item(TableName=fleet, Item={"key": {"S": "switch"}, "drains": {"BOOL": True}})
    pool = {"key": {"S": "pool#spot"}, "never_ready": {"N": "3"}, "launch_stopped": {"S": "never ready"}}
    mine._dynamodb.put_item(TableName=fleet, Item=pool)
    mine._dynamodb.put_item(TableName=fleet, Item={"key": {"S": "class#1"}})
    found = mine.status()
    assert found["drained"] is True
    assert found["cap_reached"] is False
    closed = packed(replace(Fleet(), phase="closed"))
    mine._dynamodb.put_item(TableName=fleet, Item={"key": {"S": FLEET}, "state": {"S": closed}, "version": {"N": "1"}})
    assert mine.status()["cap_reached"] is True
    assert found["pools"] == {"spot": {"never_ready": 3, "stopped": "never ready"}}
    assert (found["instances"], found["executions"], found["queues"]) == ({"i-1": "spot"}, 1, {"jobs": 0})


def test_what_sqs_does_not_take_is_told(mine: Stack) -> None:
    with Stubber(mine._sqs) as stubber:
        failed = {"Id": "0", "Code": "InternalError", "Message": "not now", "SenderFault": False}
        stubber.add_response("send_message_batch", {"Successful": [], "Failed": [failed]})
        with pytest.raises(OutsideError, match="SQS did not take a job: not now") as raised:
            mine._send(["{}"])
    assert raised.value.exit_code == 4
    assert "submit the same file again" in str(raised.value)


def test_jobs_that_are_not_taken_in_are_told(mine: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TAKEN_WITHIN_S", 0.0)
    put(mine, "there")
    with pytest.raises(OutsideError, match="1 of 2 jobs were not taken in yet, 'lost' among them"):
        Stack._await(mine, {"there": (), "lost": ("there",)})


def test_the_job_that_nobody_knows_is_told_to_who_comes_after_it(
    mine: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "_TAKEN_WITHIN_S", 0.0)
    monkeypatch.setattr(Taking, "_await", Stack._await)
    put(mine, "there")
    path = written(
        tmp_path,
        {"id": "first", "commands": ["true"], "after": ["second", "there"]},
        {"id": "second", "commands": ["true"], "after": ["there", "typo"]},
    )
    with pytest.raises(OutsideError, match="'second' comes after 'typo', which the stack does not know"):
        mine.submit(path)


def test_a_stack_without_a_plan_says_so(mine: Stack) -> None:
    with pytest.raises(InputError, match="was not made by `spotbed apply`"):
        mine.plan()
    mine._s3.put_object(Bucket=BUCKET, Key="spotbed/plan.json", Body=b'{"schema": "x"}')
    assert mine.plan() == {"schema": "x"}


def test_orders_go_through_the_door(mine: Stack) -> None:
    put(mine, "one")
    assert mine.cancel("one") == "cancelled"
    mine.drain()
    mine.resume()
    assert isinstance(mine._doors, Doors)
    assert mine._doors.asked == [{"do": "cancel", "job": "one"}, {"do": "drain"}, {"do": "resume"}]
