"""A stack that was deployed, as its user handles it: give it jobs, look, fetch, cancel, drain.

The same over boto3 for an account and for this machine. What differs is the address, and two doors: one calls the
function `operate`, the other says what runs.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from aws.joins import TASKS
from aws.store import FLEET, SWITCH, Tables
from aws.translate import BadMessage, Submission, from_message, in_order, task_id
from spotbed.errors import InputError, OutsideError, Problem

FINAL = ("done", "failed", "cancelled")
PLAN = "plan.json"  # what was applied: in the local stack's folder; below the prefix of the results' bucket
_RUN = 'exec "./$SPOTBED_RUN"'  # a constant: the file's name is data
_OF_POOL = "pool#"
_TAKEN_WITHIN_S, _PAUSE_S = 30.0, 0.2
_SENT_AT_ONCE, _READ_AT_ONCE = 10, 100  # SQS: SendMessageBatch; DynamoDB: BatchGetItem
_BATCH_BYTES = 256 * 1024  # of a SendMessageBatch that any queue takes
_QUEUED = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed")


@dataclass(frozen=True)
class JobLine:
    """A job as `jobs` shows it. Times in ms since 1970; `output` and `log` are where they lie in the bucket. `cost_usd`
    and `attempt_log` are as `aws.attempts` keeps them."""

    job_id: str
    phase: str
    attempts: int
    interruptions: int
    submitted_ms: int
    ended_ms: int | None
    exit_code: int | None
    holder: str
    cost_usd: float
    output: str
    log: str
    metrics: Mapping[str, float]
    attempt_log: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Address:
    """Where a stack's things are. `queues` has the URLs of jobs, finished, dead, and what else there is; below `prefix`
    of `bucket` lie logs and outputs, and below that of `results` what belongs to the stack itself."""

    name: str
    tables: Tables
    queues: Mapping[str, str]
    bucket: str
    prefix: str
    results: str


@dataclass(frozen=True)
class Clients:
    """boto3 clients."""

    dynamodb: Any
    s3: Any
    sqs: Any


class Doors(Protocol):
    """What is reached in another way in an account and on this machine."""

    def operate(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Call the function `operate`; its answer."""
        ...

    def running(self) -> dict[str, Any]:
        """`instances`: id -> pool; `executions`: how many."""
        ...


@dataclass(frozen=True)
class PoolLine:
    """What the fleet knows of a pool. `never_ready`: its workers in a row that launched and never reported; `stopped`:
    why nothing is launched in it, "" while something may be."""

    pool: str
    never_ready: int
    stopped: str


@dataclass(frozen=True)
class Fleet:
    """What the fleet knows: whether it was told to launch nothing more, whether the cap on spending has closed it, and
    the pools in which it has launched."""

    drains: bool
    closed: bool
    pools: Sequence[PoolLine]


def _unheard(job_id: str) -> None:
    """Nobody asks."""


