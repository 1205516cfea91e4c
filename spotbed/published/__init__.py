"""Published and exact results beside ours: `spotbed bench published` and the tests run what is in here.

One small file per source; what others have published, with its tolerance, is data (`spotbed/data/published.csv`).
"""

from __future__ import annotations

from spotbed.published.judge import Measured, Result, judge
from spotbed.published.runs import SOURCES, results
from spotbed.published.table import Target, targets

__all__ = ["SOURCES", "Measured", "Result", "Target", "judge", "results", "targets"]
