"""Models from recordings: how long instances live, how long pools have room, and how good the models are."""

from __future__ import annotations

from spotbed.fit.fitting import fit_lifetimes, fit_path, fit_prices, fit_spells
from spotbed.fit.report import FitReport, Model, PriceSummary, SampleFit

__all__ = [
    "FitReport",
    "Model",
    "PriceSummary",
    "SampleFit",
    "fit_lifetimes",
    "fit_path",
    "fit_prices",
    "fit_spells",
]
