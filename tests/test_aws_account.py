"""An account as a user meets it: apply, jobs, status and destroy by the command line, on MiniStack, with no more rights
than deploy/iam-policy.json gives."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deployed import Deployed, eventually
from ministack import ACCOUNT, REGION, Ministack
from plans import TARGET, planned
from typer.testing import CliRunner

from aws import account, removal
from aws.buckets import Buckets
from aws.formation import TAG, Pace
from aws.plan import read_plan, write_plan
from aws.render import Template
from aws.store import FLEET, packed
from scheduler.fleet import Fleet
from spotbed.cli.app import app

STACK, TEAM = "acct", "cpu-team"
ACCOUNTS = {**TARGET, "stack": STACK, "teams": [{"name": TEAM, "bucket": "acct-cpu-jobs"},
                                                {"name": "gpu_team", "bucket": "acct-gpu-jobs"}]}  # fmt: skip
PACE = Pace(0.1, 60.0)


def environment(ministack: Ministack, monkeypatch: pytest.MonkeyPatch, key: str, secret: str) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in ministack.environment().items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)


@pytest.fixture(scope="module")
def keys(ministack: Ministack, root: Path) -> tuple[str, str]:
    """Those of a user who has the policy of the docs, filled in."""
    return user(ministack, "deployer", (root / "deploy" / "iam-policy.json").read_text())


def user(ministack: Ministack, name: str, policy: str) -> tuple[str, str]:
    iam = ministack.client("iam")
    iam.create_user(UserName=name)
    filled = policy.replace("TEAM-BUCKET", "acct-*-jobs").replace("STACK", STACK)
    iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=filled)
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return made["AccessKeyId"], made["SecretAccessKey"]


@pytest.fixture
def here(
    ministack: Ministack, keys: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A folder with a plan, in which only that user's rights are had. Nothing is deployed before or after."""
    environment(ministack, monkeypatch, *keys)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPOTBED_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(account, "prepare", functools.partial(account.prepare, gradual=False, pace=PACE))
    monkeypatch.setattr(removal, "Pace", lambda: PACE)
    write_plan(planned(ACCOUNTS), tmp_path / "PLAN")
    yield tmp_path
    names = [each["StackName"] for each in stacks(ministack)]
    for name in sorted(names, reverse=True):
        ministack.client("cloudformation").delete_stack(StackName=name)
    buckets = Buckets(ministack.client("s3"), ACCOUNT, REGION)
    for name in [each["Name"] for each in buckets.client.list_buckets()["Buckets"] if each["Name"].startswith(STACK)]:
        buckets.remove(name)


