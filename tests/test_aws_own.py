"""Instances that somebody launched and tagged: when they are workers, and when not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from aws_stacks import of_type, rendered
from aws_world import World
from moto import mock_aws
from test_conformance import IDEAL, PLAIN, SPOT, world

from aws import functions
from aws.control import OWN
from aws.own import OF_A_GROUP, TAGGED


@pytest.fixture
def made() -> Iterator[World]:
    """An empty world on moto's tables."""
    with mock_aws():
        yield World(world(PLAIN, [(0, 600_000)], {}, IDEAL), SPOT)


def tagged(made: World, **tags: str) -> None:
    event: dict[str, Any] = {
        "detail-type": TAGGED,
        "source": "aws.tag",
        "resources": ["arn:aws:ec2:us-east-1:123456789012:instance/i-1"],
        "detail": {"changed-tag-keys": ["spotbed:stack"], "tags": {"spotbed:stack": "eda", **tags}},
    }
    functions.deliver(event, None, made.control)


def pool(made: World) -> str:
    return next(iter(made.control.pools))


def test_a_tagged_instance_is_a_worker_that_is_ready(made: World) -> None:
    for _ in range(2):  # EventBridge tells twice
        tagged(made, **{"spotbed:pool": pool(made)})
    row = made.control.store.worker("i-1#0")
    assert row is not None
    assert (row.pool, row.record.badge.purchase) == (pool(made), OWN)
    assert (row.record.phase, made.control.store.worker("i-1#1")) == ("idle", None)  # it has heard that it is ready
    assert made.control.store.counters()[f"pool#{pool(made)}"]["booting"] == 0


def test_an_instance_that_has_stopped_serving_serves_again_as_soon_as_it_is_tagged(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody ends the instance, so no event says that it has ended."""
    monkeypatch.setattr(World, "stop", lambda *_: None)
    tagged(made, **{"spotbed:pool": pool(made)})
    made.clock.now_ms += made.policy.settings.keep_alive_ms
    functions.fleet({}, None, made.control)
    row = made.control.store.worker("i-1#0")
    assert row is not None
    assert row.record.phase == "gone"
    tagged(made, **{"spotbed:pool": pool(made)})
    row = made.control.store.worker("i-1#1")
    assert row is not None
    assert row.record.phase == "idle"


def test_one_that_idles_for_longer_than_a_lease_is_not_taken_for_lost(made: World) -> None:
    """No group has it, so it is not among the instances of which Auto Scaling says that they are there."""
    settings = replace(made.policy.settings, keep_alive_ms=3 * made.policy.settings.lease_ms)
    made.control = replace(made.control, policy=replace(made.policy, settings=settings))
    tagged(made, **{"spotbed:pool": pool(made)})
    made.clock.now_ms += 2 * settings.lease_ms
    functions.fleet({}, None, made.control)
    row = made.control.store.worker("i-1#0")
    assert row is not None
    assert row.record.phase == "idle"


def test_an_instance_of_a_group_is_none(made: World) -> None:
    tagged(made, **{"spotbed:pool": pool(made), "spotbed:team": "cpu"})
    assert made.control.store.worker("i-1#0") is None


def test_a_tag_that_names_no_pool_is_told(made: World) -> None:
    tagged(made, **{"spotbed:pool": "none"})
    assert made.control.store.worker("i-1#0") is None
    ((name, phase, reason),) = made.told
    assert (name, phase) == ("i-1", "refused")
    assert "spotbed:pool is 'none'" in reason


def test_the_rule_knows_what_groups_give_to_their_instances() -> None:
    """An instance of a group is a worker by the event of its launch; by its tags as well, it would be two."""
    function = of_type(rendered("scheduler"), "AWS::Serverless::Function")["DeliverFunction"]
    pattern = function["Events"]["Tagged"]["Properties"]["Pattern"]
    assert pattern["detail-type"] == [TAGGED]
    assert pattern["detail"]["tags"][OF_A_GROUP] == [{"exists": False}]
    for kind in ("resources", "delegated"):
        for group in of_type(rendered(kind), "AWS::AutoScaling::AutoScalingGroup").values():
            given = {tag["Key"] for tag in group["Tags"] if tag["PropagateAtLaunch"]}
            assert {OF_A_GROUP, "spotbed:stack"} <= given
