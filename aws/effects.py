"""The plugs of `Control` over boto3: SSM and Auto Scaling groups, Step Functions, SQS and EventBridge.

Clients are passed in; each call may be repeated.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError

from aws import attempts
from aws.control import OWN, Launched, PoolSpec
from aws.store import WorkerRow
from scheduler.commands import Checkpoint, Start

_ENDED_EXECUTION = frozenset({"TaskTimedOut", "TaskDoesNotExist", "InvalidToken"})
_PRODUCTS = {"linux": "Linux/UNIX", "windows": "Windows"}  # under which EC2 lists Spot prices
_NO_INSTANCE = frozenset({"InvalidInstanceId", "InvalidInstanceID.NotFound"})


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


class StepFunctions:
    """Executions of one state machine, named {worker}-{generation}."""

    def __init__(self, client: Any, state_machine_arn: str) -> None:
        self._client, self._arn = client, state_machine_arn

    def start(self, worker: str, generation: int) -> None:
        text = json.dumps({"worker": worker, "generation": generation})
        try:
            self._client.start_execution(stateMachineArn=self._arn, name=execution_name(worker, generation), input=text)
        except ClientError as error:
            if _code(error) != "ExecutionAlreadyExists":
                raise

    def answer(self, token: str) -> None:
        try:
            self._client.send_task_success(taskToken=token, output="{}")
        except ClientError as error:
            if _code(error) not in _ENDED_EXECUTION:
                raise


def execution_name(worker: str, generation: int) -> str:
    """The name of an execution: it may be started again, and starts once."""
    return f"{worker.replace('#', '_')}-{generation}"


class Queues:
    """Tells of ends: a message in the finished or the dead-letter queue, and an event on the bus."""

    def __init__(self, sqs: Any, events: Any, finished_url: str, dead_url: str, bus: str = "default") -> None:
        self._sqs, self._events = sqs, events
        self._finished_url, self._dead_url, self._bus = finished_url, dead_url, bus

    def ended(self, job_id: str, phase: str, reason: str, more: Mapping[str, Any] = {}) -> None:
        whole = {**attempts.NOTHING, **more, "job_id": job_id, "phase": phase, "reason": reason}
        text = json.dumps(whole, sort_keys=True)
        url = self._finished_url if phase == "done" else self._dead_url
        if url:
            self._sqs.send_message(QueueUrl=url, MessageBody=text)
        if not self._publish(f"job {phase}", text):
            raise ConnectionError("EventBridge has not taken the event")  # the end is told once more

    def moved(self, job_id: str, before: str, after: str) -> None:
        text = json.dumps({"job_id": job_id, "before": before, "phase": after}, sort_keys=True)
        with contextlib.suppress(ClientError, BotoCoreError):  # what was decided stands, whoever hears of it
            self._publish("job moved", text)

    def _publish(self, kind: str, text: str) -> bool:
        """Whether the bus has taken the event."""
        if self._events is None:
            return True
        entry = {"Source": "spotbed", "DetailType": kind, "Detail": text, "EventBusName": self._bus}
        return not self._events.put_events(Entries=[entry]).get("FailedEntryCount", 0)


class AsynchronousCalls:
    """Hints as asynchronous invocations of Deliver."""

    def __init__(self, client: Any, function: str) -> None:
        self._client, self._function = client, function

    def wake(self, worker: str, event_id: str) -> None:
        payload = json.dumps({"worker": worker, "id": event_id, "wakes": True}).encode()
        self._client.invoke(FunctionName=self._function, InvocationType="Event", Payload=payload)


class DelayedMessages:
    """Timers of jobs as messages of the intake queue that SQS delays; a longer time takes several messages."""

    LONGEST_S = 900  # SQS: DelaySeconds

    def __init__(self, sqs: Any, queue_url: str) -> None:
        self._sqs, self._url = sqs, queue_url

    def set(self, job_id: str, after_ms: int) -> None:
        delay_s = min(self.LONGEST_S, -(-after_ms // 1000))
        self._sqs.send_message(QueueUrl=self._url, MessageBody=json.dumps({"timer": job_id}), DelaySeconds=delay_s)


class Ec2Fleet:
    """Instances of Auto Scaling groups, one group for each pool; attempts run by our SSM documents, which `documents`
    names by operating system."""

    def __init__(
        self,
        ssm: Any,
        autoscaling: Any,
        ec2: Any,
        documents: Mapping[str, str],
        pools: Mapping[str, PoolSpec],
        now: Callable[[], Any],
    ) -> None:
        self._ssm, self._autoscaling, self._ec2 = ssm, autoscaling, ec2
        self._documents, self._pools, self._now = documents, pools, now

    def start(self, worker: WorkerRow, command: Start) -> bool:
        return self._send(
            worker,
            {
                "Action": ["run"],
                "Job": [quote(command.job, safe="")],
                "Epoch": [str(command.epoch)],
                "Worker": [worker.name],
                "CheckpointEveryMs": [str(command.checkpoint_every_ms)],
            },
        )

    def checkpoint(self, worker: WorkerRow, command: Checkpoint) -> None:
        self._send(
            worker,
            {
                "Action": ["checkpoint"],
                "Job": [quote(command.job, safe="")],
                "Epoch": [str(command.epoch)],
                "Worker": [worker.name],
                "CheckpointEveryMs": ["0"],
            },
        )

    def _send(self, worker: WorkerRow, parameters: Mapping[str, Sequence[str]]) -> bool:
        document = self._documents[self._pools[worker.pool].os]
        try:
            self._ssm.send_command(
                InstanceIds=[instance_of(worker.name)], DocumentName=document, Parameters=dict(parameters)
            )
        except ClientError as error:
            if _code(error) in _NO_INSTANCE:
                return False
            raise
        return True

    def stop(self, worker: WorkerRow, reason: str) -> None:
        if worker.record.badge.purchase == OWN:
            return
        try:
            self._autoscaling.terminate_instance_in_auto_scaling_group(
                InstanceId=instance_of(worker.name), ShouldDecrementDesiredCapacity=True
            )
        except ClientError as error:
            if _code(error) != "ValidationError":  # no such instance: it has gone before
                raise

    def protect(self, worker: WorkerRow, on: bool) -> None:
        if worker.record.badge.purchase == OWN:
            return
        group = self._pools[worker.pool].group
        self._autoscaling.set_instance_protection(
            InstanceIds=[instance_of(worker.name)], AutoScalingGroupName=group, ProtectedFromScaleIn=on
        )

    def launch(self, pool: PoolSpec, count: int, command_id: str) -> Launched:
        """Raise the group's size. Its instances become workers when Auto Scaling says that they are there."""
        found = self._autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[pool.group])["AutoScalingGroups"]
        if not found:
            return Launched(0, reason=f"group {pool.group} does not exist")
        desired = int(found[0]["DesiredCapacity"])
        wanted = min(desired + count, int(found[0]["MaxSize"]))
        self._autoscaling.set_desired_capacity(AutoScalingGroupName=pool.group, DesiredCapacity=wanted)
        return Launched(wanted - desired, reason="max")

    def withdraw(self, pool: PoolSpec, count: int) -> None:
        found = self._autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[pool.group])["AutoScalingGroups"]
        if found:
            desired, there = int(found[0]["DesiredCapacity"]), len(found[0]["Instances"])
            wanted = max(there, desired - count)
            if wanted < desired:
                self._autoscaling.set_desired_capacity(AutoScalingGroupName=pool.group, DesiredCapacity=wanted)

    def live(self) -> Mapping[str, str]:
        pools = {pool.group: pool.id for pool in self._pools.values()}
        found: dict[str, str] = {}
        for page in self._autoscaling.get_paginator("describe_auto_scaling_groups").paginate(
            AutoScalingGroupNames=list(pools)
        ):
            for group in page["AutoScalingGroups"]:
                alive = (each for each in group["Instances"] if not each["LifecycleState"].startswith("Terminat"))
                found |= {each["InstanceId"]: pools[group["AutoScalingGroupName"]] for each in alive}
        return found

    def price_usd_per_hour(self, pool: PoolSpec) -> float:
        if pool.purchase != "spot":
            return pool.on_demand_usd_per_hour
        history = self._ec2.describe_spot_price_history(
            InstanceTypes=[pool.instance_type],
            AvailabilityZone=pool.az,
            ProductDescriptions=[_PRODUCTS[pool.os]],
            StartTime=self._now(),
            MaxResults=1,
        )["SpotPriceHistory"]
        return float(history[0]["SpotPrice"]) if history else pool.on_demand_usd_per_hour


def instance_of(worker: str) -> str:
    """The instance of a worker: several workers share one where it has several slots."""
    return worker.partition("#")[0]
