"""The faults of the original scheduler do not occur: one test for each, on the functions and the emulator's tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from aws_world import World
from botocore.exceptions import ClientError
from moto import mock_aws
from test_conformance import KEEPS, LOSS, ONE, PLAIN, SLOW, SPOT, S, with_a_silent_loss, world
from worlds import policy_of

from aws import functions
from aws.control import PoolSpec
from aws.effects import Ec2Fleet
from aws.store import WorkerRow
from scheduler.events import Notice
from scheduler.policies.place import LowestPrice
from scheduler.policies.scale import BacklogAndBusy
from scheduler.settings import Settings
from scheduler.worker import Badge, Worker

HOUR_MS = 3_600_000
DOCUMENTS = Path(functions.__file__).parent / "documents"


@pytest.fixture(autouse=True)
def emulated() -> Iterator[None]:
    with mock_aws():
        yield


def ran(made: World) -> World:
    """A world after its run; every job is done, once, and no instance is left."""
    made.run()
    jobs = [made.inputs.work.job_id(number) for number in range(len(made.inputs.work))]
    assert sorted((job, phase) for job, phase, _ in made.told) == [(job, "done") for job in sorted(jobs)]
    assert not made.live()
    return made


def happened(made: World, kind: str, subject: str = "") -> list[Any]:
    return [each for each in made.journal.entries if each.kind == kind and subject in ("", each.subject)]


class Warned(World):
    """EC2's warnings come as EventBridge brings them."""

    def _send(self, worker: str, event_id: str, make: Any) -> None:
        if isinstance(make(0), Notice):
            detail = {"instance-id": worker, "instance-action": "terminate"}
            warning = {"id": event_id, "detail-type": "EC2 Spot Instance Interruption Warning", "detail": detail}
            self._call(functions.deliver, warning)
        else:
            super()._send(worker, event_id, make)


def test_f1_an_interruption_is_heard_and_costs_no_retry() -> None:
    made = ran(Warned(world(KEEPS, ONE, LOSS, SLOW), SPOT))
    (_, again) = happened(made, "Claimed", "keeps-0")
    assert again.at_ms - LOSS["spot-a"][1][0] < 5 * 60 * S, "it runs again within minutes, not after four hours"
    row = made.control.store.job("keeps-0")
    assert row is not None
    assert (row.record.failures, row.record.interruptions) == (0, 1)


def test_f2_no_execution_comes_near_the_limit_of_its_history() -> None:
    policy = policy_of(Settings(roll_over_at=60), place=LowestPrice(), scale=BacklogAndBusy(max_workers=1))
    made = World(world(PLAIN, [(number * 1_001, 103 * S) for number in range(9)], {}, SLOW), policy)
    events: Counter[tuple[str, int]] = Counter()
    perform = made.executions._perform

    def counted(name: str, state: Any, data: Any, tries: int = 0) -> Any:
        events[data["worker"], data["generation"]] += {"Step": 5 + 2, "Park": 6}[name]
        return perform(name, state, data, tries)

    made.executions._perform = counted  # type: ignore[method-assign]
    ran(made)
    assert len(events) > 2, "executions follow one another"
    assert max(events.values()) < 60 + 2 * 28, "each ends within a cycle of its limit"


def test_f3_a_worker_that_is_gone_takes_no_more_jobs() -> None:
    inputs = with_a_silent_loss(world(PLAIN, [*ONE, (1_900_000, 60 * S)], LOSS, SLOW, notice=False))
    made = ran(World(inputs, SPOT))
    lost_ms = LOSS["spot-a"][1][0]
    assert [each for each in happened(made, "JobClaimed", "w1") if each.at_ms > lost_ms] == []
    for number in range(2):
        row = made.control.store.job(inputs.work.job_id(number))
        assert row is not None
        assert row.record.failures == 0, "nobody's retries are burned"


def test_f4_a_job_may_run_for_longer_than_an_hour() -> None:
    made = ran(World(world(PLAIN, [(0, 5 * HOUR_MS)], {}, SLOW), SPOT))
    assert len(happened(made, "JobClaimed")) == 1
    (step,) = yaml.safe_load((DOCUMENTS / "run-job-linux.yaml").read_text("utf-8"))["mainSteps"]
    (script,) = step["inputs"]["runCommand"]
    assert "exec systemd-run" in script, "the attempt outlives the command, whose time is limited"
    assert "RuntimeMaxSec" not in script


