"""What a head node costs: figures 3 and 4 of the article on the original scheduler, as numbers.

`scenarios/central-limits.yaml`: 5,000 jobs of two minutes at once; the head node starts 2 jobs a second and, under
`central-fails`, fails from minute 15 to minute 45. The makespan in minutes, boot and last jobs included, the mean of
three worlds. A cell is POLICY/WORKERS.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from spotbed.build import Blueprint, blueprint
from spotbed.published.judge import Measured
from spotbed.scenario.load import load_scenario
from spotbed.worlds import run_world

FILES: tuple[str, ...] = ()
SCENARIO = Path(__file__).parents[2] / "scenarios" / "central-limits.yaml"
WORLDS = 3


@cache
def _made(workers: int) -> Blueprint:
    return blueprint(load_scenario(SCENARIO, (f"capacity.pools.c6i.max={workers}",)))


def measure(data: Path, cell: str) -> Measured:
    """The mean makespan."""
    label, workers = cell.split("/")
    made = _made(int(workers))
    ran = [run_world(made, made.composed[label], world).result for world in range(WORLDS)]
    return Measured(sum(result.metrics["makespan_s"] for result in ran) / WORLDS / 60)
