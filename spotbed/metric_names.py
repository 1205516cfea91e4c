"""The metrics of a world: their names, units, meanings, and which way is better. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """One number per world. `lower_is_better` is None for a number that is neither good nor bad in itself."""

    name: str
    unit: str
    description: str
    lower_is_better: bool | None = True


METRICS = (
    Metric("cost_usd", "USD", "sum of the bill"),
    Metric("makespan_s", "s", "last end minus first submission"),
    Metric("flow_s", "s", "end minus submission, mean over the jobs that ended well"),
    Metric("wait_s", "s", "flow time minus runtime, mean over the jobs that ended well"),
    Metric("bounded_slowdown", "1", "max(1, flow time / max(runtime, 10 s)), mean over the jobs that ended well"),
    Metric("jobs_submitted", "jobs", "jobs that were submitted", None),
    Metric("jobs_done", "jobs", "jobs that ended well", False),
    Metric("jobs_failed", "jobs", "jobs that were given up"),
    Metric("jobs_unfinished", "jobs", "jobs that had not ended when the world was stopped"),
    Metric("jobs_lost", "jobs", "submitted jobs that are neither done, failed nor unfinished"),
    Metric("duplicate_completions", "completions", "completions of a job that was already done"),
    Metric("attempts", "attempts", "attempts that were started"),
    Metric("interruptions", "instances", "instances lost to EC2"),
    Metric("launch_failures", "launches", "launches that EC2 could not serve"),
    Metric("deadline_missed", "jobs", "jobs not done by their deadline, failed ones included"),
    Metric("lost_work_s", "s", "progress thrown away"),
    Metric("idle_s", "s", "instance time without an attempt"),
    Metric("boot_s", "s", "instance time before the worker was ready"),
    Metric("spot_worker_s", "s", "Spot instance time", None),
    Metric("on_demand_worker_s", "s", "on-demand instance time", None),
    Metric("spot_work_s", "s", "progress that counted, made on Spot", None),
    Metric("on_demand_work_s", "s", "progress that counted, made on-demand", None),
    Metric("orphan_workers", "workers", "workers billed with nothing left to do and nothing that would ever stop them"),
)
METRIC_NAMES = tuple(metric.name for metric in METRICS)
METRIC_BY_NAME = {metric.name: metric for metric in METRICS}
