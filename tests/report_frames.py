"""Synthetic runs and comparisons in the shape that the simulator hands to the report. No test is in here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from spotbed.report.data import ComparisonData, RunData, empty
from spotbed.stats import paired, summarise

HOUR = 3600.0
POOLS = (
    ("c6i-1a", "spot", 0.068, "c6i.xlarge", 0.17),
    ("c6i-1b", "spot", 0.071, "c6i.xlarge", 0.17),
    ("m5-1c", "spot", 0.081, "m5.xlarge", 0.192),
    ("od-small", "on-demand", 0.17, "c6i.xlarge", 0.17),
)
POLICIES = (
    ("on-demand", "decoupled", 1.0),
    ("legacy-2019", "legacy-2019", 0.62),
    ("div+ckpt", "decoupled", 0.42),
    ("hedge", "decoupled", 0.47),
    ("my-mix", "decoupled", 0.43),
)
METRICS = (
    "cost_usd",
    "makespan_s",
    "flow_s",
    "wait_s",
    "bounded_slowdown",
    "deadline_missed",
    "interruptions",
    "lost_work_s",
)
COUNTS = (
    "jobs_submitted",
    "jobs_done",
    "jobs_failed",
    "jobs_unfinished",
    "jobs_lost",
    "duplicate_completions",
    "orphan_workers",
)


def frame(kind: str, rows: Sequence[Sequence[Any]], *more: str) -> pd.DataFrame:
    """Rows under the columns that the kind has, then `more` columns."""
    return pd.DataFrame(rows, columns=[*empty(kind).columns, *more])


def make_run(
    label: str = "div+ckpt", jobs: int = 90, seed: int = 1, *, on_demand: bool = False, moving: bool = True
) -> RunData:
    """A plausible run: jobs arrive over a day, some attempts are interrupted and run again."""
    rng = np.random.default_rng(seed)
    submit = np.sort(rng.uniform(0, 20 * HOUR, jobs))
    runtime = rng.lognormal(np.log(0.7 * HOUR), 0.8, jobs)
    pools = [POOLS[3]] if on_demand else list(POOLS)
    job_rows, attempt_rows, worker_rows, event_rows = [], [], [], []
    for number in range(jobs):
        job, left, clock, lost = f"job-{number:04d}", runtime[number], submit[number] + rng.uniform(90, 1500), 0.0
        first, tries, hits = clock, 0, 0
        while True:
            tries += 1
            pool, purchase, price, kind, _ = pools[rng.integers(len(pools))]
            worker = f"w-{number:04d}-{tries}"
            broken = purchase == "spot" and tries < 4 and rng.random() < 0.18
            spent = left * rng.uniform(0.1, 0.9) if broken else left
            cause = "interrupted" if broken else "done"
            usd = spent / HOUR * price
            useful = 0.0 if broken else spent
            attempt_rows.append(
                (job, tries, worker, pool, purchase, clock, clock + spent, cause, useful, spent - useful, 0.0, usd)
            )
            worker_rows.append(
                (
                    *(worker, pool, kind, "us-east-1a", purchase),
                    *(clock - 90, clock - 80, clock, clock + spent + (0 if broken else 60)),
                    *("interrupted" if broken else "idle", 1),
                    *(80.0, 60.0, useful, spent - useful, 0.0, 0.0, 0.0, usd * 1.05),
                )
            )
            clock += spent
            if not broken:
                break
            event_rows += [(clock - 120, "notice", pool, worker), (clock, "interruption", pool, worker)]
            lost, hits, clock = lost + spent, hits + 1, clock + rng.uniform(60, 600)
        klass = "signoff" if number % 5 == 0 else "regress"
        deadline = submit[number] + (12 if klass == "regress" else 2) * HOUR
        job_rows.append(
            (
                *(job, submit[number], 1, np.nan, 1, first, clock - first, clock),
                *(first - submit[number], clock - submit[number], (clock - submit[number]) / runtime[number], worker),
                *(
                    tries,
                    hits,
                    pool,
                    purchase,
                    lost,
                    runtime[number] / HOUR * 0.08,
                    deadline,
                    "cpu-team",
                    klass,
                    "done",
                ),
            )
        )
    attempts = frame("attempts", attempt_rows)
    return RunData(
        label=label,
        jobs=frame("jobs", job_rows),
        workers=frame("workers", worker_rows),
        attempts=attempts,
        timeline=_timeline(attempts, submit),
        events=frame("events", event_rows),
        prices=_prices(rng, float(attempts["end_s"].max()), moving=moving),
        bill=make_bill(1.0 if on_demand else 0.42),
        provenance=make_provenance(),
        notes=["Prices after the last record of the history are held constant."],
    )


def _timeline(attempts: pd.DataFrame, submit: np.ndarray) -> pd.DataFrame:
    rows: list[tuple[float, str, str, str, float]] = []
    for pool, own in attempts.groupby("pool"):
        for phase, before, after in (("booting", -90.0, None), ("busy", 0.0, 0.0), ("idle", None, 60.0)):
            starts = own["start_s"] + before if before is not None else own["end_s"]
            ends = own["end_s"] + after if after is not None else own["start_s"]
            rows += _steps("workers", str(pool), phase, starts.to_numpy(), ends.to_numpy())
    first = attempts.groupby("job_id")["start_s"].min().to_numpy()
    last = attempts.groupby("job_id")["end_s"].max().to_numpy()
    rows += _steps("queue_depth", "", "", submit, first) + _steps("demand", "", "", submit, last)
    return frame("timeline", rows).sort_values("at_s", kind="stable").reset_index(drop=True)


def _steps(
    series: str, pool: str, phase: str, starts: np.ndarray, ends: np.ndarray
) -> list[tuple[float, str, str, str, float]]:
    at = np.concatenate([starts, ends])
    change = np.concatenate([np.ones(len(starts)), -np.ones(len(ends))])
    order = np.argsort(at, kind="stable")
    return [(float(t), series, pool, phase, float(v)) for t, v in zip(at[order], np.cumsum(change[order]), strict=True)]


def _prices(rng: np.random.Generator, end: float, *, moving: bool) -> pd.DataFrame:
    rows = []
    for pool, purchase, price, _, _ in POOLS:
        factors = [1.0]
        if moving and purchase == "spot":
            factors = list(np.exp(np.cumsum(rng.normal(0, 0.05, 14))))
        rows += [(end * place / len(factors), pool, price * factor) for place, factor in enumerate(factors)]
    return frame("prices", rows)


def make_bill(scale: float = 1.0) -> pd.DataFrame:
    """A bill of about 1000 x scale USD; on demand there is no Spot line."""
    item = "ec2.on-demand" if scale == 1.0 else "ec2.spot"
    rows = [
        (item, "useful", 7.2e6, "instance-second", 800 * scale, 800.0),
        (item, "boot", 2.1e5, "instance-second", 30 * scale, 32.0),
        (item, "idle", 4.1e5, "instance-second", 55 * scale, 60.0),
        (item, "minimum", 2.0e3, "instance-second", 1.5 * scale, 1.6),
        ("ebs.gp3", "useful", 900.0, "gib-month", 12.0 * scale, np.nan),
        ("stepfunctions.transition", "control", 48_000, "transition", 1.2, np.nan),
        ("lambda.request", "control", 21_000, "request", 0.0042, np.nan),
        ("sqs.request", "control", 60_000, "request", 0.024, np.nan),
        ("dynamodb.write", "control", 30_000, "write", 0.02, np.nan),
        ("network.gb", "useful", 120.0, "gb", 10.8, np.nan),
    ]
    if scale != 1.0:
        rows += [
            (item, "lost", 5.0e5, "instance-second", 60 * scale, 70.0),
            (item, "checkpoint", 9e4, "instance-second", 9 * scale, 11.0),
        ]
    return frame("bill", rows, "list_usd")


def make_provenance() -> dict[str, Any]:
    """In the shape of `spotbed.provenance`."""
    return {
        "schema_version": 1,
        "command": ["spotbed", "compare", "scenarios/eda-regression.yaml", "--jobs", "2"],
        "seeds": {"seed": 7},
        "inputs": {"scenario": {"path": "scenarios/eda-regression.yaml", "sha256": "9f" * 32}},
        "scheduler_sha256": "ab" * 32,
        "price_book_date": "2026-10-01",
        "versions": {"spotbed": "0.1.0", "python": "3.11.9", "numpy": "2.4.6"},
        "git": {"commit": "c0ffee" * 6, "dirty": False},
        "platform": {"system": "Linux", "machine": "x86_64"},
    }


def make_worlds(labels: Sequence[tuple[str, str, float]], worlds: int, seed: int = 3) -> pd.DataFrame:
    """Metrics per policy and world, correlated over policies as common random numbers make them."""
    rng = np.random.default_rng(seed)
    weather, rows = rng.lognormal(0, 0.12, worlds), []
    for label, architecture, scale in labels:
        legacy = architecture == "legacy-2019"
        for world in range(worlds):
            own = weather[world] * np.exp(rng.normal(0, 0.03))
            lost = int(rng.poisson(31)) if legacy else 0
            slow = 1.9 if legacy else 1.0 + 0.1 * (1 - scale)
            row = {
                "policy": label,
                "world": world,
                "seed": 7,
                "cost_usd": 1284 * scale * own,
                "makespan_s": 30 * HOUR * slow * own**0.3,
            }
            row |= {
                "flow_s": 2.2 * HOUR * slow * own,
                "wait_s": 0.8 * HOUR * slow * own,
                "bounded_slowdown": 1.8 * slow * own,
            }
            row |= {
                "deadline_missed": int(rng.poisson(55 if legacy else 3 * (2 - scale))),
                "lost_work_s": 0.0 if scale == 1 else 40 * HOUR * own,
            }
            row |= {
                "interruptions": 0 if scale == 1 else int(rng.poisson(60)),
                "jobs_submitted": 1000,
                "jobs_failed": 12 if legacy else 2,
            }
            row |= {
                "jobs_unfinished": 0,
                "jobs_lost": lost,
                "duplicate_completions": 3 if legacy else 0,
                "orphan_workers": 11 if legacy else 0,
            }
            rows.append(row | {"jobs_done": 1000 - row["jobs_failed"] - lost})
    return pd.DataFrame(rows)


def make_results(worlds: pd.DataFrame, labels: Sequence[tuple[str, str, float]], baseline: str) -> dict[str, Any]:
    """The contract's JSON from the worlds, with the project's own statistics."""
    by_policy = {label: worlds[worlds["policy"] == label] for label, _, _ in labels}
    policies = []
    for label, architecture, _ in labels:
        own = by_policy[label]
        policy: dict[str, Any] = {"label": label, "architecture": architecture, "policy_sha256": "00" * 32}
        policy["metrics"] = {metric: summarise(own[metric].to_numpy(float)) for metric in (*METRICS, *COUNTS)}
        if label != baseline:
            theirs = by_policy[baseline]
            policy["vs_baseline"] = {m: paired(own[m].to_numpy(float), theirs[m].to_numpy(float)) for m in METRICS}
        policies.append(policy)
    return {
        "schema_version": 1,
        "scenario": "eda-regression",
        "scenario_sha256": "9f" * 32,
        "replications": int(worlds["world"].nunique()),
        "baseline": baseline,
        "policies": policies,
        "bounds": {"cost_usd": 371.2, "makespan_s": 27 * HOUR},
        "gates": [
            {
                "rule": "cost_usd.mean <= 0.6 * baseline",
                "policy": labels[-1][0],
                "value": 0.43,
                "limit": 0.6,
                "passed": True,
            },
            {"rule": "deadline_missed.p95 <= 4", "policy": labels[-1][0], "value": 7.0, "limit": 4.0, "passed": False},
        ],
    }


def make_comparison(
    labels: Sequence[tuple[str, str, float]] = POLICIES, worlds: int = 30, jobs: int = 90
) -> ComparisonData:
    """A whole comparison; the first policy is the baseline."""
    table = make_worlds(labels, worlds)
    runs = {
        label: make_run(label, jobs, seed=place, on_demand=scale == 1.0)
        for place, (label, _, scale) in enumerate(labels)
    }
    bills = [make_bill(scale).assign(policy=label) for label, _, scale in labels]
    for bill, (_, architecture, _) in zip(bills, labels, strict=True):
        if architecture == "legacy-2019":
            bill.loc[bill["item"] == "stepfunctions.transition", "usd"] = 52.4
    return ComparisonData(
        results=make_results(table, labels, labels[0][0]),
        worlds=table,
        bill=pd.concat(bills, ignore_index=True),
        queue_depth=_queue_depth(labels),
        runs=runs,
        provenance=make_provenance(),
        notes=["The EventBridge delay is taken as 1 s."],
        assumed=[
            {
                "key": "lambda.cold_start_s",
                "value": 0.4,
                "low": 0.2,
                "high": 1.5,
                "unit": "s",
                "why": "no public distribution",
            },
            {
                "key": "sqs.duplicate_probability",
                "value": 1e-6,
                "low": 0,
                "high": 1e-4,
                "unit": "1",
                "why": "documented, not quantified",
            },
        ],
        differing=[
            {"setting": "order", **{label: "fifo" for label, _, _ in labels}},
            {"setting": "protect", labels[-1][0]: "daly"},
        ],
        findings=[
            "The expected completion of 3 jobs of class signoff does not converge under spot-only without checkpoints."
        ],
        coverage="bootstrap-t, 1,999 resamples; measured coverage at n=30: normal 95.0 %, lognormal(0.8) 93.5 %",
        description="Nightly EDA regression, us-east-1",
    )


def _queue_depth(labels: Sequence[tuple[str, str, float]]) -> pd.DataFrame:
    rows = []
    at = np.linspace(0, 34 * HOUR, 400)
    for place, (label, architecture, scale) in enumerate(labels):
        height = 60 if architecture == "legacy-2019" else 14 + 9 * (1 - scale)
        wave = height * np.clip(np.sin(at / (34 * HOUR) * np.pi) * (1 + 0.3 * np.sin(at / 5000 + place)), 0, None)
        rows += [(label, t, 0.6 * value, value, 1.5 * value) for t, value in zip(at, wave, strict=True)]
    return frame("queue_depth", rows)
