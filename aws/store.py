"""The three tables: jobs, workers, and what the fleet counts. Every write that decides anything is conditional.

A job's item is the job: its record, the index of its class while it waits (`queue_class`, `sort`), and the time of its
lease or timer (`lease`, `lease_until_ms`). A worker's item holds its record, its inbox, its outbox and the token of its
parked execution. Counters change in the transaction that changes what they count, so they are exact.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from scheduler.codec import decode, encode
from scheduler.job_record import Job
from scheduler.worker import Worker

Item = dict[str, Any]
_TO, _FROM = TypeSerializer(), TypeDeserializer()
BATCH = 100  # items that BatchGetItem takes (API reference)
FLEET = "fleet"  # the item of the fleet's record
SWITCH = "switch"  # the item of the fleet table: `drains`, and since when
PAGE = 25  # items of a page of the index; a claim reads no more than one page of each class


def packed(record: Any) -> str:
    """A record of the core as it stands in a table or a message."""
    return json.dumps(encode(record), separators=(",", ":"))


def unpacked(text: str) -> Any:
    """The record that was packed. Raises CodecError."""
    return decode(json.loads(text))


@dataclass(frozen=True)
class Tables:
    """The names of the tables."""

    jobs: str
    workers: str
    fleet: str


@dataclass(frozen=True)
class JobRow:
    """An item of the job table. `safe_ms` is the work that the wrapper's checkpoints keep."""

    record: Job
    version: int
    item: Item

    @property
    def safe_ms(self) -> int:
        return int(self.item.get("safe_ms", 0))

    @property
    def body(self) -> dict[str, Any]:
        """What the wrapper runs, and what the user said of it."""
        body: dict[str, Any] = json.loads(self.item.get("body", "{}"))
        return body


@dataclass(frozen=True)
class WorkerRow:
    """An item of the worker table. `inbox` holds (event id, event), `outbox` (command id, command)."""

    name: str
    record: Worker
    version: int
    inbox: list[tuple[str, str]] = field(default_factory=list)
    outbox: list[tuple[str, str]] = field(default_factory=list)
    ended: bool = False
    timer: tuple[str, int] | None = None
    serves: str = ""
    counted: str = ""
    requested_ms: int = 0
    changed_ms: int = 0
    token: str = ""
    gang: str = ""  # the job that it runs together with others

    @property
    def pool(self) -> str:
        return self.record.badge.pool


@dataclass(frozen=True)
class Appended:
    """Whether an event was new, the token under which its worker's execution has parked last, and whether that
    execution has ended. A token stays where it is: to answer it twice is no error, and to lose it would be one."""

    new: bool
    token: str
    ended: bool


@dataclass(frozen=True)
class Write:
    """One member of a transaction: an update of one item, if its condition holds."""

    table: str
    key: Item
    sets: Mapping[str, Any] = field(default_factory=dict)
    adds: Mapping[str, Any] = field(default_factory=dict)
    firsts: Mapping[str, Any] = field(default_factory=dict)  # set unless they are set
    removes: Sequence[str] = ()
    first_of: str = ""  # a list whose first member goes
    condition: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    appends: Mapping[str, list[Any]] = field(default_factory=dict)

    def request(self) -> Item:
        """The arguments of UpdateItem."""
        names, values = dict(self.names), {f":{name}": value for name, value in self.values.items()}

        def each(letter: str, given: Mapping[str, Any], template: str) -> list[str]:
            """One clause for each attribute; `#` and `:` in the template stand for its name and its value."""
            for number, (name, value) in enumerate(given.items()):
                names[f"#{letter}{number}"], values[f":{letter}{number}"] = name, value
            clause = template.replace("#", "#{0}").replace(":", ":{0}")
            return [clause.format(f"{letter}{number}") for number in range(len(given))]

        sets = [
            *each("s", self.sets, "# = :"),
            *each("i", self.firsts, "# = if_not_exists(#, :)"),
            *each("l", self.appends, "# = list_append(#, :)"),
        ]
        adds = each("a", self.adds, "# :")
        names |= {f"#r{number}": name for number, name in enumerate(self.removes)}
        if self.first_of:
            names["#f"] = self.first_of
        clauses = (("SET", sets), ("ADD", adds), ("REMOVE", self._removed()))
        request: Item = {
            "TableName": self.table,
            "Key": _item(self.key),
            "UpdateExpression": " ".join(f"{verb} {', '.join(parts)}" for verb, parts in clauses if parts),
        }
        if self.condition:
            request["ConditionExpression"] = self.condition
        if names:
            request["ExpressionAttributeNames"] = names
        if values:
            request["ExpressionAttributeValues"] = _item(values)
        return request

    def _removed(self) -> list[str]:
        return [*(f"#r{number}" for number in range(len(self.removes))), *(["#f[0]"] if self.first_of else [])]


