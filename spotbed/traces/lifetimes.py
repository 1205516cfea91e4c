"""How long Spot instances lived, with censoring: who was stopped by its owner lived at least as long as it did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sim.inputs import Float64, Int64
from spotbed.errors import InputError, Problem
from spotbed.scenario.problems import shown, suggestion
from spotbed.traces.availability import events_of_log, is_log
from spotbed.traces.table import Table, read_table, refuse
from spotbed.work.textfile import read_text
from spotbed.work.values import LARGEST

EVENTS = ("preempted", "interrupted")  # how a lifetime ends that EC2 (or another cloud) ended
_COLUMNS = {"lifetime_s": ("lifetime", "duration_s"), "end_reason": ("reason",)}


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Durations in seconds (shape n) and whether each ended by an interruption (True) or was censored (False)."""

    duration_s: Float64
    event: npt.NDArray[np.bool_]


def read_lifetimes(path: Path) -> Lifetimes:
    """Read a CSV with columns `lifetime_s` and `end_reason`, or an add/remove log, plain or gzip.

    In a log a node that is there at the end is censored then. Raises InputError with file, line and value.
    """
    text = read_text(path)
    if not text.strip():
        raise InputError(Problem("is empty.", str(path)))
    if is_log(text):
        return _from_log(path, text)
    return _from_table(read_table(path, text, _COLUMNS))


def load_lifetimes(path: Path) -> tuple[Int64, Float64]:
    """`Interruptions.lifetimes_ms` and `.survival` of a file: event times in ms, rising, and the survival at them."""
    lifetimes = read_lifetimes(path)
    at_s, survival = kaplan_meier(lifetimes.duration_s, lifetimes.event)
    return np.rint(at_s * 1000.0).astype(np.int64), survival


def kaplan_meier(duration_s: Float64, event: npt.NDArray[np.bool_]) -> tuple[Float64, Float64]:
    """The product-limit estimate: distinct event times, rising, and the survival just after each of them.

    Kaplan and Meier, JASA 53 (1958); of those censored at the time of an event, all are still at risk.
    """
    at_s, died = np.unique(duration_s[event], return_counts=True)
    at_risk = len(duration_s) - np.searchsorted(np.sort(duration_s), at_s, side="left")
    return at_s, np.cumprod(1.0 - died / at_risk, dtype=np.float64)


def _from_table(table: Table) -> Lifetimes:
    texts, reasons = table.columns["lifetime_s"], table.columns["end_reason"]
    refuse([_bad(table, row, text) for row, text in enumerate(texts) if _duration(text) is None])
    duration_s = np.array([_duration(text) for text in texts], dtype=np.float64)
    event = np.array([reason.lower() in EVENTS for reason in reasons])
    if not event.any():
        found = sorted(set(reasons))
        hint = suggestion(EVENTS[0], found)
        message = f"no row ended by an interruption (end_reason {' or '.join(EVENTS)}); all would be censored."
        raise InputError(Problem(message, table.file, path="end_reason", value=found[:10], hint=hint))
    return Lifetimes(duration_s, event)


def _duration(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= LARGEST else None


def _bad(table: Table, row: int, text: str) -> Problem:
    message = f"{shown(text)} is not a duration in seconds of at least 0."
    return Problem(message, table.file, table.lines[row], path="lifetime_s", value=text)


def _from_log(path: Path, text: str) -> Lifetimes:
    events = events_of_log(path, text)
    since: dict[str, int] = {}
    lived: list[tuple[int, bool]] = []
    for at_ms, action, node in events:
        if action == "add":
            since[node] = at_ms
        else:
            lived.append((at_ms - since.pop(node), True))
    end_ms = events[-1][0]
    lived.extend((end_ms - start_ms, False) for start_ms in since.values())
    return Lifetimes(np.array([ms for ms, _ in lived]) / 1000.0, np.array([gone for _, gone in lived]))
