"""What a job's item says of its attempts, and what others are told of its end.

`attempt_log` holds the last attempts: {attempt, worker, pool, started_ms, ended_ms, cause}. `cost_usd` is an estimate
that is there at once: time under a lease, at the price that the pool had when it last launched. Booting and waiting of
instances is not in it; the ledger has it all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aws.store import Item, JobRow
from scheduler.events import LEASE_LOST, AttemptEnded, LeaseExpired

KEPT = 10  # of a job's attempts; an item is read and written whole, and billed by the kilobyte
HOUR_MS = 3_600_000
CANCELLED = "cancelled"


def begun(item: Mapping[str, Any], epoch: int, now_ms: int, worker: str, pool: str, usd_per_hour: float) -> Item:
    """What changes in an item when it is claimed."""
    started = {"attempt": epoch, "worker": worker, "pool": pool, "started_ms": now_ms, "usd_per_hour": usd_per_hour}
    return {"attempt_log": [*item.get("attempt_log", ()), started][-KEPT:]}


def ended(item: Mapping[str, Any], now_ms: int, cause: str) -> Item:
    """What changes in an item when it is no longer leased."""
    log = list(item.get("attempt_log", ()))
    if not log:
        return {}
    *before, last = log
    last = dict(last)
    usd = (now_ms - int(last["started_ms"])) / HOUR_MS * float(last.pop("usd_per_hour", 0.0))
    cost_usd = round(float(item.get("cost_usd", 0.0)) + usd, 8)
    return {"attempt_log": [*before, {**last, "ended_ms": now_ms, "cause": cause}], "cost_usd": cost_usd}


def cause_of(event: Any) -> str:
    """Why an attempt is over, by the event that ended it."""
    if isinstance(event, AttemptEnded):
        return event.cause
    return LEASE_LOST if isinstance(event, LeaseExpired) else CANCELLED


def told(row: JobRow) -> dict[str, Any]:
    """What the message about a job's end says, beside id, phase and reason."""
    item = row.item
    metrics: dict[str, float] = json.loads(item.get("metrics") or "{}")
    return {
        "tenant": row.record.ticket.spec.tenant,
        "attempts": int(item.get("attempts", 0)),
        "interruptions": row.record.interruptions,
        "exit_code": item.get("exit_code"),
        "submitted_ms": item.get("submitted_ms"),
        "ended_ms": item.get("ended_ms"),
        "cost_usd": float(item.get("cost_usd", 0.0)),
        "bucket": item.get("bucket", ""),
        "output": item.get("output", ""),
        "log": item.get("log", ""),
        "metrics": metrics,
        "waited_for": sorted(item.get("waits_on", ())),
    }


NOTHING: Mapping[str, Any] = {
    "tenant": "", "attempts": 0, "interruptions": 0, "exit_code": None, "submitted_ms": None, "ended_ms": None,
    "cost_usd": 0.0, "bucket": "", "output": "", "log": "", "metrics": {}, "waited_for": [],
}  # fmt: skip
"""The same of what never was a job."""
