"""Facts. What a role hears: past tense or nouns, with the time at which it became known (integer milliseconds).

An event carries everything that the step may need from outside: the core asks no clock and reads no table.
"""

from __future__ import annotations

from typing import TypeAlias

from scheduler.observation import Observation
from scheduler.record import record

# Causes of the end of an attempt. The first column of facts: who is to blame decides whether a retry is spent.
DONE = "done"
FAILED = "failed"  # exit code other than zero
STRING_MISSING = "string-missing"  # exit code zero, success string not in the output
TIMEOUT = "timeout"  # the job's own time limit
INTERRUPTED = "interrupted"  # EC2 took the instance
CHECKPOINTED = "checkpointed"  # we asked the attempt to write a checkpoint and leave
RELEASED = "released"  # we let the attempt go without a checkpoint, for the job to run elsewhere
LEASE_LOST = "lease-lost"  # no sign of life for a whole lease
UNSTARTED = "unstarted"  # claimed, but the worker had to go before the start
INFRASTRUCTURE = frozenset({INTERRUPTED, CHECKPOINTED, RELEASED, LEASE_LOST, UNSTARTED})


# What a worker hears ------------------------------------------------------------------------------------------------
@record
class Ready:
    """The agent on the instance has registered."""

    at_ms: int


@record
class JobClaimed:
    """The conditional write of a new epoch succeeded: this worker holds the lease. `mtbf_ms` is what the fleet has
    measured between interruptions in this pool, 0 when it has seen none."""

    at_ms: int
    job: str
    epoch: int
    progress_ms: int
    estimate_ms: int
    timeout_ms: int
    checkpointable: bool
    mtbf_ms: int


@record
class NothingToClaim:
    """The index held no job that may start here now. `gathers`: a gang that fits here waits for more workers."""

    at_ms: int
    gathers: bool = False


@record
class Woken:
    """A hint that a job may be waiting."""

    at_ms: int


@record
class AttemptEnded:
    """The wrapper reports the end of an attempt (to the worker), or a worker reports it (to the job).

    `progress_ms` is the work that is safe: all of it when done, else that of the last whole checkpoint; -1 when the
    reporter cannot know, and the record's last value stands.
    """

    at_ms: int
    job: str
    epoch: int
    cause: str
    exit_code: int
    progress_ms: int


@record
class Notice:
    """EC2's interruption notice: the instance goes in `lead_ms`."""

    at_ms: int
    lead_ms: int


@record
class Rebalance:
    """EC2's rebalance recommendation: the risk of an interruption is elevated."""

    at_ms: int


@record
class Lost:
    """The instance is gone, by whatever hand."""

    at_ms: int


@record
class TimerFired:
    at_ms: int
    name: str


@record
class StopOrdered:
    """The fleet or the user wants this worker to end after what it does now."""

    at_ms: int
    reason: str


@record
class MoveOrdered:
    """The running attempt shall leave this worker; its job goes elsewhere."""

    at_ms: int


# What a job hears ---------------------------------------------------------------------------------------------------
@record
class Submitted:
    at_ms: int


@record
class DependencyMet:
    """One of the jobs that this one waits for has ended well, and `left` of them have not ended: told twice, or late,
    it changes nothing."""

    at_ms: int
    left: int


@record
class DependencyFailed:
    at_ms: int


@record
class Claimed:
    """A worker asks for the job under a new epoch."""

    at_ms: int
    worker: str


@record
class LeaseExpired:
    """No sign of life for a whole lease. `progress_ms` is the work that the last renewal said is safe in a checkpoint,
    -1 when none said anything: the record's value then stands."""

    at_ms: int
    epoch: int
    progress_ms: int = -1


@record
class Routed:
    """The fleet wants the job to run on this purchase option ("any", "spot", "on-demand", "none")."""

    at_ms: int
    purchase: str


@record
class Cancelled:
    at_ms: int


# What the fleet hears -----------------------------------------------------------------------------------------------
@record
class Tick:
    at_ms: int
    observation: Observation


@record
class LaunchSucceeded:
    at_ms: int
    pool: str
    count: int


@record
class LaunchFailed:
    at_ms: int
    pool: str
    count: int
    reason: str


@record
class InterruptionSeen:
    at_ms: int
    pool: str


WorkerEvent: TypeAlias = (
    Ready
    | JobClaimed
    | NothingToClaim
    | Woken
    | AttemptEnded
    | Notice
    | Rebalance
    | Lost
    | TimerFired
    | StopOrdered
    | MoveOrdered
)
JobEvent: TypeAlias = (
    Submitted
    | DependencyMet
    | DependencyFailed
    | Claimed
    | AttemptEnded
    | LeaseExpired
    | Routed
    | TimerFired
    | Cancelled
)
FleetEvent: TypeAlias = Tick | LaunchSucceeded | LaunchFailed | InterruptionSeen
Event: TypeAlias = WorkerEvent | JobEvent | FleetEvent
