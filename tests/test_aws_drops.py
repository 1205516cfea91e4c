"""Folders dropped into a bucket: which keys are jobs, and what is said of those that are not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any
from urllib.parse import quote_plus

import boto3
import pytest
from aws_world import World
from botocore.exceptions import ClientError
from moto import mock_aws
from test_conformance import IDEAL, PLAIN, SPOT, world

from aws import functions
from aws.drops import Drop, S3Folders, dropped

BUCKET = "team-drops"
NAMES = [
    "plain",
    "with space",
    "a+b",
    "a%20b",
    "o'clock",
    'say "x"',
    "$(id);`id`",
    "größe-日本",
    "-dash",
    "#1",
    "a&b=c",
]


@cache
def client(service: str) -> Any:
    """One of boto3's; making it takes longer than most tests."""
    make: Any = boto3.client
    return make(service, region_name="us-east-1")


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    """A world with a team's bucket."""
    with mock_aws():
        yield World(world(PLAIN, [(0, 600_000)], {}, IDEAL), SPOT)


@pytest.fixture
def made(shared: World) -> Iterator[World]:
    """The world with nothing in it."""
    s3, dynamodb = client("s3"), client("dynamodb")
    s3.create_bucket(Bucket=BUCKET)
    shared.control = replace(shared.control, folders=S3Folders(s3), ours="spotbed/")
    yield shared
    shared.told.clear()
    for found in s3.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        s3.delete_object(Bucket=BUCKET, Key=found["Key"])
    tables = shared.control.store.tables
    for table, key in ((tables.jobs, "job_id"), (tables.fleet, "key")):
        for item in dynamodb.scan(TableName=table)["Items"]:
            dynamodb.delete_item(TableName=table, Key={key: item[key]})


def put(*keys: str, text: str = "echo hello") -> None:
    for key in keys:
        client("s3").put_object(Bucket=BUCKET, Key=key, Body=text.encode())


def event(key: str, sequencer: str = "0A", bucket: str = BUCKET, **drop: str) -> str:
    """What the rule of a team's stack sends: the event of EventBridge, and the team's configuration."""
    found = {"key": key, "size": 10, "etag": "e", "sequencer": sequencer}
    detail = {"version": "0", "bucket": {"name": bucket}, "object": found, "reason": "PutObject"}
    envelope = {"version": "0", "id": "1", "source": "aws.s3", "detail-type": "Object Created", "detail": detail}
    return json.dumps({**envelope, "drop": {"team": "eda", "prefix": "in/", "suffix": "job.sh", **drop}})


def notification(key: str) -> str:
    """What S3 itself sends: the key quoted as in a form."""
    found = {"key": quote_plus(key), "eTag": "e", "sequencer": "0A"}
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": BUCKET}, "object": found},
    }
    return json.dumps({"Records": [record]})


def take_in(made: World, *bodies: str) -> list[Any]:
    records = [{"messageId": f"m{number}", "body": body} for number, body in enumerate(bodies)]
    answer: list[Any] = functions.intake({"Records": records}, None, made.control)["batchItemFailures"]
    return answer


def job_items(made: World) -> list[dict[str, Any]]:
    ids = made.control.store.candidates("1x0GiB|spot|*")
    rows = [made.control.store.job(each) for each in ids]
    return [row.item for row in rows if row is not None]


def refusals(made: World) -> list[str]:
    assert all(phase == "refused" for _, phase, _ in made.told)
    return [reason for _, _, reason in made.told]


# which keys are jobs ------------------------------------------------------------------------------------------------
def test_a_dropped_folder_is_a_job_with_its_files_and_its_results_come_back_below_it(made: World) -> None:
    put("in/run 1/data/a.csv", "in/run 1/job.sh")
    take_in(made, event("in/run 1/job.sh"))
    (item,) = job_items(made)
    body, job_id = json.loads(item["body"]), item["job_id"]
    assert job_id.startswith("run-1-")
    assert (item["tenant"], item["bucket"]) == ("eda", BUCKET)
    assert body == {
        "bucket": BUCKET,
        "commands": ['exec "./$SPOTBED_RUN"'],
        "env": {"SPOTBED_RUN": "job.sh"},
        "inputs": ["in/run 1/", {"key": "in/run 1/job.sh", "to": "job.sh", "executable": True}],
        "outputs": ["*"],
        "output_prefix": f"in/run 1/spotbed-output/{job_id}/",
    }
    assert made.told == []


