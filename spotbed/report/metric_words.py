"""What reports call the metrics, and how far an interval of one is shown."""

from __future__ import annotations

from collections.abc import Sequence

from spotbed.metric_names import METRIC_BY_NAME

_CALLED = {
    "flow_s": "Flow time",
    "deadline_missed": "Deadlines missed",
    "duplicate_completions": "Completed twice",
    "jobs_submitted": "Submitted",
    "jobs_done": "Done",
    "jobs_failed": "Failed",
    "jobs_unfinished": "Unfinished",
    "jobs_lost": "Lost",
}
CUT = "An interval that reaches below zero is shown from zero; results.json has it whole."


def called(metric: str) -> str:
    """The heading of a metric's column: Cost, Makespan, Deadlines missed."""
    unit = METRIC_BY_NAME[metric].unit
    plain = metric.rsplit("_", 1)[0] if unit in ("s", "USD") else metric
    return _CALLED.get(metric, plain.replace("_", " ").capitalize())


def shown_ends(ends: Sequence[float]) -> list[float]:
    """The ends of an interval of a metric's mean as they are shown. No metric can be negative, but what Student's t
    makes of a few worlds that differ can begin there."""
    return [max(0.0, end) for end in ends]


def is_cut(ends: Sequence[float] | None) -> bool:
    """Whether it is shown otherwise than it is."""
    return ends is not None and min(ends) < 0.0
