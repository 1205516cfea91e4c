"""A short play in which every plug-in point is asked, for `policy check`: no simulator, only the core's steps."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from scheduler.observation import ClassCount, JobSight, Observation, PoolCount
from scheduler.policy import Policy
from scheduler.settings import Settings
from scheduler.table import Machine
from scheduler.worker import Badge, Worker
from spotbed.policies.compose import compose
from spotbed.scenario.models_policies import PolicyEntry

_HOUR_MS = 3_600_000
_HASH_SEEDS = ("1", "2", "3")
_KEY = "4x8GiB|spot|*"


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


def elsewhere(use: str) -> list[str]:
    """The decisions of the policy of that name in processes with other hash seeds, as `written`."""
    command = [sys.executable, "-c", f"import sys, {__name__} as here; here.tell(sys.argv[1])", use]
    environments = [{**os.environ, "PYTHONHASHSEED": seed} for seed in _HASH_SEEDS]
    running = [subprocess.Popen(command, env=each, stdout=subprocess.PIPE, text=True) for each in environments]
    return [process.communicate()[0].strip().rpartition("\n")[2] for process in running]


def _job_play(policy: Policy) -> list[Any]:
    spec = JobSpec("rehearsal", 4, 8, retries=2, checkpointable=True)
    script: list[Any] = [
        Submitted(0),
        Claimed(60_000, "w1"),
        AttemptEnded(120_000, "job-1", 1, INTERRUPTED, 0, 30_000),
        TimerFired(5 * _HOUR_MS, "reconsider"),
        Claimed(180_000, "w2"),
        AttemptEnded(240_000, "job-1", 2, FAILED, 1, 0),
        TimerFired(9 * _HOUR_MS, "delay"),
        Claimed(9 * _HOUR_MS, "w3"),
        AttemptEnded(10 * _HOUR_MS, "job-1", 3, DONE, 0, _HOUR_MS),
    ]
    return _play(job.MACHINE, Job(Ticket("job-1", spec, 0, _HOUR_MS, 6 * _HOUR_MS)), script, policy)


def _worker_play(policy: Policy) -> list[Any]:
    commands: list[Any] = []
    for last in (Notice(200_000, 120_000), Rebalance(200_000)):
        script = [Ready(60_000), JobClaimed(60_000, "job-1", 1, 0, _HOUR_MS, -1, True, 0), last]
        commands += _play(worker.MACHINE, Worker(Badge("w1", "p1", "spot")), script, policy)
    return commands


def _pool(name: str, purchase: str, price: float) -> PoolCount:
    return PoolCount(
        name, "c6i.xlarge", "us-east-1a", purchase, 4, 8.0, 0, 10, price, 0.17, 0, 1, 0, "ok", 0, 1, _HOUR_MS, True
    )


def _fleet_play(policy: Policy) -> list[Any]:
    need = ClassCount(_KEY, "4x8GiB", "spot", "*", 4, 8.0, 0, 5, 5 * _HOUR_MS, 0, 1, 0, 0)
    spot = [_pool(f"spot-{letter}", "spot", 0.06 + number / 100) for number, letter in enumerate("abcde")]
    pools = (*spot, _pool("od", "on-demand", 0.17))
    sight = JobSight("job-1", _KEY, "queued", "", "", "", 0, _HOUR_MS, 0, 6 * _HOUR_MS)
    seen = Observation((need,), pools, (sight,), 0.0, 0.0, 60_000)
    return _play(fleet.MACHINE, Fleet(), [Tick(hour * _HOUR_MS, seen) for hour in range(6)], policy)


def tell(use: str) -> None:
    """Rehearse the policy of that name, and write its decisions to stdout, as `written`."""
    composed = compose(PolicyEntry.model_validate({"use": use}), Path())
    sys.stdout.write(f"{written(rehearse(composed.policy(Settings())))}\n")
