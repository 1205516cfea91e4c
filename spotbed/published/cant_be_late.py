"""Can't Be Late (Wu et al., NSDI 2024): one job of 48 h with a deadline, on nine zones of a Spot trace.

A window starts every 24 h in each zone. Each is a world of the decoupled scheduler: one job, its zone's Spot pool, and
on-demand. Windows overlap and zones go together, so intervals are by block bootstrap over stretches of time, each with
all zones. A cell is FRACTION/POLICY/STATISTIC: the job as a share of its deadline; greedy or uniform; the mean saving
against on-demand (%) and its median, hours of work on-demand and on Spot, and the share of the windows that ended in
time (%). Uniform against greedy, window by window: the mean gain (points of saving), and the shares of windows in which
it costs less (`wins`, %) and the same to a cent (`ties`). Against the omniscient
schedule, which knows the trace: its saving (`omniscient/saving`), the mean of the cost over its cost less one
(`regret`, %), the largest cost over it (`ratio`), and the least (`bound`): it changes at ticks alone, so a policy that
pays by the second may be below it by a part of the last tick.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median
from typing import NamedTuple

from scheduler.policies.move import Greedy, UniformProgress
from scheduler.policies.place import LowestPrice
from scheduler.policies.protect import Continuous
from scheduler.settings import Settings
from sim.inputs import Int64, Interruptions, JobClass, MarketInputs
from spotbed.metering import DONE, USEFUL
from spotbed.omniscient import omniscient_cost
from spotbed.published.builders import HOUR, flat, policy_of, pool, work_of
from spotbed.published.judge import Measured
from spotbed.published.queueing import column, inputs_of
from spotbed.stats import block_bootstrap_ci
from spotbed.traces.availability import load_availability
from spotbed.worlds import simulate

FOLDER = "availability/aws-2023-02-p3-9az"
FILES = (FOLDER,)
TICK_MS, WORK_MS, CHANGEOVER_MS = 195_000, 48 * HOUR, 720_000
WINDOW_TICKS = 24 * HOUR // TICK_MS
SPARE_TICKS = 60
CENT = 0.01  # USD; windows that cost the same but for milliseconds are alike
SPOT_USD, ON_DEMAND_USD = 0.9731, 3.06
POLICIES = {"greedy": Greedy("now"), "uniform": UniformProgress("now")}


class Outcome(NamedTuple):
    """What one window cost, and how many hours of its work were done where."""

    usd: float
    on_demand_h: float
    spot_h: float
    in_time: bool


class Zone(NamedTuple):
    """A zone's trace: how many instances there are as a step function, and whether there is one, by tick."""

    name: str
    capacity: tuple[Int64, Int64]
    up: list[bool]


@cache
def zones(data: Path) -> tuple[Zone, ...]:
    """The nine zones, by name."""
    paths = sorted((data / FOLDER).glob("*.json.gz"))
    return tuple(Zone(path.name, load_availability(path), _up(path)) for path in paths)


def _up(path: Path) -> list[bool]:
    with gzip.open(path) as file:
        return [value >= 1 for value in json.load(file)["data"]]


def windows(data: Path, fraction: float) -> Iterator[tuple[Zone, int]]:
    """Each zone, and a start every 24 h as long as the deadline fits with 60 ticks to spare."""
    needed = math.ceil(WORK_MS / fraction / TICK_MS) + SPARE_TICKS
    for zone in zones(data):
        for number in range(len(range(0, len(zone.up) - needed, WINDOW_TICKS))):
            yield zone, number


def simulated(zone: Zone, number: int, fraction: float, policy: str) -> Outcome:
    """One window through the decoupled scheduler."""
    deadline_ms = round(WORK_MS / fraction)
    job = JobClass("job", deadline_ms=deadline_ms, checkpointable=True)
    pools = (
        pool("spot", "spot", 1, price=flat(SPOT_USD), boot_s=0, list_usd=ON_DEMAND_USD),
        pool("on-demand", "on-demand", 1, boot_s=0, list_usd=ON_DEMAND_USD),
    )
    losses = Interruptions(
        "trace", capacity={"spot": zone.capacity}, start="every", every_ms=WINDOW_TICKS * TICK_MS, burst_ms=0
    )
    market = MarketInputs(losses, notice_probability=0.0)
    inputs = inputs_of(work_of((job,), [0], [WORK_MS]), pools, market=market, world=number)
    settings = Settings(tick_ms=TICK_MS, keep_alive_ms=1, startup_ms=CHANGEOVER_MS)
    parts = {"place": LowestPrice("any"), "protect": Continuous(), "move": POLICIES[policy]}
    tally = simulate(inputs, policy_of(settings, **parts))
    spot, on_demand = tally.pools
    ended = column(tally.jobs.end_ms)[0]
    return Outcome(
        spot.instance_usd + on_demand.instance_usd,
        on_demand.ms[USEFUL] / HOUR,
        spot.ms[USEFUL] / HOUR,
        tally.jobs.status[0] == DONE and bool(ended <= deadline_ms),
    )


