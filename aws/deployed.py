"""A stack in an account: found by its name, reached through its outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aws.formation import TAG, TEAM_TAG, Described, Formation, next_step, outputs_of, tags_of
from aws.outside import FAILED, outside
from aws.session import Session
from aws.stack import Address, Clients, Stack
from aws.store import Tables
from spotbed.errors import OutsideError

PREFIX = "spotbed/"  # of what we keep in buckets
_ANSWERS_WITHIN_S = 630  # the function's own timeout (aws/templates), and some
_QUEUES = ("jobs", "finished", "dead", "undelivered")


def scheduler_names(session: Session) -> list[str]:
    """The stacks of spotbed in this account and region."""
    with outside():
        found = list(Formation(session.client("cloudformation")).ours())
    return sorted(str(each["StackName"]) for each in found if TEAM_TAG not in tags_of(each))


def deployed(name: str, session: Session) -> Stack:
    """The stack of this name. Raises OutsideError when there is none, or it is not whole."""
    formation = Formation(session.client("cloudformation"))
    with outside():
        there = formation.described(name)
    if there is None:
        raise _missing(name, session)
    if tags_of(there).get(TAG) != name:
        what = f"The stack {name} in {session.region} is not one of spotbed's."
        raise OutsideError(what, "it, unchanged", "look for another name: --stack", exit_code=FAILED)
    outputs = outputs_of(there)
    if "Results" not in outputs:
        what = f"The stack {name} in {session.region} is not whole: it is in {there['StackStatus']}."
        raise OutsideError(what, "it, unchanged", next_step(name, str(there["StackStatus"])), exit_code=FAILED)
    with outside():
        bucket = _working_bucket(name, formation) or outputs["Results"]
    clients = Clients(session.client("dynamodb"), session.client("s3"), session.client("sqs"))
    doors = AccountDoors(session, name, outputs)
    return Stack(_address(name, outputs, bucket), clients, doors)


def _missing(name: str, session: Session) -> OutsideError:
    known = ", ".join(scheduler_names(session)) or "none"
    what = (
        f"There is no stack {name!r} in {session.region} of the account {session.identity.account}; there are: {known}."
    )
    how = "name another one (--stack), another region (--region), or another profile (--profile)"
    return OutsideError(what, "everything as it was", how, exit_code=FAILED)


def _address(name: str, outputs: Mapping[str, str], bucket: str) -> Address:
    queue_url = outputs["Queue"].removesuffix("jobs")
    return Address(
        name,
        Tables(f"{name}-jobs", f"{name}-workers", f"{name}-fleet"),
        {queue: queue_url + queue for queue in _QUEUES},
        bucket,
        PREFIX,
        outputs["Results"],
    )


def team_stacks(name: str, formation: Formation) -> list[Described]:
    """The stacks of a scheduler's teams."""
    mine = [each for each in formation.ours() if tags_of(each)[TAG] == name and TEAM_TAG in tags_of(each)]
    return sorted(mine, key=lambda each: str(each["StackName"]))


def _working_bucket(name: str, formation: Formation) -> str:
    """The bucket that instances are told of: that of the team whose stack launches them. "" where none does."""
    outputs = [outputs_of(each) for each in team_stacks(name, formation)]
    return next((each["Bucket"] for each in outputs if "InstanceRole" in each), "")


class AccountDoors:
    """The function `operate`, the groups' instances, and the executions."""

    def __init__(self, session: Session, name: str, outputs: Mapping[str, str]) -> None:
        self._name, self._machine = name, outputs["StateMachine"]
        self._function = outputs.get("Operate", f"{name}-operate")
        self._lambda, self._states = session.client("lambda", _ANSWERS_WITHIN_S), session.client("stepfunctions")
        self._autoscaling = session.client("autoscaling")

    def operate(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Call the function. Raises OutsideError for what it raises."""
        answer = self._lambda.invoke(FunctionName=self._function, Payload=json.dumps(payload).encode())
        found: dict[str, Any] = json.loads(answer["Payload"].read() or b"{}")
        if "FunctionError" in answer:
            what = f"The function {self._function} failed: {found.get('errorMessage', 'it does not say why')}."
            how = f"look at its log, /aws/lambda/{self._name}-operate, and give the same command again"
            raise OutsideError(what, "the stack as it was", how, exit_code=FAILED)
        return found

    def running(self) -> dict[str, Any]:
        return {"instances": self.instances(), "executions": self._executions()}

    def instances(self) -> dict[str, str]:
        """Instance -> the group that it is of, of all that are not on their way out."""
        found: dict[str, str] = {}
        for group in groups_of(self._name, self._autoscaling):
            alive = (each for each in group["Instances"] if not each["LifecycleState"].startswith("Terminat"))
            found |= {each["InstanceId"]: str(group["AutoScalingGroupName"]) for each in alive}
        return found

    def _executions(self) -> int:
        pages = self._states.get_paginator("list_executions").paginate(
            stateMachineArn=self._machine, statusFilter="RUNNING"
        )
        return sum(len(page["executions"]) for page in pages)


def groups_of(name: str, autoscaling: Any) -> list[Mapping[str, Any]]:
    """The Auto Scaling groups of a stack's pools."""
    pages = autoscaling.get_paginator("describe_auto_scaling_groups").paginate(
        Filters=[{"Name": f"tag:{TAG}", "Values": [name]}]
    )
    return [group for page in pages for group in page["AutoScalingGroups"]]
