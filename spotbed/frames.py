"""The tables of a run's folder, from its journal's facts, its tally and its work. Times in seconds from the start."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sim.groups import usd_to_first_hit
from spotbed import metering
from spotbed.journal import AttemptFact, InstanceFact, Journal
from spotbed.ledger import Bill, control_usd_per_job
from spotbed.metrics import job_times

if TYPE_CHECKING:
    import pandas as pd

    from sim.inputs import Float64, Pool, Work
    from spotbed.build import Blueprint
    from spotbed.policies.compose import Composed
    from spotbed.report.data import RunData
    from spotbed.worlds import WorldRun

_S = 1000.0
_TRAITS = ("vcpus", "memory_gib", "gpus", "priority", "checkpointable", "gang")  # so that a run can be replayed
_EVENT_KINDS = {"LaunchFailed": "launch_failed", "BudgetReached": "budget"}


def run_data(made: Blueprint, composed: Composed, run: WorldRun, results: dict[str, Any]) -> RunData:
    """Everything of one run, as the report and the run's folder take it."""
    from spotbed.report.data import RunData

    data = RunData(label=composed.label, results=results, notes=list(run.result.notes))
    attempts = _facts(run.journal, AttemptFact)
    instances = _facts(run.journal, InstanceFact)
    pools = {pool.id: pool for pool in run.inputs.pools}
    data.jobs = jobs_frame(made, composed, run)
    data.attempts = attempts_frame(attempts, pools)
    data.workers = workers_frame(instances, pools)
    if run.journal is not None:
        data.timeline = timeline_frame(data.jobs, data.attempts, data.workers)
    data.events = events_frame(run.journal)
    data.prices = prices_frame(run.inputs.pools, run.tally.end_ms)
    data.bill = bill_frame(run.result.bill)
    return data


def _facts(journal: Journal | None, kind: type) -> list[Any]:
    return [] if journal is None else [entry.body for entry in journal.entries if type(entry.body) is kind]


def jobs_frame(made: Blueprint, composed: Composed, run: WorldRun) -> pd.DataFrame:
    """jobs.csv: Batsim's columns, then ours."""
    import pandas as pd

    work, tally = run.inputs.work, run.tally
    times = job_times(tally, work)
    columns = tally.jobs
    started, ended, done = times.start_ms >= 0, times.end_ms >= 0, times.done
    submit = times.submit_ms / _S
    runtime = times.work_ms / _S
    end = np.where(ended, times.end_ms / _S, np.nan)
    flow = end - submit
    pool_numbers = np.frombuffer(columns.pool, dtype=np.int16)
    names = np.array([*(pool.id for pool in run.inputs.pools), ""], dtype=object)
    purchases = np.array([*(pool.purchase for pool in run.inputs.pools), ""], dtype=object)
    attempts = np.frombuffer(columns.attempts, dtype=np.int32)
    attempt_usd, submit_usd = control_usd_per_job(tally, composed.architecture, made.book, made.preset_of(composed))
    usd = np.frombuffer(columns.usd, dtype=np.float64) + attempts * attempt_usd + submit_usd
    status = np.array(metering.STATUS_NAMES, dtype=object)[times.status]
    return pd.DataFrame(
        {
            "job_id": [work.job_id(number) for number in range(len(work))],
            "submission_time": submit,
            "requested_number_of_resources": work.slots,
            "requested_time": np.where(work.estimate_ms >= 0, work.estimate_ms / _S, np.nan),
            "success": done.astype(np.int64),
            "starting_time": np.where(started, times.start_ms / _S, np.nan),
            "execution_time": np.where(done, runtime, np.nan),
            "finish_time": end,
            "waiting_time": np.where(done, flow - runtime, np.nan),
            "turnaround_time": flow,
            "stretch": np.where(done & (runtime > 0), flow / np.where(runtime > 0, runtime, 1.0), np.nan),
            "allocated_resources": names[pool_numbers],
            "attempts": attempts,
            "interruptions": np.frombuffer(columns.interruptions, dtype=np.int32),
            "pool": names[pool_numbers],
            "purchase_option": purchases[pool_numbers],
            "lost_work_s": np.frombuffer(columns.lost_ms, dtype=np.int64) / _S,
            "cost_usd": usd,
            "deadline": np.where(times.deadline_ms >= 0, times.deadline_ms / _S, np.nan),
            "tenant": np.array([klass.tenant for klass in work.classes], dtype=object)[work.klass],
            "class": np.array([klass.name for klass in work.classes], dtype=object)[work.klass],
            "status": status if work.groups else np.where(status == "cancelled", "failed", status),
            "runtime": work.runtime_ms / _S,
            **{name: np.array([getattr(klass, name) for klass in work.classes])[work.klass] for name in _TRAITS},
            **_groups(work, times.status, usd),
        }
    )


