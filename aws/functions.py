"""The Lambda handlers: each makes `Control` from its environment, once for each process, and calls a function of it."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from aws import arrays, drops, jobs, launches, own, workers
from aws import fleet as fleet_function
from aws import operate as orders
from aws.checkout import PATIENT, FunctionCheckout
from aws.control import Control, PoolSpec, Target
from aws.ecs import DeliverCalls, EcsTarget, spec_from
from aws.effects import AsynchronousCalls, DelayedMessages, Ec2Fleet, Queues, StepFunctions
from aws.measures import EmbeddedMetrics
from aws.policy import guarded_from
from aws.rebuild import S3Results, rebuild
from aws.store import Store, Tables, packed, unpacked
from aws.translate import BadMessage, Submission, from_eventbridge, from_message, timer_of
from scheduler.codec import encode
from scheduler.events import InterruptionSeen, Ready, Woken

# One layer of retries with an end: what still fails is tried again by Step Functions, EventBridge or SQS.
CONFIG = Config(retries={"mode": "standard", "max_attempts": 3}, connect_timeout=3, read_timeout=10)
PATIENCE = 4  # how often a message comes that waits for a job which nobody knows; the queue gives up after 5
LAUNCHED, NOT_LAUNCHED = "EC2 Instance Launch Successful", "EC2 Instance Launch Unsuccessful"


class LogJournal:
    """The journal as lines of the function's log; `verify` reads them."""

    def step(self, role: str, subject: str, event: Any, commands: Sequence[Any]) -> None:
        line = [event.at_ms, role, subject, encode(event), [encode(command) for command in commands]]
        self._write(line)

    def fact(self, at_ms: int, kind: str, subject: str, body: dict[str, Any]) -> None:
        self._write([at_ms, "world", subject, {"fact": kind, **body}, []])

    def _write(self, line: list[Any]) -> None:
        sys.stdout.write(json.dumps({"journal": line}, separators=(",", ":")) + "\n")


def packaged(name: str) -> str:
    """A file at the root of the package: what was planned is what runs."""
    return (Path(__file__).parent.parent / name).read_text("utf-8")


@cache
def control() -> Control:
    """What this function has. Credentials, region and endpoints come from the environment, as boto3 reads them."""
    given = os.environ

    def client(name: str) -> Any:
        return boto3.client(name, config=CONFIG)  # type: ignore[call-overload]

    pools = {each["id"]: PoolSpec(**each) for each in json.loads(packaged("pools.json"))}
    return Control(
        Store(client("dynamodb"), Tables(given["JOBS_TABLE"], given["WORKERS_TABLE"], given["FLEET_TABLE"])),
        guarded_from(json.loads(packaged("policy.json"))),
        target(given, pools, client),
        StepFunctions(client("stepfunctions"), given["STATE_MACHINE_ARN"]),
        Queues(client("sqs"), client("events"), given["FINISHED_QUEUE_URL"], given["DEAD_QUEUE_URL"], given["BUS"]),
        DelayedMessages(client("sqs"), given["QUEUE_URL"]),
        AsynchronousCalls(client("lambda"), given["DELIVER_FUNCTION"]),
        LogJournal(),
        pools,
        now_ms,
        budget_usd=float(given.get("BUDGET_USD", "0")),
        launches=given.get("LAUNCHES", "on") == "on",
        folders=drops.S3Folders(client("s3")),
        ours=given["PREFIX"],
        tells_all=given.get("TRANSITIONS", "ends") == "all",
        checkout=_checkout(given.get("CHECKOUT_FUNCTION", "")),
        measures=EmbeddedMetrics(given["SPOTBED_STACK"], sys.stdout.write),
        audit_ms=round(float(given.get("AUDIT_EVERY_S", "0")) * 1000),
        launch_stop_after=int(given.get("LAUNCH_STOP_AFTER", "0")),
        keep_ms=int(given.get("KEEP_DAYS", "0")) * 86_400_000,
        results=S3Results(client("s3"), (given["BUCKET"],), given["PREFIX"]),
    )


def now_ms() -> int:
    """The only clock."""
    return time.time_ns() // 1_000_000


