"""A stack on MiniStack: the rendered local variant, deployed by change sets, and what its users and EC2 would do."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aws_stacks import TARGET, pool
from ministack import ACCOUNT, REGION, Ministack

from aws import wrapper
from aws.package import build_package
from aws.policy_json import policy_document
from aws.render import EXAMPLE_CODE, Code, Template, as_yaml, resources_stack, scheduler_stack
from scheduler.policies.move import Stay
from scheduler.policies.order import Fifo
from scheduler.policies.place import LowestPrice
from scheduler.policies.protect import OnNotice
from scheduler.policies.retry import Immediate
from scheduler.policies.scale import BacklogAndBusy
from scheduler.policy import Policy

POLICY = policy_document(Policy(Fifo(), LowestPrice(), BacklogAndBusy(), Immediate(), OnNotice(), Stay()), "local")
POLICY["settings"] |= {"keep_alive_ms": 1_500, "lease_ms": 60_000}
CAPABILITIES = ["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
LICENCES = """import json
def handler(event, context):
    print(json.dumps(event))
    return {"granted": sum(event["licences"].values()) < 2, "retry_after_s": 3600}
"""
NETWORK = {"out": "endpoints"}  # MiniStack's CloudFormation knows no NAT gateway
WITHIN_S = 60.0


def eventually(look: Callable[[], Any], within_s: float = WITHIN_S) -> Any:
    """What `look` answers, as soon as that is something."""
    until_s = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < until_s, "it never came to be"
        time.sleep(0.05)
    return found


@dataclass(frozen=True)
class Deployed:
    """Both stacks of one target. What EC2, Auto Scaling and the boot script would do is done by its methods."""

    account: Ministack
    stack: str
    pool: Mapping[str, Any]
    bucket: str  # of the team

    @property
    def group(self) -> str:
        return str(self.pool["group"])

    def submit(self, job: str, *commands: str, **more: Any) -> None:
        body = json.dumps({"id": job, "commands": list(commands), **more})
        self.account.client("sqs").send_message(QueueUrl=self.queue("jobs"), MessageBody=body)

    def queue(self, name: str) -> str:
        found: str = self.account.client("sqs").get_queue_url(QueueName=f"{self.stack}-{name}")["QueueUrl"]
        return found

    def job(self, job: str) -> dict[str, Any]:
        key = {"job_id": {"S": job}}
        item = self.account.client("dynamodb").get_item(TableName=f"{self.stack}-jobs", Key=key, ConsistentRead=True)
        return {name: next(iter(value.values())) for name, value in item.get("Item", {}).items()}

    def jobs(self) -> list[str]:
        rows = self.account.client("dynamodb").scan(TableName=f"{self.stack}-jobs")["Items"]
        return sorted(row["job_id"]["S"] for row in rows)

    def call(self, function: str, payload: Mapping[str, Any], **keys: str) -> Any:
        """The function's answer; an error of it is an error here."""
        given = {"FunctionName": f"{self.stack}-{function}", "Payload": json.dumps(payload).encode()}
        answer = self.account.client("lambda", **keys).invoke(**given)
        text = answer["Payload"].read().decode()
        assert "FunctionError" not in answer, text
        return json.loads(text)

    def messages(self, queue: str) -> dict[str, dict[str, Any]]:
        """What there is to read, by job; messages stay."""
        client, url = self.account.client("sqs"), self.queue(queue)
        found = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
        bodies = [json.loads(each["Body"]) for each in found.get("Messages", ())]
        return {body["job_id"]: body for body in bodies if "job_id" in body}

    def asked(self) -> list[tuple[str, str]]:
        """What the user's function was asked: (do, job), in order."""
        group = f"/aws/lambda/{self.stack}-licences"
        events = self.account.client("logs").filter_log_events(logGroupName=group)["events"]
        heard = [json.loads(each["message"]) for each in events if each["message"].startswith("{")]
        return [(each["do"], each["job"]) for each in heard]

    def event(self, kind: str, source: str, detail: Mapping[str, Any], *resources: str) -> None:
        """On the default bus, as a service of AWS puts it there."""
        entry = {"Source": source, "DetailType": kind, "Detail": json.dumps(detail), "Resources": list(resources)}
        answer = self.account.client("events").put_events(Entries=[entry])
        assert answer["FailedEntryCount"] == 0, answer

    def instances(self) -> list[str]:
        client = self.account.client("autoscaling")
        (group,) = client.describe_auto_scaling_groups(AutoScalingGroupNames=[self.group])["AutoScalingGroups"]
        return [each["InstanceId"] for each in group["Instances"]]

    def capacity(self) -> list[str]:
        """Let the fleet look, and boot what it launches: nothing, if an idle worker takes what waits."""
        before = set(self.instances())
        self.call("fleet", {})
        new = sorted(set(self.instances()) - before)
        for instance in new:
            eventually(lambda instance=instance: self.workers().get(instance) == "booting")
            self.boot(instance)
        return new

    def workers(self) -> dict[str, str]:
        """Phase by worker."""
        rows = self.account.client("dynamodb").scan(TableName=f"{self.stack}-workers")["Items"]
        return {row["worker"]["S"]: json.loads(row["state"]["S"])["phase"] for row in rows if "state" in row}

    def role_of(self, name: str) -> str:
        """The ARN of the role with this logical name; `OwnInstanceRole` is the scheduler's, and not the team's."""
        client = self.account.client("cloudformation")
        stack = f"{self.stack}-cpu-team" if name == "InstanceRole" else self.stack
        name = name.removeprefix("Own")
        found = client.describe_stack_resources(StackName=stack, LogicalResourceId=name)["StackResources"]
        return f"arn:aws:iam::{ACCOUNT}:role/{found[0]['PhysicalResourceId']}"

    def as_role(self, name: str) -> dict[str, str]:
        """Credentials of a role, for `Ministack.client`."""
        sts = self.account.client("sts")
        keys = sts.assume_role(RoleArn=self.role_of(name), RoleSessionName="test")["Credentials"]
        return {
            "aws_access_key_id": keys["AccessKeyId"],
            "aws_secret_access_key": keys["SecretAccessKey"],
            "aws_session_token": keys["SessionToken"],
        }

    def boot(self, instance: str) -> None:
        """What the boot script does; then Deliver hears, under the instance's role, that it is ready."""
        self.installed(instance, "InstanceRole")
        ready = {"v": 1, "is": "Ready", "at_ms": time.time_ns() // 1_000_000}
        payload = {"worker": instance, "id": f"{instance}/ready", "event": ready}
        self.call("deliver", payload, **self.as_role("InstanceRole"))

    def installed(self, instance: str, role: str) -> None:
        """What the boot script leaves on an instance with this role."""
        folder = self.account.instances / instance
        for part in ("bin", "opt/spotbed", "etc/spotbed", "work"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        shutil.copy(wrapper.__file__, folder / "opt/spotbed/wrapper.py")
        config = {
            "jobs_table": f"{self.stack}-jobs",
            "region": REGION,
            "bucket": self.bucket if role == "InstanceRole" else self.results,
            "prefix": "spotbed/",
            "lease_ms": 60_000,
            "deliver_function": f"{self.stack}-deliver",
            "work_root": str(folder / "work"),
            "run_as": "nobody" if os.getuid() == 0 else "",
        }
        (folder / "etc/spotbed/config.json").write_text(json.dumps(config))
        (folder / "role").write_text(self.role_of(role))
        self._programs(folder / "bin")

    def own_instance(self) -> str:
        """An instance that somebody launches, with the tags of the stack and of a pool."""
        tags = [{"Key": key, "Value": value} for key, value in self._own_tags().items()]
        made = self.account.client("ec2").run_instances(
            ImageId="ami-0123456789abcdef0",
            MinCount=1,
            MaxCount=1,
            InstanceType="c6i.xlarge",
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )
        return str(made["Instances"][0]["InstanceId"])

    def _own_tags(self) -> dict[str, str]:
        return {"spotbed:stack": self.stack, "spotbed:pool": str(self.pool["id"])}

    def tag(self, instance: str) -> None:
        """What EventBridge says when an instance gets its tags."""
        detail = {"service": "ec2", "resource-type": "instance", "changed-tag-keys": ["spotbed:stack"]}
        arn = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/{instance}"
        self.event("Tag Change on Resource", "aws.tag", {**detail, "tags": self._own_tags()}, arn)

    @property
    def results(self) -> str:
        """The scheduler's own bucket."""
        return f"{self.stack}-{ACCOUNT}-{REGION}"

    def _programs(self, folder: Path) -> None:
        """systemd-run, which leaves its command running, and a Python that has boto3."""
        apart = '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\n"$@" &\n'
        (folder / "systemd-run").write_text(apart)
        (folder / "systemd-run").chmod(0o755)
        (folder / "python3").write_text(f'#!/bin/sh\nexec "{self.account.python}" "$@"\n')
        (folder / "python3").chmod(0o755)


def prepare(account: Ministack, stack: str) -> tuple[Deployed, dict[str, Template]]:
    """Upload the package; the templates of the local variant by the names of their stacks, to be deployed in order."""
    one = {**pool("c6i-1a", "c6i.xlarge", "us-east-1a", "spot"), "group": f"{stack}-c6i-1a", "max": 3}
    hook = _licences(account, stack)
    target = {**TARGET, "stack": stack, "network": NETWORK, "checkout": {"function": hook}}
    target["instances"] = {**TARGET["instances"], "profile": {"policies": [], "boundary": None}}
    team = {**TARGET["teams"][0], "bucket": f"{stack}-{TARGET['teams'][0]['bucket']}"}
    s3 = account.client("s3")
    code = Code(EXAMPLE_CODE, f"{stack}/function.zip", f"{stack}/wrapper.py")
    s3.create_bucket(Bucket=code.bucket)
    spec = {name: value for name, value in one.items() if name not in ("arch", "os")}
    s3.put_object(Bucket=code.bucket, Key=code.functions, Body=build_package(POLICY, [spec], {}).content)
    scheduler = scheduler_stack(target, code=code, local=True)
    scheduler["Parameters"]["TickExpression"]["Default"] = "cron(0 0 1 1 ? 2099)"  # tests call the fleet themselves
    team_stack = resources_stack(target, [one], team, code=code)
    return Deployed(account, stack, one, team["bucket"]), {stack: scheduler, f"{stack}-cpu-team": team_stack}


def _licences(account: Ministack, stack: str) -> str:
    """A user's function that has one licence to give; its name."""
    name, stream = f"{stack}-licences", io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("licences.py", LICENCES)
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = account.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    given = {"Runtime": "python3.12", "Handler": "licences.handler", "Code": {"ZipFile": stream.getvalue()}}
    account.client("lambda").create_function(FunctionName=name, Role=role, **given)
    return name


def deploy(account: Ministack, stack: str) -> Deployed:
    """Make both stacks by change sets."""
    deployed, templates = prepare(account, stack)
    for name, template in templates.items():
        account.client("s3").put_object(Bucket=EXAMPLE_CODE, Key=f"{name}.yaml", Body=as_yaml(template).encode())
        change(account, name, f"https://s3.amazonaws.com/{EXAMPLE_CODE}/{name}.yaml")
    return deployed


def change(account: Ministack, name: str, template_url: str) -> None:
    """Make a stack as `apply` does: a change set, then its execution."""
    client = account.client("cloudformation")
    given = {"StackName": name, "ChangeSetName": "first"}
    client.create_change_set(**given, ChangeSetType="CREATE", TemplateURL=template_url, Capabilities=CAPABILITIES)
    client.get_waiter("change_set_create_complete").wait(**given, WaiterConfig={"Delay": 1})
    client.execute_change_set(**given)
    client.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
