"""What a policy is given, by hand: for the tests of a policy of one's own, and for `policy check`.

All have defaults that make an ordinary case, so a test names only what it is about:
`a_job(ticket=a_ticket(deadline_ms=HOUR), failures=2)`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from scheduler.central_record import QueueView, Running, Waiting
from scheduler.events import JobClaimed
from scheduler.job_record import Job, JobSpec, Rare, Ticket
from scheduler.observation import ClassCount, JobSight, Observation, PoolCount
from scheduler.ordered import Ordered
from scheduler.policy import FleetView

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
SHAPE, CLASS = "4x8GiB", "4x8GiB|spot|*"
_RARE = frozenset(field.name for field in dataclasses.fields(Rare))


def a_ticket(name: str = "job-1", *, submit_ms: int = 0, estimate_ms: int = -1, deadline_ms: int = -1,
             slots: int = 1, **spec: Any) -> Ticket:  # fmt: skip
    """What is fixed at the submission; `spec` are fields of JobSpec, such as vcpus or priority."""
    shape = JobSpec(**{"name": "example", "vcpus": 4.0, "memory_gib": 8.0, **spec})
    return Ticket(name, shape, submit_ms, estimate_ms, deadline_ms, slots)


def a_job(phase: str = "queued", *, ticket: Ticket | None = None, **fields: Any) -> Job:
    """A job's record; `fields` are those of Job and of Rare, such as progress_ms or failures."""
    rare = Rare(**{name: fields.pop(name) for name in _RARE & fields.keys()})
    return Job(ticket or a_ticket(), phase, rare=rare, **fields)


def a_class(key: str = CLASS, purchase: str = "spot", **counts: Any) -> ClassCount:
    """A class of jobs of 4 vCPUs and 8 GiB; `counts` are fields of ClassCount, such as queued or busy."""
    values = {"queued": 0, "queued_work_ms": 0, "oldest_ms": -1, "busy": 0, "booting": 0, "idle": 0, **counts}
    return ClassCount(key, SHAPE, purchase, "*", 4.0, 8.0, 0, **values)


def a_pool(name: str = "spot-a", purchase: str = "spot", **fields: Any) -> PoolCount:
    """A pool of c6i.xlarge in which nothing has happened; `fields` are those of PoolCount."""
    values: dict[str, Any] = {
        "instance_type": "c6i.xlarge", "az": "us-east-1a", "vcpus": 4, "memory_gib": 8.0, "gpus": 0, "max": 10,
        "price_usd_per_hour": 0.06 if purchase == "spot" else 0.17, "on_demand_usd_per_hour": 0.17,
        "booting": 0, "busy": 0, "idle": 0, "last_launch": "", "last_launch_ms": 0, "interruptions": 0,
        "worker_ms": 0, "available_now": True, **fields,
    }  # fmt: skip
    return PoolCount(name, purchase=purchase, **values)


def a_sight(name: str = "job-1", phase: str = "queued", **fields: Any) -> JobSight:
    """A job with a deadline as the fleet sees it: four hours of work, eight hours of time."""
    values: dict[str, Any] = {
        "key": CLASS, "purchase": "", "bound": "", "worker": "", "progress_ms": 0, "estimate_ms": 4 * HOUR,
        "submit_ms": 0, "deadline_ms": 8 * HOUR, **fields,
    }  # fmt: skip
    return JobSight(name, phase=phase, **values)


def a_view(
    classes: Iterable[ClassCount] = (),
    pools: Iterable[PoolCount] = (),
    jobs: Iterable[JobSight] = (),
    *,
    now_ms: int = 0,
    changeover_ms: int = 0,
    reaction_ms: int = 0,
) -> FleetView:
    """What the fleet's policies see at a tick, with the room that the pools have."""
    seen = Observation(tuple(classes), tuple(pools), tuple(jobs), 0.0, 0.0, changeover_ms, reaction_ms)
    room = {each.id: max(0, each.max - each.booting - each.busy - each.idle) for each in seen.pools}
    return FleetView(now_ms, seen, room)


def a_claim(**fields: Any) -> JobClaimed:
    """A worker has claimed a job that can be checkpointed."""
    values = {"at_ms": 0, "job": "job-1", "epoch": 1, "progress_ms": 0, "estimate_ms": -1, "timeout_ms": -1,
              "checkpointable": True, "mtbf_ms": 0, **fields}  # fmt: skip
    return JobClaimed(**values)


def a_queue(waiting: Iterable[tuple[int, int]], *, free: int, running: Iterable[tuple[int, int]] = (),
            now_ms: int = 0) -> QueueView:  # fmt: skip
    """What `select` sees. `waiting` are (slots, estimate_ms) in order, `running` (slots, end of the estimate)."""
    jobs = [
        Waiting((float(place), place), f"job-{place}", slots, estimate_ms, 0)
        for place, (slots, estimate_ms) in enumerate(waiting)
    ]
    runs = [Running((float(end_ms), place), f"run-{place}", slots, ()) for place, (slots, end_ms) in enumerate(running)]
    queue = Ordered()
    for job in jobs:
        queue = queue.add(job)
    return QueueView(now_ms, free, sorted(runs, key=lambda each: each.place), None, queue, None)
