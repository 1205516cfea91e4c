"""What AWS says, as the core hears it: payloads of EventBridge and SQS to events and submissions. Pure.

A message of 2019 ({job_id, retry, job_success_string, ssm_document, commands}) is accepted beside our own, whose
keys and quantities are those of a scenario's job. Its content is data: only `commands` is ever run, as an unprivileged
user, by the wrapper.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scheduler.events import Lost, Notice, Ready, Rebalance
from scheduler.job_record import JobSpec, Ticket
from spotbed.quantities import UnitError, parse_duration, parse_price, parse_size

WARNING = "EC2 Spot Instance Interruption Warning"
REBALANCE = "EC2 Instance Rebalance Recommendation"
STATE = "EC2 Instance State-change Notification"
SMALLEST, LARGEST = 1e-9, 1e15  # of a job's numbers; DynamoDB keeps 1e-130 to 1e126, and whole ones of 38 digits
_BEYOND = f"is beyond what is kept ({SMALLEST:g} to {LARGEST:g})"
LEAD_MS = 120_000  # EC2's interruption notice (User Guide, "Spot Instance interruption notices")
_GONE = frozenset({"shutting-down", "terminated", "stopping", "stopped"})
_OLD = frozenset({"job_id", "retry", "job_success_string", "ssm_document", "commands"})
# A claim writes the job, the counters of its class and each member of a gang in one transaction, and DynamoDB takes 100
# items in one (developer guide, "Managing complex workflows with DynamoDB transactions").
MOST_SEATS = 98
_STOCK_DOCUMENTS = frozenset({"AWS-RunShellScript", "AWS-RunPowerShellScript"})


# What goes to the wrapper as it is.
_BODY = ("success_string", "bucket", "inputs", "outputs", "output_prefix", "workdir", "env")
_OURS = frozenset(
    {
        *("id", "commands", "array", "vcpus", "memory", "gpus", "priority", "tenant", "retries", "checkpointable"),
        *("timeout", "deadline", "estimate", "late_penalty", "after", "licences", "gang"),
        *_BODY,
    }
)
# What a scenario says of a job and a message does not: why.
_OF_A_MODEL = {
    "runtime": "a real one takes as long as it takes; `estimate` says what you expect",
    "runtime_on": "a real one takes as long as it takes",
    "fail_probability": "a real one fails when its commands do",
    "exit_code": "a real one ends with that of its commands",
    "success_string_missing": "what the output of a real one must hold is its `success_string`",
    "input": "a real one names what it reads: `inputs`",
    "output": "a real one names what it makes: `outputs`",
    "submit": "a real one comes when its message does",
    "share": "a real one is one job, or an `array` of them",
    "slots": "a real one says what it needs by `vcpus`",
    "stop_on_first_success": "of a real array nothing stops the others; `spotbed cancel ID` ends what is left",
}
_FORMER = {
    "memory_gib": ("memory", "{} GiB"),
    "timeout_s": ("timeout", "{}s"),
    "deadline_s": ("deadline", "{}s"),
    "estimate_s": ("estimate", "{}s"),
}
LARGEST_ARRAY = 1_000  # jobs of one message: their ends are written to one item, whose size each write pays for
LATE = "late_penalty_usd_per_hour"  # of a body: for the journal, from which the bill has it
_TASK = re.compile(r"(.+)\[([0-9]+)\]", re.DOTALL)


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
    """A job as it was submitted; with `array` above 1, so many of them."""

    ticket: Ticket
    body: dict[str, Any]
    after: tuple[str, ...] = ()
    array: int = 1

    @property
    def last_id(self) -> str:
        """The id of the last job that it makes."""
        return self.ticket.id if self.array == 1 else task_id(self.ticket.id, self.array - 1)


@dataclass(frozen=True)
class Defaults:
    """What a message may leave out: the shape of a queue's jobs."""

    vcpus: float = 1.0
    memory_gib: float = 0.0
    gpus: int = 0
    retries: int = 3
    timeout_ms: int = -1


def task_id(array: str, index: int) -> str:
    """The id of a job of an array."""
    return f"{array}[{index}]"