class Stack:
    """A stack that runs, wherever it is."""

    look_every_s = 15.0  # for who watches: a look reads the whole table of jobs, and DynamoDB bills what is read

    def __init__(self, address: Address, clients: Clients, doors: Doors) -> None:
        self.address, self._doors = address, doors
        self._dynamodb, self._s3, self._sqs = clients.dynamodb, clients.s3, clients.sqs

    @property
    def name(self) -> str:
        return self.address.name

    # work -----------------------------------------------------------------------------------------------------------
    def submit(self, path: Path, on_known: Callable[[str], None] = _unheard) -> list[str]:
        """Submit a file (one message, a list of them, or JSON lines) or a folder with one executable; the ids, once the
        table knows them. `on_known` is told the id of a job that is there already: it is not submitted again."""
        messages = [_of_folder(path, self.address.prefix)] if path.is_dir() else list(_messages(path))
        read = _read(path, messages)
        ids = [each.ticket.id for each in read]
        known = self._known(ids)
        for job_id in ids:
            if job_id in known:
                on_known(job_id)
        new = {job_id: message for job_id, message in zip(ids, messages, strict=True) if job_id not in known}
        if path.is_dir() and new:
            self._upload(path, ids[0])
        for batch in _batches(list(new.values())):
            self._send(batch)
        self._await({each.last_id: each.after for each in read if each.ticket.id in new})
        return list(new)

    def send(self, message: Mapping[str, Any]) -> None:
        """Put a message into the queue of jobs, as others may do."""
        self._sqs.send_message(QueueUrl=self.address.queues["jobs"], MessageBody=json.dumps(message))

    def _send(self, texts: Sequence[str]) -> None:
        entries = [{"Id": str(number), "MessageBody": text} for number, text in enumerate(texts)]
        answer = self._sqs.send_message_batch(QueueUrl=self.address.queues["jobs"], Entries=entries)
        for each in answer.get("Failed", ()):
            what = f"SQS did not take a job: {each.get('Message', each['Code'])}."
            kept = "the jobs that were sent before it: spotbed jobs"
            raise OutsideError(what, kept, "submit the same file again: what is there is left out", exit_code=4)

    def _known(self, ids: Sequence[str]) -> set[str]:
        """Those of the jobs that the table has."""
        found: set[str] = set()
        table = self.address.tables.jobs
        for start in range(0, len(ids), _READ_AT_ONCE):
            keys = [{"job_id": {"S": each}} for each in ids[start : start + _READ_AT_ONCE]]
            asked: dict[str, Any] = {table: {"Keys": keys, "ProjectionExpression": "job_id", "ConsistentRead": True}}
            while asked:
                answer = self._dynamodb.batch_get_item(RequestItems=asked)
                found |= {item["job_id"]["S"] for item in answer["Responses"].get(table, ())}
                asked = answer.get("UnprocessedKeys", {})
        return found

    def _await(self, after: Mapping[str, Sequence[str]]) -> None:
        """Until the table knows the jobs: id -> the jobs that it comes after. Raises OutsideError."""
        until_s = time.monotonic() + _TAKEN_WITHIN_S
        missing = list(after)
        while missing := sorted(set(missing) - self._known(missing)):
            if time.monotonic() >= until_s:
                what = f"{len(missing)} of {len(after)} jobs were not taken in yet, {missing[0]!r} among them."
                what += self._held_up(missing, after)
                how = f"look again: spotbed jobs --stack {self.name}; a message that is no job is in the dead letters"
                raise OutsideError(what, "the messages, in the queue", how, exit_code=4)
            time.sleep(_PAUSE_S)

    def _held_up(self, missing: Sequence[str], after: Mapping[str, Sequence[str]]) -> str:
        """The first of the missing jobs that comes after one which nobody has submitted, and that one."""
        named = sorted({each for job_id in missing for each in after[job_id]})
        unknown = set(named) - self._known(named) - set(missing)
        for job_id in missing:
            if waited := sorted(unknown.intersection(after[job_id])):
                return f" {job_id!r} comes after {waited[0]!r}, which the stack does not know: submit that job."
        return ""

    def _upload(self, folder: Path, job_id: str) -> None:
        for path in _files(folder):
            key = _dropped(self.address.prefix, job_id) + path.relative_to(folder).as_posix()
            self._s3.upload_file(str(path), self.address.bucket, key)

    def jobs(self) -> list[JobLine]:
        """All jobs, in the order of submission."""
        lines = [_line(item) for item in self._scan(self.address.tables.jobs) if TASKS not in item]
        return sorted(lines, key=lambda line: (line.submitted_ms, in_order(line.job_id)))

    def job(self, job_id: str) -> JobLine:
        """One job. Raises InputError."""
        return _line(self._item(job_id))

    def logs(self, job_id: str) -> bytes:
        """The whole output of the job's last attempt that has ended. Raises InputError when none has."""
        item = self._item(job_id)
        log = _line(item).log
        if not log:
            raise InputError(Problem(f"no attempt of {job_id!r} has ended yet.", path="job", value=job_id))
        content: bytes = self._s3.get_object(Bucket=self._bucket_of(item), Key=log)["Body"].read()
        return content

    def fetch(self, job_id: str, into: Path) -> list[Path]:
        """Bring the outputs of a job that is done. Raises InputError when it has none."""
        item = self._item(job_id)
        bucket, prefix = self._bucket_of(item), _line(item).output
        if not prefix:
            raise InputError(Problem(f"{job_id!r} has no outputs.", path="job", value=job_id))
        fetched = []
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for found in page.get("Contents", ()):
                path = into.joinpath(*_below(found["Key"][len(prefix) :]))
                path.parent.mkdir(parents=True, exist_ok=True)
                self._s3.download_file(bucket, found["Key"], str(path))
                fetched.append(path)
        return fetched

    def cancel(self, job_id: str) -> str:
        """End a job, also while it runs, or all that is open of an array; its phase then."""
        self._found(job_id)
        return str(self._doors.operate({"do": "cancel", "job": job_id})["phase"])

    def _item(self, job_id: str) -> Mapping[str, Any]:
        """The item of a job. Raises InputError, for an array too."""
        item = self._found(job_id)
        if TASKS in item:
            count = int(item[TASKS]["N"])
            message = f"{job_id!r} is an array of {count} jobs."
            hint = f"Name one of them, {task_id(job_id, 0)} to {task_id(job_id, count - 1)}."
            raise InputError(Problem(message, path="job", value=job_id, hint=hint))
        return item

    def _found(self, job_id: str) -> Mapping[str, Any]:
        key = {"job_id": {"S": job_id}}
        found = self._dynamodb.get_item(TableName=self.address.tables.jobs, Key=key, ConsistentRead=True).get("Item")
        if found is None:
            raise InputError(Problem(f"stack {self.name} has no job {job_id!r}.", path="job", value=job_id))
        item: Mapping[str, Any] = found
        return item

    def _bucket_of(self, item: Mapping[str, Any]) -> str:
        return str(item.get("bucket", {}).get("S") or self.address.bucket)

    # the stack ------------------------------------------------------------------------------------------------------
    def drain(self) -> None:
        """Launch nothing any more, and let workers end after what they do now."""
        self._doors.operate({"do": "drain"})

    def resume(self) -> None:
        """Launch again."""
        self._doors.operate({"do": "resume"})

    def rebuild(self, source: str = "", buckets: Sequence[str] = ()) -> dict[str, int]:
        """After a loss of tables: make workers, leases and counters again; what was done. `source` is the job table
        that was restored, `buckets` are those in which instances keep logs."""
        order: dict[str, Any] = {"do": "rebuild"}
        if source:
            order |= {"source": source, "buckets": list(buckets)}
        return self._doors.operate(order)

    def plan(self) -> dict[str, Any]:
        """The plan that was applied. Raises InputError where none is kept."""
        from botocore.exceptions import ClientError

        try:
            answer = self._s3.get_object(Bucket=self.address.results, Key=self.address.prefix + PLAN)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("NoSuchKey", "404"):
                raise
            raise InputError(Problem(f"stack {self.name} was not made by `spotbed apply`: it has no plan.")) from None
        found: dict[str, Any] = json.loads(answer["Body"].read())
        return found

    def workers(self) -> dict[str, str]:
        """Worker -> its phase and job."""
        states = {
            item["worker"]["S"]: json.loads(item["state"]["S"]) for item in self._scan(self.address.tables.workers)
        }
        return {name: f"{state['phase']} {state['job']}".strip() for name, state in sorted(states.items())}

    def fleet(self) -> Fleet:
        """What the fleet knows."""
        items = {item["key"]["S"]: item for item in self._scan(self.address.tables.fleet)}
        pools = [_pool(key, item) for key, item in sorted(items.items()) if key.startswith(_OF_POOL)]
        record = json.loads(items.get(FLEET, {}).get("state", {}).get("S", "{}"))
        return Fleet(
            bool(items.get(SWITCH, {}).get("drains", {}).get("BOOL")), record.get("phase", "open") == "closed", pools
        )

    def status(self) -> dict[str, Any]:
        """What there is: jobs by phase, workers by phase, pools, instances, executions, and messages in the queues."""
        fleet = self.fleet()
        pools = {line.pool: {"never_ready": line.never_ready, "stopped": line.stopped} for line in fleet.pools}
        return {
            "name": self.name,
            "jobs": self._phases(),
            "workers": dict(Counter(state.split()[0] for state in self.workers().values())),
            "drained": fleet.drains,
            "cap_reached": fleet.closed,
            "pools": pools,
            "queues": self.queued(),
            **self._doors.running(),
        }

    def _phases(self) -> dict[str, int]:
        """How many jobs are in which phase."""
        items = self._scan(self.address.tables.jobs, ("phase", TASKS))
        return dict(Counter(item["phase"]["S"] for item in items if TASKS not in item))

    def queued(self) -> dict[str, int]:
        """Messages in each queue, those in flight and delayed ones included."""
        found = {}
        for name, url in self.address.queues.items():
            answer = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(_QUEUED))
            found[name] = sum(int(answer["Attributes"][each]) for each in _QUEUED)
        return found

    def wait(self, within_s: float) -> bool:
        """Whether all jobs have ended and all messages were taken in within this time."""
        until_s = time.monotonic() + within_s
        while time.monotonic() < until_s:
            if not self.queued()["jobs"] and all(line.phase in FINAL for line in self.jobs()):
                return True
            time.sleep(_PAUSE_S)
        return False

    def _scan(self, table: str, only: Sequence[str] = ()) -> Iterator[Mapping[str, Any]]:
        """The items of a table; `only` names the attributes that are wanted, by default all."""
        names = {f"#{place}": name for place, name in enumerate(only)}
        wanted = {"ProjectionExpression": ", ".join(names), "ExpressionAttributeNames": names} if only else {}
        for page in self._dynamodb.get_paginator("scan").paginate(TableName=table, **wanted):
            yield from page["Items"]


