"""A small scenario whose worlds take as long as SLOW_S says, so that there is time to interrupt them; what its policies
decide does not depend on it."""

from __future__ import annotations

SLOW = """\
import os
import time

from scheduler.policies.place import LowestPrice


class Slow(LowestPrice):
    def key(self, job):
        time.sleep(float(os.environ.get("SLOW_S", "0")))
        return job.ticket.submit_ms
"""
_WORLD = """\
workload:
  source: synthetic
  jobs: {jobs}
  arrivals: {{dist: poisson, rate: 60/h}}
  classes: [{{runtime: {{dist: lognormal, median: 20m, p95: 90m}}, vcpus: 4, memory: 8 GiB, checkpointable: true}}]
capacity:
  pools:
    - {{id: spot, instance_type: c6i.xlarge, az: us-east-1a, max: 20}}
    - {{id: od, instance_type: c6i.xlarge, purchase: on-demand, max: 20}}
market:
  interruptions: {{source: weibull, up: {{shape: 0.6, scale: 1h}}, down: {{shape: 0.7, scale: 20m}}, burst: 3m}}
"""


def scenario(jobs: int, *lines: str) -> str:
    """The scenario's text: so many jobs, and lines of the test's own (policies, replications, ...)."""
    return _WORLD.format(jobs=jobs) + "".join(f"{line}\n" for line in lines)
