"""Records of the core by hand, and a walk through a machine's states, for the tests of the core. No test is in here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from scheduler.events import JobClaimed
from scheduler.job_record import Job, JobSpec, Rare, Ticket
from scheduler.observation import ClassCount, JobSight, Observation, PoolCount
from scheduler.policies.presets import DEFAULTS
from scheduler.policy import FleetView, Policy
from scheduler.settings import Settings
from scheduler.table import Machine, UnknownTransition
from scheduler.worker import Badge, Worker

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
KEY = "4x8GiB|spot|*"
RARE = {field.name for field in dataclasses.fields(Rare)}
BADGE = Badge("w1", "spot-a", "spot")


# records ------------------------------------------------------------------------------------------------------------
def policy_of(settings: Settings | None = None, **points: object) -> Policy:
    """Our defaults, with some points replaced."""
    return Policy(**{**DEFAULTS, **points}, settings=settings or Settings())  # type: ignore[arg-type]


def ticket(
    name: str = "a",
    *,
    submit_ms: int = 0,
    estimate_ms: int = -1,
    deadline_ms: int = -1,
    **spec: Any,
) -> Ticket:
    return Ticket(name, JobSpec("class", **spec), submit_ms, estimate_ms, deadline_ms)


def job(phase: str = "new", *, of: Ticket | None = None, **fields: Any) -> Job:
    rare = {name: fields.pop(name) for name in RARE & fields.keys()}
    return Job(of or ticket(), phase, rare=Rare(**rare), **fields)


def worker(phase: str = "booting", **fields: Any) -> Worker:
    return Worker(BADGE, phase, **fields)


def claimed(
    name: str = "a", epoch: int = 1, *, at_ms: int = 0, checkpointable: bool = True, **fields: Any
) -> JobClaimed:
    values = {"progress_ms": 0, "estimate_ms": -1, "timeout_ms": -1, "mtbf_ms": 0, **fields}
    return JobClaimed(at_ms, name, epoch, checkpointable=checkpointable, **values)


def need(key: str = KEY, purchase: str = "spot", **counts: Any) -> ClassCount:
    """A class of four vCPUs and 8 GiB."""
    values = {"queued": 0, "queued_work_ms": 0, "oldest_ms": -1, "busy": 0, "booting": 0, "idle": 0, **counts}
    return ClassCount(key, "4x8GiB", purchase, "*", values.pop("vcpus", 4.0), 8.0, 0, **values)


def pool(
    name: str = "spot-a", purchase: str = "spot", price: float = 0.07, most: int = 100, **fields: Any
) -> PoolCount:
    """A pool in which that class fits, and in which nothing has happened yet."""
    values: dict[str, Any] = {
        "instance_type": "c6i.xlarge", "az": "us-east-1a", "vcpus": 4, "memory_gib": 8.0, "gpus": 0,
        "on_demand_usd_per_hour": 0.17, "booting": 0, "busy": 0, "idle": 0, "last_launch": "", "last_launch_ms": 0,
        "interruptions": 0, "worker_ms": 0, "available_now": True, **fields,
    }  # fmt: skip
    return PoolCount(name, purchase=purchase, price_usd_per_hour=price, max=most, **values)


def sight(name: str = "a", phase: str = "queued", *, key: str = KEY, **fields: Any) -> JobSight:
    values: dict[str, Any] = {
        "purchase": "", "bound": "", "worker": "", "progress_ms": 0, "estimate_ms": 4 * HOUR, "submit_ms": 0,
        "deadline_ms": 8 * HOUR, **fields,
    }  # fmt: skip
    return JobSight(name, key, phase, **values)


def observation(
    classes: Iterable[ClassCount] = (),
    pools: Iterable[PoolCount] = (),
    jobs: Iterable[JobSight] = (),
    *,
    spent_usd: float = 0.0,
    budget_usd: float = 0.0,
    changeover_ms: int = 0,
    reaction_ms: int = 0,
) -> Observation:
    return Observation(tuple(classes), tuple(pools), tuple(jobs), spent_usd, budget_usd, changeover_ms, reaction_ms)


def view(seen: Observation, now_ms: int = 0) -> FleetView:
    """What a fleet policy sees at a tick, with the room that the fleet works out."""
    room = {each.id: max(0, each.max - each.booting - each.busy - each.idle) for each in seen.pools}
    return FleetView(now_ms, seen, room)


# walks --------------------------------------------------------------------------------------------------------------
class Step(NamedTuple):
    """One transition that a machine made."""

    before: Any
    event: Any
    after: Any
    commands: tuple[Any, ...]

    @property
    def row(self) -> tuple[str, type]:
        return self.before.phase, type(self.event)


class Refusal(NamedTuple):
    """An event for which the table has no row."""

    before: Any
    event: Any
    error: UnknownTransition


def walk(
    machine: Machine[Any], start: Iterable[Any], events: Callable[[Any], Iterator[Any]], policy: Policy
) -> tuple[list[Step], list[Refusal]]:
    """Every transition from every state that `start` leads to; `events(state)` are those that may come in it.

    The states must be finitely many: `events` gives none where counters grow beyond what the test is about.
    """
    found, refused = [], []
    seen, open_states = set(start), list(start)
    while open_states:
        before = open_states.pop()
        for event in events(before):
            try:
                after, commands = machine.step(before, event, policy)
            except UnknownTransition as error:
                refused.append(Refusal(before, event, error))
                continue
            found.append(Step(before, event, after, commands))
            if after not in seen:
                seen.add(after)
                open_states.append(after)
    return found, refused


def endings(steps: Iterable[Step]) -> dict[tuple[str, type], set[str]]:
    """For each row, the phases in which it was seen to end."""
    ends: dict[tuple[str, type], set[str]] = {}
    for step in steps:
        ends.setdefault(step.row, set()).add(step.after.phase)
    return ends


def declared(machine: Machine[Any]) -> dict[tuple[str, type], set[str]]:
    """For each row, the phases that it lists."""
    return {(phase, kind): set(row.to) for phase, rows in machine.table.items() for kind, row in rows.items()}
