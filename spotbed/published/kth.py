"""EASY on the KTH SP2: 28,481 jobs on 100 slots, runtimes cut at the request.

Mean bounded slowdown. A cell is ESTIMATE/CANDIDATES/STATISTIC: requested or actual runtimes as estimates, candidates
for backfill as submitted (fcfs) or the shortest first (sjbf), or EASY++ with its predictions (easy++); mean or max.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from scheduler.policies.order import Easy, EasyPlusPlus
from sim.inputs import Float64, Work
from spotbed.published.judge import Measured
from spotbed.published.queueing import SINGLE, run_cluster, slowdowns
from spotbed.work.swf import read_swf

FILES = ("jobs/KTH-SP2-1996-2.2-filtered.swf.gz",)
SLOTS = 100


@cache
def jobs(data: Path, estimate: Any) -> Work:
    """The log with requested or actual runtimes as estimates."""
    log = read_swf(data / FILES[0], slots_field="requested", runtime_cap="request", runtime_estimate=estimate)
    return log.file_work(SINGLE[0]).jobs


@cache
def _slowdowns(data: Path, estimate: str, candidates: str) -> Float64:
    work = jobs(data, estimate)
    order = EasyPlusPlus() if candidates == "easy++" else Easy(candidates=candidates)
    return slowdowns(run_cluster(work, SLOTS, order=order), work)


def measure(data: Path, cell: str) -> Measured:
    """The mean or the largest bounded slowdown."""
    estimate, candidates, statistic = cell.split("/")
    found = _slowdowns(data, estimate, candidates)
    return Measured(float(found.max() if statistic == "max" else found.mean()))