def test_f5_an_error_of_a_call_is_no_success() -> None:
    class Refusing(World):
        """SendCommand is throttled for the first three times."""

        refused = 0

        def start(self, worker: WorkerRow, order: Any) -> bool:
            self.refused += 1
            if self.refused <= 3:
                raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, "SendCommand")
            return super().start(worker, order)

    made = ran(Refusing(world(PLAIN, [(0, 600 * S)], {}, SLOW), SPOT))
    assert made.refused == 4
    (claimed,), (ended,) = happened(made, "JobClaimed"), happened(made, "Complete")
    assert ended.at_ms - claimed.at_ms > 600 * S, "it is done when it has run, and not before"


def test_f6_there_are_as_many_workers_as_jobs_and_none_is_stopped_while_it_boots() -> None:
    jobs = [(0, 900 * S)] * 3 + [(300 * S, 900 * S)] * 2  # the later two find the first three busy
    made = ran(World(world(PLAIN, jobs, {}, SLOW), SPOT))
    assert len(made.ec2.instances) == len(jobs)
    ready = {each.subject for each in happened(made, "Ready")}
    assert ready == set(made.ec2.instances)


class BreaksOff(Exception):
    """A function that Lambda ends in the middle."""


def test_f7_a_message_is_kept_until_its_record_is_and_makes_one_record(monkeypatch: pytest.MonkeyPatch) -> None:
    made = World(world(PLAIN, [(0, 600 * S)], {}, SLOW), SPOT)
    message = {"id": "mine", "commands": ["true"], "vcpus": 2}
    event = {"Records": [{"messageId": "m", "body": json.dumps(message)}]}
    put, tries = made.control.store.put_new, []

    def breaks(*arguments: Any) -> bool:
        tries.append(put(*arguments))
        if len(tries) == 1:
            raise BreaksOff
        return tries[-1]

    monkeypatch.setattr(made.control.store, "put_new", breaks)
    with pytest.raises(BreaksOff):  # SQS keeps the message, and brings it again
        functions.intake(event, None, made.control)
    assert functions.intake(event, None, made.control) == {"batchItemFailures": []}
    assert functions.intake(event, None, made.control) == {"batchItemFailures": []}
    assert tries == [True, False, False]
    row = made.control.store.job("mine")
    assert row is not None
    assert (row.record.phase, row.version) == ("queued", 1)


def test_f8_an_execution_that_fails_leaves_no_instance_behind() -> None:
    made = World(world(PLAIN, [(0, 600 * S)], {}, SLOW), SPOT)

    def fails() -> None:
        made.executions._parked.clear()

    made.clock.at(400 * S, 0, fails)  # while the job runs: nobody answers the report of its end
    ran(made)
    assert happened(made, "Stop", "w1")


def test_f9_protection_is_taken_off_when_it_is_taken_off() -> None:
    ec2, autoscaling = (boto3.client(name, region_name="us-east-1") for name in ("ec2", "autoscaling"))
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    autoscaling.create_launch_configuration(LaunchConfigurationName="one", ImageId=image, InstanceType="t3.small")
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="group", LaunchConfigurationName="one", MinSize=0, MaxSize=2, DesiredCapacity=1,
        AvailabilityZones=["us-east-1a"], NewInstancesProtectedFromScaleIn=True,
    )  # fmt: skip
    pools = {"spot-a": PoolSpec("spot-a", "t3.small", "us-east-1a", "spot", 2, 2, 2.0, 0, 0.02, "group")}
    fleet = Ec2Fleet(None, autoscaling, ec2, "document", pools, lambda: None)
    (instance,) = fleet.live()
    row = WorkerRow(instance, Worker(Badge(instance, "spot-a", "spot")), 0)

    def is_protected() -> bool:
        (found,) = autoscaling.describe_auto_scaling_instances()["AutoScalingInstances"]
        return bool(found["ProtectedFromScaleIn"])

    assert is_protected()
    fleet.protect(row, on=False)
    assert not is_protected()
    fleet.protect(row, on=True)
    assert is_protected()
