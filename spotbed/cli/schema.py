"""JSON Schemas, for editors and for scripts."""

from __future__ import annotations

import typer

from spotbed.cli.command import command
from spotbed.cli.terminal import Terminal

app = typer.Typer(help="JSON Schemas of what spotbed reads and writes.", no_args_is_help=True)


@command(app)
def scenario(terminal: Terminal) -> None:
    """The schema of a scenario; editors use it to complete and check."""
    from spotbed.cli.tables import to_json
    from spotbed.scenario.schema import scenario_schema

    terminal.text(to_json(scenario_schema()))


@command(app)
def results(terminal: Terminal) -> None:
    """The schema of results.json and of `compare -o json`."""
    from spotbed.cli.tables import to_json
    from spotbed.results import results_schema

    terminal.text(to_json(results_schema()))


@command(app)
def target(terminal: Terminal) -> None:
    """The schema of TARGET.yaml, the inputs of an account."""
    from aws.target import target_schema
    from spotbed.cli.tables import to_json

    terminal.text(to_json(target_schema()))


@command(app)
def plan(terminal: Terminal) -> None:
    """The schema of the file that `spotbed plan` writes."""
    from aws.plan import plan_schema
    from spotbed.cli.tables import to_json

    terminal.text(to_json(plan_schema()))
