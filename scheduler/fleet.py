"""The fleet role: one per queue. At each tick it looks at an `Observation` and orders launches and moves.

The number of workers follows `scale`, where they come from follows `place`, and `move` may send jobs with a deadline
elsewhere. A worker that boots is never stopped: it counts as capacity on its way. A spent budget ends launches, and
says so once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from scheduler.commands import BudgetReached, FleetCommand, Launch, Move, Route
from scheduler.events import InterruptionSeen, LaunchFailed, LaunchSucceeded, Tick
from scheduler.observation import ClassCount, JobSight
from scheduler.policy import FleetView, Policy
from scheduler.record import record
from scheduler.table import Machine, Row, stay


@record
class Fleet:
    """The fleet record. `version` counts its writes."""

    queue: str = "main"
    phase: str = "open"  # "open" | "closed": the budget is spent
    version: int = 0
    launched: int = 0
    failed_launches: int = 0
    interruptions: int = 0


Result: TypeAlias = tuple[Fleet, tuple[FleetCommand, ...]]


def _target_key(need: ClassCount, purchase: str) -> str:
    return class_key(need.shape, purchase, need.tenant)


def class_key(shape: str, purchase: str, tenant: str) -> str:
    """The name of a queue class: shape x purchase option x tenant."""
    return f"{shape}|{purchase}|{tenant}"


def _shift(needs: dict[str, ClassCount], sight: JobSight, purchase: str, leaves: bool) -> None:
    """The job will wait in the class bound to `purchase`; `leaves`: and no longer in its own."""
    need, seats = needs[sight.key], sight.seats
    work_ms = seats * max(0, sight.estimate_ms - sight.progress_ms)
    key = _target_key(need, purchase)
    if leaves:
        queued, left_ms = max(0, need.queued - seats), max(0, need.queued_work_ms - work_ms)
        needs[sight.key] = replace(need, queued=queued, queued_work_ms=left_ms)
    target = needs.get(key) or replace(
        need, key=key, purchase=purchase, queued=0, queued_work_ms=0, oldest_ms=-1, busy=0, booting=0, idle=0, seats=1
    )
    needs[key] = replace(
        target,
        queued=target.queued + seats,
        queued_work_ms=target.queued_work_ms + work_ms,
        seats=max(seats, target.seats),
    )


def _move(sight: JobSight, target: str, needs: dict[str, ClassCount]) -> list[FleetCommand]:
    if target == "stay":
        return []
    bound = "none" if target in ("wait", "pause") else target
    if sight.phase == "queued":
        if bound == sight.bound:
            return []
        _shift(needs, sight, bound, leaves=True)
        return [Route(sight.job, bound)]
    if target == sight.purchase or target == "wait" or not sight.worker:
        return []  # a leased job without a worker has lost it, and comes back to the queue when that is heard
    _shift(needs, sight, bound, leaves=False)
    return [Route(sight.job, bound), Move(sight.worker)]


def _moves(view: FleetView, policy: Policy, needs: dict[str, ClassCount]) -> list[FleetCommand]:
    commands: list[FleetCommand] = []
    counted = frozenset(needs)
    for sight in view.observation.jobs:
        if sight.key in counted:  # else the counters are older than the records, and know the class at the next tick
            commands += _move(sight, policy.move.target(sight, view), needs)
    return commands


def _launches(view: FleetView, policy: Policy, needs: dict[str, ClassCount], room: dict[str, int]) -> list[Launch]:
    commands = []
    for need in needs.values():
        missing = policy.scale.desired(view, need) - (need.busy + need.booting + need.idle)
        if missing <= 0:
            continue
        for pool, count in policy.place.choose(view, need, missing):
            count = min(count, room[pool], missing)
            if count > 0:
                room[pool] -= count
                missing -= count
                commands.append(Launch(pool, count, need.key))
    return commands


def tick(fleet: Fleet, event: Tick, policy: Policy) -> Result:
    seen = event.observation
    if seen.budget_usd and seen.spent_usd >= seen.budget_usd:
        closed = replace(fleet, phase="closed", version=fleet.version + 1)
        return closed, (BudgetReached(seen.spent_usd, seen.budget_usd),)
    room = {pool.id: max(0, pool.max - pool.booting - pool.busy - pool.idle) for pool in seen.pools}
    view = FleetView(event.at_ms, seen, room)
    needs = {need.key: need for need in seen.classes}
    commands: list[FleetCommand] = _moves(view, policy, needs) if policy.move.moves else []
    launches = _launches(view, policy, needs, room)
    if not launches:
        return fleet, tuple(commands)
    launched = fleet.launched + sum(launch.count for launch in launches)
    return replace(fleet, version=fleet.version + 1, launched=launched), (*commands, *launches)


def launch_failed(fleet: Fleet, event: LaunchFailed, policy: Policy) -> Result:
    return replace(fleet, version=fleet.version + 1, failed_launches=fleet.failed_launches + event.count), ()


def interruption_seen(fleet: Fleet, event: InterruptionSeen, policy: Policy) -> Result:
    return replace(fleet, version=fleet.version + 1, interruptions=fleet.interruptions + 1), ()


TABLE: dict[str, dict[type, Row]] = {
    "open": {
        Tick: Row(tick, ("open", "closed"), "scale, place, move"),
        LaunchSucceeded: Row(stay, ("open",)),
        LaunchFailed: Row(launch_failed, ("open",)),
        InterruptionSeen: Row(interruption_seen, ("open",)),
    },
    "closed": {
        Tick: Row(stay, ("closed",), "the budget is spent"),
        LaunchSucceeded: Row(stay, ("closed",)),
        LaunchFailed: Row(launch_failed, ("closed",)),
        InterruptionSeen: Row(interruption_seen, ("closed",)),
    },
}

MACHINE: Machine[Fleet] = Machine("fleet", "open", TABLE)
step = MACHINE.step
