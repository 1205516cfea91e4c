"""Recordings of the market, checked and turned into what the simulator takes: capacity, lifetimes and prices."""

from __future__ import annotations

from spotbed.traces.availability import load_availability, load_capacity, read_spells_trace
from spotbed.traces.lifetimes import Lifetimes, kaplan_meier, load_lifetimes, read_lifetimes
from spotbed.traces.prices import PriceHistory, Series, load_price_paths, load_prices, read_price_history

__all__ = [
    "Lifetimes",
    "PriceHistory",
    "Series",
    "kaplan_meier",
    "load_availability",
    "load_capacity",
    "load_lifetimes",
    "load_price_paths",
    "load_prices",
    "read_lifetimes",
    "read_price_history",
    "read_spells_trace",
]
