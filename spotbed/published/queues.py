"""Mean waits of queues with one kind of server, in the decoupled driver, against closed forms.

Erlang's formula for M/M/c, Pollaczek and Khinchine's for M/G/1, in units of the mean service. A cell is mm/c/LOAD,
md/1/LOAD (constant services) or mg/1/LOAD (lognormal services, sigma 1).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from sim.inputs import Float64
from spotbed.published.judge import Measured
from spotbed.published.queueing import estimate, mg1_worlds, mmc_worlds

FILES: tuple[str, ...] = ()
SIGMA = 1.0  # of the lognormal services
WORLDS, JOBS = 30, 1_500


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


SERVICES: dict[str, tuple[Any, Any, float]] = {  # services, residuals, second moment
    "md": (constant_services, constant_residuals, 1.0),
    "mg": (lognormal_services, lognormal_residuals, math.exp(SIGMA**2)),
}


def measure(data: Path, cell: str) -> Measured:
    """The mean wait with its standard error, with control variates."""
    kind, servers, rho = cell.split("/")
    if kind == "mm":
        mean, error = estimate(*mmc_worlds(int(servers), float(rho), WORLDS, JOBS))
    else:
        services, residuals, _ = SERVICES[kind]
        mean, error = estimate(*mg1_worlds(float(rho), services, residuals, WORLDS, JOBS))
    return Measured(mean, error=error)
