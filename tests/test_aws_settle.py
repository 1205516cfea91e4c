"""What was asked for and what came: the counters of booting workers are set right, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from aws_world import World
from moto import mock_aws
from test_aws_operate import phase, ready, submitted
from test_conformance import IDEAL, PLAIN, SPOT, world

from aws import fleet, functions
from aws.control import Launched, PoolSpec
from aws.effects import Ec2Fleet
from scheduler.commands import Launch

SMALL, LARGE = "2x0GiB|spot|*", "8x0GiB|spot|*"
POOL, CLASS = "pool#spot-a", f"class#{SMALL}"
GROUP = "group-spot-a"


class Scaling:
    """Auto Scaling that grants what is asked; what comes of it is up to the test."""

    def __init__(self) -> None:
        self.there: dict[str, str] = {}
        self.withdrawn: list[tuple[str, int]] = []
        self.stopped: list[tuple[str, str]] = []

    def launch(self, pool: PoolSpec, count: int, command_id: str) -> Launched:
        return Launched(count)

    def withdraw(self, pool: PoolSpec, count: int) -> None:
        self.withdrawn.append((pool.id, count))

    def live(self) -> Mapping[str, str]:
        return dict(self.there)

    def stop(self, worker: Any, reason: str) -> None:
        self.stopped.append((worker.name, reason))

    def start(self, *_: Any) -> bool:
        return True

    def protect(self, *_: Any) -> None: ...

    def checkpoint(self, *_: Any) -> None: ...

    def price_usd_per_hour(self, pool: PoolSpec) -> float:
        return 0.1


@pytest.fixture
def scaling() -> Scaling:
    return Scaling()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, scaling: Scaling) -> Iterator[World]:
    """An empty world on moto's tables, with one pool."""
    with mock_aws():
        world_ = World(world(PLAIN, [(0, 600_000)], {}, IDEAL), SPOT)
        only = {"spot-a": replace(world_.control.pools["spot-a"], group=GROUP)}
        world_.control = replace(world_.control, pools=only, target=scaling)
        yield world_


def tick(made: World, after_ms: int = 60_000) -> None:
    made.clock.now_ms += after_ms
    functions.fleet({}, None, made.control)


def counted(made: World, key: str = POOL) -> int:
    return int(made.control.store.counters().get(key, {}).get("booting", 0))


def asks(made: World, count: int, serves: str = SMALL) -> None:
    fleet.launch(made.control, f"main/{made.clock.now_ms}/{serves}", Launch("spot-a", count, serves))


def tells(made: World, kind: str, **detail: str) -> None:
    event = {"detail-type": kind, "detail": {"AutoScalingGroupName": GROUP, **detail}}
    functions.deliver(event, None, made.control)


def comes(made: World, scaling: Scaling, name: str) -> None:
    scaling.there[name] = "spot-a"
    tells(made, functions.LAUNCHED, EC2InstanceId=name)


def failures(made: World) -> list[tuple[int, str]]:
    return [(entry.body.count, entry.body.reason) for entry in made.journal.entries if entry.kind == "LaunchFailed"]


# what does not come -------------------------------------------------------------------------------------------------
def test_what_auto_scaling_cannot_launch_is_withdrawn_and_the_fleet_hears_why(made: World, scaling: Scaling) -> None:
    asks(made, 3)
    comes(made, scaling, "i-1")
    for _ in range(2):  # it tries again and again
        tells(made, functions.NOT_LAUNCHED, StatusMessage="There is no Spot capacity available" + "!" * 999)
    tick(made)
    assert (counted(made), counted(made, CLASS)) == (1, 1)
    assert scaling.withdrawn == [("spot-a", 2)]
    ((count, reason),) = failures(made)
    assert (count, reason[:34], len(reason)) == (2, "There is no Spot capacity availabl", 200)
    assert made.control.store.counters()[POOL]["last_launch"] == "failed"
    tick(made)
    assert len(scaling.withdrawn) == 1


def test_what_nobody_speaks_of_is_waited_for_as_long_as_a_boot(made: World, scaling: Scaling) -> None:
    asks(made, 1)
    tick(made)
    assert (counted(made), scaling.withdrawn) == (1, [])
    tick(made, made.policy.settings.boot_timeout_ms)
    assert (counted(made), scaling.withdrawn) == (0, [("spot-a", 1)])
    assert failures(made) == [(1, "not launched within the boot timeout")]


def test_a_refusal_of_before_is_no_reason_to_withdraw_what_was_asked_since(made: World, scaling: Scaling) -> None:
    tells(made, functions.NOT_LAUNCHED, StatusMessage="no")
    made.clock.now_ms += 1
    asks(made, 1)
    tick(made, 1_000)
    assert (counted(made), scaling.withdrawn) == (1, [])


def test_a_refusal_of_a_group_that_is_not_ours_changes_nothing(made: World) -> None:
    tells(made, functions.NOT_LAUNCHED, AutoScalingGroupName="another", StatusMessage="no")
    assert made.control.store.counters() == {}


# two classes of one pool ----------------------------------------------------------------------------------------------
def test_instances_asked_for_in_one_tick_are_of_the_classes_they_were_asked_for(made: World, scaling: Scaling) -> None:
    """Those of a group are alike: which serves which class does not matter, how many do does."""
    asks(made, 1)
    asks(made, 2, LARGE)
    for name in ("i-1", "i-2", "i-2", "i-3"):  # one is told twice
        comes(made, scaling, name)
    assert (counted(made), counted(made, CLASS), counted(made, f"class#{LARGE}")) == (3, 1, 2)
    for name in ("i-1", "i-2", "i-3"):
        ready(made, name)
    idle = {key: item["idle"] for key, item in made.control.store.counters().items() if key.startswith("class#")}
    assert idle == {CLASS: 1, f"class#{LARGE}": 2}


