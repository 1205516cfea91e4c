"""What the alarms and the canary watch: CloudWatch's embedded metric format, one line of the log, and no call.

DuplicateCompletions: a job completed that had ended before; the epoch of the lease forbids it. (An order to complete
that is performed twice changes nothing, and is not counted.) LostJobs: what `lost` finds. CostPerJobUsd: the estimate
in the item of each job that ended. DeadlineMisses: jobs that ended after their deadline. DeadLetters: jobs given up;
what was cancelled or refused is in the queue of the dead too, and is no fault of the code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from aws.store import Item, JobRow, Store

NAMESPACE, DIMENSION = "spotbed", "Stack"
DUPLICATE, LOST, COST, MISSES = "DuplicateCompletions", "LostJobs", "CostPerJobUsd", "DeadlineMisses"
GIVEN_UP = "DeadLetters"
PARTS = 12  # of the job table; each look of the fleet is at one of them, which bounds what looking costs
SHOWN = 10  # ids of lost jobs in a line


class Measures(Protocol):
    """Takes numbers by the names above; what else is said stands in the same line."""

    def put(self, at_ms: int, numbers: Mapping[str, float], **more: Any) -> None: ...


class NoMeasures:
    """Nobody watches."""

    def put(self, at_ms: int, numbers: Mapping[str, float], **more: Any) -> None:
        """Nothing."""


UNWATCHED = NoMeasures()


class EmbeddedMetrics:
    """Lines of the function's log, from which CloudWatch makes metrics."""

    def __init__(self, stack: str, write: Callable[[str], object]) -> None:
        self._stack, self._write = stack, write

    def put(self, at_ms: int, numbers: Mapping[str, float], **more: Any) -> None:
        units = [{"Name": name, "Unit": "None" if name == COST else "Count"} for name in numbers]
        described = {"Namespace": NAMESPACE, "Dimensions": [[DIMENSION]], "Metrics": units}
        head = {"Timestamp": at_ms, "CloudWatchMetrics": [described]}
        self._write(json.dumps({"_aws": head, DIMENSION: self._stack, **numbers, **more}) + "\n")


def of_end(before: JobRow, after: JobRow) -> dict[str, float]:
    """The numbers of a job that has just ended; `before` is its row before that."""
    deadline_ms = after.record.ticket.deadline_ms
    ended_ms = int(after.item.get("ended_ms", 0))
    return {
        DUPLICATE: int(after.record.phase == "done" and "ended_ms" in before.item),
        COST: float(after.item.get("cost_usd", 0.0)),
        MISSES: int(0 <= deadline_ms < ended_ms),
        GIVEN_UP: int(after.record.phase == "failed"),
    }


def lost(store: Store, now_ms: int, after_ms: int, part: int = 0, parts: int = 1) -> list[str]:
    """Jobs of which nothing will ever be heard: open, and neither waiting in a class, nor under a lease or a timer, nor
    waiting for another job; or late by more than `after_ms`, so that the reaper does not find them. Reads the table, or
    one of so many parts of it."""
    return [str(item["job_id"]) for item in store.open_jobs(part, parts) if _is_lost(item, now_ms - after_ms)]


def _is_lost(item: Item, before_ms: int) -> bool:
    if "lease" in item:
        return int(item["lease_until_ms"]) < before_ms
    match item["phase"]:
        case "queued":
            return "queue_class" not in item
        case "held":
            return "waits_on" not in item
        case "array":
            return item["made"] < item["tasks"] and int(item["submitted_ms"]) < before_ms  # some were never made
        case "new":
            return int(item["submitted_ms"]) < before_ms  # it was to be queued by the same call
        case _:
            return True  # leased or delayed, without a time at which somebody looks