@pytest.mark.parametrize("make", [event, notification])
def test_any_name_is_the_name_of_a_folder_and_of_what_runs(made: World, make: Any) -> None:
    for name in NAMES:
        key = f"in/{name}/{name} job.sh"
        put(key)
        take_in(made, make(key))
    bodies = [json.loads(item["body"]) for item in job_items(made)]
    assert {body["env"]["SPOTBED_RUN"] for body in bodies} == {f"{name} job.sh" for name in NAMES}
    assert {body["inputs"][0] for body in bodies} == {f"in/{name}/" for name in NAMES}


def test_a_key_of_events_is_not_unquoted(made: World) -> None:
    put("in/a%20b+c/job.sh")
    take_in(made, event("in/a%20b+c/job.sh"))
    assert json.loads(job_items(made)[0]["body"])["inputs"][0] == "in/a%20b+c/"


def test_the_longest_key_is_taken(made: World) -> None:
    parts = ["x" * 200] * 4
    key = "in/" + "/".join(parts) + "/"
    key += "y" * (1_024 - len(key) - len("job.sh")) + "job.sh"
    assert len(key) == 1_024
    put(key)
    take_in(made, event(key))
    (item,) = job_items(made)
    assert len(item["job_id"]) <= 60


@pytest.mark.parametrize(
    "key",
    [
        "spotbed/jobs/a/1/output/job.sh",  # what we write
        "in/a/spotbed-output/a-1/job.sh",  # a result
        "in/a/spotbed-output/a-1/sub/job.sh",
        "in/a/data.csv",
        "elsewhere/a/job.sh",
    ],
)
def test_outputs_and_other_objects_are_no_jobs_and_no_errors(made: World, key: str) -> None:
    put(key)
    prefix = "" if key.startswith("spotbed/") else "in/"
    assert take_in(made, event(key, prefix=prefix)) == []
    assert (job_items(made), made.told) == ([], [])


@pytest.mark.parametrize("other", [{"detail-type": "Object Deleted"}, {"detail-type": "Object Tags Added"}])
def test_other_events_of_s3_are_no_jobs(made: World, other: dict[str, str]) -> None:
    take_in(made, json.dumps({**json.loads(event("in/a/job.sh")), **other}))
    take_in(made, json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": BUCKET}))
    assert (job_items(made), made.told) == ([], [])


# once ---------------------------------------------------------------------------------------------------------------
def test_the_same_event_twice_is_one_job_and_a_new_drop_is_another(made: World) -> None:
    put("in/a/job.sh")
    take_in(made, event("in/a/job.sh"), event("in/a/job.sh"))
    assert len(job_items(made)) == 1
    take_in(made, event("in/a/job.sh", sequencer="0B"))  # the same content was put again
    assert len(job_items(made)) == 2


def test_two_buckets_or_keys_never_share_an_id() -> None:
    one = Drop("b", "in/a/job.sh", "1")
    others = [replace(one, bucket="c"), replace(one, key="in/b/a/job.sh"), replace(one, version="2")]
    assert len({each.job_id for each in [one, *others]}) == 4


# what is refused ----------------------------------------------------------------------------------------------------
def test_two_executables_in_one_folder_are_refused_with_their_names(made: World) -> None:
    put("in/a/1-job.sh", "in/a/2-job.sh", "in/a/sub/3-job.sh")
    take_in(made, event("in/a/1-job.sh"), event("in/a/2-job.sh"))
    assert job_items(made) == []
    assert (
        refusals(made)
        == [
            "s3://team-drops/in/a/ has 2 executables (1-job.sh, 2-job.sh): one is run",
        ]
        * 2
    )


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("in/job.sh", "s3://team-drops/in/job.sh lies in no folder of its own"),
        ("in/a/../job.sh", "s3://team-drops/in/a/../job.sh is no path below a work directory"),
        ("in//a/job.sh", "s3://team-drops/in//a/job.sh is no path below a work directory"),
        (f"in/{'x' * 256}/job.sh", "has a part longer than 255 bytes"),
        ("in/a\ud800/job.sh", "is no Unicode text"),
    ],
)
def test_a_key_that_is_no_path_is_refused(made: World, key: str, says: str) -> None:
    take_in(made, event(key))
    (reason,) = refusals(made)
    assert says in reason
    assert job_items(made) == []


def test_a_folder_at_the_root_of_a_bucket_is_refused(made: World) -> None:
    take_in(made, event("job.sh", prefix=""))
    assert refusals(made) == ["s3://team-drops/job.sh lies in no folder of its own: drop a folder"]


def test_a_folder_that_is_empty_again_is_refused(made: World) -> None:
    take_in(made, event("in/a/job.sh"))
    assert refusals(made) == ["s3://team-drops/in/a/job.sh is not there any more"]


