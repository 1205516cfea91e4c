"""Many points of a scenario: a sweep over its keys, a search over a policy's parameters."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spotbed.cli.command import command
from spotbed.cli.engines import Engines
from spotbed.cli.progress import progress
from spotbed.cli.runs import Lenient, Out, Overrides, Scenario, settings
from spotbed.cli.tables import Table
from spotbed.cli.terminal import Terminal

if TYPE_CHECKING:
    from spotbed.sweep import Estimate

app = typer.Typer()
_MOST_SHOWN = 60  # rows on a terminal


class Design(StrEnum):
    """Which points of a sweep are run."""

    product = "product"
    lhs = "lhs"
    sobol = "sobol"


@command(app)
def sweep(
    terminal: Terminal,
    file: Scenario,
    design: Annotated[
        Design, typer.Option(help="Every combination of the lists, or a sample of lists and ranges.")
    ] = Design.product,
    points: Annotated[int | None, typer.Option(min=1, max=100_000, metavar="N", help="Of a sample: how many.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how many runs, how long, how dear.")] = False,
    instance: Annotated[
        str | None, typer.Option(metavar="TYPE", help="With --dry-run: what it would take on this EC2 instance type.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Take also what the finished sweep in the folder has: for one that grows.")
    ] = False,
    overrides: Overrides = None,
    lenient: Lenient = False,
    out: Out = None,
    *,
    engines: Engines,
) -> None:
    """Run a scenario at many points: all its policies on the same worlds at each, in one Parquet data set.

    The scenario's `sweep` says which keys take which values. A sweep that was ended goes on with the same command.
    """
    from spotbed.errors import InputError, Problem
    from spotbed.report.metric_words import CUT
    from spotbed.report.sweep import any_cut
    from spotbed.sweep import Request, estimate, plan_sweep, run_sweep

    if instance is not None and not dry_run:
        raise InputError(Problem("has no effect: the sweep is run here.", "--instance", hint="Add --dry-run."))
    where = engines.chosen()
    given = tuple(settings(file, overrides, lenient))
    request = Request(file, given, design.value, points, out, where, resume)
    if dry_run:
        with progress(terminal, f"sweep {file.name}") as bar:
            plan = plan_sweep(request, bar)
            found = estimate(plan, where)
        terminal.result(_estimate_table(found, instance, plan.region))
        return
    with progress(terminal, f"sweep {file.name}") as bar:
        done = run_sweep(request, bar)
    rows = _rows(done.results)
    notes = [f"The first {_MOST_SHOWN} of {len(rows)} rows."] if len(rows) > _MOST_SHOWN else []
    notes += [CUT] if any_cut(done.results) else []
    columns = [*done.results["keys"], "policy", "cost", "against baseline", "makespan", "worlds"]
    terminal.result(Table(columns, rows[:_MOST_SHOWN], notes), done.results, data=lambda: Table(columns, rows))
    terminal.note(f"Written: {done.path} (open {done.path / 'index.html'}; data set {done.path / 'sweep.parquet'})")


def _rows(results: dict[str, Any]) -> list[list[Any]]:
    from spotbed.report.sweep import sweep_rows

    return [[_text(cell) for cell in row] for row in sweep_rows(results)]


def _text(cell: Any) -> str:
    from spotbed.report.document import Two

    return f"{cell.main} {cell.below}".rstrip() if isinstance(cell, Two) else str(cell)


def _estimate_table(found: Estimate, instance: str | None, region: str) -> Table:
    from spotbed.report.words import duration, usd

    rows: list[list[Any]] = [
        ["points", found.points],
        ["policies", found.policies],
        ["rows of the data set", found.rows],
        ["different runs", found.runs],
        ["of these finished before", found.finished],
        ["a run takes", f"{found.seconds_per_run:.3g} s (mean of {found.measured}, just measured)"],
        ["processor time", duration(found.cpu_s)],
        [f"expected time with {found.processes} processes", duration(found.expected_s)],
        ["cost on this machine", "nothing but its time"],
    ]
    if instance is not None:
        from spotbed.catalogue import Catalogue

        catalogue = Catalogue.load()
        kind = catalogue.find(instance)
        hours = found.cpu_s / 3600 / kind.vcpus
        price = catalogue.on_demand_usd_per_hour(instance, region, "linux")
        rows.append([f"on one {instance} ({kind.vcpus} vCPUs)", f"{duration(hours * 3600)}, {usd(hours * price)}"])
    notes = [] if instance else ["For a price give --instance TYPE, such as --instance c7i.8xlarge."]
    return Table(["what", "how much"], rows, notes)


@command(app)
def search(
    terminal: Terminal,
    file: Scenario,
    trials: Annotated[int, typer.Option(min=1, max=100_000, metavar="N", help="How many, with those made before.")],
    objectives: Annotated[
        str | None, typer.Option(metavar="A,B", help="Metrics to make good; else the scenario's.")
    ] = None,
    storage: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where trials are kept; else beside the report.")
    ] = None,
    tune_worlds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Worlds that choose; else `replications`.")
    ] = None,
    report_worlds: Annotated[
        int | None, typer.Option(min=1, metavar="M", help="Other worlds, that judge; else `replications`.")
    ] = None,
    overrides: Overrides = None,
    lenient: Lenient = False,
    out: Out = None,
    *,
    engines: Engines,
) -> None:
    """Tune a policy's parameters for several objectives at once, and judge the best on worlds that chose none of them.

    The scenario's `search` says which policy, and which values its parameters may take.
    """
    from spotbed.search import Request, run_search

    where = engines.chosen()
    given = tuple(settings(file, overrides, lenient))
    wanted = tuple(name.strip() for name in objectives.split(",")) if objectives is not None else None
    request = Request(file, trials, given, wanted, storage, tune_worlds, report_worlds, out, where)
    with progress(terminal, f"search {file.name}") as bar:
        done = run_search(request, bar)
    terminal.result(_front(done.results), done.results)
    terminal.note(f"Written: {done.path} (open {done.path / 'index.html'})")


def _front(results: dict[str, Any]) -> Table:
    from spotbed.report.metric_words import called
    from spotbed.report.search import front_grid

    grid = front_grid(results)
    objectives = [called(name).lower() for name in results["objectives"]]
    columns = ["policy", *objectives, *grid.columns[1 + len(objectives) :]]
    return Table(columns, [[_text(cell) for cell in row] for row in grid.rows], [str(part) for part in grid.note])
