"""Preemptible lifetimes (Kadupitiya, Jadhao, Sharma, HPDC 2020): not exponential but a bathtub, with censoring.

They give R2 .968 (bathtub) against .749 (exponential) over all zones, by least squares on the instances that were
interrupted; the data here is one zone with censored instances, fitted by maximum likelihood, and R2 is that of the
Kaplan-Meier curve. A cell is one number of the fit.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from spotbed.fit import SampleFit, fit_path
from spotbed.published.judge import Measured

FILES = ("lifetimes/gcp-preemptible-lifetimes-2019.csv.gz",)


@cache
def sample(data: Path) -> SampleFit:
    """What `spotbed data fit` says of the file."""
    return fit_path(data / FILES[0]).sample("lifetime")


def measure(data: Path, cell: str) -> Measured:
    """One number of the fit; `rank-of-exponential` counts the parametric models that fit better."""
    found = sample(data)
    bathtub, exponential = found.model("bathtub"), found.model("exponential")
    if cell == "recommends-exponential":
        return Measured(float(found.recommended == "exponential"))
    if cell == "bic-gain":
        assert bathtub.bic is not None
        assert exponential.bic is not None
        return Measured(exponential.bic - bathtub.bic)
    return Measured({"bathtub/r2": bathtub.r_squared, "exponential/r2": exponential.r_squared}[cell])
