"""Can't Be Late (Wu et al., NSDI 2024): one job of 48 h with a deadline, on nine zones of a Spot trace.

A window starts every 24 h in each zone. Each is a world of the decoupled scheduler: one job, its zone's Spot pool, and
on-demand. Windows overlap, so intervals are by block bootstrap over zone x disjoint stretch of time. A cell is
FRACTION/POLICY/STATISTIC: the job as a share of its deadline; greedy or uniform; the saving against on-demand (%),
hours of work on-demand and on Spot, and the share of the windows that ended in time (%).
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from scheduler.policies.move import Greedy, UniformProgress
from scheduler.policies.place import LowestPrice
from scheduler.policies.protect import Continuous
from scheduler.settings import Settings
from sim.inputs import Int64, Interruptions, JobClass, MarketInputs
from spotbed.metering import DONE, USEFUL
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


def saving_percent(usd: float) -> float:
    """Against the whole job on demand."""
    return 100 * (1 - usd / (WORK_MS / HOUR * ON_DEMAND_USD))


def block_of(zone: Zone, number: int, fraction: float) -> str:
    """Windows of one zone that overlap share a block: as many starts as a window is long."""
    starts = math.ceil(WORK_MS / fraction / (WINDOW_TICKS * TICK_MS))
    return f"{zone.name}/{number // starts}"


@cache
def _outcomes(data: Path, fraction: float, policy: str) -> tuple[list[Outcome], list[str]]:
    every = list(windows(data, fraction))
    return [simulated(*each, fraction, policy) for each in every], [block_of(*each, fraction) for each in every]


def measure(data: Path, cell: str) -> Measured:
    """The mean over the windows with its block bootstrap interval."""
    fraction, policy, statistic = cell.split("/")
    outcomes, blocks = _outcomes(data, float(fraction), policy)
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
