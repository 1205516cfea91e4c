"""How long a queue takes to recover from ten minutes in which ten times as many jobs come, by `order` and `scale`.

Nobody has published these: they are reported, not judged. A steady stream of jobs (lognormal, mean 5 min, 40 busy
workers on average) on a Spot pool of at most 80; the burst begins after two hours. Recovered: from then on, of the jobs
submitted within any five minutes 95 % start within ten minutes. Time from the burst's end, the mean over worlds. A cell
is ORDER/SCALE.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from scheduler.policies.place import LowestPrice
from scheduler.policies.presets import PARTS
from scheduler.settings import Settings
from sim.inputs import Float64, JobClass, Work
from spotbed.published.builders import HOUR, MINUTE, policy_of, pool, work_of
from spotbed.published.judge import Measured
from spotbed.published.queueing import column, inputs_of
from spotbed.stats import mean_interval
from spotbed.worlds import simulate

FILES: tuple[str, ...] = ()
WORLDS, WORKERS, MOST = 10, 40, 80
MEAN_S, SIGMA = 300.0, 1.0
BEGIN_MS, LASTS_MS, UNTIL_MS, WINDOW_MS = 2 * HOUR, 10 * MINUTE, 14 * HOUR, 5 * MINUTE
FOLD = 10
WAIT_MS = 10 * MINUTE  # that is acceptable
SHARE = 0.95


@cache
def jobs(world: int) -> Work:
    """The jobs of a world: the same under every policy."""
    rng = np.random.default_rng([40, world])
    steady_ms = MEAN_S * 1000 / WORKERS
    steady = rng.uniform(0, UNTIL_MS, rng.poisson(UNTIL_MS / steady_ms))
    extra = rng.uniform(BEGIN_MS, BEGIN_MS + LASTS_MS, rng.poisson((FOLD - 1) * LASTS_MS / steady_ms))
    submit = np.sort(np.r_[steady, extra]).astype(np.int64)
    runtime = rng.lognormal(np.log(MEAN_S * 1000) - SIGMA**2 / 2, SIGMA, len(submit)).astype(np.int64) + 1
    return work_of((JobClass("job"),), submit.tolist(), runtime.tolist())


def recovered_min(submit_ms: Float64, wait_ms: Float64) -> float:
    """Minutes from the burst's end to the end of the last stretch in which too many jobs wait too long."""
    window = ((submit_ms - BEGIN_MS) // WINDOW_MS).astype(np.int64)
    numbers = np.unique(window[window >= 0])
    late = [number for number in numbers if (wait_ms[window == number] <= WAIT_MS).mean() < SHARE]
    return max(0.0, ((max(late) + 1) * WINDOW_MS - LASTS_MS) / MINUTE) if late else 0.0


def measure(data: Path, cell: str) -> Measured:
    """The mean over worlds with its interval."""
    order, scale = cell.split("/")
    parts: dict[str, Any] = {
        "order": PARTS["order"][order](),
        "scale": PARTS["scale"][scale](),
        "place": LowestPrice(),
    }
    values = []
    for world in range(WORLDS):
        work = jobs(world)
        inputs = inputs_of(work, (pool(most=MOST, boot_s=120),), world=world)
        tally = simulate(inputs, policy_of(Settings(), **parts))
        wait = column(tally.jobs.first_start_ms) - work.submit_ms
        values.append(recovered_min(work.submit_ms.astype(float), wait.astype(float)))
    found = mean_interval(values)
    return Measured(found.estimate, found.low, found.high)