def stacks(ministack: Ministack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ministack.client("cloudformation").describe_stacks()["Stacks"]
    return [each for each in found if each["StackName"].startswith(STACK) and each["StackStatus"] != "DELETE_COMPLETE"]


def invoke(*arguments: str, code: int = 0, **more: Any) -> Any:
    result = CliRunner().invoke(app, arguments, **more)
    assert result.exit_code == code, result.stdout + result.stderr
    return result


def document(*arguments: str, code: int = 0) -> Any:
    return json.loads(invoke(*arguments, "-o", "json", code=code).stdout)


def test_from_a_plan_to_a_job_and_back_to_nothing(here: Path, ministack: Ministack) -> None:
    shown = document("apply", "PLAN")
    assert (shown["account"], shown["region"], shown["stack"]) == (ACCOUNT, REGION, STACK)
    assert {change["action"] for change in shown["changes"]} == {"add"}
    assert {change["stack"] for change in shown["changes"]} == {STACK, "acct-cpu-team", "acct-gpu-team"}
    again = invoke("apply", "PLAN")
    assert "Nothing to do" in again.stderr
    assert again.stdout == ""

    results = f"{STACK}-{ACCOUNT}-{REGION}"
    kept = ministack.client("s3").get_object(Bucket=results, Key="spotbed/plan.json")["Body"].read()
    assert kept == Path("PLAN").read_bytes()

    jobs = [{"id": "one", "commands": ["echo Hello World; echo out > result"], "outputs": ["result"]},
            {"id": "two", "commands": ["true"], "vcpus": 4000}]  # fmt: skip
    Path("jobs.json").write_text(json.dumps(jobs))
    assert document("submit", "jobs.json") == {"schema_version": 1, "jobs": ["one", "two"], "known": []}
    repeated = invoke("submit", "jobs.json", "--stack", STACK)
    assert "There already, and not submitted again: one, two." in repeated.stderr
    run(Deployed(ministack, STACK, {"group": "acct-c6i-1a"}, "acct-cpu-jobs"))
    assert invoke("logs", "one").stdout == "Hello World\n"
    assert document("fetch", "one", "--out", "out")["fetched"] == ["out/result"]
    assert document("cancel", "two")["phase"] == "cancelled"
    assert {job["job_id"]: job["phase"] for job in document("jobs")["jobs"]} == {"one": "done", "two": "cancelled"}
    status = document("status")
    assert status["jobs"] == {"done": 1, "cancelled": 1}
    assert status["queues"]["jobs"] == status["queues"]["undelivered"] == 0
    assert set(status["pools"]) == {"c6i-1a"}

    declined = invoke("destroy", STACK, code=1, input="n\n").stderr
    assert f"all that is in the buckets acct-cpu-jobs, acct-gpu-jobs, {results}?" in declined
    assert "Nothing was removed" in declined
    assert len(stacks(ministack)) == 3
    removed = document("destroy", STACK, "--yes")["removed"]
    assert [each["name"] for each in removed if each["what"] == "stack"] == ["acct-cpu-team", "acct-gpu-team", STACK]
    assert left(ministack) == []
    assert "There is nothing of a stack 'acct'" in invoke("destroy", STACK, "--yes", "--target", "aws", code=4).stderr


def run(stack: Deployed) -> None:
    """What the clock and EC2 do: a tick, and an instance that boots, works and has nothing more to do."""
    stack.call("fleet", {})
    (instance,) = eventually(stack.instances)
    eventually(lambda: stack.workers().get(instance) == "booting")
    stack.boot(instance)
    eventually(lambda: stack.job("one")["phase"] == "done")


def left(ministack: Ministack) -> list[str]:
    """Whatever bears the stack's name."""
    client = ministack.client
    groups = client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    found = [
        *client("dynamodb").list_tables()["TableNames"],
        *client("sqs").list_queues().get("QueueUrls", ()),
        *(each["Name"] for each in client("s3").list_buckets()["Buckets"]),
        *(each["FunctionName"] for each in client("lambda").list_functions()["Functions"]),
        *(each["RoleName"] for each in client("iam").list_roles()["Roles"]),
        *(each["logGroupName"] for each in client("logs").describe_log_groups()["logGroups"]),
        *(each["name"] for each in client("stepfunctions").list_state_machines()["stateMachines"]),
        *(each["Name"] for each in client("events").list_rules()["Rules"]),
        *(each["AutoScalingGroupName"] for each in groups),
        *(each["StackName"] for each in stacks(ministack)),
    ]
    return [name for name in found if name.rpartition("/")[2].startswith(STACK) or f"/{STACK}-" in name]


def test_what_changed_is_shown_and_what_would_lose_data_is_asked(
    here: Path, monkeypatch: pytest.MonkeyPatch, ministack: Ministack
) -> None:
    invoke("apply", "PLAN")
    changed = deepcopy(ACCOUNTS)
    changed["spend_cap"] = "900 USD"
    changed["teams"] = changed["teams"][:1]
    write_plan(planned(changed, pools=2), here / "PLAN")
    shown = invoke("apply", "PLAN")
    assert "The stack acct-gpu-team is of a team that the plan does not have: it stays as it is." in shown.stderr
    groups = ministack.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    assert {each["AutoScalingGroupName"] for each in groups} >= {"acct-c6i-1a", "acct-c6i-1b"}

    stopped = {
        "key": {"S": "pool#c6i-1a"},
        "never_ready": {"N": "3"},
        "launch_stopped": {"S": "3 workers never reported"},
    }
    ministack.client("dynamodb").put_item(TableName="acct-fleet", Item=stopped)
    said = invoke("status", code=4)
    assert "nothing is launched in pool c6i-1a any more: 3 workers never reported" in said.stderr
    assert "launch again: spotbed resume --stack acct" in said.stderr
    closed = {"key": {"S": FLEET}, "state": {"S": packed(replace(Fleet(), phase="closed"))}, "version": {"N": "1"}}
    ministack.client("dynamodb").put_item(TableName="acct-fleet", Item=closed)
    assert "raise spend_cap in TARGET.yaml" in invoke("status", code=4).stderr
    invoke("resume")
    assert document("status")["pools"]["c6i-1a"] == {"never_ready": 0, "stopped": ""}

    losing(monkeypatch)
    declined = invoke("apply", "PLAN", code=1, input="n\n")
    assert "This takes away records and" in declined.stderr
    assert "remove acct Jobs" in declined.stderr
    assert "Nothing was deployed." in declined.stderr
    assert "acct-jobs" in ministack.client("dynamodb").list_tables()["TableNames"]


def losing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next plan's template has no table of jobs."""

    def without(template: Template) -> Template:
        template["Resources"] = {name: body for name, body in template["Resources"].items() if name == "Bus"}
        template["Outputs"] = {"Results": {"Value": "none"}}
        return template

    rendered = account.rendered

    def smaller(*arguments: Any, **more: Any) -> Any:
        found = rendered(*arguments, **more)
        without(found[0].template)
        return found

    monkeypatch.setattr(account, "rendered", smaller)


def test_without_rights_the_call_that_needs_them_is_named(
    here: Path, ministack: Ministack, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:*", "Resource": "*"}]}
    environment(ministack, monkeypatch, *user(ministack, "stranger", json.dumps(policy)))
    said = invoke("apply", "PLAN", code=4).stderr
    assert "You may not call cloudformation:DescribeStacks" in said
    assert "deploy/iam-policy.json" in said
    assert stacks(ministack) == []


def test_a_stack_of_somebody_else_is_left_alone(here: Path, ministack: Ministack) -> None:
    body = json.dumps({"Resources": {"Other": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "acct-other"}}}})
    ministack.client("cloudformation").create_stack(StackName=STACK, TemplateBody=body)
    eventually(lambda: stacks(ministack)[0]["StackStatus"] == "CREATE_COMPLETE")
    said = invoke("apply", "PLAN", code=4).stderr
    assert "There is a stack acct in us-east-1 already, and spotbed did not make it." in said
    assert "To go on: give the stack in TARGET.yaml another name" in said
    assert "was not made by spotbed" in invoke("destroy", STACK, "--yes", "--target", "aws", code=4).stderr
    assert "is not one of spotbed's" in invoke("status", "--stack", STACK, code=4).stderr
    assert TAG not in {tag["Key"] for tag in stacks(ministack)[0].get("Tags", ())}


