"""The decoupled scheduler on AWS: what its functions do, with everything that they need handed in.

One `Control` is what a function has: the tables, the policy, the plugs through which instances, executions and
messages are reached, and a clock. Times are integer milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aws.checkout import Checkout
from aws.drops import Folders
from aws.measures import UNWATCHED, Measures
from aws.store import Store, WorkerRow
from scheduler.commands import Checkpoint, Start
from scheduler.policy import Policy

OWN = "own"  # in place of a purchase option, of workers whose instance somebody launched and tagged


@dataclass(frozen=True)
class PoolSpec:
    """A pool of the plan. `group` is the Auto Scaling group that holds its instances; sizes are those of a slot."""

    id: str
    instance_type: str
    az: str
    purchase: str
    max: int
    vcpus: float
    memory_gib: float
    gpus: int
    on_demand_usd_per_hour: float
    group: str = ""
    os: str = "linux"  # which of our documents runs attempts there


@dataclass(frozen=True)
class Launched:
    """How many instances were granted, the workers that are known already, and why there are not more."""

    granted: int
    names: Sequence[str] = ()
    reason: str = ""


class Target(Protocol):
    """Where attempts run: SSM on EC2, or the processes of a local fleet. Everything may be asked twice."""

    def start(self, worker: WorkerRow, command: Start) -> bool:
        """Start the wrapper; False when the instance is gone."""
        ...

    def checkpoint(self, worker: WorkerRow, command: Checkpoint) -> None:
        """Tell the wrapper to write a checkpoint and end the attempt."""
        ...

    def stop(self, worker: WorkerRow, reason: str) -> None:
        """Terminate the instance, if it is there."""
        ...

    def protect(self, worker: WorkerRow, on: bool) -> None: ...

    def launch(self, pool: PoolSpec, count: int, command_id: str) -> Launched:
        """Ask for instances, once for each command id."""
        ...

    def withdraw(self, pool: PoolSpec, count: int) -> None:
        """Ask no longer for instances that have not come."""
        ...

    def live(self) -> Mapping[str, str]:
        """Workers whose instances are there -> the ids of their pools."""
        ...

    def price_usd_per_hour(self, pool: PoolSpec) -> float: ...


class Executions(Protocol):
    """Step Functions."""

    def start(self, worker: str, generation: int) -> None:
        """Start the execution {worker}-{generation}, unless it has been started."""
        ...

    def answer(self, token: str) -> None:
        """Let the parked execution go on. A token that has timed out is no error."""
        ...


class Hints(Protocol):
    """Tells idle workers that a job may be waiting."""

    def wake(self, worker: str, event_id: str) -> None:
        """Let Deliver hear `Woken` for the worker, soon and not within this call."""
        ...


class Timers(Protocol):
    """Timers of jobs: delays of retries, and when to ask again where a job may run."""

    def set(self, job_id: str, after_ms: int) -> None:
        """Call `jobs.expire` for the job after this time; the reaper finds what was forgotten."""
        ...


class JournalSink(Protocol):
    """Takes what the roles hear and order (spotbed.journal.Journal, or lines of a log)."""

    def step(self, role: str, subject: str, event: Any, commands: Sequence[Any]) -> None: ...

    def fact(self, at_ms: int, kind: str, subject: str, body: dict[str, Any]) -> None:
        """What no role decides: what a job is, where a worker runs, when an attempt began and ended."""
        ...


class Messages(Protocol):
    """What others are told: ends of jobs, and transitions on the bus."""

    def ended(self, job_id: str, phase: str, reason: str, more: Mapping[str, Any] = {}) -> None:
        """A job has ended, or a message was no job; `more` as in aws.attempts.told."""
        ...

    def moved(self, job_id: str, before: str, after: str) -> None:
        """A job has gone from one phase to another; nobody is told twice, and it may be that nobody is told."""
        ...


class Results(Protocol):
    """What wrappers have kept in the bucket."""

    def within(self, buckets: tuple[str, ...]) -> Results:
        """The same of other buckets."""
        ...

    def ends(self, job_id: str, members: int = 1) -> Mapping[int, str]:
        """Attempt -> how it ended, of those whose log was kept; of so many members, well if all of them did."""
        ...

    def holds(self, prefix: str) -> bool:
        """Whether anything lies below a prefix."""
        ...


@dataclass(frozen=True)
class Control:
    """What a function has. `now_ms` is the only clock."""

    store: Store
    policy: Policy
    target: Target
    executions: Executions
    messages: Messages
    timers: Timers
    hints: Hints
    journal: JournalSink
    pools: Mapping[str, PoolSpec]
    now_ms: Callable[[], int]
    budget_usd: float = 0.0
    launches: bool = True  # the kill switch: off, nothing is launched, and what runs goes on
    folders: Folders | None = None  # the teams' buckets, for the function that takes in what is dropped there
    ours: str = ""  # the prefix below which we write, in any bucket
    tells_all: bool = False  # whether each transition of a job is published, or its end only
    checkout: Checkout | None = None  # who is asked before a job with licences starts
    measures: Measures = UNWATCHED
    audit_ms: int = 0  # how often the fleet looks for lost jobs; 0 for never
    launch_stop_after: int = 0  # workers of a pool in a row that were never ready; then it launches no more. 0: goes on
    keep_ms: int = 0  # how long an ended job stays in the table; 0 for ever
    results: Results | None = None  # what wrappers have kept, for a rebuild after a loss of tables
