"""What is told of jobs: ends in one format, transitions, attempts and costs; pipelines; and what the alarms watch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import boto3
import pytest
from aws_world import World
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws
from test_conformance import IDEAL, PLAIN, SPOT, world

from aws import attempts, fleet, functions, jobs, measures
from aws.effects import Queues
from aws.measures import EmbeddedMetrics
from aws.store import JobRow, Write, packed
from scheduler.events import Cancelled

HOUR_MS = 3_600_000


class Watch:
    """Keeps what is measured."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, float], dict[str, Any]]] = []

    def put(self, at_ms: int, numbers: Mapping[str, float], **more: Any) -> None:
        self.seen.append((dict(numbers), more))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An empty world on moto's tables, whose ends go to queues."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        world_ = World(world(PLAIN, [(0, 600_000)], {}, IDEAL), SPOT)
        sqs, events = boto3.client("sqs"), boto3.client("events")
        urls = [sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("finished", "dead", "heard")]
        listen(sqs, events, urls[2])
        world_.control = replace(
            world_.control, messages=Queues(sqs, events, urls[0], urls[1]), measures=Watch(), tells_all=True
        )
        yield world_


def listen(sqs: Any, events: Any, url: str) -> None:
    """All events of the bus come to a queue."""
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="all", EventPattern=json.dumps({"source": ["spotbed"]}))
    events.put_targets(Rule="all", Targets=[{"Id": "1", "Arn": arn}])


