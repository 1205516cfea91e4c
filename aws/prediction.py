"""What a deployed run is held to: each metric and each line of the bill, as the comparison's worlds had them.

A deployed run is one world, so what it may give is the spread of the worlds (`low` to `high`, 95 % of them), which is
wider than the interval of their mean (`ci95`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field
from scipy.stats import poisson

from aws.render import Limits
from spotbed.metric_names import METRIC_NAMES
from spotbed.scenario.models_base import Section, Several
from spotbed.stats import summarise

if TYPE_CHECKING:
    from aws.evidence import Record

Bounds = Several[float]
_THOUSAND = 1000
_SPREAD = (0.025, 0.975)
_COST = "cost_usd_per_1000_jobs"
_CHANCE = 0.999
# Limit of aws.render -> what it counts, and the seconds in which its alarm counts (aws/templates/scheduler.yaml).
_COUNTED = {"dead_letters": ("jobs_failed", 300.0), "deadline_misses": ("deadline_missed", 3600.0)}


class Estimate(Section):
    """A number over the `n` worlds in which it is defined; null where there is none."""

    mean: float | None = Field(description="null too where the mean does not converge")
    ci95: Bounds | None = Field(description="ends of the 95 % interval of the mean")
    low: float | None = Field(description="2.5 % of the worlds are below")
    high: float | None = Field(description="2.5 % of the worlds are above")
    n: int = Field(ge=0)


class BillEstimate(Section):
    """A line of the bill."""

    item: str
    cause: str
    unit: str
    usage: Estimate
    usd: Estimate


class Prediction(Section):
    """What the policy gave in the worlds of the comparison."""

    worlds: int = Field(ge=1)
    metrics: dict[str, Estimate]
    bill: Several[BillEstimate]
    per_job: dict[str, Estimate] = Field(
        description="cost_usd_per_1000_jobs of jobs done; miss_rate, failed_rate, attempts and interruptions per job"
    )


def predict(record: Record, label: str) -> Prediction:
    """The prediction for a policy of a comparison."""
    worlds = record.worlds[label]
    diverges = record.does_not_converge(label)
    metrics = {name: estimate(worlds[name], converges=name not in diverges) for name in METRIC_NAMES}
    lines = record.bill[label]
    bill = [
        BillEstimate(
            item=item,
            cause=cause,
            unit=unit,
            usage=estimate([each[0] for each in values]),
            usd=estimate([each[1] for each in values]),
        )
        for (item, cause, unit), values in sorted(lines.items())
    ]
    return Prediction(worlds=record.replications, metrics=metrics, bill=tuple(bill), per_job=_per_job(worlds))


def limits(prediction: Prediction) -> Limits:
    """Above what a deployment is rolled back: a job may cost what it did in 97.5 % of the worlds; and of what is
    counted in the window of an alarm, as much as chance gives in 99.9 % of such windows at the worlds' upper rate."""
    cost = prediction.per_job[_COST].high
    found = {name: _most(prediction, metric, window_s) for name, (metric, window_s) in _COUNTED.items()}
    return Limits(**found) if cost is None else Limits(cost_per_job_usd=cost / _THOUSAND, **found)


def _most(prediction: Prediction, metric: str, window_s: float) -> int:
    """The 99.9 % quantile of a Poisson count."""
    makespan_s = prediction.metrics["makespan_s"].low or window_s
    mean = (prediction.metrics[metric].high or 0.0) * min(1.0, window_s / makespan_s)
    return max(1, int(poisson.ppf(_CHANCE, mean)))


def estimate(values: Sequence[float], *, converges: bool = True) -> Estimate:
    """Mean, its interval and the spread of values over worlds; what is not finite is left out."""
    found = summarise(values)
    if not found["n"]:
        return Estimate(mean=None, ci95=None, low=None, high=None, n=0)
    finite = np.array([value for value in values if np.isfinite(value)])
    low, high = (float(quantile) for quantile in np.quantile(finite, _SPREAD))
    mean, ends = (found["mean"], found["ci95"]) if converges else (None, None)
    return Estimate(mean=mean, ci95=None if ends is None else tuple(ends), low=low, high=high, n=found["n"])


def _per_job(worlds: Mapping[str, Sequence[float]]) -> dict[str, Estimate]:
    """Ratios of each world, so that a run with more or fewer jobs can be held to them."""
    per_submitted = {
        "miss_rate": "deadline_missed",
        "failed_rate": "jobs_failed",
        "attempts": "attempts",
        "interruptions": "interruptions",
    }
    done = [jobs / _THOUSAND for jobs in worlds["jobs_done"]]
    return {
        _COST: estimate(_ratios(worlds["cost_usd"], done)),
        **{name: estimate(_ratios(worlds[metric], worlds["jobs_submitted"])) for name, metric in per_submitted.items()},
    }


def _ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [over / under if under else float("nan") for over, under in zip(above, below, strict=True)]