def test_a_file_that_would_lie_elsewhere_is_refused_with_its_folder(made: World) -> None:
    put("in/a/job.sh", "in/a/../../etc/passwd")
    take_in(made, event("in/a/job.sh"))
    assert refusals(made) == ["s3://team-drops/in/a/../../etc/passwd is no path below a work directory"]


def test_a_bucket_that_intake_may_not_read_is_refused(made: World) -> None:
    take_in(made, event("in/a/job.sh", bucket="somebody-elses"))
    assert refusals(made) == ["s3://somebody-elses/in/a/job.sh cannot be read: NoSuchBucket"]


def test_a_bucket_that_does_not_answer_leaves_the_message_in_the_queue_and_harms_no_other(made: World) -> None:
    class Slow(S3Folders):
        def keys(self, bucket: str, prefix: str) -> Iterator[str]:
            raise ClientError({"Error": {"Code": "SlowDown", "Message": ""}}, "ListObjectsV2")

    made.control = replace(made.control, folders=Slow(None))
    other = json.dumps({"id": "other", "commands": ["true"]})
    assert take_in(made, event("in/a/job.sh"), other) == [{"itemIdentifier": "m0"}]
    assert [item["job_id"] for item in job_items(made)] == ["other"]
    assert made.told == []


NO_EVENT = {"source": "aws.s3", "detail-type": "Object Created"}
NO_RECORD = {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}]}


@pytest.mark.parametrize("body", [json.dumps(NO_EVENT), json.dumps(NO_RECORD)])
def test_an_event_without_an_object_is_refused(made: World, body: str) -> None:
    take_in(made, body)
    assert refusals(made)[0].startswith("is no ")


@pytest.mark.parametrize("body", ["{", "[]", "7", '{"id": "a"}', '{"Records": []}', '{"Records": [7]}'])
def test_what_is_no_message_of_s3_is_left_to_others(body: str) -> None:
    assert dropped(body) is None


# what a folder may say of its job -------------------------------------------------------------------------------------
def test_a_folder_says_what_its_job_needs(made: World) -> None:
    put("in/a/job.sh")
    put("in/a/spotbed.json", text='{"vcpus": 4, "timeout": "60s", "env": {"X": "1"}, "outputs": ["*.csv"]}')
    take_in(made, event("in/a/job.sh"))
    (job_id,) = made.control.store.candidates("4x0GiB|spot|*")
    row = made.control.store.job(job_id)
    assert row is not None
    assert row.record.ticket.spec.timeout_ms == 60_000
    assert (row.body["env"], row.body["outputs"]) == ({"X": "1", "SPOTBED_RUN": "job.sh"}, ["*.csv"])


def test_a_folder_may_be_an_array_whose_jobs_bring_their_results_apart(made: World) -> None:
    put("in/a/job.sh")
    put("in/a/spotbed.json", text='{"array": 3}')
    for _ in range(2):
        take_in(made, event("in/a/job.sh"))
    items = job_items(made)
    array = items[0]["job_id"].removesuffix("[0]")
    assert [item["job_id"] for item in items] == [f"{array}[{index}]" for index in range(3)]
    prefixes = [json.loads(item["body"])["output_prefix"] for item in items]
    assert prefixes == [f"in/a/spotbed-output/{array}/{index}/" for index in range(3)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no JSON"),
        ('{"timeout_s": 60}', "timeout_s: write 'timeout' with its unit"),
        ('{"array": 1001}', "array: 1001 jobs, and one message may be 1,000"),
        ("[]", "is no object of a job's keys"),
        ('{"env": 7}', "is no object of a job's keys"),
        ('{"id": "mine"}', "id is said by the folder itself"),
        ('{"output_prefix": "else/"}', "output_prefix is said by the folder itself"),
        ('{"comands": 1}', "unknown key 'comands'"),
        ('"' + "x" * 70_000 + '"', "has more than 65,536 bytes"),
    ],
)
def test_what_a_folder_may_not_say(made: World, text: str, says: str) -> None:
    put("in/a/job.sh")
    put("in/a/spotbed.json", text=text)
    take_in(made, event("in/a/job.sh"))
    (reason,) = refusals(made)
    assert says in reason


@pytest.mark.parametrize("program", ["run.bat", "RUN.PS1", "solver.exe"])
def test_an_executable_of_windows_is_called_as_there(made: World, program: str) -> None:
    put(f"in/a/{program}")
    take_in(made, event(f"in/a/{program}", suffix=program[-4:]))
    assert json.loads(job_items(made)[0]["body"])["commands"] == ['& ".\\$env:SPOTBED_RUN"; exit $LASTEXITCODE']
