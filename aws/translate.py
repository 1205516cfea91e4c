"""What AWS says, as the core hears it: payloads of EventBridge and SQS to events and submissions. Pure.

A message of 2019 ({job_id, retry, job_success_string, ssm_document, commands}) is accepted beside our own. Its content
is data: only `commands` is ever run, as an unprivileged user, by the wrapper.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scheduler.events import Lost, Notice, Ready, Rebalance
from scheduler.job_record import JobSpec, Ticket

WARNING = "EC2 Spot Instance Interruption Warning"
REBALANCE = "EC2 Instance Rebalance Recommendation"
STATE = "EC2 Instance State-change Notification"
LEAD_MS = 120_000  # EC2's interruption notice (User Guide, "Spot Instance interruption notices")
_GONE = frozenset({"shutting-down", "terminated", "stopping", "stopped"})
_OLD = frozenset({"job_id", "retry", "job_success_string", "ssm_document", "commands"})
_STOCK_DOCUMENTS = frozenset({"AWS-RunShellScript", "AWS-RunPowerShellScript"})


# What goes to the wrapper as it is.
_BODY = ("success_string", "bucket", "inputs", "outputs", "output_prefix", "workdir", "env")
_OURS = frozenset(
    {
        *[
            "id",
            "commands",
            "vcpus",
            "memory_gib",
            "gpus",
            "priority",
            "tenant",
            "retries",
            "checkpointable",
            "timeout_s",
        ],
        *["after", "estimate_s", "deadline_s", "licences"],
        *_BODY,
    }
)


class BadMessage(ValueError):
    """A message that is no job; it goes to the dead letters with what is wrong with it."""


@dataclass(frozen=True)
class Heard:
    """An event of EC2: the instance, a stable id, and the event if the core hears it."""

    instance: str
    event_id: str
    event: Any
    interrupts: bool = False


def from_eventbridge(payload: Mapping[str, Any], now_ms: int) -> Heard | None:
    """The event for a worker, or None for one that says nothing to it."""
    kind, detail = payload.get("detail-type"), payload.get("detail", {})
    instance = str(detail.get("instance-id", ""))
    if not instance:
        return None
    identity = f"{payload.get('id', '')}/{kind}"
    if kind == WARNING:
        return Heard(instance, identity, Notice(now_ms, LEAD_MS), interrupts=True)
    if kind == REBALANCE:
        return Heard(instance, identity, Rebalance(now_ms))
    if kind == STATE and detail.get("state") in _GONE:
        return Heard(instance, f"{instance}/gone", Lost(now_ms))
    return None


def ready(instance: str, now_ms: int) -> Heard:
    """The agent has registered; the wrapper says so at boot."""
    return Heard(instance, f"{instance}/ready", Ready(now_ms))


@dataclass(frozen=True)
class Submission:
    """A job as it was submitted."""

    ticket: Ticket
    body: dict[str, Any]
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Defaults:
    """What a message may leave out: the shape of a queue's jobs."""

    vcpus: float = 1.0
    memory_gib: float = 0.0
    gpus: int = 0
    retries: int = 3
    timeout_ms: int = -1


def timer_of(text: str) -> str | None:
    """The job whose timer a message is, or None for any other message."""
    try:
        message = json.loads(text)
    except ValueError:
        return None
    is_timer = isinstance(message, dict) and message.keys() == {"timer"} and isinstance(message["timer"], str)
    return message["timer"] if is_timer else None


def from_message(text: str, now_ms: int, defaults: Defaults = Defaults()) -> Submission:
    """A submission from a message's body. Raises BadMessage, which says what and where."""
    try:
        message = json.loads(text)
    except ValueError as error:
        raise BadMessage(f"is no JSON: {error}") from error
    if not isinstance(message, dict):
        raise BadMessage(f"is {type(message).__name__}, not an object")
    unknown = sorted(map(str, message.keys() - _OLD - _OURS))
    if unknown:
        raise BadMessage(f"unknown key {unknown[0]!r}")
    return _of_2019(message, now_ms, defaults) if "job_id" in message else _ours(message, now_ms, defaults)


