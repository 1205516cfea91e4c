"""Reading what a run left behind."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from spotbed.cli.command import command
from spotbed.cli.tables import Format, Table
from spotbed.cli.terminal import Terminal

app = typer.Typer()


class ReportFormat(StrEnum):
    """What a report is written as."""

    html = "html"
    md = "md"
    csv = "csv"


@command(app)
def explain(
    terminal: Terminal,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    job: Annotated[str, typer.Argument(metavar="JOB", help="The id of a job.")],
) -> None:
    """Why this job waited, moved or was retried, and what each of its attempts cost."""
    from spotbed import explain as explaining

    explanation = explaining.explain(run, job)
    if terminal.format is Format.table:
        terminal.text(explanation.text)
    else:
        document = explanation.to_dict()
        terminal.result(Table.of_records(document["attempts"]), document)


@command(app)
def report(
    terminal: Terminal,
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs or comparisons.")],
    written_as: Annotated[
        ReportFormat, typer.Option("--format", help="One offline page, Markdown with images, or tables.")
    ] = ReportFormat.html,
    out: Annotated[Path | None, typer.Option(help="Where to write; into the folder itself if not given.")] = None,
) -> None:
    """Write the report of runs or comparisons again, also in another format."""
    from spotbed import api

    written = [str(path) for path in api.write_reports(runs, written_as.value, out)]
    terminal.result(Table(["written"], [[path] for path in written]), {"written": written})