def omniscient_usd(zone: Zone, number: int, fraction: float) -> float:
    """The least that the window can cost who changes at ticks."""
    first, ticks = number * WINDOW_TICKS, int(WORK_MS / fraction / TICK_MS)
    least = omniscient_cost(
        zone.up[first : first + ticks],
        tick_ms=TICK_MS,
        work_ms=WORK_MS,
        changeover_ms=CHANGEOVER_MS,
        price_ratio=ON_DEMAND_USD / SPOT_USD,
    )
    return least * SPOT_USD * TICK_MS / HOUR


def saving_percent(usd: float) -> float:
    """Against the whole job on demand."""
    return 100 * (1 - usd / (WORK_MS / HOUR * ON_DEMAND_USD))


def block_of(number: int, fraction: float) -> int:
    """The stretch of time of the window, whatever its zone: zones are short of instances together.

    It is twice as many starts as a window is long. Windows overlap across its edge only with the block next to it, and
    in the first half of a block they overlap with none after it; `test_published_blocks.py` measures what that leaves.
    """
    starts = math.ceil(WORK_MS / fraction / (WINDOW_TICKS * TICK_MS))
    return number // (2 * starts)


@cache
def _outcomes(data: Path, fraction: float, policy: str) -> tuple[list[Outcome], list[int]]:
    every = list(windows(data, fraction))
    return [simulated(*each, fraction, policy) for each in every], [block_of(number, fraction) for _, number in every]


@cache
def _omniscient(data: Path, fraction: float) -> list[float]:
    return [omniscient_usd(*each, fraction) for each in windows(data, fraction)]


def _against_omniscient(data: Path, fraction: float, policy: str, statistic: str) -> Measured:
    outcomes, blocks = _outcomes(data, fraction, policy)
    over = [outcome.usd / least for outcome, least in zip(outcomes, _omniscient(data, fraction), strict=True)]
    if statistic != "regret":
        return Measured(max(over) if statistic == "ratio" else min(over))
    found = block_bootstrap_ci([100.0 * (ratio - 1.0) for ratio in over], blocks)
    return Measured(found.estimate, found.low, found.high)


def _against_greedy(data: Path, fraction: float, policy: str, statistic: str) -> Measured:
    outcomes, blocks = _outcomes(data, fraction, policy)
    greedy, _ = _outcomes(data, fraction, "greedy")
    less = [theirs.usd - own.usd for own, theirs in zip(outcomes, greedy, strict=True)]
    values = {
        "gain": [saving_percent(0.0) - saving_percent(usd) for usd in less],
        "wins": [100.0 * (usd > CENT) for usd in less],
        "ties": [100.0 * (abs(usd) <= CENT) for usd in less],
    }[statistic]
    found = block_bootstrap_ci(values, blocks)
    return Measured(found.estimate, found.low, found.high)


def measure(data: Path, cell: str) -> Measured:
    """The mean over the windows with its block bootstrap interval."""
    fraction, policy, statistic = cell.split("/")
    if policy == "omniscient":
        least = _omniscient(data, float(fraction))
        return Measured(saving_percent(sum(least) / len(least)))
    if statistic in ("regret", "ratio", "bound"):
        return _against_omniscient(data, float(fraction), policy, statistic)
    if statistic in ("gain", "wins", "ties"):
        return _against_greedy(data, float(fraction), policy, statistic)
    outcomes, blocks = _outcomes(data, float(fraction), policy)
    if statistic == "median":
        return Measured(median(saving_percent(outcome.usd) for outcome in outcomes))
    if statistic == "windows":
        return Measured(float(len(outcomes)))
    if statistic == "in-time":
        return Measured(100.0 * sum(outcome.in_time for outcome in outcomes) / len(outcomes))
    values = {
        "saving": [saving_percent(outcome.usd) for outcome in outcomes],
        "on-demand": [outcome.on_demand_h for outcome in outcomes],
        "spot": [outcome.spot_h for outcome in outcomes],
    }[statistic]
    found = block_bootstrap_ci(values, blocks)
    return Measured(found.estimate, found.low, found.high)
