"""The long timeline as step functions."""

from __future__ import annotations

import pandas as pd

from spotbed.report.resample import Floats


def steps_of(timeline: pd.DataFrame, series: str) -> dict[tuple[str, str], tuple[Floats, Floats]]:
    """The step functions (times, values) of one series by (pool, phase); either may be empty.

    Of several rows at the same moment the last one holds.
    """
    own = timeline[timeline["series"].astype(str) == series]
    own = own.assign(pool=own["pool"].fillna("").astype(str), phase=own["phase"].fillna("").astype(str))
    found: dict[tuple[str, str], tuple[Floats, Floats]] = {}
    for (pool, phase), group in own.groupby(["pool", "phase"], sort=False):
        ordered = group.sort_values("at_s", kind="stable").drop_duplicates("at_s", keep="last")
        found[str(pool), str(phase)] = (ordered["at_s"].to_numpy(dtype=float), ordered["value"].to_numpy(dtype=float))
    return found
