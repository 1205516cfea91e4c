"""Orders. What a role wants done: imperative. Performing a command twice must be harmless.

A command's id is derived from the record that gave it (subject, version, position): see `command_id`. Commands that
concern "this worker" or "this job" do not repeat whose they are: the step that returns them knows.
"""

from __future__ import annotations

from typing import TypeAlias

from scheduler.record import record


# Of a worker --------------------------------------------------------------------------------------------------------
@record
class Claim:
    """Read the first candidates in queue order and take one under a new epoch."""


@record
class Start:
    """Run the job on this worker. `checkpoint_every_ms` is the work between two checkpoints, 0 for none, and -1 for
    progress kept to the millisecond (a model for papers, which cannot be deployed)."""

    job: str
    epoch: int
    checkpoint_every_ms: int
    timeout_ms: int


@record
class Checkpoint:
    """Tell the wrapper to write a checkpoint now and end the attempt with cause `checkpointed`."""

    job: str
    epoch: int


@record
class Complete:
    """Report success to the job, fenced by the epoch."""

    job: str
    epoch: int


@record
class Fail:
    """Report that the application failed, fenced by the epoch."""

    job: str
    epoch: int
    cause: str
    exit_code: int
    progress_ms: int


@record
class Release:
    """Give the job back for a reason that is not the job's fault, fenced by the epoch."""

    job: str
    epoch: int
    cause: str
    progress_ms: int


@record
class Protect:
    """Set or clear the group's protection of this instance against scale-in."""

    on: bool


@record
class Stop:
    """Terminate the instance."""

    reason: str


@record
class SetTimer:
    name: str
    after_ms: int


@record
class RollOver:
    """Start the next execution of this worker's state machine before the history limit, and end this one."""

    generation: int


# Of a job -----------------------------------------------------------------------------------------------------------
@record
class Queue:
    """Put the job into the index of its class under this sort key; `purchase` restricts where it may run."""

    key: float
    purchase: str


@record
class Unqueue:
    """Take the job out of the index."""


@record
class Delay:
    """Queue the job again after this time."""

    after_ms: int


@record
class GiveUp:
    """No more attempts: dead letter."""

    reason: str


@record
class ReleaseDependants:
    """Tell the jobs that wait for this one how it ended."""

    done: bool


# Of the fleet -------------------------------------------------------------------------------------------------------
@record
class Launch:
    """Ask for `count` instances in a pool; `serves` is the class of work for which they are wanted."""

    pool: str
    count: int
    serves: str


@record
class StopWorker:
    worker: str
    reason: str


@record
class Route:
    """Tell the job on which purchase option it shall run."""

    job: str
    purchase: str


@record
class Move:
    """Tell the worker to let its attempt go."""

    worker: str


@record
class BudgetReached:
    """No more launches: the budget is spent. Said once."""

    spent_usd: float
    budget_usd: float


@record
class SetDesired:
    """Set the desired capacity of the Auto Scaling group (the 2019 scheduler's only scaling call)."""

    count: int


WorkerCommand: TypeAlias = Claim | Start | Checkpoint | Complete | Fail | Release | Protect | Stop | SetTimer | RollOver
JobCommand: TypeAlias = Queue | Unqueue | Delay | SetTimer | GiveUp | ReleaseDependants
FleetCommand: TypeAlias = Launch | StopWorker | Route | Move | BudgetReached | SetDesired
Command: TypeAlias = WorkerCommand | JobCommand | FleetCommand


def command_id(subject: str, version: int, position: int) -> str:
    """The id under which a repeated command is recognised: same record, same version, same place in the list."""
    return f"{subject}/{version}/{position}"