def test_what_is_withdrawn_is_of_the_classes_that_still_wait(made: World, scaling: Scaling) -> None:
    asks(made, 2)
    asks(made, 1, LARGE)
    comes(made, scaling, "i-1")
    tells(made, functions.NOT_LAUNCHED, StatusMessage="no")
    tick(made)
    assert scaling.withdrawn == [("spot-a", 2)]
    assert (counted(made), counted(made, CLASS), counted(made, f"class#{LARGE}")) == (1, 1, 0)
    asks(made, 1, LARGE)
    comes(made, scaling, "i-2")
    assert made.control.store.worker("i-2").serves == LARGE


def test_an_order_that_is_performed_again_is_asked_once(made: World, scaling: Scaling) -> None:
    asks(made, 1, LARGE)
    asks(made, 1, LARGE)
    comes(made, scaling, "i-1")
    made.clock.now_ms += 1
    asks(made, 1)
    comes(made, scaling, "i-2")
    assert [made.control.store.worker(name).serves for name in ("i-1", "i-2")] == [LARGE, SMALL]


# what comes unasked, or unheard ---------------------------------------------------------------------------------------
def test_an_instance_that_auto_scaling_replaced_by_itself_is_counted_once(made: World, scaling: Scaling) -> None:
    asks(made, 1)
    comes(made, scaling, "i-1")
    comes(made, scaling, "i-2")  # nobody has asked
    tick(made)
    assert (counted(made), counted(made, CLASS)) == (2, 2)
    tick(made)
    assert counted(made) == 2
    submitted(made, "a")
    ready(made, "i-1")
    ready(made, "i-2")
    assert (phase(made, "i-1"), phase(made, "i-2")) == ("running", "idle")
    assert (counted(made), counted(made, CLASS)) == (0, 0)


def test_an_instance_of_which_no_event_told_is_found_and_serves(made: World, scaling: Scaling) -> None:
    asks(made, 1)
    scaling.there["i-1"] = "spot-a"
    tick(made)
    assert (phase(made, "i-1"), counted(made)) == ("booting", 1)
    submitted(made, "a")
    ready(made, "i-1")
    assert phase(made, "i-1") == "running"
    comes(made, scaling, "i-1")  # late
    assert (phase(made, "i-1"), counted(made)) == ("running", 0)


def test_an_instance_that_outlives_its_worker_is_stopped_again(made: World, scaling: Scaling) -> None:
    asks(made, 1)
    comes(made, scaling, "i-1")
    functions.deliver({"id": "e", "detail-type": "EC2 Instance State-change Notification",
                       "detail": {"instance-id": "i-1", "state": "terminated"}}, None, made.control)  # fmt: skip
    assert phase(made, "i-1") == "gone"
    tick(made)
    assert scaling.stopped == [("i-1", "orphan")]


def test_a_worker_whose_order_fails_again_and_again_holds_up_nobody_else(
    made: World, scaling: Scaling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its execution has given up after ten tries; the fleet's tick goes on with all the rest, and fails at its end."""
    asks(made, 1)
    comes(made, scaling, "i-1")
    submitted(made, "a")

    def refused(*_: Any) -> bool:
        raise PermissionError("SendCommand")

    monkeypatch.setattr(scaling, "start", refused)
    with pytest.raises(PermissionError):
        ready(made, "i-1")
    comes(made, scaling, "i-2")
    scaling.there["i-3"] = "spot-a"  # of which no event told
    with pytest.raises(PermissionError, match="SendCommand"):
        tick(made, made.policy.settings.lease_ms)
    assert phase(made, "i-3") == "booting"
    row = made.control.store.job("a")
    assert row is not None
    assert row.record.phase == "queued", "the lease that nobody renews is over"


def test_nothing_changes_where_all_is_as_counted(made: World, scaling: Scaling) -> None:
    asks(made, 2)
    comes(made, scaling, "i-1")
    comes(made, scaling, "i-2")
    ready(made, "i-1")
    before = made.control.store.counters()
    tick(made, 1_000)
    assert made.control.store.counters() == before
    assert (scaling.withdrawn, scaling.stopped) == ([], [])


# Auto Scaling -------------------------------------------------------------------------------------------------------
class Groups:
    """One group, of which two instances are there."""

    def __init__(self, desired: int) -> None:
        self.desired = desired

    def describe_auto_scaling_groups(self, AutoScalingGroupNames: list[str]) -> dict[str, Any]:  # noqa: N803 boto3's
        found = {"DesiredCapacity": self.desired, "Instances": [{}, {}]}
        return {"AutoScalingGroups": [found] if AutoScalingGroupNames == [GROUP] else []}

    def set_desired_capacity(self, AutoScalingGroupName: str, DesiredCapacity: int) -> None:  # noqa: N803
        assert (AutoScalingGroupName, DesiredCapacity < self.desired) == (GROUP, True)
        self.desired = DesiredCapacity


@pytest.mark.parametrize(("count", "left"), [(1, 3), (2, 2), (9, 2)])
def test_withdrawing_never_takes_what_is_there(count: int, left: int) -> None:
    groups = Groups(4)
    pool = PoolSpec("spot-a", "c6i.large", "us-east-1a", "spot", 9, 2.0, 4.0, 0, 0.1, GROUP)
    target = Ec2Fleet(None, groups, None, {}, {pool.id: pool}, lambda: None)
    for _ in range(2 if left == 2 else 1):
        target.withdraw(pool, count)
    assert groups.desired == left
    target.withdraw(replace(pool, group="nobody"), 1)
