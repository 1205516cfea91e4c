"""Removing a stack from an account, so that nothing of it is left that bills.

Workers end first, since a group whose instances are protected is not deleted; buckets are emptied, since a full one is
not deleted; the teams' stacks go before the scheduler's, whose rights their instances use. What a replaced table or
queue has left behind carries our tag, and goes last, with the bucket of the code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from aws.buckets import Buckets, code_bucket
from aws.deployed import deployed, groups_of, team_stacks
from aws.formation import TAG, Described, Formation, Pace, tags_of
from aws.outside import FAILED, code_of, outside, told
from aws.session import Session
from spotbed.errors import OutsideError

_BUCKET, _GROUP = "AWS::S3::Bucket", "AWS::AutoScaling::AutoScalingGroup"
_RUNS = ("pending", "running", "stopping", "stopped")  # states of an instance that bills, if only for its disk
_DRAINS_WITHIN_S = 24 * 3600.0
_AT_ONCE = 20  # DeleteQueue and its like: how many of a kind are told of
_PROTECTED_AT_ONCE = 50  # SetInstanceProtection


@dataclass(frozen=True)
class Removed:
    """A thing that is no longer there."""

    what: str
    name: str


@dataclass(frozen=True)
class Found:
    """What there is of a stack: the scheduler's (None if only others are left), the teams', and the code's bucket."""

    name: str
    scheduler: Described | None
    teams: Sequence[Described]
    code: str
    buckets: Sequence[str]  # of the stacks

    def stacks(self) -> list[str]:
        """In the order in which they are removed."""
        own = [] if self.scheduler is None else [self.name]
        return [*(str(each["StackName"]) for each in self.teams), *own]