def task_of(job_id: str) -> tuple[str, int] | None:
    """(array, index) of a job of an array; None for any other job."""
    found = _TASK.fullmatch(job_id)
    return None if found is None else (found[1], int(found[2]))


def in_order(job_id: str) -> str:
    """A text by which the jobs of an array sort by their index."""
    task = task_of(job_id)
    return job_id if task is None else f"{task[0]}[{task[1]:03d}]"


def parsed(text: str | bytes) -> Any:
    """What a text says as JSON. Raises ValueError."""
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


def timer_of(text: str) -> str | None:
    """The job whose timer a message is, or None for any other message."""
    try:
        message = parsed(text)
    except ValueError:
        return None
    is_timer = isinstance(message, dict) and message.keys() == {"timer"} and isinstance(message["timer"], str)
    return message["timer"] if is_timer else None


def from_message(text: str, now_ms: int, defaults: Defaults = Defaults()) -> Submission:
    """A submission from a message's body. Raises BadMessage, which says what and where."""
    try:
        message = parsed(text)
    except ValueError as error:
        raise BadMessage(f"is no JSON: {error}") from error
    if not isinstance(message, dict):
        raise BadMessage(f"is {type(message).__name__}, not an object")
    of_2019 = "job_id" in message
    for name in sorted(map(str, message.keys() - (_OLD if of_2019 else _OURS))):
        raise BadMessage(_refused(name, message[name], of_2019=of_2019))
    found = _of_2019(message, now_ms, defaults) if of_2019 else _ours(message, now_ms, defaults)
    _check_numbers(found.ticket)
    return found


def _check_numbers(ticket: Ticket) -> None:
    """A table keeps no number of any size, and what it refuses would come back again and again."""
    spec = ticket.spec
    numbers = {
        name: getattr(spec, name) for name in ("vcpus", "memory_gib", "gpus", "priority", "retries", "timeout_ms")
    }
    for name, value in {**numbers, "estimate_ms": ticket.estimate_ms, "deadline_ms": ticket.deadline_ms}.items():
        if value and not SMALLEST <= abs(value) <= LARGEST:
            raise BadMessage(f"{name}: {_BEYOND}")


def _refused(name: str, value: Any, *, of_2019: bool) -> str:
    """Why a message may not have this key."""
    if of_2019 and name in _OURS:
        return f"{name}: is no key of a message of 2019; one with `id` in place of `job_id` may have it"
    if name in _OF_A_MODEL:
        return f"{name}: describes a simulated job; {_OF_A_MODEL[name]}"
    if name in _FORMER:
        now, written = _FORMER[name]
        return f"{name}: write {now!r} with its unit, as {json.dumps({now: written.format(value)})[1:-1]}"
    alike = difflib.get_close_matches(name, _OLD if of_2019 else _OURS, 1)
    return f"unknown key {name!r}" + (f" (did you mean {alike[0]!r}?)" if alike else "")


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
    job_id, commands = _id(message), message.get("commands")
    if isinstance(commands, str):
        commands = [commands]
    if not isinstance(commands, list) or not commands or not all(isinstance(each, str) for each in commands):
        raise BadMessage("commands: at least one command line, each a text")
    spec = JobSpec(
        name=job_id,
        vcpus=_vcpus(message, defaults.vcpus),
        memory_gib=_quantity(message, "memory", parse_size, defaults.memory_gib),
        gpus=_whole(message, "gpus", defaults.gpus, 0, 1_000_000_000),
        priority=_whole(message, "priority", 0, -1_000_000, 1_000_000),
        tenant=_text(message, "tenant") if "tenant" in message else "default",
        retries=_whole(message, "retries", defaults.retries, 0, 1_000),
        checkpointable=_yes_or_no(message, "checkpointable"),
        timeout_ms=_ms(message, "timeout", defaults.timeout_ms),
        licences=_licences(message.get("licences", {})),
        gang=_gang(message.get("gang", 1)),
    )
    deadline_ms = _ms(message, "deadline", -1)
    ticket = Ticket(job_id, spec, now_ms, _ms(message, "estimate", -1), -1 if deadline_ms < 0 else now_ms + deadline_ms)
    return Submission(ticket, _body(message, spec, commands), _after(message), _array(message))


