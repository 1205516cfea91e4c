"""What each function may do and what it may not, as IAM decides when the calls are made under the role of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from deployed import Deployed
from ministack import ACCOUNT, REGION

DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"})
Client = Callable[[str], Any]


def _written(table: str, key: str) -> Callable[[Deployed, Client], Any]:
    def call(stack: Deployed, client: Client) -> Any:
        return client("dynamodb").update_item(
            TableName=f"{stack.stack}-{table}",
            Key={key: {"S": "probe"}},
            UpdateExpression="SET #n = :n",
            ConditionExpression="attribute_exists(#n)",  # nothing is left there for other tests
            ExpressionAttributeNames={"#n": "note"},
            ExpressionAttributeValues={":n": {"S": "probe"}},
        )

    return call


def _read(table: str, key: str) -> Callable[[Deployed, Client], Any]:
    return lambda stack, client: client("dynamodb").get_item(
        TableName=f"{stack.stack}-{table}", Key={key: {"S": "probe"}}
    )


def _told(queue: str) -> Callable[[Deployed, Client], Any]:
    return lambda stack, client: client("sqs").send_message(QueueUrl=stack.queue(queue), MessageBody="{}")


def _command(stack: Deployed, client: Client) -> Any:
    document = f"{stack.stack}-run-job-linux"
    return client("ssm").send_command(InstanceIds=[], DocumentName=document, Parameters={"Action": ["run"]})


def _foreign_command(stack: Deployed, client: Client) -> Any:
    return client("ssm").send_command(
        InstanceIds=[], DocumentName="AWS-RunShellScript", Parameters={"commands": ["id"]}
    )


def _start(stack: Deployed, client: Client) -> Any:
    machine = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{stack.stack}-worker"
    return client("stepfunctions").start_execution(stateMachineArn=machine, input='{"worker": "none", "generation": 0}')


def _launch(stack: Deployed, client: Client) -> Any:
    return client("autoscaling").set_desired_capacity(AutoScalingGroupName=stack.group, DesiredCapacity=0)


def _protect(stack: Deployed, client: Client) -> Any:
    return client("autoscaling").set_instance_protection(
        AutoScalingGroupName=stack.group, InstanceIds=["i-0"], ProtectedFromScaleIn=True
    )


def _publish(stack: Deployed, client: Client) -> Any:
    entry = {"Source": "spotbed", "DetailType": "probe", "Detail": "{}", "EventBusName": f"{stack.stack}-transitions"}
    return client("events").put_events(Entries=[entry])


def _called(function: str) -> Callable[[Deployed, Client], Any]:
    return lambda stack, client: client("lambda").invoke(
        FunctionName=f"{stack.stack}-{function}", InvocationType="DryRun"
    )


# What may be tried, by the name under which the table below allows it.
PROBES: dict[str, Callable[[Deployed, Client], Any]] = {
    "read a job": _read("jobs", "job_id"),
    "write a job": _written("jobs", "job_id"),
    "write a worker": _written("workers", "worker"),
    "write the fleet": _written("fleet", "key"),
    "count": lambda stack, client: client("dynamodb").scan(TableName=f"{stack.stack}-fleet"),
    "read all jobs": lambda stack, client: client("dynamodb").scan(TableName=f"{stack.stack}-jobs"),
    "receive": lambda stack, client: client("sqs").receive_message(QueueUrl=stack.queue("undelivered")),
    "take jobs": lambda stack, client: client("sqs").get_queue_attributes(QueueUrl=stack.queue("jobs")),
    "tell of an end": _told("finished"),
    "publish": _publish,
    "call Deliver": _called("deliver"),
    "call Step": _called("step"),
    "call Report": _called("report"),
    "ask for licences": _called("licences"),
    "send a command": _command,
    "send any command": _foreign_command,
    "start an execution": _start,
    "launch": _launch,
    "protect an instance": _protect,
    "read a dropped folder": lambda stack, client: client("s3").list_objects_v2(Bucket=stack.bucket, Prefix="in/a/"),
    "read ends of jobs": lambda stack, client: client("s3").list_objects_v2(
        Bucket=stack.bucket, Prefix="spotbed/jobs/a/"
    ),
    "read another folder": lambda stack, client: client("s3").list_objects_v2(Bucket=stack.bucket, Prefix="spotbed/"),
    "write a result": lambda stack, client: client("s3").put_object(Bucket=stack.bucket, Key="spotbed/probe", Body=b""),
    "remove a job": lambda stack, client: client("dynamodb").delete_item(
        TableName=f"{stack.stack}-jobs", Key={"job_id": {"S": "probe"}}
    ),
    "remove a table": lambda stack, client: client("dynamodb").delete_table(TableName=f"{stack.stack}-none"),
    "make a role": lambda stack, client: client("iam").create_role(RoleName="probe", AssumeRolePolicyDocument="{}"),
}
_RECORDS = {"read a job", "write a job", "write a worker", "write the fleet"}
_ENDS = {"tell of an end", "publish", "call Deliver", "ask for licences"}
MAY: dict[str, set[str]] = {
    "IntakeRole": _RECORDS | _ENDS | {"take jobs", "read a dropped folder"},
    "DeliverRole": _RECORDS | _ENDS | {"start an execution", "protect an instance"},
    "StepRole": _RECORDS | _ENDS | {"start an execution", "protect an instance", "count", "send a command"},
    "ParkRole": {"write a worker"},
    "FleetRole": _RECORDS
    | _ENDS
    | {"start an execution", "protect an instance", "count", "launch", "read all jobs", "send a command"},
    "ReportRole": {"write a job"},
    "OperateRole": _RECORDS
    | _ENDS
    | {"start an execution", "protect an instance", "count", "read all jobs", "send a command", "read ends of jobs"},
    "InstanceRole": {"read a job", "write a job", "call Deliver", "call Report", "write a result"}
    | {"read a dropped folder", "read another folder", "read ends of jobs"},
    "WorkerMachineRole": {"call Step"},
}


def may(probe: Callable[[Deployed, Client], Any], stack: Deployed, client: Client) -> bool:
    """Whether IAM lets a call through; what the service then says of it is another matter."""
    try:
        probe(stack, client)
    except ClientError as error:
        return error.response["Error"]["Code"] not in DENIED
    return True


@pytest.mark.parametrize("role", MAY)
def test_a_role_does_what_it_needs_and_nothing_else(stack: Deployed, role: str) -> None:
    keys = stack.as_role(role)
    allowed = {
        name for name, probe in PROBES.items() if may(probe, stack, lambda kind: stack.account.client(kind, **keys))
    }
    assert allowed == MAY[role]


def _group(stack: Deployed, name: str, **tags: str) -> str:
    """A group of one instance that is no worker's; the instance."""
    client, ec2 = stack.account.client("autoscaling"), stack.account.client("ec2")
    machine = ec2.describe_launch_templates()["LaunchTemplates"][0]["LaunchTemplateId"]
    client.create_auto_scaling_group(
        AutoScalingGroupName=name,
        MinSize=0,
        MaxSize=1,
        DesiredCapacity=1,
        AvailabilityZones=[f"{REGION}a"],
        LaunchTemplate={"LaunchTemplateId": machine},
        Tags=[{"Key": key, "Value": tag, "PropagateAtLaunch": True} for key, tag in tags.items()],
    )
    (group,) = client.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    return str(group["Instances"][0]["InstanceId"])


