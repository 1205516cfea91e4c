"""What a run meters: the records that the drivers write and the ledger prices. No price is known here.

Instance time is split by cause from the attempts, and kept apart from the instances' own times, so that the ledger can
add up both ways. Calls to services are counted by operation; the services data says what each one uses.
Times are integer milliseconds; a slot of an instance with n slots counts one n-th of the instance's time.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

INSTANCE_CAUSES = ("useful", "lost", "checkpoint", "failed", "boot", "idle", "minimum")
USEFUL, LOST, CHECKPOINT, FAILED, BOOT, IDLE, MINIMUM = range(7)

# how a job ended
UNFINISHED, DONE, GAVE_UP, CANCELLED, VANISHED = range(5)
STATUS_NAMES = ("unfinished", "done", "failed", "cancelled", "lost")


@dataclass(slots=True)
class PoolUse:
    """What one pool was used for. `ms` and `usd` by cause come from the attempts; `instance_*` from the instances.

    `free_ms` is time that EC2 does not charge (interrupted within the first hour, where that rule holds): it is in
    `ms` and `instance_ms` too, at no price.
    """

    pool: str
    ms: list[int] = field(default_factory=lambda: [0] * len(INSTANCE_CAUSES))
    usd: list[float] = field(default_factory=lambda: [0.0] * len(INSTANCE_CAUSES))
    instance_ms: int = 0
    instance_usd: float = 0.0
    list_usd: float = 0.0  # the same instance time at the on-demand list price
    free_ms: int = 0
    refunded_usd: float = 0.0  # what the free time would have cost
    instances: int = 0
    interruptions: int = 0
    launch_failures: int = 0


def _zeros(kind: str, count: int) -> array[int]:
    return array(kind, bytes(array(kind).itemsize * count))


class JobColumns:
    """One row a job, as flat arrays: 1 M jobs take 70 MB."""

    def __init__(self, count: int) -> None:
        self.first_start_ms = array("q", [-1]) * count
        self.end_ms = array("q", [-1]) * count
        self.useful_ms = _zeros("q", count)  # instance time of the work that counted
        self.lost_ms = _zeros("q", count)
        self.attempts = _zeros("i", count)
        self.interruptions = _zeros("i", count)
        self.status = _zeros("b", count)
        self.pool = array("h", [-1]) * count  # of the last attempt
        self.usd = array("d", bytes(8 * count))  # instance time of its attempts

    def __len__(self) -> int:
        return len(self.status)


@dataclass(slots=True)
class Tally:
    """All counters of a world."""

    jobs: JobColumns
    pools: list[PoolUse]
    operations: dict[str, int] = field(default_factory=dict)
    gib: dict[str, float] = field(default_factory=dict)  # staged data by direction: "in", "out"
    limits: dict[str, int] = field(default_factory=dict)  # how often a limit bit, by name
    attempts: int = 0
    duplicate_completions: int = 0
    stale_writes: int = 0
    orphan_workers: int = 0
    spot_work_ms: int = 0
    on_demand_work_ms: int = 0
    end_ms: int = 0  # when the last instance and the last job had ended
    head_node_ms: int = 0
    on_demand_usd_by_hour: dict[int, float] = field(default_factory=dict)  # for commitments; hour of the world -> USD
    samples: list[tuple[int, int, int, int, int]] = field(default_factory=list)  # at_ms, waiting, booting, busy, idle
    faults: dict[str, int] = field(default_factory=dict)  # injected faults that occurred, by name
    notes: list[str] = field(default_factory=list)

    def count(self, operation: str, times: int = 1) -> None:
        """Meter `times` operations of one name."""
        self.operations[operation] = self.operations.get(operation, 0) + times
