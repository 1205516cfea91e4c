"""Public data and prices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spotbed.cli.command import command
from spotbed.cli.tables import Format, Table
from spotbed.cli.terminal import Terminal

app = typer.Typer(help="Public data and prices: list, fetch, fit, refresh.", no_args_is_help=True)


@command(app, "list")
def list_(terminal: Terminal) -> None:
    """The public data sets that a scenario may name as data:NAME, and whether each is here."""
    from spotbed import datasets

    terminal.result(Table.of_records(datasets.listing()))


@command(app)
def get(
    terminal: Terminal,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of data sets.")],
) -> None:
    """Fetch data sets from their public homes into the cache, with their checksums verified."""
    from spotbed import datasets

    paths = {name: str(datasets.fetch(name)) for name in names}
    terminal.result(Table(["name", "path"], list(paths.items())), {"paths": paths})


@command(app)
def fit(
    terminal: Terminal,
    path: Annotated[str, typer.Argument(metavar="PATH", help="Lifetimes (CSV) or availability (JSON), or data:NAME.")],
) -> None:
    """Fit lifetimes, or spells of capacity up and down, with censoring; the goodness of fit is reported."""
    from spotbed import fit as fitting

    result = fitting.fit_path(path)
    if terminal.format is Format.table:
        terminal.text(result.text)
    else:
        document = result.to_dict()
        terminal.result(Table.of_records(document["fits"]), document)


@command(app)
def prices(
    terminal: Terminal,
    region: Annotated[list[str] | None, typer.Option(help="A region to refresh or add; may be repeated.")] = None,
    windows: Annotated[bool, typer.Option("--windows", help="Windows prices too.")] = False,
    out: Annotated[Path | None, typer.Option(help="The price file to write; the user's own if not given.")] = None,
) -> None:
    """Refresh on-demand prices from AWS (needs credentials), or add regions and Windows."""
    from spotbed import prices_aws

    written = prices_aws.refresh_prices(regions=region or ["us-east-1"], windows=windows, out=out)
    terminal.result(Table(["written"], [[str(written)]]), {"written": str(written)})
