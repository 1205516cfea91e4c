"""The job record: what the table holds of a job. The record is the job."""

from __future__ import annotations

from scheduler.record import record


@record
class JobSpec:
    """What all jobs of a class share. Times in milliseconds; -1 stands for none."""

    name: str
    vcpus: float = 1.0
    memory_gib: float = 0.0
    gpus: int = 0
    priority: int = 0
    tenant: str = "default"
    retries: int = 3
    checkpointable: bool = False
    timeout_ms: int = -1
    gang: int = 1
    licences: tuple[tuple[str, int], ...] = ()


@record
class Ticket:
    """What is fixed at the submission."""

    id: str
    spec: JobSpec
    submit_ms: int
    estimate_ms: int = -1
    deadline_ms: int = -1
    slots: int = 1  # processors of a fixed cluster


@record
class Rare:
    """What few jobs have, apart from what changes with each step."""

    failures: int = 0  # of the application; interruptions never count here
    interruptions: int = 0
    delayed_ms: int = 0  # time spent in retry delays so far
    waiting_for: int = 0  # unfinished dependencies
    bound: str = ""  # set by the fleet's Route, stronger than the place policy
    exit_code: int = 0  # of the last attempt that failed
    alike: int = 0  # how many failures in a row ended with that exit code
    last_delay_ms: int = 0  # of the last retry


@record
class Job:
    """The part of the record that changes. `epoch` counts leases: a write under an older epoch is refused."""

    ticket: Ticket
    phase: str = "new"
    epoch: int = 0
    progress_ms: int = 0  # work that is safe in a checkpoint
    purchase: str = "any"  # the index in which the job waits
    rare: Rare = Rare()

    @property
    def failures(self) -> int:
        """Attempts that ended because the application failed; interruptions never count here."""
        return self.rare.failures

    @property
    def interruptions(self) -> int:
        """Attempts that ended because EC2 took the instance, or gave no sign of life."""
        return self.rare.interruptions

    @property
    def delayed_ms(self) -> int:
        """Time spent in retry delays so far."""
        return self.rare.delayed_ms

    @property
    def waiting_for(self) -> int:
        """Unfinished dependencies."""
        return self.rare.waiting_for

    @property
    def bound(self) -> str:
        """The purchase option that the fleet has set, stronger than the place policy; "" for none."""
        return self.rare.bound