def _groups(work: Work, status: npt.NDArray[np.int8], usd: Float64) -> dict[str, Float64]:
    """`cost_to_first_hit_usd`, where an array stops with its first success: at the job that hit, what all have cost."""
    if not work.groups:
        return {}
    found = np.full(len(work), np.nan)
    for job, cost in usd_to_first_hit(status.tolist(), usd.tolist(), work.groups).items():
        found[job] = cost
    return {"cost_to_first_hit_usd": found}


def attempts_frame(facts: Sequence[AttemptFact], pools: dict[str, Pool]) -> pd.DataFrame:
    """attempts.csv: one row an attempt that has ended."""
    import pandas as pd

    columns = (
        "job_id",
        "attempt",
        "worker",
        "pool",
        "purchase_option",
        "start_s",
        "end_s",
        "cause",
        "useful_s",
        "lost_s",
        "checkpoint_s",
        "failed_s",
        "cost_usd",
    )
    rows = [
        (
            fact.job,
            fact.attempt,
            fact.worker,
            fact.pool,
            _purchase(pools, fact.pool),
            fact.start_ms / _S,
            fact.end_ms / _S,
            fact.cause,
            fact.useful_ms / _S,
            fact.lost_ms / _S,
            fact.checkpoint_ms / _S,
            fact.failed_ms / _S,
            fact.usd,
        )
        for fact in facts
    ]
    return pd.DataFrame(rows, columns=list(columns))


def _purchase(pools: dict[str, Pool], pool: str) -> str:
    return pools[pool].purchase if pool in pools else ""


def workers_frame(facts: Sequence[InstanceFact], pools: dict[str, Pool]) -> pd.DataFrame:
    """workers.csv: one row an instance that was billed."""
    import pandas as pd

    columns = (
        "worker",
        "pool",
        "instance_type",
        "az",
        "purchase_option",
        "requested_s",
        "launched_s",
        "ready_s",
        "ended_s",
        "end_reason",
        "attempts",
        "boot_s",
        "idle_s",
        "useful_s",
        "lost_s",
        "checkpoint_s",
        "failed_s",
        "minimum_s",
        "cost_usd",
    )
    rows = []
    for fact in facts:
        pool = pools[fact.pool]
        useful, lost, checkpoint, failed, boot, idle = (ms / _S for ms in fact.ms)
        ready = fact.ready_ms / _S if fact.ready_ms >= 0 else float("nan")
        rows.append(
            (
                fact.worker,
                fact.pool,
                pool.instance_type,
                pool.az,
                pool.purchase,
                fact.requested_ms / _S,
                fact.launched_ms / _S,
                ready,
                fact.ended_ms / _S,
                fact.reason,
                fact.attempts,
                boot,
                idle,
                useful,
                lost,
                checkpoint,
                failed,
                fact.minimum_ms / _S,
                fact.usd,
            )
        )
    return pd.DataFrame(rows, columns=list(columns))


