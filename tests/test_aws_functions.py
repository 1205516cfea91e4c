"""The handlers and what they hear: messages of the queue, also those of 2019, and events of EC2."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from aws_world import World
from moto import mock_aws
from test_conformance import IDEAL, PLAIN, SPOT, world
from worlds import policy_of

from aws import functions, workers
from aws.classes import sort_key
from aws.policy import policy_from
from aws.policy_json import policy_document
from aws.store import packed
from aws.translate import BadMessage, from_eventbridge, from_message
from scheduler.codec import encode
from scheduler.commands import Launch
from scheduler.events import Lost, Notice, Ready, Rebalance
from scheduler.policies.place import LowestPrice, OnDemandFallback

HELLO = {
    "job_id": "Job-1",
    "retry": "3",
    "job_success_string": "Hello World",
    "ssm_document": "AWS-RunShellScript",
    "commands": ["#!/bin/bash", "echo Hello World"],
}
HOSTILE = ["a'b", 'a"b', "a;rm -rf /", "$(id)", "`id`", "a\nb", "../../etc", "é" * 200, "#slot"]


@pytest.fixture
def made() -> Iterator[World]:
    """An empty world on moto's tables."""
    with mock_aws():
        yield World(world(PLAIN, [(0, 600_000)], {}, IDEAL), SPOT)


def sent(*bodies: str) -> dict[str, Any]:
    return {"Records": [{"messageId": f"m{number}", "body": body} for number, body in enumerate(bodies)]}


# messages -----------------------------------------------------------------------------------------------------------
def test_a_message_of_2019_is_a_job() -> None:
    made = from_message(json.dumps(HELLO), 7)
    assert (made.ticket.id, made.ticket.spec.retries, made.ticket.submit_ms) == ("Job-1", 3, 7)
    assert made.body == {"success_string": "Hello World", "commands": ["#!/bin/bash", "echo Hello World"]}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("{", "is no JSON"),
        ("[]", "is list, not an object"),
        ('{"id": "a", "commands": ["x"], "comands": 1}', "unknown key 'comands'"),
        ('{"id": "", "commands": ["x"]}', "id: a text that is not empty"),
        ('{"id": 5, "commands": ["x"]}', "id: a text that is not empty, not 5"),
        ('{"id": "a"}', "commands: at least one command line"),
        ('{"id": "a", "commands": [1]}', "commands: at least one command line"),
        ('{"id": "a", "commands": ["x"], "retries": -1}', "retries: a whole number from 0 to 1000, not -1"),
        ('{"id": "a", "commands": ["x"], "vcpus": true}', "vcpus: a number above 0, not True"),
        (json.dumps({**HELLO, "ssm_document": "Mine"}), "ssm_document 'Mine': only AWS-RunPowerShellScript and"),
        (json.dumps({"id": "x" * 513, "commands": ["x"]}), "id: longer than 512 bytes"),
        ("[" * 100_000, "is no JSON: it is nested too deeply"),
        ('{"id": "a", "commands": ["x"], "vcpus": NaN}', "is no JSON: NaN is no number"),
        ('{"id": "a", "commands": ["x"], "timeout_s": -Infinity}', "is no JSON: -Infinity is no number"),
        ('{"id": "a", "commands": ["x"], "retries": 1e999}', "is no JSON: 1e999 is no number"),
        ('{"id": "a", "commands": ["x"], "vcpus": 1e300}', "vcpus: is beyond what is kept"),
        ('{"id": "a", "commands": ["x"], "memory": "0.0000000001 GiB"}', "memory_gib: is beyond what is kept"),
        (json.dumps({"id": "a", "commands": ["x"], "timeout": f"{'9' * 400}h"}), "timeout: is beyond what is kept"),
        ('{"id": "a", "commands": ["x"], "after": [""]}', "after: a text that is not empty, not ''"),
        (json.dumps({"id": "a", "commands": ["x"], "after": ["x" * 513]}), "after: longer than 512 bytes"),
        ('{"id": "a", "commands": ["x"], "after": "\\ud800"}', "after: is no Unicode text"),
        ('{"id": "a", "commands": ["x"], "licences": {"\\ud800": 1}}', "licences: is no Unicode text"),
    ],
)
def test_a_message_that_is_no_job_is_put_aside_with_what_is_wrong(made: World, body: str, says: str) -> None:
    with pytest.raises(BadMessage, match="(?s)^" + says.replace("(", r"\(")):
        from_message(body, 0)
    assert functions.intake(sent(body), None, made.control) == {"batchItemFailures": []}
    ((job, phase, reason),) = made.told
    assert (job, phase) == ("m0", "refused")
    assert reason.startswith(says)


def test_a_message_that_comes_twice_is_one_job(made: World) -> None:
    for _ in range(2):
        functions.intake(sent(json.dumps(HELLO), json.dumps(HELLO)), None, made.control)
    row = made.control.store.job("Job-1")
    assert row is not None
    assert (row.record.phase, row.record.epoch) == ("queued", 0)
    assert made.control.store.counters()["class#1x0GiB|spot|*"]["queued"] == 1


