"""State diagrams, drawn from the transition tables: `python -m spotbed.diagrams` writes docs/state-diagrams.md.

A diagram has one arrow for each pair of phases, with the events that may lead from one to the other; what stays in its
phase is in the table below it. Every `Machine` in a module of `scheduler` is drawn.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import scheduler
from scheduler.table import Machine, Row, stay

TARGET = Path(__file__).resolve().parent.parent / "docs" / "state-diagrams.md"
_FIRST = ("worker", "job", "fleet")  # the roles of the decoupled scheduler; the others follow by name
_HEAD = """# State diagrams

Drawn from the transition tables in `scheduler/` by `python -m spotbed.diagrams`; a test fails when this file is stale.
An arrow is named by the events that may lead along it; which of several phases a row ends in is decided by its handler.
What comes late, twice or is of no interest has a row too, which changes nothing. Any other pair is an
`UnknownTransition`.
"""


def machines() -> list[tuple[ModuleType, Machine[Any]]]:
    """All machines with the modules that define them, the three roles first."""
    names = [info.name for info in pkgutil.iter_modules(scheduler.__path__)]
    names.sort(key=lambda name: (name not in _FIRST, _FIRST.index(name) if name in _FIRST else name))
    modules = [importlib.import_module(f"scheduler.{name}") for name in names]
    return [(module, value) for module in modules for value in vars(module).values() if isinstance(value, Machine)]


def document() -> str:
    """All diagrams and tables, as Markdown."""
    return "\n".join([_HEAD, *(_section(module, machine) for module, machine in machines())])


def mermaid(machine: Machine[Any]) -> str:
    """The diagram of a machine, in the language of Mermaid."""
    lines = ["stateDiagram-v2", f"    [*] --> {machine.initial}"]
    lines += [
        f"    {source} --> {target} : {', '.join(events)}" for (source, target), events in _arrows(machine).items()
    ]
    lines += [f"    {phase} --> [*]" for phase in machine.table if not any(_leaving(machine, phase))]
    return "\n".join(lines)


def _leaving(machine: Machine[Any], phase: str) -> Iterator[tuple[str, str]]:
    """(event, target) of everything that leads out of a phase."""
    for kind, row in machine.table[phase].items():
        for target in row.to:
            if target != phase:
                yield kind.__name__, target


def _arrows(machine: Machine[Any]) -> dict[tuple[str, str], list[str]]:
    arrows: dict[tuple[str, str], list[str]] = {}
    for phase in machine.table:
        for event, target in _leaving(machine, phase):
            arrows.setdefault((phase, target), []).append(event)
    return arrows


def _section(module: ModuleType, machine: Machine[Any]) -> str:
    summary = (module.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    rows = [line for phase, rows in machine.table.items() for line in _rows(phase, dict(rows))]
    return "\n".join(
        [
            f"## {machine.name}",
            "",
            f"`{module.__name__.replace('.', '/')}.py`: {summary}",
            "",
            "```mermaid",
            mermaid(machine),
            "```",
            "",
            "| phase | event | ends in | note |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _rows(phase: str, rows: dict[type, Row]) -> Iterator[str]:
    """The lines of a phase: each row that does something, then those that do not, by their note."""
    idle: dict[str, list[str]] = {}
    for kind, row in rows.items():
        if row.handler is stay:
            idle.setdefault(row.note, []).append(kind.__name__)
        else:
            yield f"| {phase} | {kind.__name__} | {', '.join(row.to)} | {row.note} |"
    for note, names in idle.items():
        yield f"| {phase} | {', '.join(names)} | stays | {note} |"


def main(arguments: list[str]) -> None:
    """Write the document to the file named, or to docs/state-diagrams.md."""
    target = Path(arguments[0]) if arguments else TARGET
    target.write_text(document(), "utf-8")
    sys.stdout.write(f"{target}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
