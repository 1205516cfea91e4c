"""Attempts as tasks of ECS: one `RunTask` for each, with the wrapper as its command. No instance, no agent.

A worker is then a place in a pool: it is ready as soon as it is asked for, and gone when it stops. An order to write a
checkpoint and leave is `StopTask`: ECS sends the image's stop signal, which must be SIGUSR1, and kills after the task
definition's `stopTimeout`. Fargate Spot ends its tasks in the same way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from botocore.exceptions import ClientError

from aws.control import Launched, PoolSpec
from aws.store import WorkerRow, packed
from scheduler.commands import Checkpoint, Start
from scheduler.events import Lost, Ready

WORKER, POOL, ATTEMPT = "spotbed:worker", "spotbed:pool", "spotbed:attempt"  # tags of a task
_PAGE = 100  # tasks that one DescribeTasks takes
_CPU_UNITS, _MIB = 1024, 1024
_ENDED = frozenset({"InvalidParameterException", "ClientException"})  # of StopTask: no such task any more


@dataclass(frozen=True)
class EcsSpec:
    """Where tasks run. The image's entry point is the wrapper, which finds its configuration at `config`."""

    cluster: str
    task_definition: str
    subnets: Sequence[str]
    security_groups: Sequence[str]
    container: str = "spotbed"
    config: str = "/etc/spotbed/config.json"


def spec_from(given: Mapping[str, str]) -> EcsSpec | None:
    """What a function's environment says of a cluster, if it names one."""
    if not given.get("ECS_CLUSTER"):
        return None
    subnets, groups = (given[name].split(",") for name in ("ECS_SUBNETS", "ECS_SECURITY_GROUPS"))
    return EcsSpec(given["ECS_CLUSTER"], given["ECS_TASK_DEFINITION"], subnets, groups)


class Say(Protocol):
    """Lets Deliver hear an event of a worker, soon and not within this call."""

    def __call__(self, worker: str, event_id: str, event: str) -> None: ...


class DeliverCalls:
    """Asynchronous invocations of Deliver; Lambda calls again while the worker's record is not there."""

    def __init__(self, client: Any, function: str) -> None:
        self._client, self._function = client, function

    def __call__(self, worker: str, event_id: str, event: str) -> None:
        payload = json.dumps({"worker": worker, "id": event_id, "event": json.loads(event)}).encode()
        self._client.invoke(FunctionName=self._function, InvocationType="Event", Payload=payload)


class EcsTarget:
    """`aws.control.Target` over ECS."""

    def __init__(self, ecs: Any, spec: EcsSpec, pools: Mapping[str, PoolSpec], say: Say, now_ms: Any) -> None:
        self._ecs, self._spec, self._pools, self._say, self._now_ms = ecs, spec, pools, say, now_ms

    def start(self, worker: WorkerRow, command: Start) -> bool:
        attempt = _attempt(worker, command)
        if any(tags.get(ATTEMPT) == attempt for _, tags in self._tasks(worker.name)):
            return True
        answer = self._ecs.run_task(**self._request(worker, command, attempt))
        return not answer.get("failures")  # no capacity: the job goes elsewhere

    def _request(self, worker: WorkerRow, command: Start, attempt: str) -> dict[str, Any]:
        pool, spec = self._pools[worker.pool], self._spec
        order = [f"--job={command.job}", f"--epoch={command.epoch}", f"--worker={worker.name}",
                 f"--config={spec.config}", f"--checkpoint-every-ms={command.checkpoint_every_ms}"]  # fmt: skip
        network = {"subnets": list(spec.subnets), "securityGroups": list(spec.security_groups)}
        tags = {WORKER: worker.name, POOL: pool.id, ATTEMPT: attempt}
        return {
            "cluster": spec.cluster,
            "taskDefinition": spec.task_definition,
            "count": 1,
            "capacityProviderStrategy": [
                {"capacityProvider": "FARGATE_SPOT" if pool.purchase == "spot" else "FARGATE"}
            ],
            "networkConfiguration": {"awsvpcConfiguration": {**network, "assignPublicIp": "DISABLED"}},
            "overrides": {
                "cpu": str(round(pool.vcpus * _CPU_UNITS)),
                "memory": str(round(pool.memory_gib * _MIB)),
                "containerOverrides": [{"name": spec.container, "command": order}],
            },
            "startedBy": worker.name,
            "clientToken": attempt,
            "tags": [{"key": name, "value": value} for name, value in tags.items()],
        }

    def checkpoint(self, worker: WorkerRow, command: Checkpoint) -> None:
        attempt = _attempt(worker, command)
        for task, tags in self._tasks(worker.name):
            if tags.get(ATTEMPT) == attempt:
                self._end(task, "checkpoint")

    def stop(self, worker: WorkerRow, reason: str) -> None:
        for task, _ in self._tasks(worker.name):
            self._end(task, reason)
        self._say(worker.name, f"{worker.name}/gone", packed(Lost(self._now_ms())))

    def _end(self, task: str, reason: str) -> None:
        try:
            self._ecs.stop_task(cluster=self._spec.cluster, task=task, reason=reason)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _ENDED:
                raise

    def protect(self, worker: WorkerRow, on: bool) -> None:
        """Nothing scales tasks in."""

    def launch(self, pool: PoolSpec, count: int, command_id: str) -> Launched:
        """Places for workers, the same for the same order."""
        names = [f"ecs-{_digest(command_id)[:20]}-{number}" for number in range(count)]
        for name in names:
            self._say(name, f"{name}/ready", packed(Ready(self._now_ms())))
        return Launched(count, names)

    def withdraw(self, pool: PoolSpec, count: int) -> None:
        """A place is there as soon as it is asked for."""

    def live(self) -> Mapping[str, str]:
        """Workers that have a task; a place without one needs nothing that could be gone."""
        return {tags[WORKER]: tags[POOL] for _, tags in self._tasks() if WORKER in tags and POOL in tags}

    def price_usd_per_hour(self, pool: PoolSpec) -> float:
        return pool.on_demand_usd_per_hour

    def _tasks(self, worker: str = "") -> Iterator[tuple[str, dict[str, str]]]:
        """(ARN, tags) of the tasks that run or start, of one worker or of all."""
        of = {"startedBy": worker} if worker else {}
        pages = self._ecs.get_paginator("list_tasks").paginate(
            cluster=self._spec.cluster, desiredStatus="RUNNING", PaginationConfig={"PageSize": _PAGE}, **of
        )
        for page in pages:
            if page["taskArns"]:
                yield from self._described(page["taskArns"])

    def _described(self, tasks: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
        found = self._ecs.describe_tasks(cluster=self._spec.cluster, tasks=list(tasks), include=["TAGS"])["tasks"]
        for task in found:
            yield task["taskArn"], {tag["key"]: tag["value"] for tag in task.get("tags", ())}


def _attempt(worker: WorkerRow, command: Start | Checkpoint) -> str:
    """What a task runs: of a gang, each member has a task of its own."""
    return _digest(command.job, str(command.epoch), worker.name)


def _digest(*parts: str) -> str:
    """The same for the same parts, and as long as a client token may be."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
