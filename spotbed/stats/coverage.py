"""Measure how often the intervals hold the truth: `python -m spotbed.stats.coverage` writes data/coverage.csv."""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spotbed.stats.intervals import Array, Interval, log_ratio_interval, mean_interval
from spotbed.stats.method import RESAMPLES, Coverage

SIGMA = 0.8  # of the lognormal: its 95 % quantile is 3.7 times its median, as of runtimes and costs
SIZES = (5, 10, 11, 15, 30, 100, 1001)
REPETITIONS = 10_000
DESTINATION = Path(__file__).parents[1] / "data" / "coverage.csv"


class Case(NamedTuple):
    """A population: how n worlds of it are drawn, the interval asked for, and the value that it should hold."""

    name: str
    sample: Callable[[np.random.Generator, int], tuple[Array, ...]]
    interval: Callable[..., Interval]
    truth: float


def _lognormal_pair(generator: np.random.Generator, worlds: int) -> tuple[Array, ...]:
    """Two policies on the same worlds: a common skewed part, correlation .8 of the logs, the second twice as dear."""
    common, own, other = generator.normal(size=(3, worlds))
    shared = math.sqrt(0.8) * common
    ours, theirs = (np.exp(SIGMA * (shared + math.sqrt(0.2) * noise)) for noise in (own, other))
    return ours, 2.0 * theirs


CASES = (
    Case("normal", lambda generator, worlds: (generator.normal(size=worlds),), mean_interval, 0.0),
    Case(
        f"lognormal({SIGMA})",
        lambda generator, worlds: (np.exp(SIGMA * generator.normal(size=worlds)),),
        mean_interval,
        math.exp(SIGMA**2 / 2.0),
    ),
    Case(f"ratio of paired lognormal({SIGMA})", _lognormal_pair, log_ratio_interval, math.log(0.5)),
)


def measure(case: Case, worlds: int, repetitions: int, seed: int, date: str) -> Coverage:
    """The share of `repetitions` samples of n `worlds` whose interval holds the truth."""
    generator = np.random.Generator(np.random.Philox(key=seed))
    too_low = too_high = 0
    method = ""
    for _ in range(repetitions):
        _, low, high, method = case.interval(*case.sample(generator, worlds))
        if low is None or high is None:
            raise ValueError("coverage is measured from two worlds on")
        too_low += high < case.truth
        too_high += low > case.truth
    return Coverage(
        case=case.name,
        n=worlds,
        method=method,
        coverage=(repetitions - too_low - too_high) / repetitions,
        too_low=too_low / repetitions,
        too_high=too_high / repetitions,
        repetitions=repetitions,
        resamples=RESAMPLES,
        date=date,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all cases and write them as CSV."""
    parser = argparse.ArgumentParser(prog="python -m spotbed.stats.coverage", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N", help="numbers of worlds")
    parser.add_argument("--out", type=Path, default=DESTINATION)
    options = parser.parse_args(arguments)
    date = dt.datetime.now(tz=dt.UTC).date().isoformat()
    with options.out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Coverage.__slots__)
        for case in CASES:
            for worlds in options.sizes:
                row = measure(case, worlds, options.repetitions, worlds, date)
                writer.writerow([getattr(row, column) for column in Coverage.__slots__])
                sys.stdout.write(f"{row.case}, n={row.n}, {row.method}: {100 * row.coverage:.2f} %\n")


if __name__ == "__main__":
    main()
