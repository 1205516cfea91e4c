"""Attempts against theory: work that starts again after an interruption, checkpoints, retries and their delays.

An interrupted instance has an exponential lifetime, so a job's next attempt may as well run on a used one: the jobs
of a world are independent, and their spread gives the standard error.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from queueing import column
from scipy.stats import chi2
from worlds import HOUR, MINUTE

from scheduler.policies.retry import Immediate
from scheduler.settings import Settings
from sim.inputs import Float64
from spotbed.metering import GAVE_UP
from spotbed.published.attempts import (
    JITTER_BASE_MS,
    JITTER_CAP_MS,
    attempt_hours,
    checkpointed_hours,
    delays_ms,
    failing,
    interrupted,
)

STANDARD_ERRORS = 3.0


def assert_mean(values: Float64, exact: float) -> None:
    error = values.std(ddof=1) / math.sqrt(len(values))
    assert abs(values.mean() - exact) <= STANDARD_ERRORS * error, f"{values.mean()} +- {error}, exact {exact}"


# restart ------------------------------------------------------------------------------------------------------------
GOLDEN = ((0.05, 4, 4.42806), (0.1, 10, 17.18282), (0.5, 4, 12.77811), (1.0, 5, 147.41316))


@pytest.mark.parametrize(("rate", "work", "exact"), GOLDEN)
def test_work_without_checkpoints_starts_again(rate: float, work: float, exact: float) -> None:
    """(e^(lambda T) - 1) / lambda."""
    assert math.expm1(rate * work) / rate == pytest.approx(exact, abs=1e-5)
    jobs = round(20_000 / math.exp(rate * work))
    assert_mean(attempt_hours(interrupted(1 / rate, work, jobs)), exact)


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "work", "exact"), GOLDEN[:2])
def test_work_without_checkpoints_starts_again_to_one_percent(rate: float, work: float, exact: float) -> None:
    hours = attempt_hours(interrupted(1 / rate, work, 60_000))
    assert_mean(hours, exact)
    assert hours.mean() == pytest.approx(exact, rel=0.01)


def test_attempts_are_geometric() -> None:
    """Each succeeds with p = e^(-lambda T), whatever came before."""
    attempts = column(interrupted(2.0, 2.0, 5_000).jobs.attempts)
    p = math.exp(-1.0)
    assert_mean(attempts.astype(float), 1 / p)
    most = 12
    expected = len(attempts) * np.r_[p * (1 - p) ** np.arange(most - 1), (1 - p) ** (most - 1)]
    seen = np.bincount(np.minimum(attempts, most), minlength=most + 1)[1:]
    assert ((seen - expected) ** 2 / expected).sum() < chi2.ppf(0.999, most - 1)


def test_what_an_interruption_costs_beside_the_work() -> None:
    """(1 / lambda + R)(e^(lambda T) - 1): R is the wait for the next tick, and the launch."""
    mean_h, work_h, launch_s, worlds = 2.0, 2.0, 1_800.0, 400
    settings = Settings(tick_ms=MINUTE, boot_timeout_ms=HOUR)
    tallies = [
        interrupted(mean_h, work_h, 1, world=world, launch_s=launch_s, settings=settings) for world in range(worlds)
    ]
    spans = np.array([(tally.jobs.end_ms[0] - tally.jobs.first_start_ms[0]) / HOUR for tally in tallies])
    tick_h = 1 / 60
    since_tick_h = mean_h - tick_h / math.expm1(tick_h / mean_h)  # mean of an exponential time modulo the tick
    restart_h = launch_s / 3600 + tick_h - since_tick_h
    assert_mean(spans, (mean_h + restart_h) * math.expm1(work_h / mean_h))


def test_checkpoints_cost_what_daly_says() -> None:
    """M e^(R/M) (e^((tau + delta)/M) - 1) Ts / tau with failures during restart (Daly, FGCS 22, 2006): 610.37 h.

    Here the first segment has nothing to restore and the last one ends without a checkpoint.
    """
    mean, write, restore, every, work = 6.0, 5 / 60, 10 / 60, 1.0, 500.0
    factor = mean * math.exp(restore / mean)
    segment = factor * math.expm1((every + write) / mean)
    assert segment * work / every == pytest.approx(610.37, abs=0.005)
    first, last = mean * math.expm1((every + write) / mean), factor * math.expm1(every / mean)
    assert_mean(checkpointed_hours(150), first + (work / every - 2) * segment + last)


# retries ------------------------------------------------------------------------------------------------------------
def test_a_job_that_may_fail_is_tried_so_often() -> None:
    """(1 - q^m) / p attempts for m tries of failure probability q."""
    q, tries, jobs = 0.4, 4, 8_000
    tally, _ = failing(q, tries - 1, jobs, Immediate())
    assert_mean(column(tally.jobs.attempts).astype(float), (1 - q**tries) / (1 - q))
    given_up = np.array(tally.jobs.status) == GAVE_UP
    assert_mean(given_up.astype(float), q**tries)


def test_full_jitter_delays_are_uniform_below_their_ceiling() -> None:
    """U(0, min(cap, b 2^n)): mean ceiling / 2 and standard deviation ceiling / sqrt(12), for each n."""
    jobs = 2_000
    for n, found in enumerate(delays_ms(jobs)):
        ceiling_ms = min(JITTER_CAP_MS, JITTER_BASE_MS * 2**n)
        delays = found + 0.5  # whole milliseconds, rounded down
        assert len(delays) == jobs
        assert_mean(delays, ceiling_ms / 2)
        assert delays.min() >= 0
        assert delays.max() <= ceiling_ms
        assert delays.std() == pytest.approx(ceiling_ms / math.sqrt(12), rel=0.03)
