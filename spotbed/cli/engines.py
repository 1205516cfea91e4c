"""The options that say where worlds are run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from spotbed.cli.command import Options

if TYPE_CHECKING:
    from spotbed import engines


class Engine(StrEnum):
    """Where worlds are run."""

    local = "local"
    dask = "dask"
    ray = "ray"


@dataclass(frozen=True)
class Engines(Options):
    """Where worlds are run, and by how many processes."""

    engine: Annotated[Engine, typer.Option("--engine", help="Where worlds are run: see docs/clusters.md.")] = (
        Engine.local
    )
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDR", help="Of a Dask or Ray cluster that runs already; else one is started here."),
    ] = None
    jobs: Annotated[int | None, typer.Option(min=1, metavar="N", help="Processes; as many as cores if not given.")] = (
        None
    )

    def chosen(self) -> engines.Engine:
        """What the options say. Raises InputError where they do not go together or a package is missing."""
        from spotbed import engines

        return engines.Engine(self.engine.value, self.scheduler, self.jobs)
