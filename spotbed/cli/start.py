"""The first minutes: a folder to start from, and the first result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spotbed.cli.command import command
from spotbed.cli.progress import progress
from spotbed.cli.runs import show_comparison
from spotbed.cli.tables import Table
from spotbed.cli.terminal import Terminal

app = typer.Typer()
DEMO_FOLDER = Path("reports") / "demo"


@command(app)
def init(
    terminal: Terminal,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or an empty one.")],
    template: Annotated[str, typer.Option(help="What to start from; a wrong name lists them all.")] = "minimal",
) -> None:
    """Make a folder to start from: a scenario, a policy of your own, a notebook, and the schema for your editor."""
    from spotbed.scenario.scaffold import scaffold

    written = scaffold(folder, template)
    names = [str(path) for path in written]
    terminal.result(Table(["written"], [[name] for name in names]), {"written": names})
    terminal.note(f"Next: cd {folder} && spotbed compare scenario.yaml")


@command(app)
def demo(
    terminal: Terminal,
    out: Annotated[Path, typer.Option(help="Where the report goes.")] = DEMO_FOLDER,
) -> int:
    """The first result, in seconds: a small scenario under several policies, and its report. No AWS account is used."""
    from spotbed import api

    with progress(terminal, "demo") as bar:
        comparison = api.demo(out, bar)
    return show_comparison(terminal, comparison)
