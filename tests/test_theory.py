"""What the drivers do against what theory says they must: queues, restarts, retries, Little's law, metamorphic
relations.

Closed forms are met to 1 % and within three standard errors, which the worlds themselves give; the seeds are fixed.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import ciw
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from queueing import (
    Starts,
    central_starts,
    cluster_starts,
    decoupled_starts,
    kiefer_wolfowitz_ms,
    mmc_wait,
)
from scipy.special import stdtr

from sim.inputs import Int64
from spotbed.published import judge, queueing, targets
from spotbed.published.judge import ERRORS
from spotbed.published.queues import WORLDS, measure, queue_of
from spotbed.published.table import Target

MMC = ((1, 0.5), (1, 0.9), (2, 0.8), (4, 0.8), (8, 0.9), (16, 0.95), (64, 0.95))
DRIVERS = pytest.mark.parametrize("starts", [cluster_starts, decoupled_starts, central_starts])


# the queue, job by job ----------------------------------------------------------------------------------------------
@st.composite
def queues(draw: st.DrawFn) -> tuple[int, Int64, Int64]:
    """(servers, submissions, runtimes), with ties, bursts and jobs of no length."""
    servers = draw(st.integers(1, 5))
    count = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    longest = draw(st.sampled_from([3, 1_000, 100_000]))
    submit = np.sort(rng.integers(0, max(1, longest * count // (2 * servers)), count))
    return servers, submit, rng.integers(0, longest, count)


@DRIVERS
@settings(max_examples=40, deadline=None)
@given(queue=queues())
def test_waits_are_those_of_kiefer_and_wolfowitz(starts: Starts, queue: tuple[int, Int64, Int64]) -> None:
    servers, submit, runtime = queue
    waits = starts(submit, runtime, servers) - submit
    assert waits.tolist() == kiefer_wolfowitz_ms(submit, runtime, servers).tolist()


@DRIVERS
def test_a_long_queue_waits_as_kiefer_and_wolfowitz_say(starts: Starts) -> None:
    submit, runtime = heavy_queue(servers=7, jobs=5_000)
    assert np.array_equal(starts(submit, runtime, 7) - submit, kiefer_wolfowitz_ms(submit, runtime, 7))


def heavy_queue(servers: int, jobs: int) -> tuple[Int64, Int64]:
    """Lognormal services at a load of .97."""
    rng = np.random.default_rng(20)
    runtime = np.rint(rng.lognormal(13, 1.2, jobs)).astype(np.int64)
    gap = math.exp(13 + 0.72) / servers / 0.97
    return np.cumsum(np.rint(rng.exponential(gap, jobs))).astype(np.int64), runtime


def test_waits_are_those_of_ciw() -> None:
    """The same draws through another simulator (Palmer et al., Journal of Simulation 13, 2019)."""
    servers, jobs = 3, 400
    submit, runtime = heavy_queue(servers, jobs)
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Sequential([*(np.diff(submit, prepend=0) / 1000).tolist(), math.inf])],
        service_distributions=[ciw.dists.Sequential((runtime / 1000).tolist())],
        number_of_servers=[servers],
    )
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(jobs, method="Finish")
    records = sorted(simulation.get_all_records(), key=lambda record: record.id_number)
    theirs = np.array([record.service_start_date for record in records])
    assert np.abs(decoupled_starts(submit, runtime, servers) / 1000 - theirs).max() < 1e-6


# the queue, on average ----------------------------------------------------------------------------------------------
def cells() -> list[Any]:
    """The queues that are published, the long ones marked as slow."""
    own = [target for target in targets() if target.source == "queues"]
    return [pytest.param(target, id=target.cell, marks=[pytest.mark.slow] if target.long else []) for target in own]


@pytest.mark.parametrize("target", cells())
def test_mean_waits_are_those_of_theory_to_one_percent(target: Target) -> None:
    assert (target.rule, target.tolerance) == ("precise", 0.01)
    assert target.published == pytest.approx(queue_of(target.cell).wait(1.0), abs=1e-6)
    measured = measure(Path(), target.cell)
    assert judge(target, measured).passed, measured


def test_a_driver_that_lets_jobs_wait_three_percent_longer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The controls take away the chance of the draws, not what the driver does."""

    def slow(submit_ms: Int64, runtime_ms: Int64, servers: int) -> Int64:
        return submit_ms + np.rint(1.03 * kiefer_wolfowitz_ms(submit_ms, runtime_ms, servers)).astype(np.int64)

    monkeypatch.setattr(queueing, "decoupled_starts", slow)
    for target in targets():
        if target.source == "queues" and not target.long:
            measured = measure(Path(), target.cell)
            assert target.published is not None
            assert measured.value == pytest.approx(1.03 * target.published, rel=0.01)
            assert not judge(target, measured).passed


def test_the_formula_of_MMc_gives_the_published_waits() -> None:
    """Values of the standard tables."""
    waits = [mmc_wait(servers, rho) for servers, rho in MMC]
    assert waits == pytest.approx([1, 9, 1.777778, 0.745541, 0.876916, 0.975241, 0.183753], abs=1e-6)


def test_three_errors_are_bonferronis_for_all_cells_at_once() -> None:
    assert len(cells()) * 2 * stdtr(WORLDS - 3, -ERRORS) <= 0.05