def target(given: Mapping[str, str], pools: Mapping[str, PoolSpec], client: Callable[[str], Any]) -> Target:
    """Where attempts run: on instances of Auto Scaling groups or, if a cluster is named, as tasks of ECS."""
    cluster = spec_from(given)
    if cluster is not None:
        say = DeliverCalls(client("lambda"), given["DELIVER_FUNCTION"])
        return EcsTarget(client("ecs"), cluster, pools, say, now_ms)
    documents = {"linux": given["DOCUMENT"], "windows": given["WINDOWS_DOCUMENT"]}
    ssm, autoscaling, ec2 = (client(name) for name in ("ssm", "autoscaling", "ec2"))
    return Ec2Fleet(ssm, autoscaling, ec2, documents, pools, lambda: dt.datetime.now(dt.UTC))


def _checkout(function: str) -> FunctionCheckout | None:
    return FunctionCheckout(boto3.client("lambda", config=PATIENT), function) if function else None


def intake(event: dict[str, Any], context: object, given: Control | None = None) -> dict[str, Any]:
    """Messages of the queue become records. A message that is no job is put aside, and told so."""
    mine, records = given or control(), event["Records"]
    failed: dict[str, Exception] = {}
    before, early = len(records) + 1, records
    while len(early) < before:  # a message may wait for a job that came after it in this batch
        before = len(early)
        early = [each for each in early if not _is_taken(mine, each, failed, patient=True)]
    for message in early:  # or comes in another
        patient = int(message.get("attributes", {}).get("ApproximateReceiveCount", 1)) < PATIENCE
        if not _is_taken(mine, message, failed, patient=patient):
            failed[message["messageId"]] = jobs.NotYet()
    errors = [each for each in failed.values() if not isinstance(each, jobs.Collision | jobs.NotYet)]
    if len(errors) == len(records):
        raise errors[0]  # all come again, and the alarm on errors hears of it
    return {"batchItemFailures": [{"itemIdentifier": identity} for identity in failed]}


def _is_taken(mine: Control, message: dict[str, Any], failed: dict[str, Exception], *, patient: bool) -> bool:
    """Whether the message was taken in, or has failed; False when it is too early."""
    try:
        _take_in(mine, message["messageId"], message["body"], patient=patient)
    except jobs.NotYet:
        return False
    except Exception as error:  # noqa: BLE001 whatever befalls one message, the others are taken in
        sys.stderr.write(f"{message['messageId']}: {type(error).__name__}: {error}\n")
        failed[message["messageId"]] = error
    return True


def _take_in(mine: Control, identity: str, text: str, *, patient: bool) -> None:
    if (timer := timer_of(text)) is not None:
        _fires(mine, timer)
        return
    try:
        found = drops.dropped(text)
        if found is None:
            _submit(mine, from_message(text, mine.now_ms()), patient=patient)
    except BadMessage as error:
        mine.messages.ended(identity, "refused", str(error))
        return
    for drop in found or ():
        if drop.is_job(mine.ours):
            _take_up(mine, drop, patient=patient)


def _take_up(mine: Control, drop: drops.Drop, *, patient: bool) -> None:
    try:
        _submit(mine, drops.submission(drop, mine.folders, mine.now_ms()), patient=patient)
    except BadMessage as error:
        mine.messages.ended(drop.job_id, "refused", str(error))


def _submit(mine: Control, given: Submission, *, patient: bool) -> None:
    if given.ticket.spec.licences and mine.checkout is None:
        raise BadMessage("licences: this stack has no checkout function (`checkout` of its target)")
    if given.array > 1:
        arrays.submit(mine, given, patient=patient)
    else:
        jobs.submit(mine, given.ticket, given.body, given.after, patient=patient)


def _fires(mine: Control, job_id: str) -> None:
    """A delayed message of a job's timer: it is due, or as much of it as one message can wait is over. That of an array
    says that more of its jobs are to be made."""
    row = mine.store.job(job_id)
    if row is None:
        arrays.go_on(mine, job_id)
        return
    left_ms = int(row.item.get("lease_until_ms", 0)) - mine.now_ms()
    if left_ms > 0 and "timer" in row.item:
        mine.timers.set(job_id, left_ms)
    else:
        jobs.expire(mine, job_id)


