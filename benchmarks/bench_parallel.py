"""`make bench`: how well two processes share the worlds of a sweep: 200 worlds of about 2 s, at least 85 % of twice.

The efficiency is (seconds of the worlds one after another, in one process) / (2 x seconds of the run on two processes).
Run it on a machine with two idle cores: what else runs there is counted against it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

LEAST = 0.85
PROCESSES = 2
SCENARIO = """\
workload:
  source: synthetic
  jobs: {jobs}
  arrivals: {{dist: poisson, rate: 6000/h}}
  classes: [{{runtime: {{dist: lognormal, median: 20m, p95: 90m}}, vcpus: 4, memory: 8 GiB}}]
capacity:
  pools: [{{id: spot, instance_type: c6i.xlarge, az: us-east-1a, max: 4000}}]
market: {{interruptions: {{source: exponential, mean: 6h}}}}
policies: [spot-only]
replications: {worlds}
"""


def _seconds_of_one(path: Path, worlds: int) -> float:
    """Mean seconds of a world in this process."""
    from spotbed.api import ready
    from spotbed.errands import run_task
    from spotbed.scenario.load import load_scenario

    made = ready(load_scenario(path))
    run_task(made, "spot-only", 0, tables=False)  # the first one imports
    began_s = time.perf_counter()
    for world in range(1, worlds + 1):
        run_task(made, "spot-only", world, tables=False)
    return (time.perf_counter() - began_s) / worlds


def main() -> int:
    """Print the efficiency; 1 if it is below what it must reach."""
    from spotbed.engines import Engine
    from spotbed.sweep import Request, run_sweep

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=75_000, help="of a world: about 2 s")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        path = Path("parallel.yaml")
        text = SCENARIO.format(jobs=given.jobs, worlds=given.worlds)
        path.write_text(f"{text}sweep: {{checkpoint.write: [30s]}}\n", encoding="utf-8")
        each_s = _seconds_of_one(path, max(2, given.worlds // 20))
        began_s = time.perf_counter()
        run_sweep(Request(path, engine=Engine(processes=PROCESSES)))
        spent_s = time.perf_counter() - began_s
    efficiency = each_s * given.worlds / (PROCESSES * spent_s)
    load = os.getloadavg()[0]
    print(
        f"{given.worlds} worlds of {each_s:.2f} s on {PROCESSES} processes: {spent_s:.0f} s, "
        f"efficiency {efficiency:.1%} (at least {LEAST:.0%}; load {load:.1f})"
    )
    return 0 if efficiency >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
