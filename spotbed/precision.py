"""A comparison that runs until its means are precise enough: `compare --precision 2% --max 200`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spotbed.build import Blueprint
from spotbed.comparison import Finished
from spotbed.errors import InputError, Problem
from spotbed.report.words import percent
from spotbed.stats.stopping import Precision, relative_half_width, worlds_wanted

COST, SLOWDOWN = "cost_usd", "bounded_slowdown"
MOST = 1_000  # worlds, where --max is not given
_SHARE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")

Load = Callable[[int], Blueprint]  # the scenario with so many worlds
Run = Callable[[Blueprint, int], Finished]  # all its worlds; those that were finished before are not run again


@dataclass(frozen=True, slots=True)
class Reached:
    """The comparison as it ended, and a sentence on how precise it is."""

    made: Blueprint
    worlds: int
    finished: Finished
    note: str


def wanted_precision(text: str | None, at_most: int | None) -> Precision | None:
    """What --precision (`2%`, `0.5 %`) and --max ask for; None without them. Raises InputError."""
    if text is None:
        if at_most is not None:
            raise InputError(Problem("--max goes with --precision.", hint="Without it, say --replications N."))
        return None
    match = _SHARE.fullmatch(text)
    share = float(match.group(1)) / 100 if match else 0.0
    if not 0.0 < share < 1.0:
        hint = "Write a percentage between 0 and 100, such as 2%."
        raise InputError(Problem(f"{text!r} is no relative precision.", "--precision", value=text, hint=hint))
    return Precision(share, MOST if at_most is None else at_most)


def compare_until(made: Blueprint, precision: Precision, labels: Sequence[str], load: Load, run: Run) -> Reached:
    """Run worlds, look, and run more, until every policy's mean is precise enough or there are as many as allowed."""
    worlds = min(precision.at_most, max(made.scenario.replications, precision.first))
    while True:
        if worlds != made.scenario.replications:
            made = load(worlds)
        finished = run(made, worlds)
        values = _values(finished, labels)
        wanted = worlds_wanted(values, precision)
        if wanted <= worlds:
            return Reached(made, worlds, finished, _told(values, precision, worlds, _metric(finished)))
        worlds = wanted


def _metric(finished: Finished) -> str:
    """What policies are compared by: the bill, or the slowdown where nothing is billed."""
    billed = any(result.metrics[COST] for results in finished.results.values() for result in results)
    return COST if billed else SLOWDOWN


def _values(finished: Finished, labels: Sequence[str]) -> dict[str, list[float]]:
    metric = _metric(finished)
    return {label: [result.metrics[metric] for result in finished.results[label]] for label in labels}


def _told(values: dict[str, list[float]], precision: Precision, worlds: int, metric: str) -> str:
    known = {label: _known_within(numbers) for label, numbers in values.items()}
    widest = max(known, key=lambda label: known[label])
    name = "cost" if metric == COST else "bounded slowdown"
    if known[widest] <= precision.relative * (1 + 1e-12):
        return f"precision of {percent(precision.relative)} reached: every mean {name} after {worlds} worlds"
    within = f"within {percent(known[widest])}" if math.isfinite(known[widest]) else "not at all"
    return (
        f"precision of {percent(precision.relative)} not reached: after {worlds} worlds, as many as allowed, "
        f"the mean {name} of {widest} is known {within}"
    )


def _known_within(numbers: list[float]) -> float:
    """g of which the half width over the mean is g / (1 + g)."""
    half = relative_half_width(numbers)
    return half / (1 - half) if half < 1 else math.inf