@dataclass
class Removal:
    """The removal of one stack. `heard` is told (done, of how many, what is going on)."""

    name: str
    session: Session
    heard: Callable[[int, int, str], None]
    pace: Pace = field(default_factory=Pace)
    removed: list[Removed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._formation = Formation(self.session.client("cloudformation"), self.pace, self._hear)
        self._autoscaling, self._ec2 = self.session.client("autoscaling"), self.session.client("ec2")
        account = self.session.identity.account
        self._buckets = Buckets(self.session.client("s3"), account, self.session.region)

    def _hear(self, done: int, total: int, note: str) -> None:
        self.heard(done, total, note)

    def find(self) -> Found:
        """What there is to remove. Raises OutsideError when there is nothing, or it is not ours."""
        region = self.session.region
        with outside():
            there = self._formation.described(self.name)
            if there is not None and tags_of(there).get(TAG) != self.name:
                what = f"The stack {self.name} in {region} was not made by spotbed."
                how = f"if it is yours, remove it: aws cloudformation delete-stack --stack-name {self.name}"
                raise OutsideError(what, "it, unchanged", how, exit_code=FAILED)
            teams = team_stacks(self.name, self._formation)
            bucket = code_bucket(self.name, self.session.identity.account, region)
            ours = self._buckets.is_there(bucket) and self._buckets.owner_of(bucket) == self.name
        if there is None and not teams and not ours:
            what = f"There is nothing of a stack {self.name!r} in {region} of the account {self._buckets.account}."
            raise OutsideError(what, "everything as it was", "look in another --region or --profile", exit_code=FAILED)
        found = Found(self.name, there, teams, bucket if ours else "", ())
        with outside():
            return replace(found, buckets=[each for stack in found.stacks() for each in self._buckets_of(stack)])

    def _buckets_of(self, stack: str) -> list[str]:
        """Those that are there: a stack whose making has failed may name others."""
        return [each for each in self._formation.resources(stack, _BUCKET) if self._buckets.is_there(each)]

    def run(self, found: Found, *, now: bool) -> None:
        """Remove it all; `now`: instances are terminated, whatever they do. Raises OutsideError with what is left."""
        with outside("what was not removed yet"):
            self._end_workers(found, now=now)
            for stack in found.stacks():
                for bucket in self._buckets_of(stack):
                    self._empty(bucket)
                kept = "the stacks that were not removed yet" if self.removed else "every stack"
                self._formation.delete(stack, kept)
                self.removed.append(Removed("stack", stack))
            left = self._remove_rest(found.code)
            if found.code:
                self._remove_bucket(found.code)
        self._refuse_left(left)

    # workers --------------------------------------------------------------------------------------------------------
    def _end_workers(self, found: Found, *, now: bool) -> None:
        if found.scheduler is not None and not now and str(found.scheduler["StackStatus"]).endswith("_COMPLETE"):
            self._drain()
        for group in groups_of(self.name, self._autoscaling):
            self._close(group)
        self._await_none()

    def _drain(self) -> None:
        """Launch nothing more, and wait until every worker has ended what it does."""
        try:
            stack = deployed(self.name, self.session)
        except OutsideError:
            return  # it is not whole, and has never launched anything
        stack.drain()
        for left in self._counted(_DRAINS_WITHIN_S):
            self.heard(0, left, f"{left} instances end what they do; destroy --now would not wait")

    def _close(self, group: Mapping[str, Any]) -> None:
        """Let a group have no instances: none is protected any more, and none is wanted."""
        name = str(group["AutoScalingGroupName"])
        self._autoscaling.update_auto_scaling_group(AutoScalingGroupName=name, MinSize=0, MaxSize=0, DesiredCapacity=0)
        self._expose(group)

    def _expose(self, group: Mapping[str, Any]) -> None:
        """Auto Scaling takes this of instances in service only: one that starts is exposed when it has, and one that
        has left meanwhile needs it no more."""
        protected = [
            each["InstanceId"]
            for each in group["Instances"]
            if each.get("ProtectedFromScaleIn") and each["LifecycleState"] == "InService"
        ]
        for start in range(0, len(protected), _PROTECTED_AT_ONCE):
            try:
                self._autoscaling.set_instance_protection(
                    AutoScalingGroupName=str(group["AutoScalingGroupName"]),
                    InstanceIds=protected[start : start + _PROTECTED_AT_ONCE],
                    ProtectedFromScaleIn=False,
                )
            except ClientError as error:
                if code_of(error) != "ValidationError":
                    raise

    def _await_none(self) -> None:
        for left in self._counted(self.pace.within_s):
            self.heard(0, left, f"{left} instances are being terminated")
            for group in groups_of(self.name, self._autoscaling):
                self._expose(group)

    def _counted(self, within_s: float) -> Iterator[int]:
        """How many instances the groups hold, again and again until there are none."""
        for _ in range(max(1, round(within_s / self.pace.every_s))):
            left = sum(len(group["Instances"]) for group in groups_of(self.name, self._autoscaling))
            if not left:
                return
            yield left
            self.pace.sleep(self.pace.every_s)
        what = f"Instances of {self.name} have not ended within {within_s / 3600:.0f} hours."
        how = f"spotbed destroy {self.name} --now terminates them, whatever they do"
        raise OutsideError(what, "all stacks; nothing is launched any more", how, exit_code=FAILED)

    # what holds data ------------------------------------------------------------------------------------------------
    def _empty(self, bucket: str) -> None:
        self.heard(0, 1, f"empties {bucket}")
        count = self._buckets.empty(bucket)
        self.removed.append(Removed("objects", f"{count} of {bucket}"))

    def _remove_bucket(self, bucket: str) -> None:
        self._buckets.remove(bucket)
        self.removed.append(Removed("bucket", bucket))

    def _remove_rest(self, code: str) -> list[str]:
        """What replaced resources have left behind, if it has the stack's name; buckets that have another are told."""
        left = []
        removers: dict[str, Callable[[str], object]] = {
            "dynamodb:table": self._delete_table,
            "logs:log-group": lambda name: self._call("logs", "delete_log_group", logGroupName=name),
            "sqs:": self._delete_queue,
            "s3:": self._buckets.remove,
        }
        for arn in self._tagged():
            kind, name = kind_of(arn)
            if kind == "s3:" and not name.startswith(f"{self.name}-") and self._buckets.is_there(name):
                left.append(name)
            elif kind in removers and name != code and is_named_after(name, self.name):
                try:
                    removers[kind](name)
                except ClientError as error:
                    if not is_absent(error):
                        raise
                else:
                    self.removed.append(Removed(kind.partition(":")[0], name))
        return left

    def _delete_table(self, name: str) -> None:
        """One that is in use is gone if that use is its end."""
        dynamodb = self.session.client("dynamodb")
        try:
            dynamodb.delete_table(TableName=name)
        except dynamodb.exceptions.ResourceInUseException:
            if dynamodb.describe_table(TableName=name)["Table"]["TableStatus"] != "DELETING":
                raise

    def _delete_queue(self, name: str) -> None:
        sqs = self.session.client("sqs")
        sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"])

    def _call(self, service: str, operation: str, **arguments: str) -> None:
        getattr(self.session.client(service), operation)(**arguments)

    # what is left ---------------------------------------------------------------------------------------------------
    def _tagged(self) -> list[str]:
        """The ARNs of all that carries our tag. Those that are just gone may still be among them."""
        client = self.session.client("resourcegroupstaggingapi")
        pages = client.get_paginator("get_resources").paginate(TagFilters=[{"Key": TAG, "Values": [self.name]}])
        return [each["ResourceARN"] for page in pages for each in page["ResourceTagMappingList"]]

    def _refuse_left(self, buckets: Sequence[str]) -> None:
        """Raise OutsideError for instances that nobody of ours has launched, and for buckets of other names that carry
        the tag: they are not ours to end."""
        try:
            pages = self._ec2.get_paginator("describe_instances").paginate(
                Filters=[
                    {"Name": f"tag:{TAG}", "Values": [self.name]},
                    {"Name": "instance-state-name", "Values": _RUNS},
                ]
            )
            left = [each["InstanceId"] for page in pages for one in page["Reservations"] for each in one["Instances"]]
        except (ClientError, BotoCoreError) as error:
            raise told(error, "nothing of ours; whether instances of your own are left was not seen") from error
        if left:
            what = f"Instances with the tag {TAG}={self.name} still run, and bill: {', '.join(left[:_AT_ONCE])}."
            how = f"they were launched by hand: aws ec2 terminate-instances --instance-ids {' '.join(left[:_AT_ONCE])}"
            raise OutsideError(what, "these instances; all else was removed", how, exit_code=FAILED)
        if buckets:
            what = f"Buckets with the tag {TAG}={self.name} are left: {', '.join(buckets)}."
            how = "a team's bucket that was renamed in TARGET.yaml stays: aws s3 rb --force s3://NAME removes it"
            raise OutsideError(what, "these buckets; all else was removed", how, exit_code=FAILED)


def kind_of(arn: str) -> tuple[str, str]:
    """(service:type, name) of an ARN; the type is empty where the ARN has none."""
    _, _, service, _, _, rest = arn.split(":", 5)
    for mark in ("/", ":"):
        kind, sign, name = rest.partition(mark)
        if sign and kind in ("table", "log-group"):
            return f"{service}:{kind}", name.removesuffix(":*")
    return f"{service}:", rest


def is_named_after(name: str, stack: str) -> bool:
    """Whether a thing is called as those of the stack are: what only carries its tag is somebody's own."""
    return name.rpartition("/")[2].startswith(f"{stack}-")


def is_absent(error: ClientError) -> bool:
    """Whether AWS says that there is no such thing (any more)."""
    code = code_of(error)
    return any(word in code for word in ("NotFound", "NonExistent", "NoSuch"))