def timeline_frame(jobs: pd.DataFrame, attempts: pd.DataFrame, workers: pd.DataFrame) -> pd.DataFrame:
    """timeline.csv: steps of the queue's depth, of the demand (waiting and running), of workers by pool and phase."""
    import pandas as pd

    final = attempts.groupby("job_id")["end_s"].transform("max") if len(attempts) else attempts["end_s"]
    again = attempts.loc[attempts["end_s"] < final, "end_s"]
    never = jobs.loc[jobs["starting_time"].isna() & jobs["finish_time"].notna(), "finish_time"]
    queue = _steps([(jobs["submission_time"], 1), (attempts["start_s"], -1), (again, 1), (never, -1)])
    ends = jobs["finish_time"].dropna()
    demand = _steps([(jobs["submission_time"], 1), (ends, -1)])
    parts = [_series(queue, "queue_depth"), _series(demand, "demand")]
    for pool, group in workers.groupby("pool", sort=True):
        here = attempts[attempts["pool"] == pool]
        ready = group["ready_s"].dropna()
        booted = group["ready_s"].fillna(group["ended_s"])
        ended = group.loc[group["ready_s"].notna(), "ended_s"]
        busy = [(here["start_s"], 1), (here["end_s"], -1)]
        idle = [(ready, 1), (ended, -1), (here["start_s"], -1), (here["end_s"], 1)]
        boot = [(group["launched_s"], 1), (booted, -1)]
        for phase, changes in (("booting", boot), ("busy", busy), ("idle", idle)):
            parts.append(_series(_steps(changes), "workers", str(pool), phase))
    return pd.concat(parts, ignore_index=True)


def _steps(changes: Iterable[tuple[pd.Series[Any], int]]) -> tuple[Any, Any]:
    """(times, values) of the step function that these changes add up to."""
    times = [np.asarray(series, dtype=float) for series, _ in changes]
    signs = [np.full(len(series), sign) for series, sign in changes]
    at, change = np.concatenate(times), np.concatenate(signs)
    order = np.argsort(at, kind="stable")
    at, value = at[order], np.cumsum(change[order])
    last = np.append(at[1:] != at[:-1], True)[: len(at)]
    return at[last], value[last]


def _series(steps: tuple[Any, Any], series: str, pool: str = "", phase: str = "") -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({"at_s": steps[0], "series": series, "pool": pool, "phase": phase, "value": steps[1]})


def events_frame(journal: Journal | None) -> pd.DataFrame:
    """events.csv: what EC2 did, launches that failed, and the end of the budget."""
    import pandas as pd

    rows = []
    for entry in journal.entries if journal is not None else ():
        if entry.what == "fact" and isinstance(entry.body, dict) and "pool" in entry.body:
            rows.append((entry.at_ms / _S, entry.kind, entry.body["pool"], entry.subject))
        elif entry.kind in _EVENT_KINDS:
            rows.append((entry.at_ms / _S, _EVENT_KINDS[entry.kind], getattr(entry.body, "pool", ""), ""))
    return pd.DataFrame(rows, columns=["at_s", "kind", "pool", "worker"])


def prices_frame(pools: Sequence[Pool], end_ms: int) -> pd.DataFrame:
    """prices.csv: the price of each pool where it changes, up to the end of the run."""
    import pandas as pd

    rows = [
        (int(at) / _S, pool.id, float(price))
        for pool in pools
        for at, price in zip(pool.price.at_ms, pool.price.usd_per_hour, strict=True)
        if at <= end_ms
    ]
    return pd.DataFrame(rows, columns=["at_s", "pool", "usd_per_hour"])


def bill_frame(bill: Bill) -> pd.DataFrame:
    """bill.csv."""
    import pandas as pd

    rows = [(line.item, line.cause, line.usage, line.unit, line.usd, line.list_usd) for line in bill.lines]
    return pd.DataFrame(rows, columns=["item", "cause", "usage", "unit", "usd", "list_usd"])


def journal_frame(journal: Journal) -> pd.DataFrame:
    """journal.parquet: one row an entry; `fields` is canonical JSON."""
    import pandas as pd

    entries = journal.entries
    return pd.DataFrame(
        {
            "at_ms": np.array([entry.at_ms for entry in entries], dtype=np.int64),
            "role": [entry.role for entry in entries],
            "subject": [entry.subject for entry in entries],
            "what": [entry.what for entry in entries],
            "kind": [entry.kind for entry in entries],
            "fields": journal.bodies(),
        }
    )


def work_span_s(work: Work) -> float:
    """From the first to the last submission."""
    return float(work.submit_ms[-1] - work.submit_ms[0]) / _S if len(work) else 0.0