def test_the_bucket_of_somebody_else_is_not_taken_for_the_code(here: Path, ministack: Ministack) -> None:
    name = f"{STACK}-code-{ACCOUNT}-{REGION}"
    ministack.client("s3").create_bucket(Bucket="acct-gpu-jobs")
    said = invoke("apply", "PLAN", code=4).stderr
    assert "The bucket acct-gpu-jobs of the team gpu_team is there already, and would have to be made." in said
    assert not ministack.client("s3").list_buckets(Prefix=name)["Buckets"]
    ministack.client("s3").delete_bucket(Bucket="acct-gpu-jobs")
    ministack.client("s3").create_bucket(Bucket=name)
    said = invoke("apply", "PLAN", code=4).stderr
    assert f"The bucket {name} is there, and was not made by spotbed for the stack acct." in said


def test_a_bucket_of_the_targets_own_holds_the_code_and_is_not_removed(here: Path, ministack: Ministack) -> None:
    own = "acct-own-code"
    write_plan(planned({**ACCOUNTS, "code_bucket": own}), here / "PLAN")
    assert f"There is no bucket {own} for the code." in invoke("apply", "PLAN", code=4).stderr
    s3 = ministack.client("s3")
    s3.create_bucket(Bucket=own)
    invoke("apply", "PLAN")
    assert {each["Key"].split("/")[1] for each in s3.list_objects_v2(Bucket=own)["Contents"]} == {
        "functions", "wrapper", "templates",
    }  # fmt: skip
    invoke("destroy", STACK, "--yes")
    assert [each["Name"] for each in s3.list_buckets()["Buckets"] if each["Name"].startswith(STACK)] == [own]


def test_a_plan_is_read_back_from_the_stack(here: Path) -> None:
    from datetime import UTC, datetime

    from spotbed.cli.stack import Place, chosen

    invoke("apply", "PLAN")
    found = chosen(STACK, Place()).plan()
    assert found == read_plan(Path("PLAN"), datetime.now(UTC)).document()
