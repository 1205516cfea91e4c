"""What AWS would bill for calls on the emulator: request units of DynamoDB by its rules, and calls of everything else.

Rules (DynamoDB developer guide, "Read and write operations" and "Using global secondary indexes"): a write costs one
unit for each KB of the larger of the item before and after, twice that in a transaction; an index that holds keys only
costs one unit where an item enters or leaves it and two where its keys change. A write that its condition refuses costs
what it would have cost the table.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aws_world import World
from moto.core import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends

from aws.store import Tables
from aws.tables import definitions
from scheduler.policy import Policy
from sim.decoupled import DecoupledWorld
from sim.inputs import WorldInputs
from spotbed.services_preset import ServicesPreset

Item = dict[str, Any]
KB = 1_024
WRITES = ("put_item", "update_item", "transact_write_items")
OF_THE_STACK = 1  # write: the fleet's record, once
AWS = ServicesPreset.load()


def metered(inputs: WorldInputs, policy: Policy) -> dict[str, float]:
    """What the simulator meters, as items of the price book."""
    tally = DecoupledWorld(inputs, policy).run()
    usage: dict[str, float] = defaultdict(float)
    for name, times in tally.operations.items():
        for item, units in AWS.operations["decoupled"][name].items():
            usage[item] += units * times
    return usage


def used(made: World, client: Metered) -> dict[str, float]:
    """What the functions have used on the emulator, as items of the price book."""
    executions, submitted, ended = made.executions, made.called["intake"], len(made.told)
    return {
        "stepfunctions.transition": executions.entered.total(),
        # a timer of a job would be one more call of Intake
        "lambda.request": executions.called.total() + made.called.total() + made.messages,
        # the model's items have a kilobyte; that of a gang outgrows it with its second attempt
        "dynamodb.write": sum(client.units.values()) - client.beyond - OF_THE_STACK,
        # each message of the door is sent, received and deleted
        "sqs.request": 3 * (submitted + made.messages) + ended,
        "ssm.command": made.commands,
        "eventbridge.event": ended,
    }


@dataclass(frozen=True)
class Table:
    """Key and indexes of a table."""

    key: str
    indexes: Mapping[str, tuple[str, ...]]


class Metered:
    """A DynamoDB client that counts: `units` written by table, `calls` by operation."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client, self._region = client, client.meta.region_name
        self._tables = {each["TableName"]: _table(each) for each in definitions(tables)}
        self.units: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.beyond = 0  # of the units: for what items have beyond their first kilobyte

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._client, name)

        def call(**arguments: Any) -> Any:
            self.calls[name] += 1
            return self._written(name, method, arguments) if name in WRITES else method(**arguments)

        return call

    def _written(self, name: str, method: Callable[..., Any], arguments: Item) -> Any:
        keys = list(self._keys(arguments))
        before = [self._item(*key) for key in keys]
        try:
            return method(**arguments)
        finally:
            times = 2 if name == "transact_write_items" else 1
            for (table, key), old in zip(keys, before, strict=True):
                new = self._item(table, key)
                units = max(1, -(-max(_size(old), _size(new)) // KB))
                self.units[table] += times * units
                self.beyond += times * (units - 1)
                self.units[table] += sum(_moved(old, new, keys) for keys in self._tables[table].indexes.values())

    def _keys(self, arguments: Item) -> Iterator[tuple[str, Item]]:
        for each in arguments.get("TransactItems", [{"Update": arguments}]):
            (request,) = each.values()
            table = self._tables[request["TableName"]]
            key = request.get("Key") or {table.key: request["Item"][table.key]}
            yield request["TableName"], key

    def _item(self, table: str, key: Item) -> Item:
        """As moto holds it: a call for each item, before and after, would take longer than what is measured."""
        ((name, value),) = key.items()
        held = dynamodb_backends[DEFAULT_ACCOUNT_ID][self._region].get_item(table, {name: value})
        return {} if held is None else {name: each.to_regular_json() for name, each in held.attrs.items()}


def _table(definition: Mapping[str, Any]) -> Table:
    indexes = {}
    for index in definition.get("GlobalSecondaryIndexes", ()):
        assert index["Projection"] == {"ProjectionType": "KEYS_ONLY"}, "its writes are not counted here"
        indexes[index["IndexName"]] = tuple(each["AttributeName"] for each in index["KeySchema"])
    return Table(definition["KeySchema"][0]["AttributeName"], indexes)


def _moved(old: Item, new: Item, keys: tuple[str, ...]) -> int:
    places = [tuple(str(item[key]) for key in keys) if all(key in item for key in keys) else () for item in (old, new)]
    return 0 if places[0] == places[1] else sum(1 for place in places if place)


def _size(item: Item) -> int:
    return sum(len(name.encode()) + _size_of(value) for name, value in item.items())


def _size_of(value: Item) -> int:
    """Bytes of a value (developer guide, "DynamoDB item sizes and formats")."""
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content.encode())
    if kind == "N":
        return 1 + -(-len(content.strip("-").replace(".", "")) // 2)
    if kind == "SS":
        return sum(len(each.encode()) for each in content)
    if kind == "L":
        return 3 + sum(1 + _size_of(each) for each in content)
    if kind == "M":
        return 3 + sum(1 + len(name.encode()) + _size_of(each) for name, each in content.items())
    assert kind in ("BOOL", "NULL"), kind
    return 1
