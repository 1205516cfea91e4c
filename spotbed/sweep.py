"""A scenario at many points: all its worlds under all its policies at each, in one data set."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spotbed.build import Blueprint
from spotbed.comparison import finish
from spotbed.design import Design, Point, points_of
from spotbed.engines import LOCAL, Engine
from spotbed.errands import Errand, Item, blueprint_of, run_task
from spotbed.errors import InputError, Problem
from spotbed.files import check_replaceable, new_folder, report_folder
from spotbed.keeping import Kept, forget, unfinished_folder
from spotbed.progress import Progress, Silent

if TYPE_CHECKING:
    import pandas as pd

DATA = "sweep.parquet"
_MEASURED_S = 10.0  # how long a dry run measures at most, beside the first world of each kind


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for."""

    path: Path
    overrides: tuple[str, ...] = ()
    design: Design = "product"
    points: int | None = None
    out: Path | None = None
    engine: Engine = LOCAL
    resume: bool = False  # take also what the finished sweep in the folder has


@dataclass(slots=True)
class Plan:
    """Every world to run, with those that are finished already."""

    target: Path
    keys: tuple[str, ...]
    points: list[Point]
    seeds: list[int]  # by point
    first: Blueprint | None  # of the first point
    places: list[tuple[int, str, int]]  # point, policy, world: the rows of the data set
    units: list[str]  # of each place: what is run, by the hash of its content
    items: dict[str, Item]  # each unit once
    before: dict[str, dict[str, Any]] = field(default_factory=dict)  # rows of a finished sweep, by unit

    @property
    def region(self) -> str:
        """The AWS region of the scenario."""
        return self.first.scenario.capacity.region if self.first else ""

    @property
    def todo(self) -> list[Item]:
        """What is still to be run."""
        return [
            (errand, task)
            for unit, (errand, task) in self.items.items()
            if unit not in self.before and not errand.store.file(task).is_file()
        ]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a sweep will take."""

    points: int
    policies: int
    rows: int
    runs: int  # different worlds: what does not depend on a key is not run again for each of its values
    finished: int
    measured: int  # runs that the time was taken from
    seconds_per_run: float
    processes: int
    cpu_s: float
    expected_s: float


def plan_sweep(request: Request, progress: Progress | None = None) -> Plan:
    """Read the scenario at every point. Raises InputError, with the point, for what cannot be run."""
    from spotbed.api import ready
    from spotbed.scenario.load import load_scenario

    progress = progress or Silent()
    scenario = load_scenario(request.path, request.overrides)
    target = request.out or report_folder(scenario.name, "sweep")
    check_replaceable(target)
    points = points_of(scenario.sweep, request.design, request.points, scenario.seed)
    plan = Plan(target, tuple(scenario.sweep), points, [], None, [], [], {})
    for point in points:
        progress.update(point.number, len(points), "reading points")
        changed = [*request.overrides, *point.overrides]
        made = ready(load_scenario(request.path, changed))
        errand = Errand.of(made, request.path, changed, target, tables=False)
        plan.first = plan.first or made
        plan.seeds.append(made.scenario.seed)
        for label in made.composed:
            for world in range(made.scenario.replications):
                unit = errand.store.unit((label, world))
                plan.places.append((point.number, label, world))
                plan.units.append(unit)
                plan.items.setdefault(unit, (errand, (label, world)))
    if request.resume:
        plan.before = _finished_before(plan)
    return plan


def _finished_before(plan: Plan) -> dict[str, dict[str, Any]]:
    """The rows of the sweep that was written to the folder, by unit. Raises InputError where there is none."""
    from spotbed.api import read_parquet

    file = plan.target / DATA
    if not file.is_file():
        if unfinished_folder(plan.target).is_dir():
            return {}
        hint = "Leave --resume out to begin."
        raise InputError(Problem("there is no sweep to go on with.", str(plan.target), hint=hint))
    rows = read_parquet(file).to_dict("records")
    return {row["unit"]: row for row in rows if row["unit"] in plan.items}


def estimate(plan: Plan, engine: Engine = LOCAL) -> Estimate:
    """How long it will take: from a few worlds that are run for it, in this process, and not kept."""
    todo = plan.todo
    spent: list[float] = []
    began_s = time.perf_counter()
    for item in _sample(todo):
        if spent and time.perf_counter() - began_s > _MEASURED_S:
            break
        spent.append(_seconds(item))
    each_s = sum(spent) / len(spent) if spent else 0.0
    labels = {label for _, label, _ in plan.places}
    cpu_s = each_s * len(todo)
    return Estimate(
        len(plan.points),
        len(labels),
        len(plan.places),
        len(plan.items),
        len(plan.items) - len(todo),
        len(spent),
        each_s,
        engine.cores,
        cpu_s,
        cpu_s / max(1, min(engine.cores, len(todo))),
    )


def _sample(todo: Sequence[Item]) -> list[Item]:
    """Runs of all policies, spread over the points: every n-th of what is to be run, with each policy's first."""
    first: dict[str, Item] = {}
    for item in todo:
        first.setdefault(item[1][0], item)
    return [*first.values(), *todo[:: max(1, len(todo) // 10)]]


def _seconds(item: Item) -> float:
    errand, task = item
    made = blueprint_of(errand)  # reading it is not counted: each process does so once
    began_s = time.perf_counter()
    run_task(made, *task, tables=False)
    return time.perf_counter() - began_s


def run_sweep(request: Request, progress: Progress | None = None) -> Sweep:
    """Run what is missing, and write the data set, the summary and the report. Returns what was written.

    Raises KeyboardInterrupt, PolicyFailure and OutsideError with how many worlds are kept.
    """
    from spotbed.sweep_results import write_sweep

    progress = progress or Silent()
    plan = plan_sweep(request, progress)
    rows = dict(plan.before)
    wanted = [item for unit, item in plan.items.items() if unit not in rows]
    for item, kept in finish(wanted, request.engine, progress, plan.target):
        rows[item[0].store.unit(item[1])] = row_of(kept)
    frame = frame_of(plan, rows)
    with new_folder(plan.target, f"all worlds in {unfinished_folder(plan.target)}") as folder:
        results = write_sweep(plan, frame, request, folder)
    forget(plan.target)
    return Sweep(plan.target, frame, results)


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep that is written."""

    path: Path
    frame: pd.DataFrame
    results: dict[str, Any]


def row_of(kept: Kept) -> dict[str, Any]:
    """What the data set has of one world: its metrics, and its bill by item."""
    bill: dict[str, float] = {}
    for line in kept.result.bill.lines:
        bill[f"bill.{line.item}"] = bill.get(f"bill.{line.item}", 0.0) + line.usd
    return {**kept.result.metrics, **bill}


def frame_of(plan: Plan, rows: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """The data set: a row for each point, policy and world. A bill without an item has 0 there."""
    import pandas as pd

    from spotbed.metric_names import METRIC_NAMES

    bills = sorted({key for unit in set(plan.units) for key in rows[unit] if key.startswith("bill.")})
    records = []
    for (number, label, world), unit in zip(plan.places, plan.units, strict=True):
        row, point = rows[unit], plan.points[number]
        records.append(
            [
                number,
                *(point.values[key] for key in plan.keys),
                label,
                world,
                plan.seeds[number],
                *(row[name] for name in METRIC_NAMES),
                *(row.get(item) or 0.0 for item in bills),
                unit,
            ]
        )
    names = [column_name(key) for key in plan.keys]
    columns = ["point", *names, "policy", "world", "seed", *METRIC_NAMES, *bills, "unit"]
    frame = pd.DataFrame(records, columns=columns)
    for name in names:
        frame[name] = _column(frame[name])
    return frame


def column_name(key: str) -> str:
    """A key as the name of a column; the one that is the name of another column too has `sweep.` before it."""
    return f"sweep.{key}" if key in ("point", "policy", "world", "seed", "unit") else key


def _column(values: Any) -> Any:
    """Numbers stay numbers; anything else is text, as JSON where it is no text."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return values
    return [value if isinstance(value, str) else json.dumps(value) for value in values]
