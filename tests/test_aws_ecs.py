"""Attempts as tasks of ECS, on moto's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from aws_world import World
from botocore.exceptions import ClientError
from moto import mock_aws
from test_aws_operate import job_phase, phase, submitted
from test_conformance import IDEAL, PLAIN, SPOT, world

from aws import fleet, functions, workers
from aws.control import PoolSpec
from aws.ecs import ATTEMPT, DeliverCalls, EcsSpec, EcsTarget
from aws.effects import Ec2Fleet
from aws.store import WorkerRow, packed
from scheduler.commands import Checkpoint, Launch, Start
from scheduler.events import AttemptEnded
from scheduler.worker import Badge, Worker

SPOT_POOL = PoolSpec("fargate-spot", "fargate", "us-east-1a", "spot", 4, 2.0, 4.0, 0, 0.02)
ON_DEMAND = PoolSpec("fargate", "fargate", "us-east-1a", "on-demand", 4, 0.5, 1.0, 0, 0.05)
POOLS = {pool.id: pool for pool in (SPOT_POOL, ON_DEMAND)}


class Place:
    """A cluster, and what was said to Deliver."""

    def __init__(self) -> None:
        ec2, self.ecs = boto3.client("ec2"), boto3.client("ecs")
        subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
        group = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
        self.ecs.create_cluster(clusterName="c")
        self.ecs.register_task_definition(
            family="spotbed", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
            containerDefinitions=[{"name": "spotbed", "image": "image", "memory": 512}],
        )  # fmt: skip
        self.said: list[tuple[str, str, str]] = []
        self.spec = EcsSpec("c", "spotbed", [subnet], [group])
        self.target = EcsTarget(self.ecs, self.spec, POOLS, lambda *each: self.said.append(each), lambda: 7)

    def tasks(self) -> list[dict[str, Any]]:
        arns = self.ecs.list_tasks(cluster="c", desiredStatus="RUNNING")["taskArns"]
        found: list[dict[str, Any]] = []
        if arns:
            found = self.ecs.describe_tasks(cluster="c", tasks=arns, include=["TAGS"])["tasks"]
        return found


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield Place()


def row(name: str, pool: PoolSpec = SPOT_POOL) -> WorkerRow:
    return WorkerRow(name, Worker(Badge(name, pool.id, pool.purchase)), 0)


HOSTILE = "--config=/etc/passwd; $(id) 'x' \"y\"\n é"


def test_an_attempt_is_a_task_whose_command_is_the_wrappers(place: Place) -> None:
    assert place.target.start(row("w1"), Start(HOSTILE, 3, 60_000, -1))
    (task,) = place.tasks()
    (container,) = task["overrides"]["containerOverrides"]
    assert container["command"] == [
        f"--job={HOSTILE}", "--epoch=3", "--worker=w1", "--config=/etc/spotbed/config.json",
        "--checkpoint-every-ms=60000",
    ]  # fmt: skip
    assert (task["overrides"]["cpu"], task["overrides"]["memory"]) == ("2048", "4096")
    assert (task["capacityProviderName"], task["startedBy"]) == ("FARGATE_SPOT", "w1")
    assert {tag["key"] for tag in task["tags"]} == {"spotbed:worker", "spotbed:pool", ATTEMPT}


def test_the_purchase_option_is_the_capacity_provider(place: Place) -> None:
    place.target.start(row("w1", ON_DEMAND), Start("a", 1, 0, -1))
    assert [task["capacityProviderName"] for task in place.tasks()] == ["FARGATE"]


def test_a_start_that_is_repeated_starts_once_and_another_attempt_starts_too(place: Place) -> None:
    for _ in range(3):
        assert place.target.start(row("w1"), Start("a", 1, 0, -1))
    assert len(place.tasks()) == 1
    place.target.start(row("w1"), Start("a", 2, 0, -1))
    assert len(place.tasks()) == 2
    tokens = {tag["value"] for task in place.tasks() for tag in task["tags"] if tag["key"] == ATTEMPT}
    assert all(len(token) <= 64 for token in tokens), "the most that a client token may have"


def test_no_capacity_is_no_error(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    no = {"tasks": [], "failures": [{"reason": "Capacity is unavailable at this time"}]}
    monkeypatch.setattr(place.ecs, "run_task", lambda **_: no)
    assert not place.target.start(row("w1"), Start("a", 1, 0, -1))


def test_a_checkpoint_stops_that_attempt_and_no_other(place: Place) -> None:
    place.target.start(row("w1"), Start("a", 1, 0, -1))
    place.target.start(row("w2"), Start("b", 1, 0, -1))
    place.target.checkpoint(row("w1"), Checkpoint("a", 2))
    assert len(place.tasks()) == 2
    for _ in range(2):
        place.target.checkpoint(row("w1"), Checkpoint("a", 1))
    assert [task["startedBy"] for task in place.tasks()] == ["w2"]


def test_a_worker_that_stops_ends_its_tasks_and_is_gone(place: Place) -> None:
    place.target.start(row("w1"), Start("a", 1, 0, -1))
    place.target.start(row("w2"), Start("b", 1, 0, -1))
    assert place.target.live() == {"w1": "fargate-spot", "w2": "fargate-spot"}
    place.target.stop(row("w1"), "idle")
    assert place.target.live() == {"w2": "fargate-spot"}
    ((worker, event_id, event),) = place.said
    assert (worker, event_id, json.loads(event)["is"]) == ("w1", "w1/gone", "Lost")


@pytest.mark.parametrize(("code", "raises"), [("ClientException", False), ("ThrottlingException", True)])
def test_a_task_that_has_ended_meanwhile_is_no_error(
    place: Place, monkeypatch: pytest.MonkeyPatch, code: str, raises: bool
) -> None:
    place.target.start(row("w1"), Start("a", 1, 0, -1))

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code}}, "StopTask")

    monkeypatch.setattr(place.ecs, "stop_task", refuse)
    if raises:
        with pytest.raises(ClientError):
            place.target.stop(row("w1"), "idle")
        assert place.said == []
    else:
        place.target.stop(row("w1"), "idle")
        assert len(place.said) == 1


def test_a_launch_that_is_repeated_gives_the_same_workers_and_they_are_ready(place: Place) -> None:
    first = place.target.launch(SPOT_POOL, 2, "main/1/0")
    assert place.target.launch(SPOT_POOL, 2, "main/1/0") == first
    other = place.target.launch(SPOT_POOL, 2, "main/2/0")
    assert (first.granted, len({*first.names, *other.names})) == (2, 4)
    assert {event_id for _, event_id, _ in place.said} == {f"{name}/ready" for name in (*first.names, *other.names)}
    assert len(first.names[0]) <= 36, "the most that `startedBy` may have"


def test_many_tasks_are_all_seen(place: Place) -> None:
    for number in range(103):
        place.target.start(row(f"w{number}"), Start("a", number + 1, 0, -1))
    assert len(place.target.live()) == 103


def test_who_names_a_cluster_gets_tasks_and_who_does_not_gets_instances() -> None:
    made: list[str] = []
    given = {"DELIVER_FUNCTION": "d", "DOCUMENT": "l", "WINDOWS_DOCUMENT": "w"}
    assert isinstance(functions.target({**given, "ECS_CLUSTER": ""}, POOLS, made.append), Ec2Fleet)
    ecs = {"ECS_CLUSTER": "c", "ECS_TASK_DEFINITION": "t", "ECS_SUBNETS": "s-1,s-2", "ECS_SECURITY_GROUPS": "g"}
    assert isinstance(functions.target({**given, **ecs}, POOLS, made.append), EcsTarget)
    assert made == ["ssm", "autoscaling", "ec2", "lambda", "ecs"]


def test_what_deliver_is_called_with() -> None:
    calls: list[dict[str, Any]] = []
    client = type("Client", (), {"invoke": lambda _, **call: calls.append(call)})()
    DeliverCalls(client, "deliver")("w1", "w1/end", packed(AttemptEnded(1, "a", 1, "done", 0, -1)))
    (call,) = calls
    assert call["InvocationType"] == "Event"
    assert json.loads(call["Payload"])["event"]["job"] == "a"


def test_a_job_goes_through_the_functions_to_a_task_and_to_its_end(place: Place) -> None:
    made = World(world(PLAIN, [(0, 600_000)], {}, IDEAL), SPOT)
    pool = replace(SPOT_POOL, max=9)
    target = EcsTarget(place.ecs, place.spec, {pool.id: pool}, lambda *each: place.said.append(each), lambda: 7)
    made.control = replace(made.control, target=target, pools={pool.id: pool})
    submitted(made, "a")
    fleet.launch(made.control, "main/1/0", Launch(pool.id, 1, "2x0GiB|spot|*"))
    (worker,) = target.launch(pool, 1, "main/1/0").names
    hear(made, place)
    assert (phase(made, worker), job_phase(made, "a"), len(place.tasks())) == ("running", "leased", 1)
    ended = packed(AttemptEnded(made.clock.now_ms, "a", 1, "done", 0, -1))
    workers.deliver(made.control, worker, "a/1/ended", ended)
    assert (phase(made, worker), job_phase(made, "a")) == ("idle", "done")
    functions.operate({"do": "drain"}, None, made.control)
    hear(made, place)
    assert (phase(made, worker), place.target.live()) == ("gone", {})


def hear(made: World, place: Place) -> None:
    """What was said to Deliver."""
    while place.said:
        worker, event_id, event = place.said.pop(0)
        payload = {"worker": worker, "id": event_id, "event": json.loads(event)}
        functions.deliver(payload, None, made.control)