def _of_2019(message: dict[str, Any], now_ms: int, defaults: Defaults) -> Submission:
    """{job_id, retry, job_success_string, ssm_document, commands}: the stock documents map onto ours."""
    document = message.get("ssm_document", "AWS-RunShellScript")
    if document not in _STOCK_DOCUMENTS:
        raise BadMessage(f"ssm_document {document!r}: only {' and '.join(sorted(_STOCK_DOCUMENTS))} map onto ours")
    renamed = {
        "id": message["job_id"],
        "retries": message.get("retry", defaults.retries),
        "success_string": message.get("job_success_string", ""),
        "commands": message.get("commands", []),
    }
    return _ours(renamed, now_ms, defaults)


def _ours(message: dict[str, Any], now_ms: int, defaults: Defaults) -> Submission:
    job_id, commands = _text(message, "id"), message.get("commands")
    if isinstance(commands, str):
        commands = [commands]
    if not isinstance(commands, list) or not commands or not all(isinstance(each, str) for each in commands):
        raise BadMessage("commands: at least one command line, each a text")
    spec = JobSpec(
        name=job_id,
        vcpus=_number(message, "vcpus", defaults.vcpus),
        memory_gib=_number(message, "memory_gib", defaults.memory_gib),
        gpus=int(_number(message, "gpus", defaults.gpus)),
        priority=int(_number(message, "priority", 0)),
        tenant=str(message.get("tenant", "default")),
        retries=int(_number(message, "retries", defaults.retries)),
        checkpointable=bool(message.get("checkpointable", False)),
        timeout_ms=_ms(message, "timeout_s", defaults.timeout_ms),
        licences=_licences(message.get("licences", {})),
    )
    deadline_ms = _ms(message, "deadline_s", -1)
    ticket = Ticket(
        job_id, spec, now_ms, _ms(message, "estimate_s", -1), -1 if deadline_ms < 0 else now_ms + deadline_ms
    )
    body: dict[str, Any] = {name: message[name] for name in _BODY if name in message}
    if "bucket" in body:
        _text(message, "bucket")
    if spec.timeout_ms >= 0:
        body["timeout_s"] = spec.timeout_ms / 1000  # the wrapper ends the attempt
    return Submission(ticket, {**body, "commands": commands}, _after(message))


def _licences(given: Any) -> tuple[tuple[str, int], ...]:
    """{name: how many}."""
    sane = isinstance(given, dict) and all(name and type(each) is int and each > 0 for name, each in given.items())
    if not sane:
        raise BadMessage("licences: names, each with a whole number of at least 1")
    return tuple(sorted(given.items()))


def _after(message: Mapping[str, Any]) -> tuple[str, ...]:
    """The jobs that must have ended well: those that are named, and those whose outputs are inputs."""
    after, inputs = message.get("after", []), message.get("inputs", [])
    if isinstance(after, str):
        after = [after]
    if not isinstance(after, list) or not all(isinstance(each, str) for each in after):
        raise BadMessage("after: a list of job ids")
    named = [each for each in inputs if isinstance(each, dict) and "job" in each] if isinstance(inputs, list) else []
    earlier = [_text(each, "job") for each in named]
    if message.get("id") in (*after, *earlier):
        raise BadMessage("after: a job cannot wait for itself")
    return tuple(dict.fromkeys((*after, *earlier)))


def _text(message: Mapping[str, Any], name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str) or not value:
        raise BadMessage(f"{name}: a text that is not empty, not {value!r}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise BadMessage(f"{name}: is no Unicode text") from None
    if size > 512:
        raise BadMessage(f"{name}: longer than 512 bytes")
    return value


def _number(message: Mapping[str, Any], name: str, default: float) -> float:
    value = message.get(name, default)
    if isinstance(value, str) and value.isdigit():
        value = int(value)  # the messages of 2019 quote their numbers
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise BadMessage(f"{name}: a number of at least 0, not {value!r}")
    return value


def _ms(message: Mapping[str, Any], name: str, default_ms: int) -> int:
    return round(_number(message, name, 0) * 1000) if name in message else default_ms
