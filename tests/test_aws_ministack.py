"""The stacks on MiniStack: they deploy, their functions run under their own roles, and jobs get through."""

from __future__ import annotations

import pytest
from deployed import Deployed, eventually

HELLO = {"success_string": "Hello World", "outputs": ["*.txt"]}


@pytest.fixture(autouse=True)
def _nobody_is_left(stack: Deployed) -> None:
    """Workers of the test before have ended: one that is about to would be counted, and take nothing."""
    eventually(lambda: set(stack.workers().values()) <= {"gone", "stopping"})


def test_jobs_go_from_the_queue_to_their_ends_and_the_worker_with_them(stack: Deployed) -> None:
    """Message, record, launch, event, execution, claim, command, wrapper, end; then the next job, and keep-alive."""
    stack.submit("hello", "echo Hello World | tee said.txt", **HELLO)
    eventually(lambda: stack.job("hello").get("phase") == "queued")
    (instance,) = stack.capacity()
    stack.submit("everyone", "echo Hello EVERYONE", retries=1, **HELLO)
    eventually(lambda: stack.job("hello")["phase"] == "done")
    eventually(lambda: stack.job("everyone").get("phase") == "failed")
    done = eventually(lambda: stack.messages("finished").get("hello"))
    assert (done["phase"], done["reason"]) == ("done", "")
    assert eventually(lambda: stack.messages("dead").get("everyone"))["phase"] == "failed"
    attempts = stack.job("hello")["attempts"], stack.job("everyone")["attempts"]
    assert attempts == ("1", "2")
    s3 = stack.account.client("s3")
    said = s3.get_object(Bucket=stack.bucket, Key="spotbed/jobs/hello/1/output/said.txt")["Body"].read()
    assert said == b"Hello World\n"
    eventually(lambda: stack.workers()[instance] == "gone")
    assert instance not in stack.instances()


def test_a_warned_worker_writes_a_checkpoint_and_the_job_goes_on_elsewhere(stack: Deployed) -> None:
    """EventBridge's rules match what EC2 says; the checkpoint order reaches the wrapper as a second command."""
    wait = "trap 'echo 5000 >$SPOTBED_CHECKPOINT_DIR/progress; exit 0' TERM; sleep 60 & wait"
    resumed = f'if [ "$SPOTBED_PROGRESS_MS" = 0 ]; then {wait}; fi; echo resumed at $SPOTBED_PROGRESS_MS >said.txt'
    stack.submit("long", resumed, checkpointable=True, outputs=["said.txt"])
    eventually(lambda: stack.job("long").get("phase") == "queued")
    (first,) = stack.capacity()
    eventually(lambda: stack.job("long")["phase"] == "leased")
    eventually(lambda: list((stack.account.instances / first / "work").glob("*-1")))
    stack.event(
        "EC2 Spot Instance Interruption Warning", "aws.ec2", {"instance-id": first, "instance-action": "terminate"}
    )
    eventually(lambda: stack.job("long")["phase"] == "queued")
    assert int(stack.job("long")["safe_ms"]) == 5000
    (second,) = stack.capacity()
    assert second != first
    eventually(lambda: stack.job("long")["phase"] == "done")


def test_a_dropped_folder_is_a_job_whose_results_lie_in_it(stack: Deployed) -> None:
    s3 = stack.account.client("s3")
    s3.put_object(Bucket=stack.bucket, Key="in/run 1/data.csv", Body=b"1,2\n")
    s3.put_object(Bucket=stack.bucket, Key="in/run 1/job.sh", Body=b"#!/bin/sh\nwc -l <data.csv >lines\n")
    jobs = eventually(lambda: [name for name in stack.jobs() if name.startswith("run-1-")])
    stack.capacity()
    eventually(lambda: stack.job(jobs[0])["phase"] == "done")
    found = s3.get_object(Bucket=stack.bucket, Key=f"in/run 1/spotbed-output/{jobs[0]}/lines")["Body"].read()
    assert found.strip() == b"1"
    assert [name for name in stack.jobs() if "spotbed-output" in name or name.startswith("run-1-")] == jobs


def test_operate_cancels_drains_and_resumes(stack: Deployed) -> None:
    stack.submit("unwanted", "sleep 60")
    eventually(lambda: stack.job("unwanted").get("phase") == "queued")
    assert stack.call("operate", {"do": "drain"}) == {"drains": True}
    stack.call("fleet", {})
    assert [phase for phase in stack.workers().values() if phase == "booting"] == []
    assert stack.call("operate", {"do": "cancel", "job": "unwanted"}) == {"phase": "cancelled"}
    assert stack.call("operate", {"do": "resume"}) == {"drains": False}


def test_an_instance_that_somebody_tags_serves_the_queue_and_stays(stack: Deployed) -> None:
    """No group has it: the scheduler's own instance profile, the stack's tag, and that of a pool say what it may."""
    instance = stack.own_instance()
    stack.installed(instance, "OwnInstanceRole")
    for round_ in ("first", "second"):
        stack.submit(f"own-{round_}", "true")
        eventually(lambda round_=round_: stack.job(f"own-{round_}").get("phase") == "queued")
        stack.tag(instance)
        eventually(lambda round_=round_: stack.job(f"own-{round_}")["phase"] == "done")
        worker = f"{instance}#{int(round_ == 'second')}"
        eventually(lambda worker=worker: stack.workers()[worker] == "gone")
    assert stack.account.client("ec2").describe_instances(InstanceIds=[instance])["Reservations"]


def test_operate_rebuilds_from_the_table_and_from_a_restored_one(stack: Deployed) -> None:
    """Under the role of operate: a job that only the restored table knows waits again."""
    client, restored = stack.account.client("dynamodb"), f"{stack.stack}-jobs-restored"
    stack.submit("waits", "true")
    eventually(lambda: stack.job("waits").get("phase") == "queued")
    assert stack.call("operate", {"do": "rebuild"})["requeued"] == 0
    key = {"AttributeName": "job_id", "KeyType": "HASH"}
    kinds = [{"AttributeName": "job_id", "AttributeType": "S"}]
    client.create_table(TableName=restored, KeySchema=[key], AttributeDefinitions=kinds, BillingMode="PAY_PER_REQUEST")
    found = client.get_item(TableName=f"{stack.stack}-jobs", Key={"job_id": {"S": "waits"}})["Item"]
    client.put_item(TableName=restored, Item=found)
    client.delete_item(TableName=f"{stack.stack}-jobs", Key={"job_id": {"S": "waits"}})
    buckets = [stack.bucket, stack.results]
    assert stack.call("operate", {"do": "rebuild", "source": restored, "buckets": buckets})["copied"] == 1
    assert stack.job("waits")["phase"] == "queued"
    assert stack.call("operate", {"do": "cancel", "job": "waits"}) == {"phase": "cancelled"}


def test_a_job_with_licences_starts_when_they_are_granted_and_gives_them_back(stack: Deployed) -> None:
    stack.submit("greedy", "true", licences={"tool": 2})
    stack.submit("modest", "true", licences={"tool": 1})
    eventually(lambda: {stack.job(name).get("phase") for name in ("greedy", "modest")} == {"queued"})
    assert stack.capacity()
    eventually(lambda: stack.job("modest")["phase"] == "done")
    eventually(lambda: ("release", "modest") in stack.asked())
    assert ("checkout", "greedy") in stack.asked()
    assert stack.job("greedy")["attempts"] == "0"
    assert stack.call("operate", {"do": "cancel", "job": "greedy"}) == {"phase": "cancelled"}
