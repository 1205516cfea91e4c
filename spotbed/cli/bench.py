"""How far our numbers are from those of others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spotbed.cli.command import command
from spotbed.cli.failures import FAILURE, GATE_FAILED, OK
from spotbed.cli.progress import progress
from spotbed.cli.tables import Table
from spotbed.cli.terminal import Terminal

if TYPE_CHECKING:
    from spotbed.published import Result

app = typer.Typer(help="Our numbers beside published and exact ones.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@command(app)
def published(
    terminal: Terminal,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out what takes more than seconds.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A source, or SOURCE/CELL; may be repeated.")
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the document (docs/validation.md), its results beside it."),
    ] = None,
) -> int:
    """Run every published or exact target: published, ours, difference, accepted, passed. Exit 3 if one fails.

    Public data is found under $SPOTBED_DATA; what lacks its data is skipped and says so; exit 1 if all is.
    """
    from spotbed.published import document, results

    if write is not None:
        document.check_place(write)
    with progress(terminal, "bench published") as bar:
        found = list(results(only or (), quick=quick, tell=bar.update))
    terminal.result(_told(found), _document(found), data=lambda: Table.of_records(_document(found)["rows"]))
    if found and all(result.skipped for result in found):
        terminal.alert("nothing was run: every target was skipped, for the reasons above")
        return FAILURE
    if write is not None:
        document.write(write, found)
        terminal.note(f"Written: {write}, from {write.with_suffix('.json')}")
    return GATE_FAILED if any(result.passed is False for result in found) else OK


def _document(found: Sequence[Result]) -> dict[str, Any]:
    failed = [result.target.name for result in found if result.passed is False]
    return {"passed": not failed, "failed": failed, "rows": [result.to_dict() for result in found]}


def _told(found: Sequence[Result]) -> Table:
    from spotbed.published.document import apart, text
    from spotbed.published.judge import accepted

    rows = []
    for result in found:
        target, ours = result.target, result.measured
        stored = None if ours is None else {"value": ours.value, "error": ours.error}
        rows.append(
            [
                *(target.source, target.cell, text(target.published, target.unit)),
                "" if ours is None else text(ours.value, target.unit),
                *(apart(target, stored), accepted(target), _verdict(result)),
            ]
        )
    notes = [f"{len(left)} skipped: {why}" for why, left in _skipped(found).items()]
    return Table(["source", "cell", "published", "ours", "difference", "accepted", "passed"], rows, notes)


def _verdict(result: Result) -> str:
    if result.skipped:
        return "skipped"
    return "" if result.passed is None else ("yes" if result.passed else "NO")


def _skipped(found: Sequence[Result]) -> dict[str, list[Result]]:
    by_reason: dict[str, list[Result]] = {}
    for result in found:
        if result.skipped:
            by_reason.setdefault(result.skipped, []).append(result)
    return by_reason
