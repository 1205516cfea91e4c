"""List schedules on c machines (Graham 1966, 1969): never above (2 - 1/c) of the optimum, longest first never above
(4/3 - 1/(3c)). Random instances through the cluster driver, the optimum by trying every assignment.

A cell is ORDER/STATISTIC: list (first come, first served) or lpt; `violations` counts instances above the bound,
`worst` is the largest share of the bound that was reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scheduler.job_record import Job
from scheduler.policies.order import Fifo
from sim.inputs import Int64
from spotbed.published.judge import Measured
from spotbed.published.queueing import cluster_starts

FILES: tuple[str, ...] = ()
INSTANCES = 10_000
_SEED, _MOST_JOBS, _MOST_MACHINES, _LONGEST_MS = 4, 8, 3, 50


@dataclass(frozen=True)
class LongestFirst:
    """LPT: the longest estimate first."""

    def key(self, job: Job) -> float:
        """The lowest is first."""
        return -float(job.ticket.estimate_ms)


def bound(order: str, machines: int) -> float:
    """Of the makespan over the optimum."""
    return 2 - 1 / machines if order == "list" else 4 / 3 - 1 / (3 * machines)


def optimum(runtime: Int64, machines: int) -> int:
    """The least makespan: the largest load of every assignment of jobs to machines."""
    return int(_loads(len(runtime), machines, runtime).max(axis=0).min())


def _loads(jobs: int, machines: int, runtime: Int64) -> npt.NDArray[np.int64]:
    """(machines, assignments): the load of each machine."""
    chosen = _assignments(jobs, machines)
    return np.stack([(runtime[:, None] * (chosen == machine)).sum(axis=0) for machine in range(machines)])


@cache
def _assignments(jobs: int, machines: int) -> npt.NDArray[np.int64]:
    """(jobs, machines ** (jobs - 1)): the machine of each job; the first job's is machine 0, as all are alike."""
    number = np.arange(machines ** (jobs - 1))
    digits = [np.zeros_like(number), *(number // machines**place % machines for place in range(jobs - 1))]
    return np.stack(digits)


def ratios(order: str, instances: int, seed: int = _SEED) -> list[float]:
    """(makespan / optimum) / bound of random instances: at most 1."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(instances):
        machines = int(rng.integers(2, _MOST_MACHINES + 1))
        runtime = rng.integers(1, _LONGEST_MS, int(rng.integers(machines, _MOST_JOBS + 1))).astype(np.int64)
        rule = Fifo() if order == "list" else LongestFirst()
        ends = cluster_starts(np.zeros_like(runtime), runtime, machines, order=rule) + runtime
        found.append(float(ends.max()) / optimum(runtime, machines) / bound(order, machines))
    return found


@cache
def _all(order: str) -> list[float]:
    return ratios(order, INSTANCES)


def measure(data: Path, cell: str) -> Measured:
    """Over 10,000 instances."""
    order, statistic = cell.split("/")
    found = _all(order)
    return Measured(float(sum(ratio > 1 + 1e-12 for ratio in found)) if statistic == "violations" else max(found))