# messages -----------------------------------------------------------------------------------------------------------
def _messages(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(Problem(f"cannot be read: {error}.", file=str(path))) from None
    try:
        found = json.loads(text)
    except ValueError:
        found = [_parsed(path, number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    for each in found if isinstance(found, list) else [found]:
        if not isinstance(each, dict):
            raise InputError(Problem(f"a job is an object, not {each!r}.", file=str(path)))
        yield each


def _parsed(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise InputError(Problem(f"is no JSON: {error}.", file=str(path), line=number)) from None


def _read(path: Path, messages: Iterable[Mapping[str, Any]]) -> list[Submission]:
    """The messages as they will be understood, each id once. Raises InputError with all that is no job."""
    problems, read, ids = [], [], set()
    for number, message in enumerate(messages, 1):
        try:
            read.append(from_message(json.dumps(message), 0))
        except BadMessage as error:
            problems.append(Problem(f"job {number}: {error}.", file=str(path)))
            continue
        job_id = read[-1].ticket.id
        if job_id in ids:
            problems.append(Problem(f"job {number}: the id {job_id!r} is that of another one.", file=str(path)))
        ids.add(job_id)
    if problems:
        raise InputError(problems)
    if not ids:
        raise InputError(Problem("has no job.", file=str(path)))
    return read


def _batches(messages: Iterable[Mapping[str, Any]]) -> Iterator[list[str]]:
    """The texts of messages, as many together as SQS takes."""
    batch: list[str] = []
    for message in messages:
        text = json.dumps(message)
        size = sum(len(each.encode()) for each in (*batch, text))
        if batch and (len(batch) == _SENT_AT_ONCE or size > _BATCH_BYTES):
            yield batch
            batch = []
        batch = [*batch, text]
    if batch:
        yield batch


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _dropped(prefix: str, job_id: str) -> str:
    return f"{prefix}drop/{job_id}/"


def _of_folder(folder: Path, prefix: str) -> dict[str, Any]:
    """The message that runs the one executable in a folder. Raises InputError unless there is one."""
    programs = [path.name for path in _files(folder) if path.parent == folder and os.access(path, os.X_OK)]
    if len(programs) != 1:
        found = ", ".join(programs) or "none"
        message = f"has {len(programs)} executables ({found}): one is run, so there must be one."
        raise InputError(Problem(message, file=str(folder)))
    (program,) = programs
    job_id = folder.resolve().name
    below = _dropped(prefix, job_id)
    run = {"key": below + program, "to": program, "executable": True}
    return {"id": job_id, "commands": [_RUN], "env": {"SPOTBED_RUN": program}, "inputs": [below, run],
            "outputs": ["*"]}  # fmt: skip


# items --------------------------------------------------------------------------------------------------------------
def _line(item: Mapping[str, Mapping[str, Any]]) -> JobLine:
    def number(name: str) -> int | None:
        return int(item[name]["N"]) if name in item else None

    def text(name: str) -> str:
        return str(item.get(name, {}).get("S", ""))

    state = json.loads(text("state"))
    return JobLine(
        job_id=text("job_id"),
        phase=text("phase"),
        attempts=number("attempts") or 0,
        interruptions=int(state.get("rare", {}).get("interruptions", 0)),
        submitted_ms=number("submitted_ms") or 0,
        ended_ms=number("ended_ms"),
        exit_code=number("exit_code"),
        holder=text("holder"),
        cost_usd=float(item.get("cost_usd", {}).get("N", 0.0)),
        output=text("output"),
        log=text("log"),
        metrics=json.loads(text("metrics") or "{}"),
        attempt_log=[_attempt(each["M"]) for each in item.get("attempt_log", {}).get("L", ())],
    )


def _attempt(item: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One attempt as plain values; all its numbers but the price are whole."""
    found: dict[str, Any] = {}
    for name, value in item.items():
        ((kind, content),) = value.items()
        found[name] = (float(content) if name == "usd_per_hour" else int(content)) if kind == "N" else content
    return found


def _pool(key: str, item: Mapping[str, Mapping[str, Any]]) -> PoolLine:
    never_ready, stopped = item.get("never_ready", {}).get("N", 0), item.get("launch_stopped", {}).get("S", "")
    return PoolLine(key.removeprefix(_OF_POOL), int(never_ready), str(stopped))


def _below(name: str) -> list[str]:
    """The parts of a relative path. Raises InputError for one that leads elsewhere."""
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise InputError(Problem(f"the output {name!r} would lie outside the folder.", value=name))
    return parts
