"""How far a model is from what was seen, with respect for censoring: against the Kaplan-Meier curve and its band."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.inputs import Float64
from spotbed.fit.models import Bools
from spotbed.traces.lifetimes import kaplan_meier


@dataclass(frozen=True, slots=True)
class Curve:
    """The Kaplan-Meier estimate of a distribution function and its simultaneous confidence band (shapes: k events)."""

    at_s: Float64
    lost: Float64  # the share lost by then
    half_width: Float64  # of the Hall-Wellner band
    end_s: float

    def median_s(self) -> float | None:
        """The time by which half were lost; None if fewer were."""
        index = int(np.searchsorted(self.lost, 0.5))
        return float(self.at_s[index]) if index < len(self.at_s) else None

    def mean_s(self) -> float:
        """The mean duration, none counted for longer than the follow-up (restricted mean survival time)."""
        survival = np.r_[1.0, 1.0 - self.lost]
        return float(np.sum(survival * np.diff(np.r_[0.0, self.at_s, self.end_s])))


@dataclass(frozen=True, slots=True)
class Goodness:
    """A model against a curve: the largest distance, R^2 at the events, and the share of events inside the band."""

    distance: float
    r_squared: float
    inside_band: float


def curve_of(duration_s: Float64, event: Bools, confidence: float) -> Curve:
    """The Kaplan-Meier curve with its Hall-Wellner band (Biometrika 67, 1980) of the given confidence.

    The band is S(t) +- k (1 + s(t)) S(t) / sqrt(n) with s(t) = n sum d / (r (r - d)) and k the quantile of
    Kolmogorov's distribution, which is a little wide where the curve ends above 0.
    """
    from scipy.special import kolmogi

    at_s, survival = kaplan_meier(duration_s, event)
    size = len(duration_s)
    died = np.unique(duration_s[event], return_counts=True)[1]
    at_risk = size - np.searchsorted(np.sort(duration_s), at_s, side="left")
    alive = survival > 0  # only the last one can be 0, and the band says nothing there
    terms = np.zeros(len(at_s))
    terms[alive] = died[alive] / (at_risk[alive] * (at_risk[alive] - died[alive]))
    width = float(kolmogi(1.0 - confidence)) * (1.0 + size * np.cumsum(terms)) * survival / np.sqrt(size)
    return Curve(at_s, 1.0 - survival, np.where(alive, width, 1.0), float(duration_s.max()))


def goodness(curve: Curve, modelled: Float64) -> Goodness:
    """Compare the distribution function of a model at `curve.at_s` with the curve, before and after each jump."""
    before = np.r_[0.0, curve.lost[:-1]]
    off = np.abs(modelled - curve.lost)
    spread = float(((curve.lost - curve.lost.mean()) ** 2).sum())
    return Goodness(
        distance=float(np.maximum(off, np.abs(modelled - before)).max()),
        r_squared=1.0 - float((off**2).sum()) / spread if spread else 0.0,
        inside_band=float((off <= curve.half_width).mean()),
    )
