"""Mean waits of queues with one kind of server, in the decoupled driver, against closed forms.

Erlang's formula for M/M/c, Pollaczek and Khinchine's for M/G/1, in units of the mean service. A cell is mm/c/LOAD,
md/1/LOAD (constant services) or mg/1/LOAD (lognormal services, sigma 1).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from sim.inputs import Float64
from spotbed.published.judge import Measured
from spotbed.published.queueing import Draws, Queue, estimate, mg1, mmc, queue_worlds
from spotbed.stats.intervals import student_quantile

FILES: tuple[str, ...] = ()
SIGMA = 1.0  # of the lognormal services
WORLDS = 60  # with two controls 57 degrees of freedom: three errors are 95 % for all eleven cells by Bonferroni


def constant_services(rng: np.random.Generator, count: int) -> Float64:
    """All of length 1."""
    return np.ones(count)


def constant_residuals(rng: np.random.Generator, count: int) -> Float64:
    """What is left of a service that is met at a random moment."""
    return rng.random(count)


def lognormal_services(rng: np.random.Generator, count: int) -> Float64:
    """Of mean 1."""
    return rng.lognormal(-(SIGMA**2) / 2, SIGMA, count)


def lognormal_residuals(rng: np.random.Generator, count: int) -> Float64:
    """A uniform part of a service chosen in proportion to its length: a lognormal whose mu is sigma^2 higher."""
    return rng.random(count) * rng.lognormal(SIGMA**2 / 2, SIGMA, count)


SERVICES: dict[str, tuple[Draws, Draws, float]] = {  # services, residuals, second moment
    "md": (constant_services, constant_residuals, 1.0),
    "mg": (lognormal_services, lognormal_residuals, math.exp(SIGMA**2)),
}


def queue_of(cell: str) -> Queue:
    """The queue that a cell names."""
    kind, servers, load = cell.split("/")
    return mmc(int(servers), float(load)) if kind == "mm" else mg1(float(load), *SERVICES[kind])


def jobs_of(queue: Queue) -> int:
    """In each world; where there are many servers few jobs wait, and the controls explain less."""
    return 2_000 if queue.servers < 8 else 6_000 if queue.servers < 64 else 15_000


def measure(data: Path, cell: str) -> Measured:
    """The mean wait with its 95 % interval and standard error, with control variates."""
    queue = queue_of(cell)
    means, controls = queue_worlds(queue, WORLDS, jobs_of(queue))
    mean, error = estimate(means, controls)
    half = student_quantile(WORLDS - 1 - controls.shape[1]) * error
    return Measured(mean, mean - half, mean + half, error)