class Store:
    """The tables through one DynamoDB client."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client, self.tables = client, tables

    # any item -------------------------------------------------------------------------------------------------------
    def read(self, table: str, key: Item) -> Item | None:
        """The item as it is now (a consistent read)."""
        found = self._client.get_item(TableName=table, Key=_item(key), ConsistentRead=True).get("Item")
        return None if found is None else _value(found)

    def put_new(self, table: str, item: Item, key: str) -> bool:
        """Write an item unless there is one; whether it was new."""
        try:
            self._client.put_item(
                TableName=table,
                Item=_item(item),
                ConditionExpression="attribute_not_exists(#k)",
                ExpressionAttributeNames={"#k": key},
            )
        except ClientError as error:
            return _refused(error)
        return True

    def write(self, *writes: Write) -> bool:
        """All of these or none; False when a condition did not hold."""
        try:
            if len(writes) == 1:
                self._client.update_item(**writes[0].request())
            else:
                self._client.transact_write_items(TransactItems=[{"Update": each.request()} for each in writes])
        except ClientError as error:
            return _refused(error)
        return True

    def query(
        self, table: str, index: str, condition: str, values: Item, names: Mapping[str, str], limit: int = 0
    ) -> Iterator[Item]:
        """Items of an index in its order. What was just written may be missing."""
        request: Item = {
            "TableName": table,
            "IndexName": index,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": _item(values),
            "ExpressionAttributeNames": dict(names),
        }
        if limit:
            request["Limit"] = limit
        while True:
            page = self._client.query(**request)
            yield from map(_value, page["Items"])
            if limit or "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def strike(self, table: str, key: Item, name: str, member: str, holds: Mapping[str, Any] = {}) -> int:
        """Take a member out of a set; how many are left, or -1 when an attribute is not what it is said to be."""
        request: Item = {
            "UpdateExpression": "DELETE #n :m",
            "ExpressionAttributeNames": {"#n": name} | {f"#{each}": each for each in holds},
            "ExpressionAttributeValues": _item({":m": {member}} | {f":{each}": value for each, value in holds.items()}),
        }
        if holds:
            request["ConditionExpression"] = " AND ".join(f"#{each} = :{each}" for each in holds)
        try:
            left = self._client.update_item(TableName=table, Key=_item(key), ReturnValues="ALL_NEW", **request)
        except ClientError as error:
            _refused(error)
            return -1
        return len(_value(left["Attributes"]).get(name, ()))

    # jobs -----------------------------------------------------------------------------------------------------------
    def job(self, job_id: str) -> JobRow | None:
        """The job; None when there is none. An array is none: its item has no record."""
        item = self.read(self.tables.jobs, {"job_id": job_id})
        return (
            None if item is None or "state" not in item else JobRow(unpacked(item["state"]), int(item["version"]), item)
        )

    def candidates(self, queue_class: str, most: int = PAGE) -> list[str]:
        """The ids of the first jobs that wait in a class, in queue order."""
        found = self.query(
            self.tables.jobs, "by_class", "#c = :c", {":c": queue_class}, {"#c": "queue_class"}, limit=most
        )
        return [item["job_id"] for item in found]

    def first_sort(self, queue_class: str) -> str:
        """The sort key of the first job that waits in a class; "" when none does."""
        found = self.query(self.tables.jobs, "by_class", "#c = :c", {":c": queue_class}, {"#c": "queue_class"}, limit=1)
        return next((str(item["sort"]) for item in found), "")

    def due(self, now_ms: int) -> list[str]:
        """The ids of jobs whose lease has expired or whose timer has come."""
        found = self.query(
            self.tables.jobs,
            "by_lease",
            "#l = :l AND #u <= :u",
            {":l": "1", ":u": now_ms},
            {"#l": "lease", "#u": "lease_until_ms"},
        )
        return [item["job_id"] for item in found]

    def open_jobs(self, part: int, parts: int) -> Iterator[Item]:
        """What stands about jobs that have not ended, apart from the record; reads this part of the table."""
        names = (
            "job_id",
            "phase",
            "lease",
            "lease_until_ms",
            "queue_class",
            "waits_on",
            "submitted_ms",
            "tasks",
            "made",
        )
        request: Item = {
            "TableName": self.tables.jobs,
            "ProjectionExpression": ", ".join(f"#{number}" for number in range(len(names))),
            "ExpressionAttributeNames": {f"#{number}": name for number, name in enumerate(names)},
            "FilterExpression": "NOT #1 IN (:d, :f, :c)",
            "ExpressionAttributeValues": _item({":d": "done", ":f": "failed", ":c": "cancelled"}),
            "Segment": part,
            "TotalSegments": parts,
        }
        while True:
            page = self._client.scan(**request)
            yield from map(_value, page["Items"])
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def items(self, table: str) -> Iterator[Item]:
        """Every item of a table, one page after the other."""
        request: Item = {"TableName": table, "ConsistentRead": True}
        while True:
            page = self._client.scan(**request)
            yield from map(_value, page["Items"])
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    # workers --------------------------------------------------------------------------------------------------------
    def worker(self, name: str) -> WorkerRow | None:
        item = self.read(self.tables.workers, {"worker": name})
        return None if item is None else worker_row(item)

    def workers_of(self, instance: str) -> list[str]:
        """The workers of an instance: its own name, or one for each slot."""
        if self.worker(instance) is not None:
            return [instance]
        names, slot = [], 0
        while self.worker(f"{instance}#{slot}") is not None:
            names.append(f"{instance}#{slot}")
            slot += 1
        return names

    def append_event(self, worker: str, event_id: str, event: str) -> Appended:
        """Put an event into the inbox, once for each id, and see in the same call what hears it. A call that comes
        again, because its answer was lost, sees the same."""
        request = self.appended(worker, event_id, event).request()
        try:
            item, new = self._client.update_item(**request, ReturnValues="ALL_NEW")["Attributes"], True
        except ClientError as error:
            new = _refused(error)
            item = self._client.get_item(TableName=request["TableName"], Key=request["Key"], ConsistentRead=True).get(
                "Item", {}
            )
        row = _value(item)
        return Appended(new, str(row.get("token", "")), bool(row.get("ended", False)))

    def appended(self, worker: str, event_id: str, event: str) -> Write:
        """The write of `append_event`, for a transaction."""
        return Write(
            self.tables.workers,
            {"worker": worker},
            appends={"inbox": [{"id": event_id, "event": event}]},
            adds={"heard": {event_id}},
            condition="attribute_exists(#w) AND NOT contains(#h, :id)",
            names={"#w": "worker", "#h": "heard"},
            values={"id": event_id},
        )

    def joined(self, row: WorkerRow, event_id: str, event: str, job_id: str, *, claims: bool) -> Write:
        """The same for a member of a gang: the one that claims it, or an idle one that is as it was read."""
        answer = self.appended(row.name, event_id, event)
        if claims:
            return replace(answer, sets={"gang": job_id})
        return replace(
            answer,
            sets={"gang": job_id},
            removes=["idle_since"],
            condition=f"{answer.condition} AND attribute_exists(#s) AND #v = :v AND size(#i) = :zero",
            names={**answer.names, "#s": "idle_since", "#v": "version", "#i": "inbox"},
            values={**answer.values, "v": row.version, "zero": 0},
        )

    def park(self, worker: str, token: str) -> bool:
        """Keep the token if the inbox is empty; False when something has come meanwhile."""
        return self.write(
            Write(
                self.tables.workers,
                {"worker": worker},
                sets={"token": token},
                condition="size(#i) = :zero AND size(#o) = :zero",
                names={"#i": "inbox", "#o": "outbox"},
                values={"zero": 0},
            )
        )

    def end(self, worker: str) -> bool:
        """Note that no execution serves the worker any more, if nothing is left to hear."""
        return self.write(
            Write(
                self.tables.workers,
                {"worker": worker},
                sets={"ended": True},
                condition="size(#i) = :zero",
                names={"#i": "inbox"},
                values={"zero": 0},
            )
        )

    def clear_outbox(self, row: WorkerRow) -> bool:
        """Note that all that was ordered has been performed."""
        return self.write(
            Write(
                self.tables.workers,
                {"worker": row.name},
                sets={"outbox": []},
                condition="#v = :v",
                names={"#v": "version"},
                values={"v": row.version},
            )
        )

    def unfinished(self) -> Iterator[WorkerRow]:
        """Workers that are not gone."""
        for counted in ("booting", "busy", "idle", "stopping"):
            found = self.query(self.tables.workers, "by_counted", "#c = :c", {":c": counted}, {"#c": "counted"})
            yield from self._workers([item["worker"] for item in found])

    def idle(self) -> Iterator[WorkerRow]:
        """Workers that are idle and have had no hint, those that have idled longest first, and by name those that have
        idled as long."""
        found = self.query(self.tables.workers, "by_idle", "#c = :c", {":c": "idle"}, {"#c": "counted"})
        for _, same in groupby(found, key=itemgetter("idle_since")):
            yield from filter(None, map(self.worker, sorted(item["worker"] for item in same)))

    def _workers(self, names: Sequence[str]) -> Iterator[WorkerRow]:
        """The rows of these workers as they were just now (reads of half the price), in this order."""
        for start in range(0, len(names), BATCH):
            asked = names[start : start + BATCH]
            found: dict[str, WorkerRow] = {}
            request: Item = {self.tables.workers: {"Keys": [_item({"worker": name}) for name in asked]}}
            while request:
                answer = self._client.batch_get_item(RequestItems=request)
                rows = [worker_row(_value(item)) for item in answer["Responses"].get(self.tables.workers, [])]
                found |= {row.name: row for row in rows}
                request = answer.get("UnprocessedKeys", {})
            yield from [found[name] for name in asked if name in found]

    # what the fleet counts ------------------------------------------------------------------------------------------
    def counters(self) -> dict[str, Item]:
        """Every item of the fleet table by its key, classes in the order in which they came to be."""
        found = {item["key"]: item for item in self.items(self.tables.fleet)}
        return dict(sorted(found.items(), key=lambda each: (each[1].get("made_ms", 0), each[0])))

    def counted(self, key: str, **changes: int) -> Write:
        """The write that changes counters of the fleet table, for a transaction."""
        return Write(self.tables.fleet, {"key": key}, adds={name: by for name, by in changes.items() if by})


def worker_row(item: Item) -> WorkerRow:
    """The row of an item as it was read."""
    timer = (item["timer_name"], int(item["timer_ms"])) if item.get("timer_name") else None
    return WorkerRow(
        item["worker"],
        unpacked(item["state"]),
        int(item["version"]),
        [(each["id"], each["event"]) for each in item.get("inbox", [])],
        [(each["id"], each["command"]) for each in item.get("outbox", [])],
        bool(item.get("ended", False)),
        timer,
        item.get("serves", ""),
        item.get("counted", ""),
        int(item.get("requested_ms", 0)),
        int(item.get("changed_ms") or item.get("requested_ms", 0)),
        str(item.get("token", "")),
        str(item.get("gang", "")),
    )


def _item(values: Mapping[str, Any]) -> Item:
    return {name: _TO.serialize(_decimal(value)) for name, value in values.items()}


def _decimal(value: Any) -> Any:
    """Floats as DynamoDB takes them, at any depth."""
    if isinstance(value, float):
        return Decimal(str(value))
    if isinstance(value, list):
        return [_decimal(each) for each in value]
    return {name: _decimal(each) for name, each in value.items()} if isinstance(value, dict) else value


def _value(item: Item) -> Item:
    return {name: _plain(_FROM.deserialize(value)) for name, value in item.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return {name: _plain(each) for name, each in value.items()} if isinstance(value, dict) else value


def _refused(error: ClientError) -> bool:
    """False for a condition that did not hold; any other error is raised. A transaction that collides with another is
    neither, and its caller reads again."""
    code = error.response["Error"]["Code"]
    if code == "ConditionalCheckFailedException":
        return False
    if code == "TransactionCanceledException":
        reasons = {each.get("Code") for each in error.response.get("CancellationReasons", [])}
        if reasons <= {"None", None, "ConditionalCheckFailed", "TransactionConflict"}:
            return False
    raise error
