"""One message that is n jobs, ID[0] to ID[n-1]. (What stands for all of them is in aws/joins.py.)

The array's item keeps what its jobs are made of, and how many there are already. They are made a few at a time, each
time by a call of Intake of its own, so that none takes longer than it may; a call that is cut off goes on where it was.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from aws import jobs, joins
from aws.control import Control
from aws.store import Item, Write, packed, unpacked
from aws.translate import Submission, task_id

AT_ONCE = 50  # jobs made by one call; ten messages come together, and Intake has 30 s


def submit(control: Control, given: Submission, *, patient: bool = False) -> bool:
    """A message becomes an array; False when there was one, or a job, under this id. Comes twice: changes nothing.

    Raises jobs.NotYet, if `patient`, when it waits for a job that nobody knows.
    """
    ticket, table = given.ticket, control.store.tables.jobs
    if patient and any(control.store.read(table, {"job_id": each}) is None for each in given.after):
        raise jobs.NotYet(ticket.id)
    item: Item = {
        "job_id": ticket.id,
        "phase": joins.OPEN,
        joins.TASKS: given.array,
        "made": 0,
        "waits_on": {str(index) for index in range(given.array)},
        "after": list(given.after),
        "ticket": packed(ticket),
        "body": json.dumps(given.body, sort_keys=True),
        "submitted_ms": ticket.submit_ms,
        "tenant": ticket.spec.tenant,
    }
    new = control.store.put_new(table, item, "job_id")
    if new:
        control.journal.fact(control.now_ms(), "array", ticket.id, {joins.TASKS: given.array})
    go_on(control, ticket.id)
    return new


def go_on(control: Control, name: str) -> None:
    """Make the next jobs of an array, and ask to be called for those after them."""
    item = joins.array(control, name)
    if item is None or item["phase"] == "cancelled" or item["made"] == item[joins.TASKS]:
        return
    made, count = int(item["made"]), int(item[joins.TASKS])
    last = min(made + AT_ONCE, count)
    for index in range(made, last):
        _make(control, item, index)
    if last < count:
        control.timers.set(name, 0)  # before it is noted what was made: better a call too many than none
    noted = Write(
        control.store.tables.jobs,
        {"job_id": name},
        sets={"made": last},
        condition="#m = :m",
        names={"#m": "made"},
        values={"m": made},
    )
    control.store.write(noted)


def _make(control: Control, item: Item, index: int) -> None:
    """One job of the array. One that was made by a call that was cut off is taken in again only if that may not have
    been finished."""
    name = task_id(str(item["job_id"]), index)
    row = control.store.job(name)
    if row is None or row.record.phase in ("new", "held"):
        ticket = replace(unpacked(item["ticket"]), id=name)  # all were submitted when the array was
        jobs.submit(control, ticket, _body(item, index), tuple(item["after"]))


def _body(item: Item, index: int) -> dict[str, Any]:
    """What the array's body says to one of its jobs: its place, and a place of its own for its outputs."""
    body: dict[str, Any] = json.loads(item["body"])
    place = {"SPOTBED_ARRAY_INDEX": str(index), "SPOTBED_ARRAY_SIZE": str(item[joins.TASKS])}
    body["env"] = {**body.get("env", {}), **place}
    prefix = str(body.get("output_prefix") or "")
    return {**body, "output_prefix": f"{prefix}{index}/"} if prefix.endswith("/") else body
