"""Means over worlds with 95 % intervals, and paired differences between policies (docs/statistics.md)."""

from __future__ import annotations

from spotbed.stats.intervals import Interval, block_bootstrap_ci, mean_interval
from spotbed.stats.method import method_text
from spotbed.stats.quantiles import quantile_interval
from spotbed.stats.several import against_baseline, dunnett_p, holm
from spotbed.stats.summary import Paired, Summary, Verdict, paired, summarise, verdict

__all__ = [
    "Interval",
    "Paired",
    "Summary",
    "Verdict",
    "against_baseline",
    "block_bootstrap_ci",
    "dunnett_p",
    "holm",
    "mean_interval",
    "method_text",
    "paired",
    "quantile_interval",
    "summarise",
    "verdict",
]