@pytest.mark.parametrize("role", ["StepRole", "FleetRole", "OperateRole"])
@pytest.mark.parametrize(("tag", "reached"), [("eda-test", True), ("eda-test2", False), ("", False)])
def test_commands_go_to_instances_with_exactly_the_tag_of_the_stack(
    stack: Deployed, role: str, tag: str, reached: bool
) -> None:
    instance = _group(stack, f"{role}-{tag}", **({"spotbed:stack": tag} if tag else {}))

    def send(stack: Deployed, client: Client) -> Any:
        return client("ssm").send_command(InstanceIds=[instance], DocumentName=f"{stack.stack}-run-job-linux")

    keys = stack.as_role(role)
    assert may(send, stack, lambda kind: stack.account.client(kind, **keys)) is reached


@pytest.mark.parametrize("kind", ["s3", "sqs"])
def test_what_does_not_come_over_tls_is_refused_whoever_asks(stack: Deployed, kind: str) -> None:
    """The header is what a load balancer in front would add; MiniStack believes it."""
    keys = stack.as_role("IntakeRole")

    def ask(plain: bool) -> bool:
        client = stack.account.client(kind, **keys)
        if plain:
            client.meta.events.register(
                "before-sign", lambda request, **_: request.headers.add_header("X-Forwarded-Proto", "http")
            )
        calls = {
            "s3": lambda: client.list_objects_v2(Bucket=stack.bucket, Prefix="in/"),
            "sqs": lambda: client.get_queue_attributes(QueueUrl=stack.queue("jobs")),
        }
        return may(lambda *_: calls[kind](), stack, stack.account.client)

    assert (ask(plain=False), ask(plain=True)) == (True, False)
