"""Attempts against theory: work that starts again after an interruption, checkpoints, retries and their delays.

An interrupted instance has an exponential lifetime, so a job's next attempt may as well run on a used one: the jobs
of a world are independent, and their spread gives the standard error. Times in hours. A cell is restart/RATE/WORK,
attempts, daly, tries or jitter/N.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from scheduler.policies.protect import NoProtection, Periodic
from scheduler.policies.retry import FullJitter, Immediate
from scheduler.settings import Settings
from sim.inputs import Float64, Int64, Interruptions, JobClass, MarketInputs
from spotbed.journal import AttemptFact, Journal
from spotbed.metering import DONE, Tally
from spotbed.published.builders import HOUR, MINUTE, S, constant, policy_of, pool, work_of
from spotbed.published.judge import Measured
from spotbed.published.queueing import column, inputs_of, run_cluster
from spotbed.worlds import simulate

FILES: tuple[str, ...] = ()
JITTER_BASE_MS, JITTER_CAP_MS, RETRIES = 60_000, 400_000, 5


def interrupted(
    mean_h: float, work_h: float, jobs: int, *, world: int = 0, launch_s: float = 0.0, settings: Settings | None = None,
    protect: object = NoProtection(), journal: Journal | None = None,
) -> Tally:  # fmt: skip
    """Jobs of `work_h` hours submitted at once, on instances that live `mean_h` hours."""
    work = work_of((JobClass("job", checkpointable=True),), [0] * jobs, [round(work_h * HOUR)] * jobs)
    losses = Interruptions("exponential", mean_ms=mean_h * HOUR)
    market = MarketInputs(losses, notice_probability=0.0, launch=constant(launch_s))
    inputs = inputs_of(work, (pool(most=jobs, boot_s=0),), market=market, world=world, drain_ms=1 << 50)
    tally = simulate(inputs, policy_of(settings or Settings(tick_ms=HOUR), protect=protect), journal)
    assert set(tally.jobs.status) == {DONE}
    return tally


def attempt_hours(tally: Tally) -> Float64:
    """Instance time of all attempts of each job."""
    columns = tally.jobs
    return np.asarray((column(columns.useful_ms) + column(columns.lost_ms)) / HOUR)


def attempts_of(journal: Journal) -> list[AttemptFact]:
    """All attempts that the journal tells of."""
    return [entry.body for entry in journal.entries if entry.kind == "attempt"]


def hours_by_job(journal: Journal, jobs: int) -> Float64:
    """How long the attempts of each job lasted."""
    hours = np.zeros(jobs)
    for fact in attempts_of(journal):
        hours[fact.number] += (fact.end_ms - fact.start_ms) / HOUR
    return hours


def checkpointed_hours(jobs: int) -> Float64:
    """500 h of work with a checkpoint of 5 min every hour, 10 min to restore it, and 6 h between interruptions."""
    settings = Settings(tick_ms=HOUR, checkpoint_write_ms=5 * MINUTE, checkpoint_restore_ms=10 * MINUTE)
    journal = Journal()
    interrupted(6.0, 500.0, jobs, settings=settings, protect=Periodic(every_ms=HOUR), journal=journal)
    return hours_by_job(journal, jobs)


def failing(probability: float, retries: int, jobs: int, retry: object) -> tuple[Tally, list[AttemptFact]]:
    """Jobs of a second that fail by chance, on a cluster that has room for all."""
    rng = np.random.default_rng(3)
    klass = JobClass("job", fail_probability=probability, retries=retries)
    work = replace(work_of((klass,), [0] * jobs, [S] * jobs), outcome_u=rng.random(jobs))
    journal = Journal()
    tally = run_cluster(work, jobs, journal, retry=retry)
    return tally, attempts_of(journal)


@cache
def delays_ms(jobs: int) -> list[Int64]:
    """The delays before each of five retries under full jitter, of jobs that always fail."""
    _, facts = failing(1.0, RETRIES, jobs, FullJitter(JITTER_BASE_MS, JITTER_CAP_MS, budget_ms=HOUR))
    ends = {(fact.number, fact.attempt): fact.end_ms for fact in facts}
    return [
        np.array([fact.start_ms - ends[fact.number, n + 1] for fact in facts if fact.attempt == n + 2], dtype=np.int64)
        for n in range(RETRIES)
    ]


def measure(data: Path, cell: str) -> Measured:
    """A mean over independent jobs with its standard error."""
    kind, *numbers = cell.split("/")
    if kind == "restart":
        rate, work = (float(number) for number in numbers)
        values = attempt_hours(interrupted(1 / rate, work, round(20_000 / math.exp(rate * work))))
    elif kind == "attempts":
        values = column(interrupted(2.0, 2.0, 5_000).jobs.attempts).astype(float)
    elif kind == "daly":
        values = checkpointed_hours(150)
    elif kind == "tries":
        values = column(failing(0.4, 3, 8_000, Immediate())[0].jobs.attempts).astype(float)
    else:
        values = (delays_ms(2_000)[int(numbers[0]) - 1] + 0.5) / S  # whole milliseconds, rounded down
    return Measured(float(values.mean()), error=float(values.std(ddof=1)) / math.sqrt(len(values)))
