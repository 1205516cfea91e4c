"""The tables as the template of the scheduler has them: for emulators, and for whoever measures what a write costs."""

from __future__ import annotations

from typing import Any

from aws.render import FOLDER, read_template
from aws.store import Tables

_KEPT = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")


def definitions(tables: Tables) -> list[dict[str, Any]]:
    """The arguments of CreateTable, under these names."""
    resources = read_template(FOLDER / "templates" / "scheduler.yaml")["Resources"]
    found = []
    for resource, name in (("Jobs", tables.jobs), ("Workers", tables.workers), ("Fleet", tables.fleet)):
        properties = resources[resource]["Properties"]
        found.append({"TableName": name, **{key: properties[key] for key in _KEPT if key in properties}})
    return found


def make_tables(client: Any, tables: Tables) -> None:
    """Make the tables through a DynamoDB client."""
    for definition in definitions(tables):
        client.create_table(**definition)
