"""The loss of tables: a world is stopped in the middle, its tables are wiped or set back, rebuilt, and it runs on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import boto3
import pytest
from aws_world import FINAL, TABLES, World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_memory_ec2 import DOOR, TICK
from moto import mock_aws
from test_conformance import KEEPS, PLAIN, S, world
from worlds import policy_of

from aws import functions
from aws.rebuild import NoResults, Rebuilt, S3Results, folders_of, rebuild
from aws.wrapper import job_prefix
from scheduler.policies.place import LowestPrice
from scheduler.policies.protect import Periodic
from scheduler.settings import Settings

JOBS = [(number * 97 * S, (400 + 131 * number) * S) for number in range(5)]
POLICY = policy_of(Settings(keep_alive_ms=60 * S), place=LowestPrice(), protect=Periodic(every_ms=120 * S))
BUCKET, PREFIX = "results", "spotbed/"
Table = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield


class Broken:
    """A world that can be stopped, and whose tables can be lost."""

    def __init__(self, jobs: list[tuple[int, int]] = JOBS, klass: Any = KEEPS) -> None:
        self.world = World(world(klass, jobs), POLICY)
        self.client = boto3.client("dynamodb")
        for number, submit_ms in enumerate(self.world.inputs.work.submit_ms.tolist()):
            self.world.clock.at(submit_ms, DOOR, partial(self.world._submit, number))
        self.world.clock.at(0, TICK, self.world._tick)

    def until(self, at_ms: int) -> None:
        while self.world.clock._heap[0][0] <= at_ms:
            self.world.clock.next()

    def to_the_end(self) -> None:
        while self.world.clock.next() != TICK or not self.world._is_over():
            assert self.world.clock.now_ms < 3 * 3_600 * S, "it does not end"

    def table(self, name: str) -> Table:
        return list(self.client.scan(TableName=name)["Items"])

    def set_back(self, name: str, items: Table) -> None:
        """The table as it was; without items, empty."""
        keys = [each["AttributeName"] for each in self.client.describe_table(TableName=name)["Table"]["KeySchema"]]
        for item in self.table(name):
            self.client.delete_item(TableName=name, Key={key: item[key] for key in keys})
        for item in items:
            self.client.put_item(TableName=name, Item=item)

    def rebuild(self, **how: Any) -> Rebuilt:
        return rebuild(self.world.control, **how)

    def counters(self) -> dict[str, dict[str, int]]:
        """What is not zero among the counters."""
        names = ("queued", "busy", "booting", "idle")
        found = {
            key: {name: int(item[name]) for name in names if int(item.get(name, 0))}
            for key, item in self.world.control.store.counters().items()
        }
        return {key: item for key, item in found.items() if item}

    def ended(self) -> Mapping[str, str]:
        items = self.world.control.store.items(TABLES.jobs)
        return {item["job_id"]: item["phase"] for item in items}

    def completions(self) -> Counter[str]:
        entries = self.world.journal.entries
        return Counter(entry.subject for entry in entries if entry.kind == "ReleaseDependants" and entry.body.done)


def everything_ended_once(broken: Broken) -> None:
    assert set(broken.ended().values()) == {"done"}
    assert len(broken.ended()) == len(JOBS)
    assert set(broken.completions().values()) == {1}
    assert broken.counters() == {}
    assert not broken.world.control.target.live()


slow = pytest.mark.slow
TIMES = (pytest.param(110 * S, marks=slow), 401 * S, pytest.param(701 * S, marks=slow))
LOST = (
    (TABLES.workers, TABLES.fleet),
    pytest.param((TABLES.fleet,), marks=slow),
    pytest.param((TABLES.workers,), marks=slow),
)


@pytest.mark.parametrize("at_ms", TIMES)
@pytest.mark.parametrize("lost", LOST)
def test_without_workers_and_counters_every_job_ends_once(lost: tuple[str, ...], at_ms: int) -> None:
    broken = Broken()
    broken.until(at_ms)
    before = broken.counters()
    for name in lost:
        broken.set_back(name, [])
    done = broken.rebuild()
    assert done.jobs == len(broken.ended())
    if TABLES.workers not in lost:
        assert broken.counters() == before
    again = broken.rebuild()
    assert (again.adopted, again.stopped, again.requeued, again.corrected) == (0, 0, 0, 0)
    broken.to_the_end()
    everything_ended_once(broken)


def test_an_instance_that_runs_a_job_goes_on_with_it() -> None:
    broken = Broken()
    broken.until(401 * S)
    leased = {item["holder"]["S"] for item in broken.table(TABLES.jobs) if item["phase"]["S"] == "leased"}
    broken.set_back(TABLES.workers, [])
    broken.set_back(TABLES.fleet, [])
    done = broken.rebuild()
    assert done.adopted == len(leased) > 0
    assert done.requeued == 0
    broken.to_the_end()
    attempts = Counter(entry.subject for entry in broken.world.journal.entries if entry.kind == "JobClaimed")
    everything_ended_once(broken)
    assert sum(attempts.values()) == len(JOBS), "nothing ran twice"


def test_a_worker_whose_instance_has_gone_meanwhile_loses_its_lease_at_once() -> None:
    broken = Broken()
    broken.until(401 * S)
    holder = next(item["holder"]["S"] for item in broken.table(TABLES.jobs) if item["phase"]["S"] == "leased")
    instance = broken.world.ec2.instances[holder]
    broken.world.ec2._end(instance, "interrupted")  # nobody says so
    broken.set_back(TABLES.workers, [])
    assert broken.rebuild().requeued == 1
    broken.to_the_end()
    everything_ended_once(broken)


@slow
def test_jobs_that_fell_out_of_their_index_come_back() -> None:
    broken = Broken()
    broken.until(50 * S)
    for item in broken.table(TABLES.jobs):
        broken.client.update_item(
            TableName=TABLES.jobs, Key={"job_id": item["job_id"]}, UpdateExpression="REMOVE queue_class, #s",
            ExpressionAttributeNames={"#s": "sort"},
        )  # fmt: skip
    broken.rebuild()
    assert all("queue_class" in item for item in broken.table(TABLES.jobs) if item["phase"]["S"] == "queued")
    broken.to_the_end()
    everything_ended_once(broken)


def test_a_stack_that_is_whole_is_left_as_it_is() -> None:
    broken = Broken()
    broken.until(401 * S)
    before = {name: broken.table(name) for name in (TABLES.jobs, TABLES.workers, TABLES.fleet)}
    done = broken.rebuild()
    assert done == Rebuilt(jobs=done.jobs)
    assert {name: broken.table(name) for name in before} == before


# a table of an earlier moment -----------------------------------------------------------------------------------------
class Kept:
    """The bucket, as wrappers fill it: the log of each attempt that ended, with its cause."""

    def __init__(self) -> None:
        self.client = boto3.client("s3")
        self.client.create_bucket(Bucket=BUCKET)
        self.results = S3Results(self.client, (BUCKET,), PREFIX)

    def log(self, job: str, epoch: int, cause: str) -> None:
        key = f"{PREFIX}jobs/{job}/{epoch}/log.txt"
        self.client.put_object(Bucket=BUCKET, Key=key, Body=b"", Metadata={"cause": cause})


def keep_logs(broken: Broken, kept: Kept) -> None:
    """What the wrapper does before it reports an end."""
    ended = broken.world._ended

    def keeping(worker: str, order: Any, event_id: str, make: Any) -> None:
        kept.log(order.job, order.epoch, make(broken.world.clock.now_ms).cause)
        ended(worker, order, event_id, make)

    broken.world._ended = keeping  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("klass", "at_ms"),
    [
        (KEEPS, 351 * S),
        pytest.param(KEEPS, 501 * S, marks=slow),
        pytest.param(PLAIN, 251 * S, marks=slow),
        pytest.param(PLAIN, 501 * S, marks=slow),
    ],
)
def test_from_a_table_of_five_minutes_ago_no_job_is_lost(klass: Any, at_ms: int) -> None:
    broken, kept = Broken(klass=klass), Kept()
    keep_logs(broken, kept)
    broken.world.control = replace(broken.world.control, results=kept.results)
    broken.until(at_ms)
    restored = broken.table(TABLES.jobs)
    broken.until(at_ms + 300 * S)
    known = {item["job_id"]["S"] for item in restored}
    since = {job for job, phase in broken.ended().items() if phase == "done" and job in known} - {
        item["job_id"]["S"] for item in restored if item["phase"]["S"] == "done"
    }
    lost = broken.ended().keys() - known
    for name, items in ((TABLES.jobs, restored), (TABLES.workers, []), (TABLES.fleet, [])):
        broken.set_back(name, items)
    done = broken.rebuild(restored=True)
    assert done.found_done == len(since)
    for number in sorted(broken.world._numbers[job] for job in lost):  # their users submit them again
        broken.world._submit(number)
    assert broken.rebuild(restored=True).found_done == 0
    broken.to_the_end()
    assert set(broken.ended().values()) == {"done"}
    assert len(broken.ended()) == len(JOBS)
    assert not broken.world.control.target.live()
    assert broken.counters() == {}
    again = {job for job, count in broken.completions().items() if count > 1}
    assert again <= since, "only what the restored table had forgotten is told of twice"


@slow
def test_the_jobs_of_a_restored_table_are_copied_and_those_that_are_there_stay() -> None:
    broken, kept = Broken(), Kept()
    broken.world.control = replace(broken.world.control, results=kept.results)
    broken.until(401 * S)
    client, jobs = broken.client, broken.table(TABLES.jobs)
    client.create_table(
        TableName="restored", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "job_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "job_id", "AttributeType": "S"}],
    )  # fmt: skip
    for item in jobs:
        client.put_item(TableName="restored", Item=item)
    broken.set_back(TABLES.jobs, jobs[:1])
    answer = functions.operate({"do": "rebuild", "source": "restored", "buckets": [BUCKET]}, None, broken.world.control)
    assert answer["copied"] == len(jobs) - 1
    assert answer["stopped"] > 0
    broken.to_the_end()
    everything_ended_once(broken)


@slow
def test_a_restored_job_takes_an_epoch_that_no_instance_carries() -> None:
    broken, kept = Broken(), Kept()
    broken.world.control = replace(broken.world.control, results=kept.results)
    broken.until(401 * S)
    before = {item["job_id"]["S"]: int(item["epoch"]["N"]) for item in broken.table(TABLES.jobs)}
    kept.log("keeps-0", before["keeps-0"] + 3, "failed")
    broken.rebuild(restored=True)
    after = {item["job_id"]["S"]: int(item["epoch"]["N"]) for item in broken.table(TABLES.jobs)}
    assert after["keeps-0"] == before["keeps-0"] + 3 + 1_000
    assert all(after[job] >= 1_000 for job in after)
    broken.to_the_end()
    everything_ended_once(broken)


def test_a_checkpoint_that_is_gone_is_not_counted_on() -> None:
    broken, kept = Broken(), Kept()
    broken.world.control = replace(broken.world.control, results=kept.results)
    broken.until(401 * S)
    for job, there in (("keeps-0", True), ("keeps-1", False)):
        prefix = f"{PREFIX}jobs/{job}/1/checkpoint-1/"
        if there:
            kept.client.put_object(Bucket=BUCKET, Key=f"{prefix}progress", Body=b"120000")
        broken.client.update_item(
            TableName=TABLES.jobs, Key={"job_id": {"S": job}}, UpdateExpression="SET #c = :c",
            ExpressionAttributeNames={"#c": "checkpoint"}, ExpressionAttributeValues={":c": {"S": prefix}},
        )  # fmt: skip
    assert broken.rebuild(restored=True).started_over == 1
    items = {item["job_id"]["S"]: item for item in broken.table(TABLES.jobs)}
    assert "checkpoint" in items["keeps-0"]
    assert "checkpoint" not in items["keeps-1"]
    assert items["keeps-1"]["safe_ms"]["N"] == "0"


def test_a_restored_table_without_the_bucket_is_refused() -> None:
    broken = Broken()
    broken.until(401 * S)
    with pytest.raises(NoResults):
        broken.rebuild(restored=True)
    assert set(broken.ended().values()) - set(FINAL), "nothing was done"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1, max_size=300))
def test_what_a_wrapper_keeps_of_any_job_is_found(job: str) -> None:
    raw = job.encode("utf-8", "surrogatepass")
    assert len(raw) > 512 or job_prefix(PREFIX, job) in folders_of(PREFIX, job)


def test_the_end_of_a_job_with_a_long_id_is_found() -> None:
    kept, job = Kept(), "a/b ü" + "x" * 300
    key = f"{job_prefix(PREFIX, job)}7/log.txt"
    kept.client.put_object(Bucket=BUCKET, Key=key, Body=b"", Metadata={"cause": "done"})
    assert kept.results.ends(job) == {7: "done"}
    assert kept.results.within(()).ends(job) == {}
    assert kept.results.holds(job_prefix(PREFIX, job))
    assert not kept.results.holds(job_prefix(PREFIX, "another"))