def _body(message: Mapping[str, Any], spec: JobSpec, commands: list[str]) -> dict[str, Any]:
    """What is kept of a job beside its ticket: for the wrapper, and for the bill."""
    body: dict[str, Any] = {name: message[name] for name in _BODY if name in message}
    if "bucket" in body:
        _text(message, "bucket")
    if not isinstance(body.get("env", {}), dict):
        raise BadMessage(f"env: names, each with its value, not {body['env']!r}")
    if spec.timeout_ms >= 0:
        body["timeout_s"] = spec.timeout_ms / 1000  # the wrapper ends the attempt
    if "late_penalty" in message:
        body[LATE] = _quantity(message, "late_penalty", parse_price, 0.0)
        if "deadline" not in message:
            raise BadMessage("late_penalty: without a `deadline` nothing is late")
    return {**body, "commands": commands}


def _id(message: Mapping[str, Any]) -> str:
    job_id = _text(message, "id")
    if task_of(job_id) is not None:
        raise BadMessage(f"id: {job_id!r} ends as only the jobs of an `array` do; write it without the brackets")
    return job_id


def _array(message: Mapping[str, Any]) -> int:
    """How many jobs the message is."""
    count = _whole(message, "array", 1, 1, 1_000_000_000)
    if count > LARGEST_ARRAY:
        raise BadMessage(
            f"array: {count} jobs, and one message may be {LARGEST_ARRAY:,}: send several, each with its id"
        )
    return count


def _gang(given: Any) -> int:
    """On how many workers at once."""
    if type(given) is not int or not 1 <= given <= MOST_SEATS:
        raise BadMessage(f"gang: a whole number from 1 to {MOST_SEATS}, not {given!r}")
    return given


def _licences(given: Any) -> tuple[tuple[str, int], ...]:
    """{name: how many}."""
    sane = isinstance(given, dict) and all(name and type(each) is int and each > 0 for name, each in given.items())
    if not sane:
        raise BadMessage("licences: names, each with a whole number of at least 1")
    for name in given:
        _text({"licences": name}, "licences")
    return tuple(sorted(given.items()))


def _after(message: Mapping[str, Any]) -> tuple[str, ...]:
    """The jobs that must have ended well: those that are named, and those whose outputs are inputs."""
    after, inputs = message.get("after", []), message.get("inputs", [])
    if isinstance(after, str):
        after = [after]
    if not isinstance(after, list) or not all(isinstance(each, str) for each in after):
        raise BadMessage("after: a list of job ids")
    for each in after:
        _text({"after": each}, "after")
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


def _vcpus(message: Mapping[str, Any], default: float) -> float:
    value = _plain(message, "vcpus", default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise BadMessage(f"vcpus: a number above 0, not {value!r}")
    return value


def _whole(message: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = _plain(message, name, default)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not least <= value <= most:
        raise BadMessage(f"{name}: a whole number from {least} to {most}, not {value!r}")
    return value


def _plain(message: Mapping[str, Any], name: str, default: float) -> Any:
    """The value of a key that is a number; the messages of 2019 quote theirs."""
    value = message.get(name, default)
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value) else value


def _yes_or_no(message: Mapping[str, Any], name: str) -> bool:
    value = message.get(name, False)
    if not isinstance(value, bool):
        raise BadMessage(f"{name}: true or false, not {value!r}")
    return value


def _quantity(message: Mapping[str, Any], name: str, parse: Callable[[object], float], default: float) -> float:
    """A quantity with its unit, as a scenario writes it."""
    if name not in message:
        return default
    try:
        return parse(message[name])
    except UnitError as error:
        raise BadMessage(f"{name}: {message[name]!r} is {error.message}. {error.hint.rstrip('.')}") from None
    except OverflowError:
        raise BadMessage(f"{name}: {_BEYOND}") from None


def _ms(message: Mapping[str, Any], name: str, default_ms: int) -> int:
    """A time above 0 in ms."""
    seconds = _quantity(message, name, parse_duration, default_ms / 1000)
    if seconds == 0:
        raise BadMessage(f"{name}: must be longer than 0s")
    return round(seconds * 1000)
