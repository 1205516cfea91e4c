"""What the drivers do against what theory says they must: queues, restarts, retries, Little's law, metamorphic
relations.

Closed forms are met within three standard errors, which the worlds themselves give; the seeds are fixed.
"""

from __future__ import annotations

import math

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
    estimate,
    kiefer_wolfowitz_ms,
    mg1_wait,
    mg1_worlds,
    mmc_wait,
    mmc_worlds,
)

from sim.inputs import Int64
from spotbed.published.queues import SERVICES

MMC = ((1, 0.5), (1, 0.9), (2, 0.8), (4, 0.8), (8, 0.9), (16, 0.95), (64, 0.95))
EASY_LOADS = tuple((servers, rho) for servers, rho in MMC if rho <= 0.8)
STANDARD_ERRORS = 3.0  # two-sided p = .0027, so .04 over the 15 cells of this file
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
def assert_close(measured: tuple[float, float], exact: float) -> None:
    mean, error = measured
    assert abs(mean - exact) <= STANDARD_ERRORS * error, f"{mean} +- {error}, exact {exact}"


@pytest.mark.parametrize(("servers", "rho"), MMC)
def test_mean_waits_of_MMc(servers: int, rho: float) -> None:
    assert_close(estimate(*mmc_worlds(servers, rho, worlds=30, jobs=1_500)), mmc_wait(servers, rho))


@pytest.mark.slow
@pytest.mark.parametrize(("servers", "rho"), EASY_LOADS)
def test_mean_waits_of_MMc_to_one_percent(servers: int, rho: float) -> None:
    mean, error = estimate(*mmc_worlds(servers, rho, worlds=40, jobs=40_000 if servers == 1 else 25_000, seed=1))
    assert_close((mean, error), mmc_wait(servers, rho))
    assert mean == pytest.approx(mmc_wait(servers, rho), rel=0.01)


def test_the_formula_of_MMc_gives_the_published_waits() -> None:
    """Values of the standard tables."""
    waits = [mmc_wait(servers, rho) for servers, rho in MMC]
    assert waits == pytest.approx([1, 9, 1.777778, 0.745541, 0.876916, 0.975241, 0.183753], abs=1e-6)


@pytest.mark.parametrize("rho", [0.5, 0.8])
@pytest.mark.parametrize("kind", SERVICES)
def test_mean_waits_of_MG1(kind: str, rho: float) -> None:
    services, residuals, second_moment = SERVICES[kind]
    assert_close(estimate(*mg1_worlds(rho, services, residuals, 30, 1_500)), mg1_wait(rho, second_moment))


@pytest.mark.slow
@pytest.mark.parametrize("kind", SERVICES)
def test_mean_waits_of_MG1_to_one_percent(kind: str) -> None:
    services, residuals, second_moment = SERVICES[kind]
    mean, error = estimate(*mg1_worlds(0.5, services, residuals, 40, 25_000, seed=1))
    assert_close((mean, error), mg1_wait(0.5, second_moment))
    assert mean == pytest.approx(mg1_wait(0.5, second_moment), rel=0.01)