def deliver(event: dict[str, Any], context: object, given: Control | None = None) -> dict[str, Any]:
    """An event for a worker: from the wrapper, or from EC2 and Auto Scaling over EventBridge."""
    mine = given or control()
    if event.get("wakes"):
        workers.deliver(mine, event["worker"], event["id"], packed(Woken(mine.now_ms())))
        return {}
    if "worker" in event:
        heard = unpacked(json.dumps(event["event"]))
        new = workers.deliver(mine, event["worker"], event["id"], packed(heard))
        if not new and isinstance(heard, Ready) and mine.store.worker(event["worker"]) is None:
            raise LookupError(f"no worker {event['worker']!r} is known yet")  # who called calls again
        if new and "attempt" in event:
            body = {"worker": event["worker"], "epoch": heard.epoch, "cause": heard.cause, **event["attempt"]}
            mine.journal.fact(heard.at_ms, "attempt", heard.job, body)
        return {}
    if event.get("detail-type") == LAUNCHED:
        _launched(mine, event["detail"])
        return {}
    if event.get("detail-type") == own.TAGGED:
        own.tagged(mine, event)
        return {}
    if event.get("detail-type") == NOT_LAUNCHED:
        launches.refused(mine, event["detail"])
        return {}
    heard = from_eventbridge(event, mine.now_ms())
    if heard is not None:
        for worker in mine.store.workers_of(heard.instance):
            new = workers.deliver(mine, worker, heard.event_id, packed(heard.event))
            if new and heard.interrupts:
                pool = _pool_of(mine, worker)
                taken = mine.store.counted(f"pool#{pool}", interruptions=1)
                mine.store.write(replace(taken, sets={"last_interruption_ms": mine.now_ms()}))
                fleet_function.hears(mine, InterruptionSeen(mine.now_ms(), pool))
    return {}


def _pool_of(mine: Control, worker: str) -> str:
    row = mine.store.worker(worker)
    return "" if row is None else row.pool


def _launched(mine: Control, detail: dict[str, Any]) -> None:
    """Auto Scaling has launched an instance."""
    pool = next((each for each in mine.pools.values() if each.group == detail.get("AutoScalingGroupName")), None)
    if pool is not None:
        launches.arrived(mine, pool, str(detail["EC2InstanceId"]))


def report(event: dict[str, Any], context: object, given: Control | None = None) -> dict[str, Any]:
    """A wrapper without rights on the table renews its lease ("job", "epoch"), or says what a checkpoint keeps
    ("safe_ms" besides). Answers whether it still holds the lease."""
    mine = given or control()
    safe_ms = event.get("safe_ms")
    return {"holds": jobs.renew(mine, event["job"], int(event["epoch"]), None if safe_ms is None else int(safe_ms))}


def step(event: dict[str, Any], context: object, given: Control | None = None) -> dict[str, Any]:
    """A state of the worker's execution."""
    after = workers.step(given or control(), event["worker"], int(event.get("generation", 0)))
    return {
        "worker": after.worker,
        "generation": after.generation,
        "next": after.next,
        "timeout_s": after.timeout_s,
    }


def park(event: dict[str, Any], context: object, given: Control | None = None) -> dict[str, Any]:
    """A state of the worker's execution, with its task token."""
    workers.park(given or control(), event["worker"], event["token"])
    return {}


def fleet(event: dict[str, Any], context: object, given: Control | None = None) -> dict[str, Any]:
    """The fleet's tick."""
    fleet_function.tick(given or control())
    return {}


def operate(event: dict[str, Any], context: object, given: Control | None = None) -> dict[str, Any]:
    """What a user orders: {"do": "cancel", "job": ID}, {"do": "drain"}, {"do": "resume"}, or {"do": "rebuild"} with
    "source", the job table that was restored, if it was, and "buckets", in which instances keep logs."""
    mine = given or control()
    match event.get("do"):
        case "cancel":
            return {"phase": orders.cancel(mine, str(event["job"]))}
        case "drain":
            orders.drain(mine)
            return {"drains": True}
        case "resume":
            orders.resume(mine)
            return {"drains": False}
        case "rebuild":
            if mine.results is not None and event.get("buckets"):
                mine = replace(mine, results=mine.results.within(tuple(event["buckets"])))
            return rebuild(mine, source=str(event.get("source", ""))).document()
        case other:
            raise ValueError(f"do: cancel, drain, resume or rebuild, not {other!r}")
