"""A short play in which every plug-in point is asked, for `policy check`: no simulator, only the core's steps."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scheduler import fleet, job, worker
from scheduler.events import (
    DONE,
    FAILED,
    INTERRUPTED,
    AttemptEnded,
    Claimed,
    JobClaimed,
    Notice,
    Ready,
    Rebalance,
    Submitted,
    Tick,
    TimerFired,
)
from scheduler.fleet import Fleet
from scheduler.job_record import Job, JobSpec, Ticket
from scheduler.policy import Policy
from scheduler.settings import Settings
from scheduler.table import Machine
from scheduler.worker import Badge, Worker
from spotbed.guard import PolicyFailure
from spotbed.policies.battery import answers
from spotbed.policies.compose import compose
from spotbed.policies.examples import HOUR, a_class, a_pool, a_sight, a_view
from spotbed.scenario.models_policies import PolicyEntry

_HASH_SEEDS = ("1", "2")


def rehearse(policy: Policy) -> list[Any]:
    """All commands that the policy's machines give in the play."""
    return [*_job_play(policy), *_worker_play(policy), *_fleet_play(policy)]


def _play(machine: Machine[Any], state: Any, script: Sequence[Any], policy: Policy) -> list[Any]:
    """What a machine orders when it hears a script."""
    commands: list[Any] = []
    for event in script:
        state, given = machine.step(state, event, policy)
        commands += given
    return commands


def written(decisions: Sequence[Any]) -> str:
    """Decisions as a text to compare across processes."""
    return hashlib.sha256(repr(decisions).encode()).hexdigest()


class Told(NamedTuple):
    """What a process told of its rehearsal: its decisions, as `written`, or why there are none."""

    decisions: str
    failure: str = ""


def elsewhere(entry: PolicyEntry) -> list[Told]:
    """The decisions of a policy in processes with other hash seeds, from which nothing leads outside."""
    command = [sys.executable, "-c", f"import sys, {__name__} as here; here.tell(sys.argv[1])"]
    command.append(entry.model_dump_json(by_alias=True, exclude_none=True))
    environments = [{**os.environ, "PYTHONHASHSEED": seed} for seed in _HASH_SEEDS]
    running = [subprocess.Popen(command, env=each, stdout=subprocess.PIPE, text=True) for each in environments]
    return [Told(**json.loads(process.communicate()[0].strip().rpartition("\n")[2])) for process in running]


def _job_play(policy: Policy) -> list[Any]:
    spec = JobSpec("rehearsal", 4, 8, retries=2, checkpointable=True)
    script: list[Any] = [
        Submitted(0),
        Claimed(60_000, "w1"),
        AttemptEnded(120_000, "job-1", 1, INTERRUPTED, 0, 30_000),
        TimerFired(5 * HOUR, "reconsider"),
        Claimed(180_000, "w2"),
        AttemptEnded(240_000, "job-1", 2, FAILED, 1, 0),
        TimerFired(9 * HOUR, "delay"),
        Claimed(9 * HOUR, "w3"),
        AttemptEnded(10 * HOUR, "job-1", 3, DONE, 0, HOUR),
    ]
    return _play(job.MACHINE, Job(Ticket("job-1", spec, 0, HOUR, 6 * HOUR)), script, policy)


def _worker_play(policy: Policy) -> list[Any]:
    commands: list[Any] = []
    for last in (Notice(200_000, 120_000), Rebalance(200_000)):
        script = [Ready(60_000), JobClaimed(60_000, "job-1", 1, 0, HOUR, -1, True, 0), last]
        commands += _play(worker.MACHINE, Worker(Badge("w1", "p1", "spot")), script, policy)
    return commands


def _fleet_play(policy: Policy) -> list[Any]:
    need = a_class(queued=5, queued_work_ms=5 * HOUR, oldest_ms=0, booting=1)
    lived: dict[str, Any] = {"idle": 1, "last_launch": "ok", "interruptions": 1, "worker_ms": HOUR}
    spot = [a_pool(f"spot-{letter}", price_usd_per_hour=0.06 + n / 100, **lived) for n, letter in enumerate("abcde")]
    pools = (*spot, a_pool("od", "on-demand", **lived))
    seen = a_view([need], pools, [a_sight(estimate_ms=HOUR, deadline_ms=6 * HOUR)], changeover_ms=60_000).observation
    return _play(fleet.MACHINE, Fleet(), [Tick(hour * HOUR, seen) for hour in range(6)], policy)


def tell(entry: str) -> None:
    """Rehearse the policy of an entry, as JSON, in this process, which is sealed; write what came of it to stdout."""
    from spotbed.policies.seal import seal

    composed = compose(PolicyEntry.model_validate_json(entry), Path())
    policy = composed.policy(Settings())
    write = sys.stdout.write
    seal()
    try:
        told = Told(written([*rehearse(policy), *answers(policy, composed.parts)]))
    except PolicyFailure as failure:
        told = Told("", failure.problem.message)
    write(f"{json.dumps(told._asdict())}\n")
