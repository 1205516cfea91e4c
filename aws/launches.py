"""What was asked for and what came: instances that Auto Scaling never launched, launched unasked, or of which no event
told. The counters of booting workers are set right, so that nothing waits for what does not come.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aws import workers
from aws.control import Control, PoolSpec
from aws.store import Item, WorkerRow, Write

LONGEST_REASON = 200  # characters of what Auto Scaling says


def refused(control: Control, detail: Mapping[str, Any]) -> None:
    """Auto Scaling could not launch an instance, and goes on trying: the fleet withdraws the order when it looks."""
    pool = next((each for each in control.pools.values() if each.group == detail.get("AutoScalingGroupName")), None)
    if pool is not None:
        reason = str(detail.get("StatusMessage", ""))[:LONGEST_REASON]
        sets = {"refused_ms": control.now_ms(), "refused": reason}
        control.store.write(Write(control.store.tables.fleet, {"key": f"pool#{pool.id}"}, sets=sets))


def settle(
    control: Control, counters: Mapping[str, Item], live: Mapping[str, str], rows: Mapping[str, WorkerRow]
) -> dict[str, tuple[int, str]]:
    """Set the counters of each pool right. Returns pool -> (instances that will not come, why)."""
    found = {name: row.pool for name, row in rows.items() if row.counted == "booting"}
    found |= {
        name: live[name] for name in live.keys() - rows.keys() if _is_booting(control, counters, name, live[name])
    }
    lost = {}
    for pool in control.pools.values():
        item = counters.get(f"pool#{pool.id}", {})
        missing = int(item.get("booting", 0)) - sum(each == pool.id for each in found.values())
        if missing < 0:
            _unasked(control, pool, item, [name for name, each in found.items() if each == pool.id])
        elif missing > 0 and (why := _why(control, item)):
            lost[pool.id] = (missing, why)
            control.target.withdraw(pool, missing)
            _count(control, pool, item, -missing)
    return lost


def _is_booting(control: Control, counters: Mapping[str, Item], name: str, pool: str) -> bool:
    """Of an instance that is there and has no unfinished worker in the index. One of which no event has told becomes a
    worker now; one whose worker is gone is ended."""
    row = control.store.worker(name)
    if row is None:
        serves = str(counters.get(f"pool#{pool}", {}).get("serves", ""))
        return workers.create(control, name, pool, control.pools[pool].purchase, serves)
    if row.record.phase == "gone":
        control.target.stop(row, "orphan")
    return row.counted == "booting"


def _why(control: Control, item: Item) -> str:
    """Why what was ordered last will not come; "" while it may."""
    asked_ms = int(item.get("last_launch_ms", 0))
    if int(item.get("refused_ms", -1)) >= asked_ms:
        return str(item.get("refused")) or "capacity"
    overdue = control.now_ms() - asked_ms >= control.policy.settings.boot_timeout_ms
    return "not launched within the boot timeout" if overdue else ""


def _unasked(control: Control, pool: PoolSpec, item: Item, names: list[str]) -> None:
    """More workers boot than were counted: Auto Scaling has replaced an instance by itself. (The index may be late, so
    they are looked at.)"""
    rows = [control.store.worker(name) for name in names]
    surplus = sum(row is not None and row.counted == "booting" for row in rows) - int(item.get("booting", 0))
    if surplus > 0:
        _count(control, pool, item, surplus)


def _count(control: Control, pool: PoolSpec, item: Item, by: int) -> None:
    """Change the counters of the pool and of the class that it was last asked for, unless they have changed."""
    seen = int(item.get("booting", 0))
    failed = {"sets": {"last_launch": "failed"}, "removes": ["refused", "refused_ms"]} if by < 0 else {}
    changed = Write(
        control.store.tables.fleet,
        {"key": f"pool#{pool.id}"},
        adds={"booting": by},
        condition="#b = :b" if "booting" in item else "attribute_not_exists(#b)",
        names={"#b": "booting"},
        values={"b": seen} if "booting" in item else {},
        **failed,  # type: ignore[arg-type]
    )
    control.store.write(changed, control.store.counted(f"class#{item.get('serves', '')}", booting=by))
