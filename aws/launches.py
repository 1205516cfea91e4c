"""What was asked for and what came: instances that Auto Scaling never launched, launched unasked, or of which no event
told. The counters of booting workers are set right, so that nothing waits for what does not come.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aws import workers
from aws.control import Control, Launched, PoolSpec
from aws.store import Item, WorkerRow, Write
from scheduler.commands import Launch

LONGEST_REASON = 200  # characters of what Auto Scaling says
ASKED = "asked#"  # of a pool's item, before a class: instances that were asked for it and have not come


def expect(control: Control, identity: str, order: Launch, usd_per_hour: float) -> None:
    """Write down what Auto Scaling's word of an instance finds, before it can come: for which classes instances are,
    and what the costs of jobs are estimated with."""
    changed = Write(
        control.store.tables.fleet,
        {"key": f"pool#{order.pool}"},
        sets={"serves": order.serves, "usd_per_hour": usd_per_hour, "asked_id": identity},
        adds={ASKED + order.serves: order.count},
        condition="attribute_not_exists(#k) OR #k <> :id",  # else the order is performed again
        names={"#k": "asked_id"},
        values={"id": identity},
    )
    control.store.write(changed)


def unexpected(order: Launch, launched: Launched) -> dict[str, int]:
    """The change of what is expected, once it is known which instances will not come, or have come with the answer."""
    return {ASKED + order.serves: -due} if (due := order.count - launched.granted + len(launched.names)) else {}


def arrived(control: Control, pool: PoolSpec, name: str) -> bool:
    """An instance becomes a worker, of a class for which its pool was asked and that still waits for one. Those of a
    group are alike: which of them is for which class does not matter, how many are does. One that nobody has asked for
    is of the class that was asked for last."""
    serves = _expected(control, pool) if control.store.worker(name) is None else ""
    return workers.create(control, name, pool.id, pool.purchase, serves)


def _expected(control: Control, pool: PoolSpec) -> str:
    table, key = control.store.tables.fleet, {"key": f"pool#{pool.id}"}
    item = control.store.read(table, key) or {}
    for serves in _asked(item):
        one = Write(
            table,
            key,
            adds={ASKED + serves: -1},
            condition="#n > :zero",
            names={"#n": ASKED + serves},
            values={"zero": 0},
        )
        if control.store.write(one):
            return serves
    return str(item.get("serves", ""))


def _asked(item: Item) -> dict[str, int]:
    """Class -> how many instances it still waits for."""
    found = {name.removeprefix(ASKED): int(count) for name, count in sorted(item.items()) if name.startswith(ASKED)}
    return {serves: count for serves, count in found.items() if count > 0}


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
    found |= {name: live[name] for name in live.keys() - rows.keys() if _is_booting(control, name, live[name])}
    lost = {}
    for pool in control.pools.values():
        item = counters.get(f"pool#{pool.id}", {})
        missing = int(item.get("booting", 0)) - sum(each == pool.id for each in found.values())
        if missing < 0:
            _unasked(control, pool, item, [name for name, each in found.items() if each == pool.id])
        elif missing > 0 and (why := _why(control, item)):
            lost[pool.id] = (missing, why)
            control.target.withdraw(pool, missing)
            _count(control, pool, item, _withdrawn(item, missing))
    return lost


def _is_booting(control: Control, name: str, pool: str) -> bool:
    """Of an instance that is there and has no unfinished worker in the index. One of which no event has told becomes a
    worker now; one whose worker is gone is ended."""
    row = control.store.worker(name)
    if row is None:
        return arrived(control, control.pools[pool], name)
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
        _count(control, pool, item, {str(item.get("serves", "")): surplus})


def _withdrawn(item: Item, missing: int) -> dict[str, int]:
    """Class -> by how much less boots for it, when so many do not come."""
    taken: dict[str, int] = {}
    for serves, count in _asked(item).items():
        taken[serves] = -min(count, missing + sum(taken.values()))
    last = str(item.get("serves", ""))
    taken[last] = taken.get(last, 0) - (missing + sum(taken.values()))
    return taken


def _count(control: Control, pool: PoolSpec, item: Item, changes: Mapping[str, int]) -> None:
    """Change the counters of the pool and of these classes, unless the pool's have changed."""
    seen, by = int(item.get("booting", 0)), sum(changes.values())
    given_up = {serves: min(count, -changes.get(serves, 0)) for serves, count in _asked(item).items()}
    failed = {"sets": {"last_launch": "failed"}, "removes": ["refused", "refused_ms"]} if by < 0 else {}
    changed = Write(
        control.store.tables.fleet,
        {"key": f"pool#{pool.id}"},
        adds={"booting": by} | {ASKED + serves: -gone for serves, gone in given_up.items() if gone > 0},
        condition="#b = :b" if "booting" in item else "attribute_not_exists(#b)",
        names={"#b": "booting"},
        values={"b": seen} if "booting" in item else {},
        **failed,  # type: ignore[arg-type]
    )
    counted = [control.store.counted(f"class#{serves}", booting=change) for serves, change in changes.items() if change]
    control.store.write(changed, *counted)