def received(queue: str) -> list[dict[str, Any]]:
    """The bodies of a queue's messages, which are gone then."""
    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    found = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for each in messages:
            found.append(json.loads(each["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
    return found


def sent(made: World, *bodies: Mapping[str, Any], received_before: int = 0) -> list[str]:
    attributes = {"ApproximateReceiveCount": str(received_before + 1)}
    records = [
        {"messageId": f"m{n}", "body": json.dumps(body), "attributes": attributes} for n, body in enumerate(bodies)
    ]
    answer = functions.intake({"Records": records}, None, made.control)
    return [each["itemIdentifier"] for each in answer["batchItemFailures"]]


def test_an_ended_job_leaves_the_table_when_its_time_is_over_and_an_open_one_stays(made: World) -> None:
    made.control = replace(made.control, keep_ms=30 * 86_400_000)
    sent(made, JOB, {**JOB, "id": "b"}, {**JOB, "id": "c"})
    ends(made, "a")
    jobs.hears(made.control, "b", Cancelled(made.clock.now_ms))
    assert [row_of(made, job).item.get(jobs.EXPIRES) for job in "abc"] == [3_600 + 30 * 86_400] * 2 + [None]


def claims(made: World, job: str, *, price: float = 0.1) -> int:
    """A worker takes the job; the epoch."""
    row = made.control.store.job(job)
    assert row is not None
    claimed = jobs.claim_writes(made.control, row, "w9", "spot-a", price)
    assert claimed is not None, row.record
    assert made.control.store.write(*claimed[2])
    jobs.written(made.control, row, claimed[0], claimed[1], ())
    return claimed[0].epoch


def ends(made: World, job: str, cause: str = "done", *, after_ms: int = HOUR_MS, price: float = 0.1) -> None:
    epoch = claims(made, job, price=price)
    made.clock.now_ms += after_ms
    jobs.attempt_ended(made.control, job, epoch, cause, 0 if cause == "done" else 1, -1)


def row_of(made: World, job: str) -> JobRow:
    row = made.control.store.job(job)
    assert row is not None
    return row


def phases(made: World, *names: str) -> list[str]:
    return [row_of(made, name).record.phase for name in names]


JOB = {"id": "a", "commands": ["x"], "retries": 1}


# ends ---------------------------------------------------------------------------------------------------------------
def test_both_queues_and_the_bus_tell_of_an_end_in_one_format(made: World) -> None:
    sent(made, JOB, {**JOB, "id": "b", "retries": 0}, {"id": "c"})
    ends(made, "a")
    ends(made, "b", "failed", after_ms=1_000)
    (finished,), dead = received("finished"), received("dead")
    assert finished == {
        "job_id": "a", "phase": "done", "reason": "", "tenant": "default", "attempts": 1, "interruptions": 0,
        "exit_code": None, "submitted_ms": 0, "ended_ms": HOUR_MS, "cost_usd": 0.1, "bucket": "", "output": "",
        "log": "", "metrics": {}, "waited_for": [],
    }  # fmt: skip
    assert [(each["job_id"], each["phase"], each["reason"]) for each in dead] == [
        ("m2", "refused", "commands: at least one command line, each a text"),
        ("b", "failed", "failed"),
    ]
    assert all(each.keys() == finished.keys() for each in dead)
    kinds = [each["detail-type"] for each in received("heard")]
    assert sorted(kinds) == sorted(["job moved"] * 6 + ["job done", "job failed", "job refused"])


def test_what_the_wrapper_has_kept_is_told_with_the_end(made: World) -> None:
    sent(made, JOB)
    epoch = claims(made, "a")
    kept = {"exit_code": 0, "output": "o/", "log": "l", "bucket": "b", "metrics": '{"yield": 0.5}'}
    made.control.store.write(Write(made.control.store.tables.jobs, {"job_id": "a"}, sets=kept))
    jobs.attempt_ended(made.control, "a", epoch, "done", 0, -1)
    (told,) = received("finished")
    assert {name: told[name] for name in kept} == {**kept, "metrics": {"yield": 0.5}}


def test_transitions_are_told_in_order_and_only_if_asked(made: World) -> None:
    sent(made, JOB)
    ends(made, "a", "failed")
    made.clock.now_ms += HOUR_MS
    jobs.expire(made.control, "a")  # the delay of the retry is over
    functions.operate({"do": "cancel", "job": "a"}, None, made.control)
    moves = [(each["detail"].get("before"), each["detail"]["phase"]) for each in received("heard")]
    assert moves == [("new", "queued"), ("queued", "leased"), ("leased", "delayed"), ("delayed", "queued"),
                     ("queued", "cancelled"), (None, "cancelled")]  # fmt: skip
    made.control = replace(made.control, tells_all=False)
    sent(made, {**JOB, "id": "b"})
    ends(made, "b")
    assert [each["detail"]["phase"] for each in received("heard")] == ["done"]


def test_a_bus_that_does_not_answer_holds_up_no_transition_and_an_end_is_told_again(made: World) -> None:
    class Deaf:
        def __init__(self) -> None:
            self.calls = 0

        def put_events(self, **_: Any) -> dict[str, Any]:
            self.calls += 1
            if self.calls == 1:
                raise EndpointConnectionError(endpoint_url="x")
            return {"FailedEntryCount": int(self.calls < 5)}

    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName="finished")["QueueUrl"]
    made.control = replace(made.control, messages=Queues(sqs, Deaf(), url, url))
    sent(made, JOB)
    epoch = claims(made, "a")
    with pytest.raises(ConnectionError):
        jobs.attempt_ended(made.control, "a", epoch, "done", 0, -1)
    assert "untold" in row_of(made, "a").item
    made.clock.now_ms += HOUR_MS
    for job_id in made.control.store.due(made.clock.now_ms):
        jobs.expire(made.control, job_id)
    assert "untold" not in row_of(made, "a").item


# attempts and costs -------------------------------------------------------------------------------------------------
def test_the_item_says_what_each_attempt_was_and_what_all_have_cost(made: World) -> None:
    sent(made, JOB)
    ends(made, "a", "interrupted", after_ms=HOUR_MS, price=0.1)
    ends(made, "a", "done", after_ms=HOUR_MS // 2, price=0.4)
    item = row_of(made, "a").item
    assert item["cost_usd"] == pytest.approx(0.1 + 0.2)
    assert item["attempt_log"] == [
        {"attempt": 1, "worker": "w9", "pool": "spot-a", "started_ms": 0, "ended_ms": HOUR_MS, "cause": "interrupted"},
        {"attempt": 2, "worker": "w9", "pool": "spot-a", "started_ms": HOUR_MS, "ended_ms": HOUR_MS * 3 // 2,
         "cause": "done"},
    ]  # fmt: skip


def test_the_log_of_attempts_is_bounded_and_the_cost_is_not(made: World) -> None:
    sent(made, JOB)
    for _ in range(attempts.KEPT + 2):
        ends(made, "a", "interrupted")
    item = row_of(made, "a").item
    assert [each["attempt"] for each in item["attempt_log"]] == list(range(3, attempts.KEPT + 3))
    assert item["cost_usd"] == pytest.approx(0.1 * (attempts.KEPT + 2))


@pytest.mark.parametrize("how", ["lease-lost", "cancelled"])
def test_an_attempt_that_nobody_reports_has_an_end_too(made: World, how: str) -> None:
    sent(made, JOB)
    claims(made, "a")
    made.clock.now_ms += HOUR_MS
    if how == "cancelled":
        functions.operate({"do": "cancel", "job": "a"}, None, made.control)
    else:
        jobs.expire(made.control, "a")
    (attempt,) = row_of(made, "a").item["attempt_log"]
    assert (attempt["cause"], attempt["ended_ms"]) == (how, HOUR_MS)


# pipelines ----------------------------------------------------------------------------------------------------------
STAGES: list[dict[str, Any]] = [
    {"id": "one", "commands": ["x"], "retries": 0},
    {"id": "two", "commands": ["x"], "retries": 0, "inputs": [{"job": "one", "path": "mesh"}]},
    {"id": "three", "commands": ["x"], "inputs": [{"job": "two", "path": "field"}]},
]


def test_three_stages_run_in_order_however_their_messages_come(made: World) -> None:
    assert sent(made, *reversed(STAGES)) == []
    assert phases(made, "one", "two", "three") == ["queued", "held", "held"]
    ends(made, "one")
    assert phases(made, "two", "three") == ["queued", "held"]
    ends(made, "two")
    ends(made, "three")
    assert [each["job_id"] for each in received("finished")] == ["one", "two", "three"]


def test_a_stage_that_fails_midway_fails_what_comes_after_it_and_says_why(made: World) -> None:
    sent(made, *STAGES)
    ends(made, "one")
    ends(made, "two", "failed")
    assert phases(made, "one", "two", "three") == ["done", "failed", "failed"]
    assert row_of(made, "three").item["attempts"] == 0
    ends_ = {each["job_id"]: (each["reason"], each["waited_for"]) for each in received("dead")}
    assert ends_ == {"two": ("failed", []), "three": ("dependency", ["two"])}


def test_a_stage_waits_a_while_for_a_job_that_nobody_knows(made: World) -> None:
    assert sent(made, STAGES[1]) == ["m0"]
    assert made.control.store.job("two") is None
    assert sent(made, STAGES[1], received_before=functions.PATIENCE) == []
    assert phases(made, "two") == ["failed"]
    (told,) = received("dead")
    assert (told["reason"], told["waited_for"]) == ("dependency", ["one"])


# measures -----------------------------------------------------------------------------------------------------------
def seen(made: World) -> list[dict[str, float]]:
    watch = made.control.measures
    assert isinstance(watch, Watch)
    return [numbers for numbers, _ in watch.seen]


def test_each_end_is_measured_once(made: World) -> None:
    sent(made, {**JOB, "deadline": "60s"}, {**JOB, "id": "b", "deadline": "2h"})
    for name in "ab":
        epoch = claims(made, name)
        made.clock.now_ms += HOUR_MS
        for _ in range(2):  # an order that is performed twice is no duplicate
            jobs.attempt_ended(made.control, name, epoch, "done", 0, -1)
    assert [each["DuplicateCompletions"] for each in seen(made)] == [0, 0]
    assert [each["DeadlineMisses"] for each in seen(made)] == [1, 0]
    assert [each["CostPerJobUsd"] for each in seen(made)] == pytest.approx([0.1, 0.1])


def test_a_job_that_is_completed_after_its_end_is_a_duplicate(made: World) -> None:
    sent(made, JOB)
    ends(made, "a")
    row = row_of(made, "a")
    sets = {"state": packed(replace(row.record, phase="queued")), "phase": "queued"}
    made.control.store.write(Write(made.control.store.tables.jobs, {"job_id": "a"}, sets=sets))  # what must not be
    ends(made, "a")
    assert [each["DuplicateCompletions"] for each in seen(made)] == [0, 1]


def test_no_job_of_a_stack_that_works_is_lost(made: World) -> None:
    sent(made, *STAGES, JOB, {**JOB, "id": "b"}, {**JOB, "id": "c"})
    claims(made, "a")
    ends(made, "b", after_ms=1)
    ends(made, "c", "failed", after_ms=1)
    assert measures.lost(made.control.store, made.clock.now_ms, 60_000) == []


LOSE: dict[str, dict[str, Any]] = {
    "queued": {"removes": ["queue_class", "sort"]},
    "leased": {"removes": ["lease"]},
    "held": {"removes": ["waits_on"]},
    "new": {"sets": {"phase": "new"}, "removes": ["queue_class", "sort"]},
    "overdue": {"sets": {"lease_until_ms": 1}},
}


@pytest.mark.parametrize("how", LOSE)
def test_a_job_that_nobody_will_look_at_again_is_lost(made: World, how: str) -> None:
    sent(made, *STAGES)
    name = "two" if how == "held" else "one"
    if how in ("leased", "overdue"):
        claims(made, "one")
    made.clock.now_ms += HOUR_MS
    jobs.renew(made.control, name, 1)
    made.control.store.write(Write(made.control.store.tables.jobs, {"job_id": name}, **LOSE[how]))
    assert measures.lost(made.control.store, made.clock.now_ms, 60_000) == [name]


def test_the_parts_of_the_table_are_the_table(made: World) -> None:
    names = [f"job-{number}" for number in range(40)]
    sent(made, *({**JOB, "id": name} for name in names))
    parts = [{str(item["job_id"]) for item in made.control.store.open_jobs(part, 12)} for part in range(12)]
    assert set.union(*parts) == set(names)
    assert sum(map(len, parts)) == len(names)


def test_the_fleet_looks_for_lost_jobs_as_often_as_it_is_told(made: World) -> None:
    made.control = replace(made.control, audit_ms=300_000)
    for _ in range(11):
        functions.fleet({}, None, made.control)
        made.clock.now_ms += made.policy.settings.tick_ms
    assert [each for each in seen(made) if "LostJobs" in each] == [{"LostJobs": 0}] * 3
    made.control = replace(made.control, audit_ms=0)
    fleet.tick(made.control)


def test_a_measure_is_one_line_that_cloudwatch_understands() -> None:
    lines: list[str] = []
    EmbeddedMetrics("stack", lines.append).put(7, {"DuplicateCompletions": 0, "CostPerJobUsd": 0.25}, job='a\n"b')
    (line,) = lines
    assert line.endswith("\n")
    assert "\n" not in line[:-1]
    assert json.loads(line) == {
        "_aws": {
            "Timestamp": 7,
            "CloudWatchMetrics": [
                {
                    "Namespace": "spotbed",
                    "Dimensions": [["Stack"]],
                    "Metrics": [
                        {"Name": "DuplicateCompletions", "Unit": "Count"},
                        {"Name": "CostPerJobUsd", "Unit": "None"},
                    ],
                }
            ],
        },
        "Stack": "stack",
        "DuplicateCompletions": 0,
        "CostPerJobUsd": 0.25,
        "job": 'a\n"b',
    }
