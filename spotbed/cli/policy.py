"""Policies: which there are, how to start one, whether one is sound."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spotbed.cli.command import command
from spotbed.cli.failures import FAILURE, OK
from spotbed.cli.tables import Table, to_records
from spotbed.cli.terminal import Terminal

app = typer.Typer(help="Policies: list, start one, check one.", no_args_is_help=True)


@command(app, "list")
def list_(terminal: Terminal) -> None:
    """The policies and plug-ins that a scenario may name: what they do, where they are from, whether they deploy."""
    from spotbed import policies
    from spotbed.report.words import one_line

    columns = ["name", "point", "summary", "parameters", "source", "origin", "deployable", "hindrance"]
    infos = policies.known()
    found = Table(columns, [[getattr(info, column) for column in columns] for info in infos])
    rows = [
        [
            *[info.name, info.point, one_line(info.summary, 76), one_line(info.source, 44)],
            "yes" if info.deployable else one_line(f"no: {info.hindrance}", 60),
        ]
        for info in infos
    ]
    table = Table(["name", "point", "summary", "source", "deployable"], rows)
    terminal.result(table, {"rows": to_records(found)}, data=lambda: found)


@command(app)
def new(
    terminal: Terminal,
    path: Annotated[Path, typer.Argument(metavar="NAME", help="The file to write: NAME.py; it must not exist.")],
    point: Annotated[
        str, typer.Option(metavar="POINT", help="What it decides: order, place, scale, retry, protect or move.")
    ] = "place",
) -> None:
    """Write a policy of about 15 lines to start from, and its test."""
    from spotbed import policies

    written = [str(file) for file in policies.scaffold(path, point)]
    terminal.result(Table(["written"], [[file] for file in written]), {"written": written})
    terminal.note(f"Next: spotbed policy check {written[0]}")
    named = f"{{use: {written[0]}:{policies.class_name(Path(written[0]))}}}"
    terminal.note(f"Then name it under `policies` of a scenario, {named}, and: spotbed compare scenario.yaml")


@command(app)
def check(
    terminal: Terminal,
    policy: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py:Class", help="A policy of your own (its only one without :Class), or a known one's name."
        ),
    ],
) -> int:
    """Does a policy keep the contract: complete, pure, repeatable, blind to the future? And can it be deployed?"""
    from spotbed import policies

    report = policies.check(policy)
    terminal.result(Table(["check", "passed", "detail"], [[c.name, c.passed, c.detail] for c in report.checks]))
    return OK if report.passed else FAILURE