@pytest.mark.parametrize("name", HOSTILE)
def test_any_text_is_an_id(made: World, name: str) -> None:
    functions.intake(sent(json.dumps({"id": name, "commands": ["true"]})), None, made.control)
    row = made.control.store.job(name)
    assert row is not None
    assert made.control.store.candidates("1x0GiB|spot|*") == [name]


def test_a_chain_of_three_jobs_runs_in_order_and_ends_with_the_one_that_fails(made: World) -> None:
    for name, after in (("a", []), ("b", ["a"]), ("c", ["b"])):
        functions.intake(sent(json.dumps({"id": name, "commands": ["x"], "after": after})), None, made.control)
    phases = [made.control.store.job(name).record.phase for name in "abc"]  # type: ignore[union-attr]
    assert phases == ["queued", "held", "held"]
    _runs(made, "a", "done")
    phases = [made.control.store.job(name).record.phase for name in "abc"]  # type: ignore[union-attr]
    assert phases == ["done", "queued", "held"]
    for _ in range(4):  # three retries
        _runs(made, "b", "failed")
    phases = [made.control.store.job(name).record.phase for name in "abc"]  # type: ignore[union-attr]
    assert phases == ["done", "failed", "failed"]
    assert [(job, phase) for job, phase, _ in made.told] == [("a", "done"), ("c", "failed"), ("b", "failed")]


def _runs(made: World, job: str, cause: str) -> None:
    from aws import jobs

    made.clock.now_ms += 3_600_000
    jobs.expire(made.control, job)  # a retry's delay is over
    row = made.control.store.job(job)
    assert row is not None
    claimed = jobs.claim_writes(made.control, row, "w9")
    assert claimed is not None, row.record
    assert made.control.store.write(*claimed[2])
    jobs.attempt_ended(made.control, job, claimed[0].epoch, cause, 0 if cause == "done" else 1, -1)


# EC2 ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "detail", "event"),
    [
        ("EC2 Spot Instance Interruption Warning", {"instance-action": "terminate"}, Notice(5, 120_000)),
        ("EC2 Instance Rebalance Recommendation", {}, Rebalance(5)),
        ("EC2 Instance State-change Notification", {"state": "terminated"}, Lost(5)),
        ("EC2 Instance State-change Notification", {"state": "running"}, None),
        ("Something else", {}, None),
    ],
)
def test_events_of_ec2(kind: str, detail: dict[str, str], event: object) -> None:
    payload = {"id": "e1", "detail-type": kind, "detail": {"instance-id": "i-1", **detail}}
    heard = from_eventbridge(payload, 5)
    assert (None if heard is None else heard.event) == event


def test_an_interruption_warning_is_heard_by_the_worker_and_counted_for_its_pool(made: World) -> None:
    launch_one(made)
    warning = {"id": "e1", "detail-type": "EC2 Spot Instance Interruption Warning", "detail": {"instance-id": "w1"}}
    for _ in range(2):
        functions.deliver(warning, None, made.control)
    heard = [entry.kind for entry in made.journal.entries if entry.subject == "w1" and entry.what == "event"]
    assert heard[0] == "Notice"
    assert heard.count("Notice") == 1
    assert made.control.store.counters()["pool#spot-a"]["interruptions"] == 1


def launch_one(made: World) -> None:
    from aws import fleet

    fleet.launch(made.control, "main/1/0", Launch("spot-a", 1, "2x0GiB|spot|*"))
    while made.control.store.worker("w1") is None:
        made.clock.next()  # Auto Scaling says so


def test_deliver_refuses_what_is_no_event(made: World) -> None:
    launch_one(made)
    with pytest.raises(ValueError, match="unknown record"):
        functions.deliver({"worker": "w1", "id": "x", "event": {"v": 1, "is": "os"}}, None, made.control)


def test_an_event_for_a_worker_that_nobody_knows_changes_nothing(made: World) -> None:
    functions.deliver({"worker": "i-unknown", "id": "x", "event": encode(Lost(1))}, None, made.control)
    workers.deliver(made.control, "i-unknown", "y", packed(Lost(1)))
    assert list(made.control.store.unfinished()) == []


def test_a_worker_that_is_ready_before_it_is_known_is_told_to_come_again(made: World) -> None:
    ready = {"worker": "w1", "id": "w1/ready", "event": encode(Ready(1))}
    with pytest.raises(LookupError, match="no worker 'w1' is known yet"):
        functions.deliver(ready, None, made.control)
    launch_one(made)
    for _ in range(2):
        functions.deliver(ready, None, made.control)
    heard = [entry.kind for entry in made.journal.entries if entry.subject == "w1" and entry.what == "event"]
    assert heard.count("Ready") == 1


# policies and keys --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("place", [LowestPrice("any"), OnDemandFallback(LowestPrice(), 60_000, 2)])
def test_a_policy_comes_back_from_its_document(place: object) -> None:
    policy = policy_of(place=place)
    assert policy_from(json.loads(json.dumps(policy_document(policy, "mine")))) == policy


def test_sort_keys_sort_as_numbers_do() -> None:
    keys = [-1e300, -5.5, -1.0, -0.0, 0.25, 3.0, 1e18]
    assert sorted(sort_key(key, 0, "a") for key in reversed(keys)) == [sort_key(key, 0, "a") for key in keys]
    assert sort_key(1.0, 2, "b") > sort_key(1.0, 1, "c")
