"""Lublin-1 on 256 slots: RLScheduler (Zhang, Dai, He, Bao, Xie, SC 2020), without and with backfill.

Mean over ten windows of 1,024 jobs of the mean bounded slowdown; requested time = run time. A cell is ORDER/MODE with
the orders fcfs, sjf and f1 (Carastan-Santos, de Camargo, SC 2017), and the modes plain and backfill.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from scheduler.policies.order import F1, Easy, Fifo, ShortestJobFirst
from sim.inputs import Work
from spotbed.published.judge import Measured
from spotbed.published.queueing import SINGLE, run_cluster, slowdowns
from spotbed.work.swf import read_swf

FILES = ("jobs/lublin_256.swf.gz",)
WINDOWS = (1981, 2756, 4299, 8850, 3316, 2714, 5228, 7762, 4022, 7085)  # first jobs, as published
SLOTS = 256


@cache
def window(data: Path, first: int) -> tuple[Work, float]:
    """1,024 jobs from the first-th on, and when the first was submitted (s)."""
    log = read_swf(data / FILES[0], first=first, count=1024, runtime_estimate="actual")
    return log.file_work(SINGLE[0]).jobs, log.first_submit_s


def order_of(name: str, begin_s: float) -> Fifo | ShortestJobFirst | F1:
    """The order of a cell."""
    orders: dict[str, Fifo | ShortestJobFirst | F1] = {
        "fcfs": Fifo(),
        "sjf": ShortestJobFirst(),
        "f1": F1(round(begin_s * 1000)),
    }
    return orders[name]


def measure(data: Path, cell: str) -> Measured:
    """The mean over the windows."""
    name, mode = cell.split("/")
    means = []
    for first in WINDOWS:
        work, begin_s = window(data, first)
        base: Any = order_of(name, begin_s)
        order = base if mode == "plain" else Easy(strict=True, base=base, each_event=True)
        means.append(slowdowns(run_cluster(work, SLOTS, order=order), work).mean())
    return Measured(float(np.mean(means)))
