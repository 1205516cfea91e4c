"""`make bench`: EASY backfill on a fixed cluster, in CPU seconds of one core, with the limits that it must keep.

The jobs are those of the KTH SP2 log (Parallel Workloads Archive, `spotbed data get`), once and end to end until there
are 200,000. Without the log, which is not part of this repository, nothing is measured.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.inputs import Work

LOG = "jobs/KTH-SP2-1996-2.2-filtered.swf.gz"
SLOTS = 100


@dataclass(frozen=True)
class Case:
    """So many jobs (0: the log once) in at most so many CPU seconds."""

    name: str
    jobs: int
    most_s: float


CASES = (Case("EASY, the 28,481 jobs of KTH-SP2", 0, 10.0), Case("EASY, 200,000 jobs", 200_000, 90.0))


def tiled(work: Work, jobs: int) -> Work:
    """The log again and again, each time after its last submission, until there are so many jobs."""
    from dataclasses import replace

    import numpy as np

    times = -(-jobs // len(work))
    span_ms = int(work.submit_ms[-1]) + 1
    submit_ms = np.concatenate([work.submit_ms + number * span_ms for number in range(times)])[:jobs]
    columns = ("klass", "runtime_ms", "estimate_ms", "slots", "outcome_u", "string_u")
    many = {name: np.tile(getattr(work, name), times)[:jobs] for name in columns}
    return replace(work, submit_ms=submit_ms, ids=None, user=None, **many)


def seconds(work: Work) -> float:
    """CPU seconds of one run."""
    from scheduler.policies.order import Easy
    from spotbed.published.queueing import run_cluster

    start = time.process_time()
    run_cluster(work, SLOTS, order=Easy())
    return time.process_time() - start


def main() -> int:
    path = Path(os.environ.get("SPOTBED_DATA", "")) / LOG
    if not path.is_file():
        print(f"EASY: not measured, since SPOTBED_DATA has no {LOG}")
        return 0
    from spotbed.published.queueing import SINGLE
    from spotbed.work.swf import read_swf

    log = read_swf(path, slots_field="requested", runtime_cap="request").file_work(SINGLE[0]).jobs
    failed = 0
    for case in CASES:
        found = seconds(tiled(log, case.jobs) if case.jobs else log)
        failed += found > case.most_s
        slow = " TOO SLOW" if found > case.most_s else ""
        print(f"{case.name}: {found:.1f} CPU seconds (at most {case.most_s:.0f}){slow}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
