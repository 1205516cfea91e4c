"""The options that say where worlds are run."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from spotbed import engines


class Engine(StrEnum):
    """Where worlds are run."""

    local = "local"
    dask = "dask"
    ray = "ray"


EngineOption = Annotated[Engine, typer.Option("--engine", help="Where worlds are run: see docs/clusters.md.")]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDR", help="Of a Dask or Ray cluster that runs already; else one is started here."),
]
Jobs = Annotated[int | None, typer.Option(min=1, metavar="N", help="Processes; as many as cores if not given.")]


def chosen(engine: Engine, scheduler: str | None, jobs: int | None) -> engines.Engine:
    """What the options say. Raises InputError where they do not go together or a package is missing."""
    from spotbed import engines

    return engines.Engine(engine.value, scheduler, jobs)
