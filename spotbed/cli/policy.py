"""Policies: which there are, how to start one, whether one is sound."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spotbed.cli.command import command
from spotbed.cli.failures import FAILURE, OK
from spotbed.cli.tables import Table, shown, to_records
from spotbed.cli.terminal import Terminal

app = typer.Typer(help="Policies: list, start one, check one.", no_args_is_help=True)


@command(app, "list")
def list_(terminal: Terminal) -> None:
    """The policies and plug-ins that a scenario may name, with their parameters."""
    from spotbed import policies
    from spotbed.report.words import one_line

    columns = ["name", "point", "summary", "parameters", "source", "deployable"]
    found = Table(
        columns, [[p.name, p.point, p.summary, p.parameters, p.source, p.deployable] for p in policies.known()]
    )
    rows = [
        [name, point, one_line(summary, 76), one_line(shown(parameters), 60), deployable]
        for name, point, summary, parameters, _, deployable in found.rows
    ]
    table = Table(["name", "point", "summary", "parameters", "deployable"], rows)
    terminal.result(table, {"rows": to_records(found)}, data=lambda: found)


@command(app)
def new(
    terminal: Terminal,
    path: Annotated[Path, typer.Argument(metavar="FILE.py", help="The file to write; it must not exist.")],
) -> None:
    """Write a policy of about 15 lines to start from."""
    from spotbed import policies

    policies.scaffold(path)
    terminal.result(Table(["written"], [[str(path)]]), {"written": str(path)})


@command(app)
def check(
    terminal: Terminal,
    policy: Annotated[
        str, typer.Argument(metavar="FILE.py:Class", help="A policy of your own, or the name of a known one.")
    ],
) -> int:
    """Is a policy complete, pure and repeatable, and can it be deployed?"""
    from spotbed import policies

    report = policies.check(policy)
    terminal.result(Table(["check", "passed", "detail"], [[c.name, c.passed, c.detail] for c in report.checks]))
    return OK if report.passed else FAILURE
