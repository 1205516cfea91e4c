"""Public data and prices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from spotbed.cli.command import command
from spotbed.cli.progress import progress
from spotbed.cli.tables import Table, to_records
from spotbed.cli.terminal import Terminal

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
        str, typer.Argument(metavar="PATH", help="Lifetimes, availability or prices: a file, a folder, or data:NAME.")
    ],
    kind: Annotated[
        str, typer.Option(help="lifetimes, spells or prices; told from the content if not given.")
    ] = "auto",
) -> None:
    """Fit lifetimes or spells of capacity, with censoring, say how good the fit is, and print the scenario's lines."""
    from spotbed.fit import fit_path
    from spotbed.scenario.paths import locate

    report = fit_path(Path(path) if Path(path).is_dir() else locate(path, Path()), kind)
    table = Table.of_records(report.rows(), notes=[report.to_yaml().rstrip()])
    terminal.result(table, report.to_dict())


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
