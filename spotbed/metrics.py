"""The metrics of a world, from its tally and its work. Definitions: `spotbed.metric_names` and the contract."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim.inputs import Float64, Int64, Work
from spotbed import metering
from spotbed.ledger import PoolFacts
from spotbed.metering import BOOT, IDLE, LOST, USEFUL, Tally

_S = 1000.0
_SLOWDOWN_FLOOR_S = 10.0  # bounded slowdown's threshold (Feitelson and Rudolph, 1998)


@dataclass(frozen=True, slots=True)
class JobTimes:
    """Per job, in order of submission (shape n): times in ms, -1 where there is none."""

    submit_ms: Int64
    end_ms: Int64
    start_ms: Int64
    work_ms: Int64
    status: npt.NDArray[np.int8]
    deadline_ms: Int64  # a moment; -1: none

    @property
    def done(self) -> npt.NDArray[np.bool_]:
        """Which jobs ended well."""
        return np.asarray(self.status == metering.DONE)


def job_times(tally: Tally, work: Work) -> JobTimes:
    """The times of all jobs."""
    columns = tally.jobs
    spans = np.array([-1 if klass.deadline_ms is None else klass.deadline_ms for klass in work.classes], dtype=np.int64)
    span = spans[work.klass] if len(work) else np.zeros(0, dtype=np.int64)
    return JobTimes(
        submit_ms=work.submit_ms,
        end_ms=np.frombuffer(columns.end_ms, dtype=np.int64),
        start_ms=np.frombuffer(columns.first_start_ms, dtype=np.int64),
        work_ms=np.frombuffer(columns.useful_ms, dtype=np.int64),
        status=np.frombuffer(columns.status, dtype=np.int8),
        deadline_ms=np.where(span >= 0, work.submit_ms + span, -1),
    )


def late_penalty_usd(times: JobTimes, work: Work, end_ms: int) -> float:
    """What late jobs cost: their class's rate for each hour after the deadline; unended jobs are late until the end."""
    if not any(klass.late_penalty_usd_per_hour for klass in work.present().values()):
        return 0.0
    rates = np.array([klass.late_penalty_usd_per_hour for klass in work.classes])
    ended = np.where(times.done, times.end_ms, end_ms)
    late_h = np.maximum(0, ended - times.deadline_ms) / 3_600_000
    return float((rates[work.klass] * np.where(times.deadline_ms >= 0, late_h, 0.0)).sum())


def flow_and_wait_s(times: JobTimes) -> tuple[Float64, Float64, Float64]:
    """(flow, wait, bounded slowdown) in seconds of the jobs that ended well."""
    done = times.done
    flow = (times.end_ms[done] - times.submit_ms[done]) / _S
    work = times.work_ms[done] / _S
    slowdown = np.maximum(1.0, flow / np.maximum(work, _SLOWDOWN_FLOOR_S))
    return flow, flow - work, slowdown


def _mean(values: Float64) -> float:
    return float(values.mean()) if len(values) else float("nan")


def metrics(tally: Tally, work: Work, pools: list[PoolFacts], cost_usd: float, slots: int = 1) -> dict[str, float]:
    """All metrics of one world; NaN where one is undefined (no job ended well)."""
    times = job_times(tally, work)
    counts = np.bincount(times.status, minlength=len(metering.STATUS_NAMES))
    flow, wait, slowdown = flow_and_wait_s(times)
    ended = times.end_ms[times.end_ms >= 0]
    has_deadline = times.deadline_ms >= 0
    missed = has_deadline & ~(times.done & (times.end_ms <= times.deadline_ms))
    by_cause = np.array([use.ms for use in tally.pools], dtype=np.int64).reshape(-1, len(metering.INSTANCE_CAUSES))
    total = by_cause.sum(axis=0) / _S / slots
    spot = [use for use, pool in zip(tally.pools, pools, strict=True) if pool.purchase == "spot"]
    on_demand = [use for use, pool in zip(tally.pools, pools, strict=True) if pool.purchase != "spot"]
    failed = int(counts[metering.GAVE_UP])
    if not work.groups:  # whose jobs are cancelled when they are no longer needed
        failed += int(counts[metering.CANCELLED])
    return {
        "cost_usd": cost_usd,
        "makespan_s": float(ended.max() - times.submit_ms[0]) / _S if len(ended) else float("nan"),
        "flow_s": _mean(flow),
        "wait_s": _mean(wait),
        "bounded_slowdown": _mean(slowdown),
        "jobs_submitted": float(len(work)),
        "jobs_done": float(counts[metering.DONE]),
        "jobs_failed": float(failed),
        "jobs_unfinished": float(counts[metering.UNFINISHED]),
        "jobs_lost": float(counts[metering.VANISHED]),
        "duplicate_completions": float(tally.duplicate_completions),
        "attempts": float(tally.attempts),
        "interruptions": float(sum(use.interruptions for use in tally.pools)),
        "launch_failures": float(sum(use.launch_failures for use in tally.pools)),
        "deadline_missed": float(missed.sum()),
        "lost_work_s": float(total[LOST]),
        "idle_s": float(total[IDLE]),
        "boot_s": float(total[BOOT]),
        "spot_worker_s": sum(use.instance_ms for use in spot) / _S,
        "on_demand_worker_s": sum(use.instance_ms for use in on_demand) / _S,
        "spot_work_s": sum(use.ms[USEFUL] for use in spot) / _S / slots,
        "on_demand_work_s": sum(use.ms[USEFUL] for use in on_demand) / _S / slots,
        "orphan_workers": float(tally.orphan_workers),
    }
