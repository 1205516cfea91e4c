"""The state diagrams are those of the tables, and the committed ones are not stale."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scheduler import fleet, job, worker
from scheduler.table import Machine, Row, stay
from spotbed.diagrams import document, machines, main, mermaid


def test_the_committed_diagrams_are_not_stale(root: Path) -> None:
    written = (root / "docs" / "state-diagrams.md").read_text("utf-8")
    assert written == document(), "run `python -m spotbed.diagrams`"


def test_every_machine_of_the_core_is_drawn_the_roles_first() -> None:
    drawn = [machine for _, machine in machines()]
    assert drawn[:3] == [worker.MACHINE, job.MACHINE, fleet.MACHINE]
    assert {"central", "legacy-worker", "legacy-scaler"} <= {machine.name for machine in drawn}
    assert len({machine.name for machine in drawn}) == len(drawn)


class Pushed:
    pass


class Kicked:
    pass


class Mended:
    pass


def handler(state: Any, event: Any, policy: Any) -> Any:
    return state, ()


DOOR: Machine[Any] = Machine(
    "door",
    "shut",
    {
        "shut": {Pushed: Row(handler, ("open",)), Kicked: Row(handler, ("open", "broken"), "by force")},
        "open": {Pushed: Row(handler, ("shut", "open")), Kicked: Row(stay, ("open",), "late")},
        "broken": {Kicked: Row(stay, ("broken",), "late"), Pushed: Row(stay, ("broken",), "late")},
    },
)


def test_a_diagram_has_one_arrow_for_each_pair_of_phases() -> None:
    assert mermaid(DOOR).splitlines() == [
        "stateDiagram-v2",
        "    [*] --> shut",
        "    shut --> open : Pushed, Kicked",
        "    shut --> broken : Kicked",
        "    open --> shut : Pushed",
        "    broken --> [*]",
    ]


@pytest.mark.parametrize("machine", [machine for _, machine in machines()], ids=lambda machine: machine.name)
def test_every_row_that_leads_elsewhere_is_drawn_and_nothing_else(machine: Machine[Any]) -> None:
    arrows = {
        (source, event, target)
        for source, target, events in re.findall(r"^    (\w+) --> (\w+) : (.+)$", mermaid(machine), re.MULTILINE)
        for event in events.split(", ")
    }
    rows = {
        (phase, kind.__name__, target)
        for phase, rows in machine.table.items()
        for kind, row in rows.items()
        for target in row.to
        if target != phase
    }
    assert arrows == rows


def test_every_row_is_in_the_tables() -> None:
    text = document()
    for _, machine in machines():
        section = text.split(f"## {machine.name}\n")[1].split("\n## ")[0]
        listed = re.findall(r"^\| (\w+) \| ([\w, ]+) \| ", section, re.MULTILINE)
        named = [(phase, event) for phase, events in listed for event in events.split(", ") if event != "event"]
        assert sorted(named) == sorted((phase, kind.__name__) for phase, rows in machine.table.items() for kind in rows)


def test_the_command_writes_the_document(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "diagrams.md"
    done = subprocess.run(
        [sys.executable, "-m", "spotbed.diagrams", str(target)], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{target}\n"
    assert target.read_text("utf-8") == document()


def test_without_a_file_it_is_the_one_in_docs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    monkeypatch.setattr("spotbed.diagrams.TARGET", tmp_path / "state-diagrams.md")
    main([])
    assert (tmp_path / "state-diagrams.md").read_text("utf-8") == document()
    assert capsys.readouterr().out.endswith("state-diagrams.md\n")
