"""Public data and prices."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from spotbed.cli.command import command
from spotbed.cli.progress import progress
from spotbed.cli.stack import Place, chosen
from spotbed.cli.tables import Format, Table, to_records
from spotbed.cli.terminal import Terminal


class Work(StrEnum):
    """How the jobs of a run are written down."""

    list = "list"
    classes = "classes"


app = typer.Typer(help="Public data and prices: list, fetch, fit, refresh.", no_args_is_help=True)


@command(app, "list")
def list_(terminal: Terminal) -> None:
    """The public data sets that a scenario may name as data:NAME, and whether each is here."""
    from spotbed import datasets

    found = Table.of_records(datasets.listing())
    rows = [[row["name"], row["what"], _size(row["size_bytes"]), _where(row)] for row in to_records(found)]
    table = Table(["name", "what", "size", "here"], rows)
    terminal.result(table, {"rows": to_records(found)}, data=lambda: found)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1000:,.0f} kB"


def _where(row: Mapping[str, Any]) -> str:
    if row["found"]:
        return "yes"
    return "no: data get" if row["served"] else f"no: {row['url']}"


@command(app)
def get(
    terminal: Terminal,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of data sets.")],
) -> None:
    """Fetch data sets from their public homes into the cache, with their checksums verified."""
    from spotbed import datasets

    with progress(terminal, "data get") as bar:
        paths = {name: str(datasets.get(name, bar)) for name in names}
    terminal.result(Table(["name", "path"], list(paths.items())), {"paths": paths})


@command(app)
def fit(
    terminal: Terminal,
    path: Annotated[
        str | None,
        typer.Argument(metavar="PATH", help="Lifetimes, availability or prices: a file, a folder, or data:NAME."),
    ] = None,
    kind: Annotated[
        str, typer.Option(help="lifetimes, spells or prices; told from the content if not given.")
    ] = "auto",
    from_stack: Annotated[
        str | None, typer.Option(metavar="NAME", help="In place of PATH: what a deployed stack has run.")
    ] = None,
    from_journal: Annotated[
        Path | None, typer.Option(metavar="FILE", help="In place of PATH: a journal that was kept.")
    ] = None,
    work: Annotated[
        Work | None,
        typer.Option(help="Of a run: each job, or fitted classes. Left out: a list of up to 200.", show_default=False),
    ] = None,
    *,
    place: Place,
) -> None:
    """Fit lifetimes or spells of capacity, with censoring, say how good the fit is, and print the scenario's lines.

    Of a deployed run (--from-stack, --from-journal), print a whole scenario: its jobs, pools and interruptions.
    """
    from spotbed.errors import InputError, Problem
    from spotbed.fit import fit_path
    from spotbed.scenario.paths import locate

    if sum(each is not None for each in (path, from_stack, from_journal)) != 1:
        raise InputError(Problem("give one of PATH, --from-stack NAME and --from-journal FILE."))
    if path is None:
        _fit_run(terminal, from_stack, from_journal, work, place)
        return
    report = fit_path(Path(path) if Path(path).is_dir() else locate(path, Path()), kind)
    table = Table.of_records(report.rows(), notes=[report.to_yaml().rstrip()])
    terminal.result(table, report.to_dict())


def _fit_run(terminal: Terminal, stack: str | None, journal: Path | None, work: Work | None, place: Place) -> None:
    """The scenario of a deployed run, as text that can be saved."""
    from scheduler.settings import Settings
    from spotbed.cli.verify import lines_of_stack
    from spotbed.verify.lines import read_journal
    from spotbed.verify.observed import observe
    from spotbed.verify.scenario import scenario_of

    lines = lines_of_stack(chosen(stack, place), place) if journal is None else read_journal(journal)
    told: dict[str, int] = next((line.body["settings"] for line in lines if line.fact == "stack"), {})
    name = stack or (journal.stem if journal else "run")
    found = scenario_of(observe(lines, Settings(**told)), name, None if work is None else work.value)
    if terminal.format in (Format.json, Format.csv):
        terminal.document({"schema_version": 1, "kind": "run", "scenario": found.to_yaml(), "notes": list(found.notes)})
        return
    terminal.text(found.to_yaml().rstrip())


@command(app)
def predict(
    terminal: Terminal,
    path: Annotated[
        str, typer.Argument(metavar="LOG", help="A log in the Standard Workload Format, data:NAME, or a run's journal.")
    ],
    quantile: Annotated[float, typer.Option(min=0.01, max=0.99, help="The quantile of the runtime.")] = 0.5,
    share: Annotated[float, typer.Option(min=0.05, max=0.95, help="How much of the log is learnt from.")] = 0.5,
) -> None:
    """How wrong predictions of runtimes are on the jobs of a log or a run that they were not trained on.

    A scenario takes them as `runtime_estimate: last-two` or `boosted`. Needs the extra `predict`.
    """
    from dataclasses import asdict

    from spotbed.scenario.paths import locate
    from spotbed.work.prediction import evaluate
    from spotbed.work.runs import read_past

    rows = [asdict(each) for each in evaluate(read_past(locate(path, Path())), share, quantile)]
    terminal.result(Table.of_records(rows), {"quantile": quantile, "share": share, "methods": rows})


@command(app)
def prices(
    terminal: Terminal,
    region: Annotated[str, typer.Option(help="The region to refresh, or to add.")] = "us-east-1",
    os: Annotated[str, typer.Option(help="The operating system: linux or windows.")] = "linux",
    out: Annotated[
        Path | None, typer.Option(help="The file to write; into the cache, where it is used, if not given.")
    ] = None,
) -> None:
    """Refresh on-demand and Spot prices of a region from AWS; this needs credentials."""
    from spotbed.prices_aws import clients, refresh_prices

    written = refresh_prices(region, os, *clients(region), out)
    table = Table(
        ["written", "on_demand", "spot", "skipped"],
        [[str(written.path), written.on_demand, written.spot, written.skipped]],
    )
    terminal.result(table)
